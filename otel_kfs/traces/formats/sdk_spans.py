"""Spans of OpenTelemetry's SDK as they are in the process that made them: by ReadableSpan's public API.

The same span gives the same `Span` here as by way of OTLP.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from otel_kfs import semconv
from otel_kfs.traces.batch import trimmed
from otel_kfs.traces.formats import span_events
from otel_kfs.traces.host_identity import host_of
from otel_kfs.traces.span import Kind, Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext
    from opentelemetry.util.types import AnyValue


def read_span(span: ReadableSpan) -> Span | None:
    """Return a span with the attributes that tables are made of; None for one that has no context or has not ended."""
    context = span.get_span_context()
    if context is None or span.start_time is None or span.end_time is None:
        return None
    resource = span.resource.attributes
    service = str(resource.get(semconv.SERVICE_NAME, ""))
    links = span.links
    return trimmed(
        Span(
            trace_id=_trace_id(context),
            span_id=_span_id(context),
            parent_id=None if span.parent is None else _span_id(span.parent),
            name=span.name,
            kind=Kind[span.kind.name],
            start=span.start_time,
            end=span.end_time,
            service=service,
            host=host_of(resource, service),
            failed=span.status.status_code.name == "ERROR",
            attributes={key: _value(value) for key, value in (span.attributes or {}).items()},
            links=tuple(_span_id(link.context) for link in links),
            linked_traces=tuple(_trace_id(link.context) for link in links),
            events=span_events.wanted((event.name, event.timestamp) for event in span.events),
        )
    )


def _value(value: AnyValue) -> AnyValue:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _trace_id(context: SpanContext) -> str:
    return f"{context.trace_id:032x}"


def _span_id(context: SpanContext) -> str:
    return f"{context.span_id:016x}"
