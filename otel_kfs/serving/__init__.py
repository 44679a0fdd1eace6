"""Model servers' methods as spans: `trace_model`, for a KFServing `KFModel`, a KServe `Model` or `OpenAIModel`."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from otel_kfs.errors import ConfigError

M = TypeVar("M")


def trace_model(model: M, role: str | None = None) -> M:
    """Trace one model, and the server it is about to be given to; returns the same object.

    The model's `preprocess`, `predict`, `explain` and `postprocess` become spans, and a KServe `OpenAIModel`'s calls
    ("chat {model}"), each until the last piece of an answer that is streamed; each request gets one SERVER span
    (OpenTelemetry's own tornado or FastAPI instrumentation, or ours for KServe's gRPC), a `receive` span from its
    headers to its whole body and a `decode` span; calls to the predictor carry the trace's context. Call it before the
    server starts. Under `opentelemetry-instrument` it is not needed: see KFServingInstrumentor, KServeInstrumentor.

    `role` is "transformer" or "predictor" in the spans; left out, a model that has a predictor to call is a
    transformer.

    Raises:
        ConfigError: `model` is none of these.
        MissingExtra: OpenTelemetry's instrumentation of the SDK's server is not installed.
    """
    if _is_instance(model, "kfserving", "KFModel"):
        from otel_kfs.serving import kfserving

        kfserving.trace(model, role)
    elif _is_instance(model, "kserve", "Model") or _is_instance(model, "kserve.protocol.rest.openai", "OpenAIModel"):
        from otel_kfs.serving import kserve

        kserve.trace(model, role)
    elif isinstance(model, type):
        name = model.__qualname__
        raise ConfigError(f"{name} is a class: trace the model that is made of it, as in trace_model({name}(...))")
    else:
        cls = type(model).__qualname__
        raise ConfigError(f"{cls} is neither a kfserving.KFModel nor a kserve.Model or OpenAIModel")
    return model


def _is_instance(model: Any, library: str, name: str) -> bool:
    """Whether `model` is of that class, without importing a library that its own module has not imported."""
    cls = getattr(sys.modules.get(library), name, None)
    return cls is not None and isinstance(model, cls)
