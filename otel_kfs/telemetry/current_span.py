"""A span that is current inside a `with`, left in any order and from anywhere: the base of Kafka's and serving's.

A token of contextvars would put back what was current when the span was entered. That is not always what is to be
current afterwards: two loops over records may take turns, so that spans do not end in the reverse order of their
starts; and an asynchronous generator that its caller leaves early is closed by the event loop in a task of its own,
from where the caller's context can't be set at all.
"""

from __future__ import annotations

from contextvars import Token
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_CONTEXT, NonRecordingSpan, Span

from otel_kfs.telemetry.safe_tracer import describe, mark_failed, record_exception, report_failure

_CURRENT = otel_context.create_key("otel_kfs_current_span")  # in a context: the innermost of these spans
(_SPAN,) = trace.set_span_in_context(INVALID_SPAN, Context())  # the key of the current span
_set = dict.__setitem__  # a Context refuses it


class _Inside(Context):
    """The context inside one span; it turns into the one before it when the span is left from another task."""

    def leave(self, before: Context) -> None:
        """Hold what the context before holds, and nothing else."""
        dict.update(self, before)
        for key in self.keys() - before.keys():
            dict.pop(self, key)


class CurrentSpan:
    """A span that is current inside the `with`; an exception from there marks it as failed and passes through.

    Whatever fails in it is logged, and the body of the `with` runs all the same. Subclasses say how the span begins.
    It is a class rather than a generator, which costs twice as much.
    """

    __slots__ = ("_before", "_inside", "_token", "has_started", "span")
    what = "a span"  # for the log

    def __init__(self) -> None:
        self.span: Span = INVALID_SPAN
        self.has_started = False  # whether there is a span to be current

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
                self._attach(below)
        except Exception:
            report_failure(self.what)
        return self.span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        try:
            if self.has_started:
                self._detach()
            self.finish(self.span, error)
        except Exception:
            report_failure(self.what)

    def _attach(self, below: Context) -> None:
        """Let the span be current, in a context that holds what `below` does."""
        self._before = otel_context.get_current()
        inside = _Inside(below)
        _set(inside, _SPAN, self.span)
        _set(inside, _CURRENT, self)
        self._inside: _Inside | None = inside
        self._token: Token[Context] | None = otel_context.attach(inside)
        self.has_started = True

    def _detach(self) -> None:
        """Let the span be current no more, whether it is the innermost or lies below others that go on."""
        inside, token, current = self._inside, self._token, otel_context.get_current()
        self._inside = self._token = None  # inside refers to this, and the token to what is older still
        if inside is None or token is None:
            return
        try:
            token.var.reset(token)
        except ValueError:  # entered in another task or thread, which may go on with this context
            inside.leave(self._before)
            if current is inside:
                otel_context.attach(self._before)
                return
        else:
            if current is inside:
                if token.old_value is not self._before:  # its span has ended by now
                    otel_context.attach(self._before)
                return
            otel_context.attach(current)
        self._take_from_below(current)

    def _take_from_below(self, current: Context) -> None:
        """Take the span out of those that are current below the innermost one, where it is one of them."""
        context, above = current, None
        while isinstance(one := otel_context.get_value(_CURRENT, context), CurrentSpan):
            if trace.get_current_span(context) is not one.span:
                return  # not current at all: below a span of the user's own
            if one is self:
                if above is None:
                    otel_context.attach(self._before)
                else:
                    above._before = self._before
                return
            context, above = one._before, one
