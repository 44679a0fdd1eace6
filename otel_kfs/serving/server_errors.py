"""What keeps telemetry's failures away from a request, and an exception from being told twice on its way up.

The instrumentations that are turned on for a model server get their spans from this `SafeTracerProvider`.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Span

from otel_kfs.telemetry import safe_tracer
from otel_kfs.telemetry.safe_tracer import guard_end, guard_propagator, never_raises

__all__ = ["SafeTracerProvider", "guard_propagator", "guard_span", "is_news", "never_raises"]


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


@never_raises("an exception of the server's")
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
    record = span.record_exception

    def record_exception(exception: BaseException, *args: Any, **kwargs: Any) -> None:
        if is_news(exception, span):
            record(exception, *args, **kwargs)

    span.record_exception = record_exception
    guard_end(span)


class SafeTracerProvider(safe_tracer.SafeTracerProvider):
    """The same for a server's spans, of which an exception marks the lowest alone."""

    guard = staticmethod(guard_span)
