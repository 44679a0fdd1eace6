"""What keeps a failure of telemetry away from what it watches: it is logged, once for each part, and that is all.

The SDK and OpenTelemetry's own instrumentations let an exception of a sampler, a span processor or a propagator through
to the program that they watch. This package's spans, and those of the instrumentations that it turns on, come from a
`SafeTracerProvider`, and headers are read and written through a `SafePropagator`.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    DefaultGetter,
    DefaultSetter,
    Getter,
    Setter,
    TextMapPropagator,
)
from opentelemetry.trace import NonRecordingSpan, Span, Status, StatusCode, Tracer, TracerProvider

from otel_kfs import semconv
from otel_kfs.telemetry.propagators import propagate

R = TypeVar("R")

_log = logging.getLogger(__name__)

_failed: set[Any] = set()


def report_failure(what: str) -> None:
    """Log the exception at hand, the first time that this part of telemetry fails in this process.

    An exception from a place in the code that raised before is the same failure, whichever span met it.
    """
    place = _place(sys.exc_info()[2])
    if what not in _failed and place not in _failed:
        _log.exception("telemetry failed (%s); the program continues, and this is logged only once", what)
    _failed.update((what, place))


def _place(traceback: Any) -> tuple[str, int] | None:
    """Return the file and line that an exception was raised at."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return None if traceback is None else (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)


def never_raises(what: str) -> Callable[[Callable[..., R]], Callable[..., R | None]]:
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


def mark_failed(span: Span, kind: str, description: str) -> None:
    """Mark a span as failed: its status with a description, and `error.type`."""
    span.set_attribute(semconv.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, description))


def describe(error: BaseException) -> str:
    """Return an exception's type and text; the type alone where the text can't be had."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception:
        return name


def record_exception(span: Span, error: BaseException, *args: Any, **kwargs: Any) -> None:
    """Record an exception as a span's event; only its type where its text can't be read."""
    try:
        type(span).record_exception(span, error, *args, **kwargs)
    except Exception:
        span.add_event("exception", {"exception.type": type(error).__qualname__})


# What `make_safe` puts before a span's own methods; it refers to the span as the span does to it, until it ends.
_SAFE_METHODS = ("end", "record_exception")


def make_safe(span: Any, record: Callable[..., None] = record_exception) -> None:
    """Let a span end and record exceptions without raising, whoever calls it; `record` records one."""
    if span.is_recording() and "end" not in vars(span):
        span.end = functools.partial(_end, span)
        span.record_exception = functools.partial(record, span)


def _end(span: Any, *args: Any, **kwargs: Any) -> None:
    for name in _SAFE_METHODS:
        vars(span).pop(name, None)
    try:
        span.end(*args, **kwargs)
    except Exception:
        report_failure("the end of a span")


@never_raises("the exception on a span")
def _mark(span: Span, error: Exception, record_exception: bool, set_status_on_exception: bool) -> None:
    """Do with an exception what OpenTelemetry's own `use_span` does, and say its type, to be searched for."""
    if record_exception:
        span.record_exception(error)
    if set_status_on_exception and span.is_recording():
        if semconv.ERROR_TYPE not in (getattr(span, "attributes", None) or {}):
            span.set_attribute(semconv.ERROR_TYPE, type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR, describe(error)))


class SafeTracerProvider(TracerProvider):
    """The provider given, or the global one, whose tracers never raise."""

    make_safe: Callable[[Any], None] = staticmethod(make_safe)  # what every span goes through

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        """Return a tracer that never raises."""
        try:
            tracer = (self._provider or trace.get_tracer_provider()).get_tracer(*args, **kwargs)
        except Exception:  # OTEL_PYTHON_TRACER_PROVIDER names one that is not there, for example
            report_failure("a tracer")
            tracer = trace.NoOpTracer()
        return SafeTracer(tracer, self.make_safe)


class SafeTracer(Tracer):
    """A tracer whose span, where none can be made, is one that records nothing and leads to the same trace."""

    def __init__(self, tracer: Tracer, make_safe: Callable[[Any], None] = make_safe) -> None:
        self._tracer = tracer
        self._make_safe = make_safe

    def start_span(self, name: str, context: Context | None = None, *args: Any, **kwargs: Any) -> Span:
        """Start a span, not current."""
        try:
            span = self._tracer.start_span(name, context, *args, **kwargs)
        except Exception:
            report_failure("the start of a span")
            return NonRecordingSpan(trace.get_current_span(context).get_span_context())
        try:
            self._make_safe(span)
        except Exception:  # a class of somebody else's, with slots
            report_failure("making a span safe")
        return span

    @contextmanager
    def start_as_current_span(  # type: ignore[override]
        self,
        name: str,
        context: Context | None = None,
        *args: Any,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
        **kwargs: Any,
    ) -> Iterator[Span]:
        """Start a span, current inside the `with`."""
        marks = {"record_exception": record_exception, "set_status_on_exception": set_status_on_exception}
        span = self.start_span(name, context, *args, **marks, **kwargs)
        with trace.use_span(span, end_on_exit, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except Exception as error:
                _mark(span, error, **marks)
                raise


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
        """Return the context in these headers."""
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
    """Put a SafePropagator before the global one, unless one is there; returns what takes it away again."""
    before = propagate().get_global_textmap()
    if isinstance(before, SafePropagator):
        return lambda: None
    safe = SafePropagator(before)
    propagate().set_global_textmap(safe)

    def undo() -> None:
        if propagate().get_global_textmap() is safe:
            propagate().set_global_textmap(before)

    return undo
