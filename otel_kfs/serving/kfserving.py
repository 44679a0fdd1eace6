"""KFServing 0.5's tornado server: when a request's headers and body arrived, and the context to the predictor."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection
from typing import Any

from opentelemetry import trace as otel_trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.trace import TracerProvider

from otel_kfs.errors import MissingExtra
from otel_kfs.serving import propagation
from otel_kfs.serving.imports import when_imported
from otel_kfs.serving.kfserving_stop import stop_gently
from otel_kfs.serving.model_spans import received, role_of, trace_steps, untrace_all, use_provider
from otel_kfs.serving.server_errors import SafeTracerProvider, guard_propagator, guard_span, never_raises, record_once
from otel_kfs.telemetry.patches import Patches

_server = Patches()  # what makes requests spans
_registry = Patches()  # what makes models traced when a server gets them


def trace(model: Any, role: str | None = None) -> None:
    """Trace one KFModel, and all requests of this process's KFServer."""
    _instrument_server()
    trace_steps(model, lambda: role or role_of(bool(getattr(model, "predictor_host", None))))


class KFServingInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """`instrument()` traces every model that a KFServer is given from then on; `uninstrument()` undoes all tracing.

    `instrument` takes a `tracer_provider`; without, the global one counts. Nothing is imported that the program does
    not import itself: KFServing is changed when it is there.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """The library that is traced."""
        return ("kfserving >= 0.5.0, < 0.6.0",)

    def _instrument(self, **kwargs: Any) -> None:
        self._provider = kwargs.get("tracer_provider")
        self._wanted = True
        when_imported("kfserving", self._begin)

    @never_raises("KFServing's models")
    def _begin(self) -> None:
        if not self._wanted or _registry.active:
            return
        from kfserving.kfmodel_repository import KFModelRepository

        if self._provider is not None:
            _server.undo()  # what `trace_model` had turned on, for the global provider
        _instrument_server(self._provider)

        def update(repository: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            never_raises("a KFModel")(trace)(model)
            return original(repository, model, *args, **kwargs)

        original = KFModelRepository.update
        _registry.set(KFModelRepository, "update", functools.wraps(original)(update))

    def uninstrument(self, **kwargs: Any) -> None:
        """Take back all tracing, also that of `trace_model` in a program that instrumented nothing."""
        if _server.active and not self.is_instrumented_by_opentelemetry:
            self._uninstrument(**kwargs)
        else:
            super().uninstrument(**kwargs)

    def _uninstrument(self, **_: Any) -> None:
        self._wanted = False
        _registry.undo()
        _server.undo()
        untrace_all()


def _instrument_server(provider: TracerProvider | None = None) -> None:
    if _server.active:
        return
    try:
        from opentelemetry.instrumentation import tornado as contrib
    except ImportError as error:
        raise MissingExtra("opentelemetry-instrumentation-tornado", "kfserving") from error
    from kfserving import kfserver
    from kfserving.handlers import http
    from tornado.web import Application

    use_provider(provider)
    _server.on_undo(lambda: use_provider(None))
    _server.on_undo(guard_propagator())
    # It also puts the context into the headers of tornado's HTTP client, by which KFModel.predict calls the predictor.
    instrumentor = contrib.TornadoInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(tracer_provider=SafeTracerProvider(provider))
        _server.on_undo(instrumentor.uninstrument)
    # Health and listing: the instrumentation leaves alone what it takes for its own work.
    done = getattr(contrib, "_OTEL_PATCHED_KEY", "_otel_patched_key")
    for handler in (kfserver.LivenessHandler, kfserver.HealthHandler, kfserver.ListHandler):
        if done not in vars(handler):
            _server.set(handler, done, True)
    # KFServing serves no metrics: whoever asks for them all the same, as Prometheus does, is answered by tornado.
    _server.set(Application, "get_handler_delegate", _without_metrics(Application.get_handler_delegate, done))
    # `initialize` comes before the instrumentation looks for the parent.
    _server.set(http.HTTPHandler, "initialize", _with_parent(http.HTTPHandler.initialize))
    for handler in (http.PredictHandler, http.ExplainHandler):
        _server.set(handler, "post", _with_receive(handler.post))
    stop_gently(_server, kfserver.KFServer, http.HTTPHandler)


def _without_metrics(original: Callable[..., Any], done: str) -> Callable[..., Any]:
    from tornado.web import ErrorHandler, HTTPError, RequestHandler

    class Untraced(RequestHandler):  # type: ignore[misc]
        """Answers as tornado's ErrorHandler, which the instrumentation may have changed by now."""

        def initialize(self, status_code: int) -> None:
            self.status_code = status_code

        def prepare(self) -> None:
            raise HTTPError(self.status_code)

    setattr(Untraced, done, True)

    @functools.wraps(original)
    def get_handler_delegate(app: Any, request: Any, target: type[Any], *args: Any, **kwargs: Any) -> Any:
        if target is ErrorHandler and request.path == "/metrics":
            target = Untraced
        return original(app, request, target, *args, **kwargs)

    return get_handler_delegate


def _with_parent(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def initialize(handler: Any, *args: Any, **kwargs: Any) -> None:
        _find_parent(handler)
        original(handler, *args, **kwargs)

    return initialize


@never_raises("the parent of a request")
def _find_parent(handler: Any) -> None:
    # tornado makes the handler when the whole body is there.
    handler.otel_kfs_arrived = time.time_ns(), len(handler.request.body)
    headers = handler.request.headers
    promoted, handler.otel_kfs_links = propagation.contexts({key.lower(): value for key, value in headers.items()})
    headers.update(promoted)


def _with_receive(original: Callable[..., Any]) -> Callable[..., Any]:
    # tornado runs it inside the SERVER span; the request object was made when the headers were, and kept the time.
    # What it raises, tornado answers, and the instrumentation ends the span before anybody else hears of it.
    @functools.wraps(original)
    async def post(handler: Any, *args: Any, **kwargs: Any) -> Any:
        _arrived(handler)
        try:
            return await original(handler, *args, **kwargs)
        except Exception as error:
            record_once(error, otel_trace.get_current_span())
            raise

    return post


@never_raises("the arrival of a request")
def _arrived(handler: Any) -> None:
    request = handler.request
    guard_span(otel_trace.get_current_span())
    propagation.link(getattr(handler, "otel_kfs_links", ()))
    arrived = getattr(handler, "otel_kfs_arrived", None) or (time.time_ns(), len(request.body))
    received(int(request._start_time * 1e9), *arrived)
