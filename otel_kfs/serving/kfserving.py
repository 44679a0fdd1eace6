"""KFServing 0.5's tornado server: when a request's headers and body arrived, and the context to the predictor."""

from __future__ import annotations

import functools
import os
import time
from typing import Any

from otel_kfs.errors import MissingExtra
from otel_kfs.serving import incoming
from otel_kfs.serving.steps import received, role_of, trace_steps

# KFServer's health and listing routes; the tornado instrumentation takes regular expressions to search for.
_NOT_TRACED = r"^https?://[^/]+/?$,/v2/health/live$,/v[12]/models$,/v1/models/[^/:]+$,/v2/models/[^/]+/status$,^/$"


def trace(model: Any, role: str | None) -> None:
    """Trace one KFModel, and all requests of this process's KFServer."""
    _instrument_server()
    trace_steps(model, lambda: role or role_of(bool(model.predictor_host)))


@functools.cache
def _instrument_server() -> None:
    # The instrumentation reads its exclusions when it is imported.
    os.environ.setdefault("OTEL_PYTHON_TORNADO_EXCLUDED_URLS", _NOT_TRACED)
    try:
        from opentelemetry.instrumentation.tornado import TornadoInstrumentor
    except ImportError as error:
        raise MissingExtra("opentelemetry-instrumentation-tornado", "kfserving") from error
    from kfserving.handlers.http import HTTPHandler

    # It also puts the context into the headers of tornado's HTTP client, by which KFModel.predict calls the predictor.
    instrumentor = TornadoInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()

    # tornado runs `prepare` when the whole body is there, inside the SERVER span that the instrumentation opens around
    # it; the request object was made when the headers were, and kept the time.
    original_prepare = HTTPHandler.prepare

    @functools.wraps(original_prepare)
    def prepare(handler: Any) -> Any:
        request = handler.request
        incoming.link(handler.otel_kfs_links)
        received(int(request._start_time * 1e9), time.time_ns(), len(request.body))
        return original_prepare(handler)

    # `initialize` comes before `prepare`: here the instrumentation has not looked for the parent yet.
    original_initialize = HTTPHandler.initialize

    @functools.wraps(original_initialize)
    def initialize(handler: Any, *args: Any, **kwargs: Any) -> None:
        headers = handler.request.headers
        promoted, handler.otel_kfs_links = incoming.contexts({key.lower(): value for key, value in headers.items()})
        headers.update(promoted)
        original_initialize(handler, *args, **kwargs)

    HTTPHandler.prepare, HTTPHandler.initialize = prepare, initialize
