"""KServe's FastAPI server: when a request's headers and body arrived, and the context to the predictor over HTTP."""

from __future__ import annotations

import functools
import inspect
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.trace import SpanContext, Tracer, TracerProvider

from otel_kfs.errors import MissingExtra
from otel_kfs.serving import propagation
from otel_kfs.serving.model_spans import record_receive, tracer_beside, with_tracer
from otel_kfs.serving.queue_time import milliseconds_in_kernel
from otel_kfs.serving.server_errors import (
    SafeTracerProvider,
    fail,
    has_text,
    never_raises,
    record_event,
    record_exceptions_once,
)
from otel_kfs.telemetry.patches import Patches

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# KServe's health, listing, metadata, metrics and documentation routes.
_NOT_TRACED = re.compile(
    r"/|/metrics|/docs(/.*)?|/openapi\.json|/v2/?|/v2/health/(live|ready)|/v[12]/models/?|/v1/models/[^/:]+"
    r"|/v2/models/[^/]+(/versions/[^/]+)?(/ready)?|(/[^/]+)?/v1/models(/[^/:]+)?"
)


def instrument(patches: Patches, provider: TracerProvider | None) -> None:
    """Trace the requests of this process's FastAPI server, and those of httpx, by which a model calls its predictor."""
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    except ImportError as error:
        raise MissingExtra("opentelemetry-instrumentation-fastapi and -httpx", "kserve") from error
    from kserve.model_server import app

    safe = SafeTracerProvider(provider)
    # KServe itself forwards no traceparent.
    client = HTTPXClientInstrumentor()
    if not client.is_instrumented_by_opentelemetry:
        client.instrument(tracer_provider=safe)
        patches.on_undo(client.uninstrument)

    patches.on_undo(lambda: _rebuild(app))
    # What is below is undone in the reverse order: ours, which is around the instrumentation's, first.
    patches.set(app, "build_middleware_stack", app.build_middleware_stack)
    if not getattr(app, "_is_instrumented_by_opentelemetry", False):
        FastAPIInstrumentor.instrument_app(app, tracer_provider=safe)
        patches.on_undo(lambda: _without_rebuild(app, FastAPIInstrumentor.uninstrument_app))
    patches.wrap(app, "build_middleware_stack", lambda build, *_: RequestContext(*_prepared(_watched(app, build))))
    _rebuild(app)


def _rebuild(app: Any) -> None:
    """Let a server that has begun to answer build its middleware anew, with the next request."""
    app.middleware_stack = None


def _without_rebuild(app: Any, uninstrument: Callable[[Any], None]) -> None:
    """Undo the instrumentation of an app that is not ready to be built: KServe adds its own middleware later."""
    uninstrument(app)
    _rebuild(app)


def _watched(app: Any, build: Callable[[], Any]) -> Any:
    """Return the middleware, where the SERVER span gets a `receive` span and what exception handlers answer."""
    from starlette.middleware import Middleware

    handlers, middleware = app.exception_handlers, app.user_middleware
    app.exception_handlers = {answered: _with_event(handler) for answered, handler in handlers.items()}
    app.user_middleware = [Middleware(RequestWatch), *middleware]
    try:
        return build()
    finally:
        app.exception_handlers, app.user_middleware = handlers, middleware


