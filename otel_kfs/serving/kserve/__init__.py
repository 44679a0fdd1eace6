"""KServe's servers, FastAPI and gRPC: a model's steps, and the context to the predictor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from otel_kfs.serving.kserve import grpc_server, openai_calls, rest_server, worker_processes
from otel_kfs.serving.model_spans import role_of, trace_steps, use_provider
from otel_kfs.serving.server_errors import guard_propagator, never_raises
from otel_kfs.serving.server_instrumentor import ServerInstrumentor
from otel_kfs.telemetry.patches import Patches

_requests = Patches()


def trace(model: Any, role: str | None = None) -> None:
    """Trace one model of KServe's, and all requests of this process's ModelServer and of its worker processes."""
    from kserve import Model

    _trace_requests()
    if is_openai_model(model):
        trace_steps(model, _role_of_openai_model, role, openai_calls.OPERATIONS, openai_calls.OpenAICall)
    if isinstance(model, Model):  # of a model that is not, a method `predict` is its own affair
        trace_steps(model, _role, role)


def is_openai_model(model: Any) -> bool:
    """Whether a model answers OpenAI's routes; nothing is imported for that: it would need vLLM."""
    return _is_openai(model, "OpenAIModel")


def _role_of_openai_model(model: Any) -> str:
    return role_of(_is_openai(model, "OpenAIProxyModel"))


def _is_openai(model: Any, name: str) -> bool:
    cls = getattr(sys.modules.get("kserve.protocol.rest.openai"), name, None)
    return cls is not None and isinstance(model, cls)


def _role(_: Any) -> str:
    from kserve.context import get_predictor_config

    config = get_predictor_config()
    return role_of(config is not None and bool(config.predictor_host))


class KServeInstrumentor(ServerInstrumentor):
    """Traces every model that a ModelServer is given, under `opentelemetry-instrument` without a line of ours."""

    library = "kserve"
    dependencies = ("kserve >= 0.21.0, < 1.0.0",)
    requests = _requests

    def trace_requests(self, tracers: TracerProvider | None, meters: MeterProvider | None) -> None:
        """Trace the requests of this process's servers, and count their calls of OpenAI models."""
        _trace_requests(tracers, meters)

    def trace_models(self, patches: Patches) -> None:
        """Trace a model when a server gets it."""
        from kserve.model_repository import ModelRepository
        from kserve.protocol.rest.server import RESTServer

        def update(original: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
            _trace_inference_models((*args, *kwargs.values()))
            return original(*args, **kwargs)

        def create_application(original: Callable[..., Any], server: Any, args: Any, kwargs: Any) -> Any:
            # A worker process gets its models ready-made.
            _trace_inference_models(server.dataplane.model_registry.get_models().values())
            return original(*args, **kwargs)

        patches.wrap(ModelRepository, "update", update)
        patches.wrap(RESTServer, "create_application", create_application)


@never_raises("a model")
def _trace_inference_models(models: Iterable[Any]) -> None:
    from kserve import Model

    for model in models:
        if isinstance(model, Model) or is_openai_model(model):
            trace(model)


def _trace_requests(provider: TracerProvider | None = None, meters: MeterProvider | None = None) -> None:
    if not _requests.active:
        rest_server.instrument(_requests, provider)
        grpc_server.instrument(_requests)
        worker_processes.instrument(_requests, trace)
        use_provider(provider)
        _requests.on_undo(lambda: use_provider(None))
        openai_calls.metrics.use(meters)
        _requests.on_undo(lambda: openai_calls.metrics.use(None))
        _requests.on_undo(guard_propagator())
