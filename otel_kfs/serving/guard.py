"""What keeps a failure of telemetry away from the request: it is logged, once for each part of it, and that is all.

OpenTelemetry's own instrumentations let an exception of a sampler, a span processor or a propagator through to the
program that they watch. Those that this package turns on get their spans from `SafeTracerProvider`, and all of them
read and write headers through `SafePropagator` while a model server is traced.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    DefaultGetter,
    DefaultSetter,
    Getter,
    Setter,
    TextMapPropagator,
)
from opentelemetry.trace import NonRecordingSpan, Span, Tracer, TracerProvider

from otel_kfs.tracing import report_failure

R = TypeVar("R")


def guarded(what: str) -> Callable[[Callable[..., R]], Callable[..., R | None]]:
    """Make a function of telemetry return None where it would raise."""

    def decorate(function: Callable[..., R]) -> Callable[..., R | None]:
        @functools.wraps(function)
        def safe(*args: Any, **kwargs: Any) -> R | None:
            try:
                return function(*args, **kwargs)
            except Exception:
                report_failure(what)
                return None

        return safe

    return decorate


def is_news(exception: BaseException, span: Span) -> bool:
    """Whether a span has to take this exception as an event; from now on one of its trace, in this process, has it.

    Not the answer of another server: its own span has what happened there, and the hop's span has the answer's status.
    """
    if type(exception).__name__ == "AbortError":  # gRPC's, for what the server has turned into a status
        exception = exception.__context__ or exception
    if _is_answer(exception):
        return False
    trace_id = span.get_span_context().trace_id
    if getattr(exception, "__otel_kfs_trace__", None) == trace_id:
        return False
    try:
        exception.__otel_kfs_trace__ = trace_id  # type: ignore[attr-defined]
    except AttributeError:  # a class with slots
        return True
    return True


def _is_answer(exception: BaseException) -> bool:
    """Whether the exception stands for an answer: an HTTP client's with its response, or gRPC's with its status."""
    response = getattr(exception, "response", None)  # botocore's is a dict: of a store's answers no span tells
    if hasattr(response, "status_code") or hasattr(response, "code"):  # the latter is tornado's
        return True
    return callable(getattr(exception, "trailing_metadata", None))


@guarded("an exception of the server's")
def record_once(exception: BaseException, span: Span, attributes: dict[str, str] | None = None) -> None:
    """Let a span, whoever made it, take an exception that no span of its trace has yet; its status stays as it is.

    `attributes` are those of the event that say otherwise than the exception itself.
    """
    guard_span(span)
    span.record_exception(exception, attributes)


def guard_span(span: Any) -> None:
    """Let a span that somebody else ends take an exception only if no span below has it, and end without raising."""
    if not span.is_recording() or "end" in vars(span):
        return
    record, end = span.record_exception, span.end

    def record_exception(exception: BaseException, *args: Any, **kwargs: Any) -> None:
        if is_news(exception, span):
            record(exception, *args, **kwargs)

    span.record_exception = record_exception
    span.end = guarded("the end of a span")(end)


class SafeTracerProvider(TracerProvider):
    """The provider given, or the global one, whose tracers never raise."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        """A tracer that never raises."""
        provider = self._provider or trace.get_tracer_provider()
        return SafeTracer(provider.get_tracer(*args, **kwargs))


class SafeTracer(Tracer):
    """A tracer whose span, where none can be made, is one that records nothing and leads to the same trace."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_span(self, name: str, context: Context | None = None, *args: Any, **kwargs: Any) -> Span:
        """A span, not current."""
        try:
            span = self._tracer.start_span(name, context, *args, **kwargs)
            guard_span(span)
        except Exception:
            report_failure("the start of a span")
            return NonRecordingSpan(trace.get_current_span(context).get_span_context())
        return span

    @contextmanager
    def start_as_current_span(  # type: ignore[override]
        self, name: str, context: Context | None = None, *args: Any, end_on_exit: bool = True, **kwargs: Any
    ) -> Iterator[Span]:
        """A span, current inside the `with`."""
        span = self.start_span(name, context, *args, **kwargs)
        choices = {key: kwargs[key] for key in ("record_exception", "set_status_on_exception") if key in kwargs}
        with trace.use_span(span, end_on_exit, **choices):
            yield span


class SafePropagator(TextMapPropagator):
    """The propagator given; what it can't read is as if it were not there, and what it can't write is left out."""

    def __init__(self, propagator: TextMapPropagator) -> None:
        self.propagator = propagator

    def extract(
        self,
        carrier: Any,
        context: Context | None = None,
        getter: Getter[Any] = DefaultGetter(),  # noqa: B008
    ) -> Context:
        """The context in these headers."""
        try:
            return self.propagator.extract(carrier, context, getter)
        except Exception:
            report_failure("reading trace context")
            return Context() if context is None else context

    def inject(
        self,
        carrier: Any,
        context: Context | None = None,
        setter: Setter[Any] = DefaultSetter(),  # noqa: B008
    ) -> None:
        """Write the context into these headers."""
        try:
            self.propagator.inject(carrier, context, setter)
        except Exception:
            report_failure("writing trace context")

    @property
    def fields(self) -> set[str]:
        """The headers that are read and written."""
        try:
            return self.propagator.fields
        except Exception:
            report_failure("the names of trace context")
            return set()


def guard_propagator() -> Callable[[], None]:
    """Put a SafePropagator before the global one; returns what takes it away again."""
    safe = SafePropagator(propagate.get_global_textmap())
    propagate.set_global_textmap(safe)

    def undo() -> None:
        if propagate.get_global_textmap() is safe:
            propagate.set_global_textmap(safe.propagator)

    return undo
