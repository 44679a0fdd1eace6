"""KFServing 0.5's tornado server: when a request's headers and body arrived, and the context to the predictor."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import trace as otel_trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider

from otel_kfs.errors import MissingExtra
from otel_kfs.serving import propagation
from otel_kfs.serving.kfserving_shutdown import shut_down_gracefully
from otel_kfs.serving.model_spans import record_receive, role_of, trace_steps, use_provider
from otel_kfs.serving.queue_time import milliseconds_in_kernel
from otel_kfs.serving.server_errors import (
    SafeTracerProvider,
    guard_propagator,
    never_raises,
    record_event,
    record_exceptions_once,
)
from otel_kfs.serving.server_instrumentor import ServerInstrumentor
from otel_kfs.telemetry.patches import Patches, bound_arguments

_requests = Patches()


@dataclass
class _Arrival:
    """What is known of a request before its SERVER span starts."""

    headers_seen: int  # ns since the epoch
    body_complete: int  # the same
    body_size: int
    headers: Any  # as they came
    links: list[SpanContext]
    queued: int | None = None  # ms that it had been there when its headers were seen


_arrivals: WeakKeyDictionary[Any, _Arrival] = WeakKeyDictionary()  # by the requests' handlers
_queued: WeakKeyDictionary[Any, int | None] = WeakKeyDictionary()  # by the requests, from their headers on


class _EarlierTracer(Tracer):
    """Starts its spans at a time that has passed."""

    def __init__(self, tracer: Tracer, start: int) -> None:
        self._tracer = tracer
        self._start = start

    def start_span(self, name: str, *args: Any, **kwargs: Any) -> Span:
        """Start a span, not current."""
        return self._tracer.start_span(name, *args, **{**kwargs, "start_time": self._start})

    def start_as_current_span(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Start a span, current inside the `with`."""
        return self._tracer.start_as_current_span(name, *args, **{**kwargs, "start_time": self._start})


def trace(model: Any, role: str | None = None) -> None:
    """Trace one KFModel, and all requests of this process's KFServer."""
    _trace_requests()
    trace_steps(model, _role, role)


def _role(model: Any) -> str:
    return role_of(bool(getattr(model, "predictor_host", None)))


