"""Which trace a request belongs to: its own headers, or those of the CloudEvent that it is.

Knative's KafkaSource turns a record into a CloudEvent and posts it: the record's header `traceparent` arrives as
`ce-kafkaheadertraceparent`, and the CloudEvents extension for distributed tracing as `ce-traceparent`. The source may
add a `traceparent` of its own.

Source: CloudEvents HTTP protocol binding (binary mode), CloudEvents distributed tracing extension, and Knative's
KafkaSource documentation ("kafkaheader" extension attributes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

_PREFIXES = ("", "ce-", "ce-kafkaheader")  # the first that holds a trace is the parent, the others become links


def contexts(headers: Mapping[str, str]) -> tuple[dict[str, str], list[SpanContext]]:
    """The headers that make the parent's context plain, and the contexts that disagree with it.

    `headers` has lower-case keys. The first is empty where the request's own headers hold the parent, or nothing does.
    """
    propagator = propagate.get_global_textmap()
    promoted: dict[str, str] = {}
    found: list[SpanContext] = []
    for prefix in _PREFIXES:
        carrier = {field: headers[prefix + field] for field in propagator.fields if prefix + field in headers}
        context = trace.get_current_span(propagator.extract(carrier, Context())).get_span_context()
        if context.is_valid and not any(_same(context, other) for other in found):
            if not found and prefix:
                promoted = carrier
            found.append(context)
    return promoted, found[1:]


def link(others: Iterable[SpanContext]) -> None:
    """Link the current span, the server's, to the contexts that are not its parent."""
    span = trace.get_current_span()
    for other in others:
        span.add_link(other)


def _same(one: SpanContext, other: SpanContext) -> bool:
    return (one.trace_id, one.span_id) == (other.trace_id, other.span_id)