def _with_event(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    async def answer_async(request: Any, exception: Any) -> Any:
        _record(exception)
        return await handler(request, exception)

    def answer(request: Any, exception: Any) -> Any:
        _record(exception)
        return handler(request, exception)

    # One that is not async has to stay so: Starlette runs it in a thread.
    is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
    return functools.wraps(handler)(answer_async if is_async else answer)


@never_raises("an exception of the server's")
def _record(exception: Exception) -> None:
    from fastapi.exceptions import RequestValidationError

    instead = None
    if isinstance(exception, RequestValidationError):  # its text quotes the body, which is never written
        errors = exception.errors()
        where = ".".join(str(part) for part in errors[0]["loc"])[:200]
        text = f"{len(errors)} validation errors, the first of them {errors[0]['type']} at {where}"
        instead = {"exception.message": text, "exception.stacktrace": text}
    span = trace.get_current_span()
    record_exceptions_once(span)
    record_event(span, exception, instead)


def _prepared(stack: Any) -> tuple[Any, Tracer | None]:
    """Return the middleware, and the tracer of steps if somebody else has instrumented it.

    It is to make no span for each piece of a body ("receive", "send"): they would be hundreds for one picture.
    """
    from starlette.middleware.errors import ServerErrorMiddleware

    if isinstance(stack, ServerErrorMiddleware) and hasattr(stack.app, "exclude_receive_span"):
        # The instrumentation's own outermost layer, which answers in the server's place where KServe's handler raised.
        stack = stack.app
    layer, steps = stack, None
    while layer is not None:
        for name in ("exclude_receive_span", "exclude_send_span"):
            if hasattr(layer, name):
                setattr(layer, name, True)
                steps = tracer_beside(getattr(layer, "tracer", None))
        layer = getattr(layer, "app", None)
    return stack, steps


@dataclass
class _Arrival:
    """What is known of a request before its SERVER span starts."""

    around: Context  # that the request came in
    headers: Any  # as they came
    links: list[SpanContext]
    steps: Tracer | None  # beside the SERVER span, where that one is somebody else's
    queued: int | None = None  # ms that it had been there


_ARRIVAL = "otel_kfs.arrival"  # in a request's scope, for our own middleware


class RequestContext:
    """ASGI middleware around the instrumentation's, which gives a request its parent and keeps it from the next one.

    A large body makes uvicorn pause and resume reading. It resumes from inside the request, so asyncio runs whatever
    arrives on that connection from then on in that request's context: without this, the next request on a kept-alive
    connection became a child of the last one's span. So the server is called in the context that the request came in.

    That one holds, what a middleware around this app attached with it; what the server was started in does not.

    Health, listing and metrics requests are answered without spans, whoever instrumented the app.
    """

    def __init__(self, app: App, steps: Tracer | None = None) -> None:
        # FastAPI looks along `.app` for an instrumentation, and makes SERVER spans of its own where it finds none.
        self.app = app
        self._steps = steps
        self._started_in: Context | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on in its own context, with the parent's headers where they are looked for."""
        around = get_current()
        if scope["type"] == "lifespan":
            self._started_in = around
        elif around is self._started_in:
            around = Context()
        if scope["type"] == "http":
            _note_arrival(scope, around, self._steps, _milliseconds_queued(receive))
        token = attach(around)
        try:
            with suppress_http_instrumentation() if _is_health(scope) else nullcontext():
                await self.app(scope, _called_in(around, receive), _called_in(around, send))
        finally:
            detach(token)


def _called_in(context: Context, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def call(*args: Any) -> Any:
        token = attach(context)
        try:
            return await function(*args)
        finally:
            detach(token)

    return call


def _is_health(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] != "POST" and bool(_NOT_TRACED.fullmatch(scope["path"]))


@never_raises("the parent of a request")
def _note_arrival(scope: Scope, around: Context, steps: Tracer | None, queued: int | None) -> None:
    came = scope["headers"]
    # Of several with one name, the instrumentation reads the first.
    headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in reversed(came)}
    parent, links = propagation.parent_and_links(headers)
    scope[_ARRIVAL] = _Arrival(around, came, links, steps, queued)
    if parent:
        others = [(key, value) for key, value in came if key.decode("latin-1").lower() not in parent]
        scope["headers"] = [*others, *((key.encode(), value.encode("latin-1")) for key, value in parent.items())]


@never_raises("the time that a request has waited")
def _milliseconds_queued(receive: Receive) -> int | None:
    """Return how long a request has been in the kernel; None where its server, or a middleware before us, hides it."""
    # uvicorn gives the method of an object that has the connection's transport.
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    return None if transport is None else milliseconds_in_kernel(transport.get_extra_info("socket"))


class RequestWatch:
    """ASGI middleware inside the instrumentation's, which sees when a request's last piece of body arrives.

    Source: ASGI HTTP specification 2.x, `http.request` events with `more_body`.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as it came, watching its `receive`."""
        arrival: _Arrival | None = scope.pop(_ARRIVAL, None)
        if arrival is not None:
            scope["headers"] = arrival.headers
        try:
            await self._watch(scope, receive, send, arrival)
        except Exception as error:
            _keep_from_instrumentation(error)
            raise

    async def _watch(self, scope: Scope, receive: Receive, send: Send, arrival: _Arrival | None) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        _begin(arrival)
        headers_seen = time.time_ns()
        size = 0

        async def watched() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    record_receive(headers_seen, time.time_ns(), size, None if arrival is None else arrival.queued)
            return message

        # The instrumentation's SERVER span is made in a context that holds the request's headers alone.
        around, steps = (Context(), None) if arrival is None else (arrival.around, arrival.steps)
        token = attach(with_tracer(steps, Context({**around, **get_current()})))
        try:
            await self.app(scope, watched, send)
        finally:
            detach(token)


@never_raises("an exception without a text")
def _keep_from_instrumentation(error: Exception) -> None:
    """Hide the span from the instrumentation for an exception whose text can't be read: it would read it, and fail."""
    if not has_text(error):
        fail(trace.get_current_span(), error)
        attach(Context())  # what is around it goes back to its own context


@never_raises("the arrival of a request")
def _begin(arrival: _Arrival | None) -> None:
    record_exceptions_once(trace.get_current_span())
    if arrival is not None:
        propagation.add_links(arrival.links)
