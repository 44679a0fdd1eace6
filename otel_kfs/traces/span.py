"""Span, the one shape that every store's answer becomes, and SpanGraph, which finds a span's kin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from operator import attrgetter
from typing import Any

import msgspec


class Kind(IntEnum):
    """A span's kind; the numbers are OTLP's (opentelemetry/proto/trace/v1/trace.proto)."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Span(msgspec.Struct, array_like=True, gc=False):
    """One span; ids are lower-case hex, times are ns since the epoch by the clock of `host`. Nobody changes one."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: Kind
    start: int
    end: int
    service: str
    host: str
    failed: bool
    attributes: dict[str, Any]
    links: tuple[str, ...] = ()  # span ids
    linked_traces: tuple[str, ...] = ()  # the traces in which those spans are

    @property
    def part_of(self) -> tuple[str, ...]:
        """The other traces that its own is part of: a consumer without a parent belongs to what it links to."""
        if not self.linked_traces or self.kind is not Kind.CONSUMER or self.parent_id is not None:
            return ()
        return tuple(filter(None, self.linked_traces))


class SpanGraph:
    """Spans by their kinship; a consumer that links to a producer instead of being its child counts as a child."""

    def __init__(self, spans: Iterable[Span]) -> None:
        # A span that was read twice counts once.
        self._spans = {(span.trace_id, span.span_id): span for span in spans}
        self._children: dict[str, list[Span]] = {}
        for span in self._spans.values():
            if span.parent_id is not None:
                self._children.setdefault(span.parent_id, []).append(span)
            elif span.kind is Kind.CONSUMER:
                for link in span.links:
                    self._children.setdefault(link, []).append(span)
        for children in self._children.values():
            if len(children) > 1:
                children.sort(key=_start)

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans.values())

    def __len__(self) -> int:
        return len(self._spans)

    def children(self, span: Span) -> list[Span]:
        """Return the span's children, by their start."""
        return self._children.get(span.span_id, [])

    def nearest_descendants(self, span: Span, wanted: Callable[[Span], bool]) -> list[Span]:
        """Return the descendants that are wanted and have no wanted one above them, by their start."""
        found = []
        seen = {span.span_id}
        waiting = list(self.children(span))
        for candidate in waiting:  # which grows meanwhile
            if candidate.span_id in seen:  # parents in a circle
                continue
            seen.add(candidate.span_id)
            if wanted(candidate):
                found.append(candidate)
            elif below := self._children.get(candidate.span_id):
                waiting += below
        if len(found) > 1:
            found.sort(key=_start)
        return found


_start = attrgetter("start")
