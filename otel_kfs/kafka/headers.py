"""Where trace context is written into a record's headers, and read back from them.

Confluent's clients take headers as a dict or a list of (key, value) pairs, with bytes, str or None as values, and give
them back as a list of (key, bytes | None) pairs. Kafka allows the same key many times; so that a reader never finds two
contexts, injecting replaces every propagation key, and the user's own collection is copied, never changed.

What is done for every record is short-cut for what nearly all records are: W3C trace context and baggage, the
propagators of OpenTelemetry's default, with a traceparent and nothing else. Each short cut falls back to the propagator
itself, and tests compare the two.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import DEFAULT_TRACE_STATE, INVALID_SPAN, NonRecordingSpan, Span, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_kfs.kafka.client_telemetry import carries_more
from otel_kfs.kafka.foresight import ContextFields
from otel_kfs.telemetry.safe_tracer import SafePropagator

HeaderValue = str | bytes | None
Headers = Mapping[str, HeaderValue] | Iterable[tuple[str, HeaderValue]]

_TRACEPARENT = "traceparent"
_FLAGS = tuple(f"{flags:02x}" for flags in range(256))
_TRACE_FLAGS = tuple(map(TraceFlags, range(256)))
_VERSION_0 = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class _Propagation:
    """A propagator, its keys, and whether it is OpenTelemetry's default; made once, because asking costs as much."""

    def __init__(self, propagator: TextMapPropagator) -> None:
        self.propagator = propagator
        self.fields = frozenset(propagator.fields)
        itself = propagator.propagator if isinstance(propagator, SafePropagator) else propagator
        self.is_default = type(itself) is CompositePropagator and [type(part) for part in itself._propagators] == [
            TraceContextTextMapPropagator,
            W3CBaggagePropagator,
        ]


# Not yet the process's own: one that fails must not do so at the import of this module.
_last = _Propagation(CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))


def _propagation() -> _Propagation:
    global _last  # noqa: PLW0603 - the process's propagator is global too
    propagator = propagate.get_global_textmap()
    if propagator is not _last.propagator:
        _last = _Propagation(propagator)
    return _last


def headers_of(record: Any) -> list[tuple[str, bytes | None]]:
    """A record's headers; none where a key is no UTF-8, which confluent_kafka can't read.

    It raises at the first look at such a record, and ends the interpreter at the second one; without headers, the
    record is safe to look at, for others too.
    """
    try:
        return record.headers() or []
    except (SystemError, UnicodeDecodeError):
        record.set_headers([])
        return []


def inject(
    headers: Headers | None, context: Context | None = None, span: Span | None = None
) -> list[tuple[str, HeaderValue]]:
    """A new list: the user's headers, in their order, then those of `context` (default: the current one).

    With `span`, the context's span is that one. A record that is sent on (a consumer's `headers()` given to
    `produce()`) thus leaves with this context, not its old one.
    """
    if context is None:
        context = otel_context.get_current()
    of_context = trace.get_current_span(context)
    if not carries_more(context, of_context):
        short = inject_alone(headers, (of_context if span is None else span).get_span_context())
        if short is not None:
            return short
    propagation = _propagation()
    carrier: dict[str, str] = {}
    propagation.propagator.inject(carrier, context if span is None else trace.set_span_in_context(span, context))
    return _replace(headers, [(key, value.encode()) for key, value in carrier.items()], propagation)


def inject_alone(headers: Headers | None, span: ContextFields) -> list[tuple[str, HeaderValue]] | None:
    """Like `inject`, of a span in a context that holds nothing else; None: only `inject` can do it."""
    trace_id, span_id, _, flags, state, valid = span
    propagation = _last if propagate.get_global_textmap() is _last.propagator else _propagation()
    # (A TraceState is asked for its length in Python, and nearly all of them are this one.)
    if not (propagation.is_default and valid and (state is DEFAULT_TRACE_STATE or not state)):
        return None
    # 16 bytes, a dash and 8 bytes at once: half of what formatting two numbers costs.
    ids = (trace_id << 64 | span_id).to_bytes(24, "big").hex("-", -16)
    written: list[tuple[str, HeaderValue]] = [(_TRACEPARENT, f"00-{ids}-{_FLAGS[flags]}".encode())]
    return _replace(headers, written, propagation) if headers else written


def inject_dropped_root(flags: TraceFlags) -> list[tuple[str, HeaderValue]] | None:
    """The headers of a root that is dropped, with new ids as the SDK draws them; None: only `inject` can write them."""
    propagation = _last if propagate.get_global_textmap() is _last.propagator else _propagation()
    if not propagation.is_default:
        return None
    # Both ids at once; that one of them is 0 will not be seen in the age of the universe.
    ids = random.getrandbits(192).to_bytes(24, "big").hex("-", -16)
    return [(_TRACEPARENT, f"00-{ids}-{_FLAGS[flags]}".encode())]


def _replace(
    headers: Headers | None, written: list[tuple[str, HeaderValue]], propagation: _Propagation
) -> list[tuple[str, HeaderValue]]:
    if not headers:
        return written
    # The clients take any keys in a dict, as text, and text alone in a list.
    pairs = [(str(key), value) for key, value in headers.items()] if isinstance(headers, Mapping) else headers
    fields = propagation.fields
    return [(key, value) for key, value in pairs if key not in fields] + written


def extract(headers: Iterable[tuple[str, HeaderValue]] | None) -> Context:
    """The context that a record's headers carry, or an empty one; header bytes that aren't text are passed over.

    Where a key stands more than once, the last one counts: it was written last.
    """
    return extract_span(headers)[0]


def extract_span(headers: Iterable[tuple[str, HeaderValue]] | None) -> tuple[Context, Span]:
    """The same, and that context's span: an invalid one where the headers name none."""
    found: dict[str, HeaderValue] = {}
    propagation = _propagation()
    if headers:
        fields = propagation.fields
        found = {key: value for key, value in headers if key in fields and value is not None}
    if propagation.is_default:
        if not found:
            return Context(), INVALID_SPAN
        if len(found) == 1 and (span := _from_traceparent(found.get(_TRACEPARENT))) is not None:
            return trace.set_span_in_context(span, Context()), span
    carrier: dict[str, str] = {}
    for key, value in found.items():
        try:
            carrier[key] = value.decode() if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError:
            continue
    context = propagation.propagator.extract(carrier, Context())
    return context, trace.get_current_span(context)


def _from_traceparent(value: HeaderValue) -> Span | None:
    """The span of a traceparent of today's version, as bytes; None leaves it to the propagator."""
    match = _VERSION_0.fullmatch(value) if isinstance(value, bytes) else None
    if match is None:
        return None
    trace_id, span_id, flags = match.groups()
    span = SpanContext(int(trace_id, 16), int(span_id, 16), True, _TRACE_FLAGS[int(flags, 16)])
    return NonRecordingSpan(span) if span.is_valid else None