class KFServingInstrumentor(ServerInstrumentor):
    """Traces every model that a KFServer is given, under `opentelemetry-instrument` without a line of ours."""

    library = "kfserving"
    dependencies = ("kfserving >= 0.5.0, < 0.6.0",)
    requests = _requests

    def trace_requests(self, tracers: TracerProvider | None, _: MeterProvider | None) -> None:
        """Trace the requests of this process's servers; there is nothing to count."""
        _trace_requests(tracers)

    def trace_models(self, patches: Patches) -> None:
        """Trace a model when a server gets it."""
        from kfserving.kfmodel_repository import KFModelRepository

        def update(original: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
            for model in (*args, *kwargs.values()):
                never_raises("a KFModel")(trace)(model)
            return original(*args, **kwargs)

        patches.wrap(KFModelRepository, "update", update)


def _trace_requests(provider: TracerProvider | None = None) -> None:
    if _requests.active:
        return
    try:
        from opentelemetry.instrumentation import tornado as contrib
    except ImportError as error:
        raise MissingExtra("opentelemetry-instrumentation-tornado", "kfserving") from error
    from kfserving import kfserver
    from kfserving.handlers import http
    from tornado.web import Application

    use_provider(provider)
    _requests.on_undo(lambda: use_provider(None))
    _requests.on_undo(guard_propagator())
    # It also puts the context into the headers of tornado's HTTP client, by which KFModel.predict calls the predictor.
    instrumentor = contrib.TornadoInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(tracer_provider=SafeTracerProvider(provider))
        _requests.on_undo(instrumentor.uninstrument)
    # The SERVER span starts when the body is there, unless it is told otherwise here; it has no option for that.
    if hasattr(contrib, "_start_span"):
        _requests.wrap(contrib, "_start_span", _start_server_span)
    # Health and listing: the instrumentation leaves alone what it takes for its own work.
    done = getattr(contrib, "_OTEL_PATCHED_KEY", "_otel_patched_key")
    for handler in (kfserver.LivenessHandler, kfserver.HealthHandler, kfserver.ListHandler):
        if done not in vars(handler):
            _requests.set(handler, done, True)
    # KFServing serves no metrics: whoever asks for them all the same, as Prometheus does, is answered by tornado.
    _requests.wrap(Application, "get_handler_delegate", _without_metrics(done))
    # `initialize` comes before the instrumentation looks for the parent.
    _requests.wrap(http.HTTPHandler, "initialize", _initialize)
    for handler in (http.PredictHandler, http.ExplainHandler):
        _requests.wrap(handler, "post", _post)
    shut_down_gracefully(_requests, kfserver.KFServer, http.HTTPHandler)


def _without_metrics(done: str) -> Callable[..., Any]:
    from tornado.web import ErrorHandler, HTTPError, RequestHandler

    class Untraced(RequestHandler):  # type: ignore[misc]
        """Answers as tornado's ErrorHandler, which the instrumentation may have changed by now."""

        check_xsrf_cookie = ErrorHandler.check_xsrf_cookie

        def initialize(self, status_code: int) -> None:
            self.status_code = status_code

        def prepare(self) -> None:
            raise HTTPError(self.status_code)

    setattr(Untraced, done, True)

    def get_handler_delegate(original: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        given = bound_arguments(original, args, kwargs)
        _note_queued(given.arguments["request"])
        if given.arguments["target_class"] is ErrorHandler and given.arguments["request"].path == "/metrics":
            given.arguments["target_class"] = Untraced
        return original(*given.args, **given.kwargs)

    return get_handler_delegate


@never_raises("the time that a request has waited")
def _note_queued(request: Any) -> None:
    # tornado asks who handles a request as soon as it has the headers.
    _queued[request] = milliseconds_in_kernel(request.connection.stream.socket)


def _start_server_span(original: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    """Start a request's SERVER span when its headers were seen, so that it contains `receive`."""
    given = bound_arguments(original, args, kwargs)
    _start_earlier(given.arguments)
    return original(*given.args, **given.kwargs)


@never_raises("the start of a request")
def _start_earlier(arguments: dict[str, Any]) -> None:
    arrival = _arrivals.get(arguments["handler"])
    if arrival is not None:
        arguments["tracer"] = _EarlierTracer(arguments["tracer"], arrival.headers_seen)


def _initialize(original: Callable[..., None], handler: Any, args: Any, kwargs: Any) -> None:
    _note_arrival(handler)
    original(*args, **kwargs)


@never_raises("the parent of a request")
def _note_arrival(handler: Any) -> None:
    # tornado makes the handler when the whole body is there.
    body_complete, request = time.time_ns(), handler.request
    headers_seen = body_complete - int(request.request_time() * 1e9)
    parent, links = propagation.parent_and_links({key.lower(): value for key, value in request.headers.items()})
    _arrivals[handler] = _Arrival(
        headers_seen, body_complete, len(request.body), request.headers, links, _queued.pop(request, None)
    )
    if parent:
        request.headers = request.headers.copy()
        request.headers.update(parent)


async def _post(original: Callable[..., Any], handler: Any, args: Any, kwargs: Any) -> Any:
    # tornado runs it inside the SERVER span. What it raises, tornado answers, and the instrumentation ends the span
    # before anybody else hears of it.
    _begin(handler)
    try:
        return await original(*args, **kwargs)
    except Exception as error:
        record_event(otel_trace.get_current_span(), error)
        raise


@never_raises("the arrival of a request")
def _begin(handler: Any) -> None:
    record_exceptions_once(otel_trace.get_current_span())
    arrival = _arrivals.pop(handler, None)
    if arrival is None:  # somebody else's subclass leaves `initialize` out
        now = time.time_ns()
        headers_seen = now - int(handler.request.request_time() * 1e9)
        arrival = _Arrival(headers_seen, now, len(handler.request.body), handler.request.headers, [])
    handler.request.headers = arrival.headers
    propagation.add_links(arrival.links)
    record_receive(arrival.headers_seen, arrival.body_complete, arrival.body_size, arrival.queued)
