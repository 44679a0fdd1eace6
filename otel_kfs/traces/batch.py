"""Batches of spans with only the attributes that tables are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice

from msgspec.structs import replace

from otel_kfs import semconv
from otel_kfs.traces.span import Span

BATCH_SIZE = 10_000  # spans

_PLAIN = frozenset({str, int, float, bool})
_INTEGERS = range(-(2**63), 2**63)  # OTLP's


def trimmed_batches(spans: Callable[[], Iterable[Span]]) -> Iterator[list[Span]]:
    """Yield spans in lists, each span with the attributes of `semconv.READ` alone."""
    return chunks(map(trimmed, spans()))


def chunks(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Yield spans in lists."""
    rest = iter(spans)
    while chunk := list(islice(rest, BATCH_SIZE)):
        yield chunk


def trimmed(span: Span, keys: Collection[str] = semconv.READ) -> Span:
    """Return the span with the attributes of those keys alone, if their values are text, numbers or booleans."""
    attributes = {key: value for key, value in span.attributes.items() if key in keys and is_plain(value)}
    return span if len(attributes) == len(span.attributes) else replace(span, attributes=attributes)


def is_plain(value: object) -> bool:
    """Return whether a value is text, a number or a boolean, as OTLP has them."""
    return type(value) in _PLAIN and (type(value) is not int or value in _INTEGERS)
