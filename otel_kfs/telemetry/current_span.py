"""A span that is current inside a `with`, left in any order and from anywhere: the base of Kafka's and serving's.

A token of contextvars would put back what was current when the span was entered. That is not always what is to be
current afterwards: two loops over records may take turns, so that spans do not end in the reverse order of their
starts; and an asynchronous generator that its caller leaves early is closed by the event loop in a task of its own,
from where the caller's context can't be set at all.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_CONTEXT, NonRecordingSpan, Span

from otel_kfs.telemetry.safe_tracer import describe, mark_failed, record_exception, report_failure

_ATTACHED = otel_context.create_key("otel_kfs_current_span")  # in a context: the innermost of these spans
# Only its tokens count: one can be given back only where it was taken.
_entered_in: ContextVar[None] = ContextVar("otel_kfs_entered_in")


class _Inside(Context):
    """The context inside one span; it turns into the one before it when the span is left from another task."""

    def leave(self, before: Context) -> None:
        dict.update(self, before)
        for key in self.keys() - before.keys():
            dict.pop(self, key)


class _Attached:
    """A span that is current, and the context that was current before it."""

    __slots__ = ("_before", "_inside", "_span", "_token")

    def __init__(self, span: Span, below: Context) -> None:
        """Let a span be current, in a context that holds what `below` does."""
        self._span = span
        self._before = otel_context.get_current()
        self._inside: _Inside | None = _Inside({**trace.set_span_in_context(span, below), _ATTACHED: self})
        otel_context.attach(self._inside)
        self._token: Token[None] = _entered_in.set(None)

    def detach(self) -> None:
        """Let the span be current no more, whether it is the innermost or lies below others that go on."""
        inside, self._inside = self._inside, None  # which refer to each other
        try:
            _entered_in.reset(self._token)
        except ValueError:  # entered in another task or thread, which may go on with this context
            if inside is not None:
                inside.leave(self._before)
        context, above = otel_context.get_current(), None
        while isinstance(attached := otel_context.get_value(_ATTACHED, context), _Attached):
            if trace.get_current_span(context) is not attached._span:
                return  # not current at all: below a span of the user's own
            if attached is self:
                if above is None:
                    otel_context.attach(self._before)
                else:
                    above._before = self._before
                return
            context, above = attached._before, attached


class CurrentSpan:
    """A span that is current inside the `with`; an exception from there marks it as failed and passes through.

    Whatever fails in it is logged, and the body of the `with` runs all the same. Subclasses say how the span begins.
    It is a class rather than a generator, which costs twice as much.
    """

    __slots__ = ("attached", "span")
    what = "a span"  # for the log

    def __init__(self) -> None:
        self.span: Span = INVALID_SPAN
        self.attached: _Attached | None = None

    @property
    def has_started(self) -> bool:
        """Whether there was a span to be current."""
        return self.attached is not None

    def start(self) -> tuple[Span, Context] | None:
        """Start the span; return it with the context that it is to be put into, or None where there is to be none."""
        raise NotImplementedError

    def finish(self, span: Span, error: BaseException | None) -> None:
        """Mark the span with what the body raised, and end it."""
        if error is not None:
            record_exception(span, error)
            mark_failed(span, type(error).__qualname__, describe(error))
        span.end()

    def __enter__(self) -> Span:
        try:
            started = self.start()
            if started is not None:
                span, below = started
                # INVALID_SPAN is shared by all who have none; this one has to be told from theirs.
                self.span = NonRecordingSpan(INVALID_SPAN_CONTEXT) if span is INVALID_SPAN else span
                self.attached = _Attached(self.span, below)
        except Exception:
            report_failure(self.what)
        return self.span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        try:
            if self.attached is not None:
                self.attached.detach()
            self.finish(self.span, error)
        except Exception:
            report_failure(self.what)
