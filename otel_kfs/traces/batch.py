"""Spans by the thousand, in compact form: what many have in common is kept once, the rest in one flat list a trace.

An object for each of millions of spans takes longer than parsing them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from otel_kfs import semconv
from otel_kfs.traces.span import Kind, Span

FULL = 50_000  # spans

# A span's attribute: its key, its value's type (1 and True are one, to a dictionary), its value.
Attribute = tuple[str, str, Any]
# What a span is, besides who it is and when it was: name, kind, service, host, failed, attributes.
What = tuple[str, int, str, str, bool, tuple[Attribute, ...]]
# A trace's spans, FIELDS for each: its id, its parent's, start and end, the number of its `What`, and what else it has.
Flat = list[Any]
# Image size, payload size, ids of the spans that it links to, and of their traces where it is part of those; or None.
Else = tuple[Any, Any, tuple[str, ...], tuple[str, ...]]
FIELDS = 6

Traces = dict[str, Flat]  # by trace id
Whats = dict[int, What]

_KINDS = tuple(Kind)
_PLAIN = frozenset({str, int, float, bool})
_SIZES = frozenset({semconv.IMAGE_SIZE, semconv.PAYLOAD_SIZE})  # these differ from image to image
_COMMON = semconv.READ - _SIZES


class Batch:
    """Spans of some traces, with the attributes that tables are made of (`names.READ`), if those are plain values."""

    def __init__(self) -> None:
        self.traces: Traces = defaultdict(list)
        self.numbers: dict[What, int] = {}
        self.linked: list[tuple[str, str]] = []  # a consumer's own trace, and one that it links to
        self.size = 0  # spans that were added

    @property
    def whats(self) -> Whats:
        """What the spans are, by number."""
        return {number: what for what, number in self.numbers.items()}

    def add(self, span: Span) -> None:
        """Take a span in."""
        attributes, more = span.attributes, None
        common = [(key, type(value).__name__, value) for key, value in attributes.items() if _is_common(key, value)]
        if span.links or not _SIZES.isdisjoint(attributes):
            sizes = [attributes.get(key) for key in (semconv.IMAGE_SIZE, semconv.PAYLOAD_SIZE)]
            linked = self.note_links(span.trace_id, span.parent_id, span.kind, span.linked_traces)
            more = (*[size if type(size) in _PLAIN else None for size in sizes], span.links, linked)
        what = (span.name, int(span.kind), span.service, span.host, span.failed, tuple(common))
        self.traces[span.trace_id] += (span.span_id, span.parent_id, span.start, span.end, self.number(what), more)
        self.size += 1

    def number(self, what: What) -> int:
        """The number by which the flat lists know it."""
        return self.numbers.setdefault(what, len(self.numbers))

    def note_links(
        self, trace_id: str, parent_id: str | None, kind: Kind, linked_traces: Iterable[str]
    ) -> tuple[str, ...]:
        """A consumer without a parent is part of the traces that it links to: returns these."""
        if kind is not Kind.CONSUMER or parent_id is not None:
            return ()
        linked = tuple([other for other in linked_traces if other])
        self.linked += [(trace_id, other) for other in linked]
        return linked

    def keep(self, ids: Collection[str]) -> Batch:
        """Of its traces, these alone."""
        self.traces = {trace_id: flat for trace_id, flat in self.traces.items() if trace_id in ids}
        self.size = sum(map(len, self.traces.values())) // FIELDS
        return self


def _is_common(key: str, value: object) -> bool:
    return key in _COMMON and type(value) in _PLAIN


def batched(spans: Callable[[], Iterable[Span]]) -> Iterator[Batch]:
    """All of some spans."""
    batch = Batch()
    for span in spans():
        if batch.size >= FULL:
            yield batch
            batch = Batch()
        batch.add(span)
    yield batch


def spans_of(trace_id: str, flat: Flat, whats: Mapping[int, What] | list[What]) -> Iterator[Span]:
    """A trace's spans again."""
    for span_id, parent_id, start, end, number, more in zip(*[iter(flat)] * FIELDS, strict=True):
        name, kind, service, host, failed, common = whats[number]
        attributes = {key: value for key, _, value in common}
        image_size, payload_size, links, linked = more or (None, None, (), ())
        if image_size is not None:
            attributes[semconv.IMAGE_SIZE] = image_size
        if payload_size is not None:
            attributes[semconv.PAYLOAD_SIZE] = payload_size
        yield Span(
            *(trace_id, span_id, parent_id, name, _KINDS[kind], start, end, service, host, failed, attributes),
            links=links,
            linked_traces=linked,
        )
