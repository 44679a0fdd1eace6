"""Where trace context is written into a record's headers, and read back from them.

Confluent's clients take headers as a dict or a list of (key, value) pairs, with bytes, str or None as values, and give
them back as a list of (key, bytes | None) pairs. Kafka allows the same key many times; so that a reader never finds two
contexts, injecting replaces every propagation key, and the user's own collection is copied, never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, get_current_span

from otel_kfs.telemetry.propagators import propagate

# A longer one is no context: W3C's own limit of a baggage is this, of a tracestate less. What reads it would take it
# apart, which can cost many times its size in memory.
_LONGEST_FIELD = 8192

HeaderValue = str | bytes | None
Headers = Mapping[str, HeaderValue] | Iterable[tuple[str, HeaderValue]]


def headers_of(record: Any) -> list[tuple[str, bytes | None]]:
    """Return a record's headers; none where a key is no UTF-8, which confluent_kafka can't read.

    It raises at the first look at such a record, and ends the interpreter at the second one; without headers, the
    record is safe to look at, for others too.
    """
    try:
        return record.headers() or []
    except (SystemError, UnicodeDecodeError):
        record.set_headers([])
        return []


def inject(headers: Headers | None, context: Context | None = None) -> list[tuple[str, HeaderValue]]:
    """Return a new list: the user's headers, in their order, then those of `context` (default: the current one).

    A record that is sent on (a consumer's `headers()` given to `produce()`) thus leaves with this context, not its old
    one.
    """
    propagator = propagate().get_global_textmap()
    carrier: dict[str, str] = {}
    propagator.inject(carrier, context)
    written: list[tuple[str, HeaderValue]] = [(key, value.encode()) for key, value in carrier.items()]
    if not headers:
        return written
    fields = propagator.fields
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [pair for pair in pairs if not _is_context(pair, fields)] + written


def _is_context(pair: Any, fields: set[str]) -> bool:
    """Tell whether this is a header that trace context replaces; what the clients refuse is left for them to refuse."""
    if not (isinstance(pair, tuple) and len(pair) == 2):
        return False
    key, value = pair
    return str(key) in fields and (value is None or isinstance(value, str | bytes))


def extract(headers: Iterable[tuple[str, HeaderValue]] | None, context: Context | None = None) -> Context:
    """Return what a record's headers carry, on top of `context` (default: an empty one).

    Header bytes that aren't text, or are too long for a context, are passed over. Where a key stands more than once,
    the last one counts: it was written last.
    """
    propagator = propagate().get_global_textmap()
    fields = propagator.fields
    carrier: dict[str, str] = {}
    for key, value in headers or ():
        if key in fields and value is not None and len(value) <= _LONGEST_FIELD:
            try:
                carrier[key] = value if isinstance(value, str) else value.decode()
            except UnicodeDecodeError:
                continue
    extracted: Context = propagator.extract(carrier, Context() if context is None else context)
    return extracted


def creation_context(record: Any) -> SpanContext:
    """Return the context of the span that sent a record; an invalid one where its headers name none."""
    return get_current_span(extract(headers_of(record))).get_span_context()
