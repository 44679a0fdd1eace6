"""KServe's FastAPI server: when a request's headers and body arrived, and the context to the predictor."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opentelemetry.context import Context, attach, detach

from otel_kfs.errors import MissingExtra
from otel_kfs.serving import incoming
from otel_kfs.serving.steps import received, role_of, trace_steps

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# KServe's health, listing and metrics routes; the FastAPI instrumentation takes regular expressions to search for.
_NOT_TRACED = r"^https?://[^/]+/?$,/metrics$,/v2/health/(live|ready)$,/v[12]/models/?$,/v1/models/[^/:]+$,/ready$"


def trace(model: Any, role: str | None) -> None:
    """Trace one kserve.Model, and all requests of this process's ModelServer."""
    from kserve.context import get_predictor_config

    def has_predictor() -> bool:
        config = get_predictor_config()
        return config is not None and bool(config.predictor_host)

    _instrument_server()
    trace_steps(model, lambda: role or role_of(has_predictor()))


@functools.cache
def _instrument_server() -> None:
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    except ImportError as error:
        raise MissingExtra("opentelemetry-instrumentation-fastapi and -httpx", "kserve") from error
    from kserve.model_server import app

    app.add_middleware(BodyWatch)
    # One span for each piece of a body ("receive", "send") would be hundreds for one picture.
    FastAPIInstrumentor.instrument_app(app, excluded_urls=_NOT_TRACED, exclude_spans=["receive", "send"])
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: FreshContext(build())  # around the instrumentation's own middleware
    # By httpx a kserve.Model calls its predictor; KServe itself forwards no traceparent.
    client = HTTPXClientInstrumentor()
    if not client.is_instrumented_by_opentelemetry:
        client.instrument()


class FreshContext:
    """ASGI middleware that starts each request without the context of the one before it.

    A large body makes uvicorn pause and resume reading. It resumes from inside the request, so asyncio runs whatever
    arrives on that connection from then on in that request's context: without this, the next request on a kept-alive
    connection became a child of the last one's span.
    """

    def __init__(self, app: App) -> None:
        # FastAPI looks along `.app` for an instrumentation, and makes SERVER spans of its own where it finds none.
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass the request on in an empty context, with the parent's headers where they are looked for."""
        if scope["type"] == "http":
            headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
            promoted, scope["otel_kfs.links"] = incoming.contexts(headers)
            scope["headers"] = [*scope["headers"], *((k.encode(), v.encode("latin-1")) for k, v in promoted.items())]
        token = attach(Context())
        try:
            await self.app(scope, receive, send)
        finally:
            detach(token)


class BodyWatch:
    """ASGI middleware that sees when a request's last piece of body arrives.

    Source: ASGI HTTP specification 2.x, `http.request` events with `more_body`.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass the request on, watching its `receive`."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        incoming.link(scope.get("otel_kfs.links", ()))
        headers_seen = time.time_ns()
        size = 0

        async def watched() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    received(headers_seen, time.time_ns(), size)
            return message

        await self.app(scope, watched, send)
