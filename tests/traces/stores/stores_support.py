"""What the tests of trace stores share."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from otel_kfs import semconv
from otel_kfs.traces.span import Span


def known(spans: Iterable[Span]) -> list[Span]:
    """Spans with the attributes of the contract alone, which are all that is kept of files."""
    keys = {value for value in vars(semconv).values() if isinstance(value, str)}
    return [
        replace(span, attributes={key: value for key, value in span.attributes.items() if key in keys})
        for span in sorted(spans, key=lambda span: span.span_id)
    ]
