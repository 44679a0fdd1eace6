"""Spans of another program: it sends a span's context before we know when that span started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

from otel_kfs import __version__, semconv
from otel_kfs.telemetry.propagators import propagate
from otel_kfs.telemetry.provider import SCHEMA_URL
from otel_kfs.telemetry.safe_tracer import SafePropagator, SafeTracer


class _PromisedIds(IdGenerator):
    """The provider's own ids, except that the next span can be given one that was promised before."""

    def __init__(self, ids: IdGenerator) -> None:
        self._ids = ids
        self.promised: int | None = None

    def generate_span_id(self) -> int:
        promised, self.promised = self.promised, None
        return promised or self._ids.generate_span_id()

    def generate_trace_id(self) -> int:
        return self._ids.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return self._ids.is_trace_id_random()


class ProgramSpans:
    """Makes spans whose start and end are given, in ns since the epoch."""

    def __init__(self) -> None:
        # A scope of its own: all of a process share a scope's tracer, and this one gets an id generator of its own.
        tracer = trace.get_tracer("otel_kfs.programs", __version__, schema_url=SCHEMA_URL)
        self._ids: _PromisedIds | None = None
        if isinstance(tracer, Tracer):
            ids = tracer.id_generator
            self._ids = tracer.id_generator = ids if isinstance(ids, _PromisedIds) else _PromisedIds(ids)
        self._tracer = SafeTracer(tracer)

    def root(self, start: int, transport: str, program: str, run_id: str, sequence: int) -> Span:
        """Start a new trace's `send image`."""
        attributes: dict[str, Any] = {
            semconv.TRANSPORT: transport,
            semconv.RUN_ID: run_id,
            semconv.SEQUENCE: sequence,
            semconv.PROCESS_EXECUTABLE_NAME: program,
        }
        return self._tracer.start_span(semconv.SEND_IMAGE, Context(), attributes=attributes, start_time=start)

    def example_headers(self) -> dict[str, str]:
        """Return what a context will look like in headers; nothing if there will be none."""
        if self._ids is None:
            return {}
        ids = (self._ids.generate_trace_id(), self._ids.generate_span_id())
        return headers(SpanContext(*ids, False, TraceFlags(TraceFlags.SAMPLED)))

    def promise(self, parent: Span) -> SpanContext:
        """Return the context of a child of `parent` that is made later, by `child(..., promised=...)`."""
        context = parent.get_span_context()
        if self._ids is None or not context.is_valid:
            return context
        return SpanContext(
            context.trace_id, self._ids.generate_span_id(), False, context.trace_flags, context.trace_state
        )

    def child(
        self,
        parent: Span,
        name: str,
        start: int,
        end: int | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        promised: SpanContext | None = None,
    ) -> Span:
        """Make a child span, ended if `end` is given."""
        if self._ids is not None and promised is not None:
            self._ids.promised = promised.span_id
        span = self._tracer.start_span(
            name, trace.set_span_in_context(parent, Context()), kind, dict(attributes or {}), start_time=start
        )
        if end is not None:
            span.end(max(start, end))
        return span


def headers(context: SpanContext) -> dict[str, str]:
    """Return the headers in which the configured propagator sends a span's context."""
    carrier: dict[str, str] = {}
    SafePropagator(propagate().get_global_textmap()).inject(
        carrier, trace.set_span_in_context(NonRecordingSpan(context), Context())
    )
    return carrier
