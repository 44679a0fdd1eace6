"""Which trace a request belongs to: its own headers, or those of the CloudEvent that it is.

Knative's KafkaSource turns a record into a CloudEvent and posts it: the record's header `traceparent` arrives as
`ce-kafkaheadertraceparent`, and the CloudEvents extension for distributed tracing as `ce-traceparent`. The source may
add a `traceparent` of its own.

Source: CloudEvents HTTP protocol binding (binary mode), CloudEvents distributed tracing extension, and Knative's
KafkaSource documentation ("kafkaheader" extension attributes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from otel_kfs.telemetry.propagators import propagate

_PREFIXES = ("", "ce-", "ce-kafkaheader")  # the first that holds a trace is the parent, the others become links


def parent_and_links(headers: Mapping[str, str]) -> tuple[dict[str, str], list[SpanContext]]:
    """Return the headers that name the parent plainly, and the contexts that disagree with it.

    `headers` has lower-case keys. The headers returned are for reading the parent alone: a request reaches its model
    with those that it came with. They are empty where the request's own headers name the parent, or nothing does.
    """
    propagator = propagate().get_global_textmap()
    parent: dict[str, str] = {}
    found: list[SpanContext] = []
    for prefix in _PREFIXES:
        carrier = {field: headers[prefix + field] for field in propagator.fields if prefix + field in headers}
        context = trace.get_current_span(propagator.extract(carrier, Context())).get_span_context()
        if context.is_valid and not any(_same(context, other) for other in found):
            if not found and prefix:
                parent = carrier
            found.append(context)
    return parent, found[1:]


def add_links(contexts: Iterable[SpanContext]) -> None:
    """Link the current span, the server's, to the contexts that are not its parent."""
    span = trace.get_current_span()
    for context in contexts:
        span.add_link(context)


def _same(one: SpanContext, other: SpanContext) -> bool:
    return (one.trace_id, one.span_id) == (other.trace_id, other.span_id)
