"""A drawing of spans (traces_builder.py), played by OpenTelemetry's SDK."""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind
from traces_builder import spans


def play(drawing: str, provider: TracerProvider) -> str:
    """Make the spans of a drawing, a new trace each time; return the trace's id."""
    tracer = provider.get_tracer("a drawing")
    made: dict[str, trace.Span] = {}
    drawn = spans(drawing)
    for one in drawn:
        parent = made[one.parent_id] if one.parent_id else trace.INVALID_SPAN
        made[one.span_id] = tracer.start_span(
            one.name, trace.set_span_in_context(parent), SpanKind[one.kind.name], one.attributes, (), one.start
        )
    for one in drawn:
        made[one.span_id].end(one.end)
    return f"{made[drawn[0].span_id].get_span_context().trace_id:032x}"
