"""Span, the one shape that every store's answer becomes, and Forest, which finds a span's kin."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Kind(IntEnum):
    """A span's kind; the numbers are OTLP's (opentelemetry/proto/trace/v1/trace.proto)."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class Span:
    """One span; ids are lower-case hex, times are ns since the epoch by the clock of `host`."""

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
    attributes: Mapping[str, Any]
    links: tuple[str, ...] = ()  # span ids


class Forest:
    """Spans by their kinship; a consumer that links to a producer instead of being its child counts as a child."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans: dict[tuple[str, str], Span] = {}
        for span in spans:
            self._spans[span.trace_id, span.span_id] = span  # a span that was read twice counts once
        self._children: dict[str, list[Span]] = defaultdict(list)
        for span in self._spans.values():
            if span.parent_id is not None:
                self._children[span.parent_id].append(span)
            elif span.kind is Kind.CONSUMER:
                for link in span.links:
                    self._children[link].append(span)
        for children in self._children.values():
            children.sort(key=lambda span: span.start)

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans.values())

    def __len__(self) -> int:
        return len(self._spans)

    def children(self, span: Span) -> list[Span]:
        """The span's children, by their start."""
        return self._children.get(span.span_id, [])

    def nearest(self, span: Span, wanted: Callable[[Span], bool]) -> list[Span]:
        """The descendants that are wanted and have no wanted one above them, by their start."""
        found = []
        seen = {span.span_id}
        queue = deque(self.children(span))
        while queue:
            candidate = queue.popleft()
            if candidate.span_id in seen:  # parents in a circle
                continue
            seen.add(candidate.span_id)
            if wanted(candidate):
                found.append(candidate)
            else:
                queue.extend(self.children(candidate))
        return sorted(found, key=lambda candidate: candidate.start)
