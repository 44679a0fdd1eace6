"""What both serving SDKs share: a model's methods as spans, and the spans of a request's way into them."""

from __future__ import annotations

import functools
import inspect
import types
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, Status, StatusCode, Tracer, TracerProvider, set_span_in_context

from otel_kfs import semconv
from otel_kfs.serving.server_errors import is_news, never_raises
from otel_kfs.telemetry import provider as telemetry_provider
from otel_kfs.telemetry.provider import report_failure, tracer_of

# When the body of the request that is being served was complete (ns since the epoch): where `decode` starts.
_body_complete: ContextVar[int | None] = ContextVar("otel_kfs_body_complete", default=None)

_MARK = "__otel_kfs__"  # on a traced step: what was there before

_tracer: Tracer | None = None  # of another provider than the global one
_models: list[weakref.ref[Any]] = []


def use_provider(provider: TracerProvider | None) -> None:
    """Send the spans of steps to this provider from now on; None: to the global one."""
    global _tracer  # noqa: PLW0603 - a process has one server
    _tracer = None if provider is None else tracer_of(provider)


def tracer() -> Tracer:
    """The tracer of a request's steps."""
    return _tracer or telemetry_provider.tracer()


@never_raises("the receive span")
def received(headers_seen: int, body_complete: int, body_size: int | None = None) -> None:
    """Make the `receive` span of the current request: from its headers to its whole body (ns since the epoch)."""
    _body_complete.set(body_complete)
    attributes = {} if body_size is None else {semconv.HTTP_REQUEST_BODY_SIZE: body_size}
    tracer().start_span(semconv.RECEIVE, start_time=headers_seen, attributes=attributes).end(body_complete)


@never_raises("the decode span")
def decoded() -> None:
    """Make the `decode` span of the current request: from its whole body to now; once a request."""
    start = _body_complete.get()
    if start is not None:
        _body_complete.set(None)
        tracer().start_span(semconv.DECODE, start_time=start).end()


class Current:
    """A span that is current inside the `with`, and that takes an exception from there unless a span below has it.

    Written out as a class because OpenTelemetry's own, a generator, costs twice as much. Whatever fails in it is
    logged, and the body of the `with` runs all the same.
    """

    __slots__ = ("_make", "_token", "span")

    def __init__(self, make: Callable[[], Span]) -> None:
        self._make = make
        self.span: Span = INVALID_SPAN
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        try:
            self.span = self._make()
            self._token = otel_context.attach(set_span_in_context(self.span))
        except Exception:
            report_failure("the start of a step")
        return self.span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._token is None:
            return
        try:
            otel_context.detach(self._token)
            if error is not None:
                mark_failed(self.span, error)
            self.span.end()
        except Exception:
            report_failure("the end of a step")


def mark_failed(span: Span, error: BaseException) -> None:
    """Give a span an error's status, and the exception itself if the trace lacks it."""
    if not span.is_recording():
        return
    text = f"{type(error).__name__}: {error}"
    span.set_status(Status(StatusCode.ERROR, text))
    span.set_attribute(semconv.ERROR_TYPE, type(error).__qualname__)
    if isinstance(error, Exception) and is_news(error, span):
        span.record_exception(error)


def trace_steps(model: Any, role: Callable[[], str]) -> None:
    """Replace the model's steps, on this one object, by traced ones of the same kind (sync or async).

    `role` is asked at each call, because a KServe model learns only from its server whether it has a predictor.
    """
    for step in semconv.MODEL_STEPS:
        method = getattr(model, step, None)
        # Tracing one model twice would double its spans.
        if callable(method) and not hasattr(method, _MARK):
            setattr(model, step, _traced(model, method, step, role))
            if all(known() is not model for known in _models):
                _models.append(weakref.ref(model))


def untrace_all() -> list[Any]:
    """Give every model that was traced its own steps back; returns these models."""
    models = [model for ref in _models if (model := ref()) is not None]
    _models.clear()
    for model in models:
        for step in semconv.MODEL_STEPS:
            traced = vars(model).get(step)
            if hasattr(traced, _MARK):
                before = getattr(traced, _MARK)
                if before is None:
                    delattr(model, step)
                else:
                    setattr(model, step, before)
    return models


def _traced(model: Any, method: Callable[..., Any], step: str, role: Callable[[], str]) -> Callable[..., Any]:
    name = getattr(model, "name", None)
    shared = {semconv.MODEL_NAME: name} if isinstance(name, str) else {}
    of_role: dict[str, dict[str, str]] = {}
    is_first = step == semconv.PREPROCESS

    def start() -> Span:
        now = role()
        attributes = of_role.get(now) or of_role.setdefault(now, {**shared, semconv.ROLE: now})
        return tracer().start_span(step, attributes=attributes)

    # A method, like the one it replaces; but `method` is bound already, so what this one is bound to is left out.
    if inspect.iscoroutinefunction(method):  # what the servers themselves ask

        async def traced(_: Any, *args: Any, **kwargs: Any) -> Any:
            if is_first:
                decoded()
            with Current(start):
                return await method(*args, **kwargs)

    else:

        def traced(  # type: ignore[misc]
            _: Any, *args: Any, **kwargs: Any
        ) -> Any:
            if is_first:
                decoded()
            with Current(start):
                return method(*args, **kwargs)

    own = getattr(method, "__func__", None) if getattr(method, "__self__", None) is model else None
    functools.update_wrapper(traced, own or method)
    traced.__name__ = step
    with suppress(TypeError, ValueError):  # something in C that tells nothing of its parameters
        traced.__signature__ = _signature(own, method)  # type: ignore[attr-defined]
    setattr(traced, _MARK, vars(model).get(step))
    # A model is pickled for KServe's worker processes, and a bound method is pickled by its name and what it is bound
    # to: there it comes back as the class's own, or as the function that was set on the model.
    return types.MethodType(traced, model if own else types.SimpleNamespace(**{step: method}))


def _signature(own: Callable[..., Any] | None, method: Callable[..., Any]) -> inspect.Signature:
    """That of the model's own method; of anything else (a function set on the model) with a first one for the model."""
    if own is not None:
        return inspect.signature(own)
    signature = inspect.signature(method)
    first = inspect.Parameter("_", inspect.Parameter.POSITIONAL_ONLY)
    return signature.replace(parameters=[first, *signature.parameters.values()])


def role_of(has_predictor: bool) -> str:
    """A model that has a predictor to call is a transformer."""
    return semconv.TRANSFORMER if has_predictor else semconv.PREDICTOR
