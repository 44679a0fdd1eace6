"""An exception of a model or its server on the spans that it passes: an event of the innermost one alone.

And what keeps telemetry's failures away from a request: the instrumentations that are turned on for a model server get
their spans from this `SafeTracerProvider`.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Span

from otel_kfs.telemetry import safe_tracer
from otel_kfs.telemetry.safe_tracer import (
    describe,
    guard_propagator,
    make_safe,
    mark_failed,
    never_raises,
    record_exception,
    report_failure,
)

__all__ = [
    "SafeTracerProvider",
    "fail",
    "guard_propagator",
    "has_text",
    "mark_failed",
    "never_raises",
    "record_event",
    "record_exceptions_once",
    "report_failure",
]


@never_raises("the exception of a step")
def fail(span: Span, error: BaseException) -> None:
    """Give a span an error's status, and the exception itself as an event if no span of the trace has it."""
    if span.is_recording():
        mark_failed(span, type(error).__qualname__, describe(error))
        record_event(span, error)


@never_raises("the exception on a span")
def record_event(span: Span, error: BaseException, *args: Any, **kwargs: Any) -> None:
    """Give a span the exception as an event if no span of the trace has it; its status stays as it is."""
    if type(error).__name__ == "AbortError":  # gRPC's, for what the server has turned into a status
        error = error.__context__ or error
    if not span.is_recording() or not isinstance(error, Exception) or not _claim(error, span):
        return
    record_exception(span, error, *args, **kwargs)


def has_text(error: BaseException) -> bool:
    """Return whether an exception can be written as text."""
    return describe(error) != type(error).__name__


def _claim(exception: BaseException, span: Span) -> bool:
    """Return whether a span is to take this exception as an event; from then on, no other span of its trace is to.

    The answer of another server is no event at all: its own span has what happened there, and the CLIENT span the
    answer's status.
    """
    if _is_answer(exception):
        return False
    trace_id = span.get_span_context().trace_id
    if getattr(exception, "__otel_kfs_trace__", None) == trace_id:
        return False
    try:
        exception.__otel_kfs_trace__ = trace_id  # type: ignore[attr-defined]
    except Exception:  # a class with slots, or frozen
        return True
    return True


def _is_answer(exception: BaseException) -> bool:
    """Return whether it stands for an answer: an HTTP client's with its response, or gRPC's with its status."""
    response = getattr(exception, "response", None)  # botocore's is a dict: of a store's answers no span tells
    if hasattr(response, "status_code") or hasattr(response, "code"):  # the latter is tornado's
        return True
    return callable(getattr(exception, "trailing_metadata", None))


def record_exceptions_once(span: Any) -> None:
    """Let a span that somebody else ends take an exception only if no span below has it, and end without raising."""
    make_safe(span, record_event)


class SafeTracerProvider(safe_tracer.SafeTracerProvider):
    """The same for a server's spans, of which only the innermost takes an exception."""

    make_safe = staticmethod(record_exceptions_once)
