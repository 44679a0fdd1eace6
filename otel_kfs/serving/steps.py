"""What both serving SDKs share: a model's methods as spans, and the spans of a request's way into them."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from otel_kfs import names, tracing

# When the body of the request that is being served was complete (ns since the epoch): where `decode` starts.
_body_complete: ContextVar[int | None] = ContextVar("otel_kfs_body_complete", default=None)


def received(headers_seen: int, body_complete: int, body_size: int | None = None) -> None:
    """Make the `receive` span of the current request: from its headers to its whole body (ns since the epoch)."""
    attributes = {} if body_size is None else {names.HTTP_REQUEST_BODY_SIZE: body_size}
    span = tracing.tracer().start_span(names.RECEIVE, start_time=headers_seen, attributes=attributes)
    span.end(body_complete)
    _body_complete.set(body_complete)


def decoded() -> None:
    """Make the `decode` span of the current request: from its whole body to now; once a request."""
    start = _body_complete.get()
    if start is not None:
        _body_complete.set(None)
        tracing.tracer().start_span(names.DECODE, start_time=start).end(time.time_ns())


def trace_steps(model: Any, role: Callable[[], str]) -> None:
    """Replace the model's steps, on this one object, by traced ones of the same kind (sync or async).

    `role` is asked at each call, because a KServe model learns only from its server whether it has a predictor.
    """
    for step in names.MODEL_STEPS:
        method = getattr(model, step, None)
        # Tracing one model twice would double its spans.
        if method is not None and not hasattr(method, "__otel_kfs__"):
            setattr(model, step, _traced(method, step, model.name, role))


def _traced(method: Callable[..., Any], step: str, model_name: str, role: Callable[[], str]) -> Callable[..., Any]:
    def span() -> Any:
        if step == names.PREPROCESS:
            decoded()
        return tracing.tracer().start_as_current_span(
            step, attributes={names.MODEL_NAME: model_name, names.ROLE: role()}
        )

    if inspect.iscoroutinefunction(method):  # what the servers themselves ask

        @functools.wraps(method)
        async def traced(*args: Any, **kwargs: Any) -> Any:
            with span():
                return await method(*args, **kwargs)

    else:

        @functools.wraps(method)
        def traced(*args: Any, **kwargs: Any) -> Any:
            with span():
                return method(*args, **kwargs)

    traced.__otel_kfs__ = True  # type: ignore[attr-defined]
    return traced


def role_of(has_predictor: bool) -> str:
    """A model that has a predictor to call is a transformer."""
    return names.TRANSFORMER if has_predictor else names.PREDICTOR
