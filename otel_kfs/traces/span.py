"""Span, the one shape that every store's answer becomes, and SpanGraph, which finds a span's kin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import replace

from otel_kfs import semconv


class Kind(IntEnum):
    """A span's kind; the numbers are OTLP's (opentelemetry/proto/trace/v1/trace.proto)."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


Key = tuple[str, str]  # a trace's id and a span's


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
    events: tuple[tuple[str, int], ...] = ()  # those of `semconv.READ_EVENTS`: name and time

    @property
    def key(self) -> Key:
        """What tells it from all other spans of a graph: its own id is unique within its trace only."""
        return self.trace_id, self.span_id

    @property
    def part_of(self) -> tuple[str, ...]:
        """The traces that its own is part of: a consumer belongs to what it links to."""
        if not self.linked_traces or not self.belongs_to_links:
            return ()
        return tuple(filter(None, self.linked_traces))

    @property
    def belongs_to_links(self) -> bool:
        """Whether it is part of what it links to: a consumer's, which links to the records that it has."""
        return self.kind is Kind.CONSUMER and bool(self.links)

    @property
    def batch(self) -> int:
        """How many records it is about at once; 0 for a span of one, or of none."""
        count = self.attributes.get(semconv.MESSAGING_BATCH_MESSAGE_COUNT)
        return count if type(count) is int and self.kind is Kind.CONSUMER else 0


class SpanGraph:
    """Spans by their kinship; a consumer that links to a producer instead of being its child counts as a child.

    A client's and a server's span may have one id, as Zipkin's libraries and Envoy write them. Both are in the graph:
    the server's is the client's child, and has an id of its own here.
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        read = _with_what_others_say([*spans])
        self._spans = {(span.trace_id, span.span_id): span for span in read}
        if len(self._spans) < len(read):
            self._spans = {span.key: span for span in _told_apart(read)}
        self._children: dict[Key, list[Span]] = {}
        self._is_torn = False
        for span in self._spans.values():
            if span.links and span.belongs_to_links:
                for key in self._above(span):
                    self._children.setdefault(key, []).append(span)
            elif span.parent_id is not None:
                self._children.setdefault((span.trace_id, span.parent_id), []).append(span)
        self._adopt()
        for children in self._children.values():
            if len(children) > 1:
                children.sort(key=_by_start)

    def _above(self, consumer: Span) -> dict[Key, None]:
        """Return what a consumer with links is below: the records that it links to, if its parent is not the record.

        Below a poll that brought several records are the spans of what was done with each, which link to the records. A
        poll that links to them itself, or a batch, is above as well.
        """
        linked = dict.fromkeys(_linked(consumer))
        if consumer.parent_id is None:
            return linked
        key = consumer.trace_id, consumer.parent_id
        parent = self._spans.get(key)
        if parent is not None and parent.kind is Kind.PRODUCER:
            return {**linked, key: None} if consumer.batch else {key: None}
        if parent is not None and parent.belongs_to_links:
            linked[key] = None
        return linked

    def begins(self, span: Span) -> bool:
        """Return whether nothing that is there is above a span: it has no parent, or has lost it."""
        above = self._above(span) if span.belongs_to_links else {}
        if span.parent_id is not None and not above:
            above = {(span.trace_id, span.parent_id): None}
        return not any(key in self._spans or key not in self._children for key in above)

    def _adopt(self) -> None:
        """Give the children of spans that are not there the parent that they most likely are below."""
        lost = self._children.keys() - self._spans.keys()
        if not lost:
            return
        self._is_torn = True
        torn: dict[str, list[Key]] = {}
        for key in lost:
            torn.setdefault(key[0], []).append(key)
        of_trace: dict[str, list[Span]] = {}
        for span in self._spans.values():
            if span.trace_id in torn:
                of_trace.setdefault(span.trace_id, []).append(span)
        for trace_id, spans in of_trace.items():
            # An image that has lost its root is no part of another one.
            apart = {key for key in torn[trace_id] if any(one.name == semconv.ENCODE for one in self._children[key])}
            outermost = [span for span in spans if span.parent_id is None]
            outermost = [span for span in outermost if not span.part_of] or outermost
            if not outermost:
                children = {key: min(self._children[key], key=_by_start) for key in torn[trace_id]}
                apart = apart or {min(children, key=lambda key: _by_start(children[key]))}
                outermost = sorted((child for key in apart for child in self._children[key]), key=_by_start)
            elif len(outermost) > 1:
                continue  # nothing says whose they are
            self._adopt_below(outermost, spans, [key for key in torn[trace_id] if key not in apart])

    def _adopt_below(self, outermost: Sequence[Span], spans: Iterable[Span], lost: Iterable[Key]) -> None:
        """Give the children of lost spans to what holds them in time, or else to the trace's outermost span."""
        holding = _holding(spans, {orphan.key: orphan for key in lost for orphan in self._children[key]})
        for key in lost:
            for orphan in self._children.pop(key):
                before = [span for span in outermost if span.start <= orphan.start] or outermost
                above = holding.get(orphan.key, before[-1].key)
                self._children.setdefault(above, []).append(orphan)

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans.values())

    def __len__(self) -> int:
        return len(self._spans)

    def get(self, key: Key) -> Span | None:
        """Return the span of that trace and id, if it is there."""
        return self._spans.get(key)

    def parent(self, span: Span) -> Span | None:
        """Return the span that it names as its parent, if that is there."""
        return None if span.parent_id is None else self._spans.get((span.trace_id, span.parent_id))

    def children(self, span: Span) -> list[Span]:
        """Return the span's children, by their start."""
        return self._children.get((span.trace_id, span.span_id), [])

    def families(self) -> Iterator[tuple[Span, list[Span]]]:
        """Yield each span that has children, with these: also those that link to it, or were given to it."""
        for key, children in self._children.items():
            if (parent := self._spans.get(key)) is not None:
                yield parent, children

    def orphans(self) -> Iterator[tuple[Key, list[Span]]]:
        """Yield each parent that is not there, with its children that were not given to another span."""
        if self._is_torn:
            yield from ((key, children) for key, children in self._children.items() if key not in self._spans)

    def nearest_descendants(self, span: Span, wanted: Callable[[Span], bool]) -> list[Span]:
        """Return the descendants that are wanted and have no wanted one above them, by their start."""
        waiting = [*self.children(span)]
        if not waiting:
            return waiting
        nearest = []
        seen = {span.key}
        for candidate in waiting:  # which grows meanwhile
            key = (candidate.trace_id, candidate.span_id)
            if key in seen:  # parents in a circle
                continue
            seen.add(key)
            if wanted(candidate):
                nearest.append(candidate)
            elif below := self._children.get(key):
                waiting += below
        if len(nearest) > 1:
            nearest.sort(key=_by_start)
        return nearest


def _with_what_others_say(spans: list[Span]) -> list[Span]:
    """Return the spans, those of some programs as others would have written them.

    OpenInference's requests to a model are INTERNAL: they are a client's. Where records were taken together, what was
    done with them may be the span above theirs, which link to them and have nothing below: Node's kafkajs. It links to
    them all.
    """
    links: dict[Key, list[Span]] = {}
    for number, span in enumerate(spans):
        attributes = span.attributes
        if _OPENINFERENCE in attributes and attributes[_OPENINFERENCE] in _OF_MODELS and span.kind in _WITHOUT_KIND:
            spans[number] = replace(span, kind=Kind.CLIENT)
        if span.links and span.parent_id is not None and span.kind is Kind.CONSUMER:
            links.setdefault((span.trace_id, span.parent_id), []).append(span)
    if not links:
        return spans
    above = {(span.trace_id, span.parent_id) for span in spans}
    for number, span in enumerate(spans):
        records = links.get(span.key)
        if records and not span.links and span.kind in _TAKES and not any(one.key in above for one in records):
            linked = tuple(link for one in records for link in one.links)
            traces = tuple(trace for one in records for trace in one.linked_traces)
            spans[number] = replace(span, kind=Kind.CONSUMER, links=linked, linked_traces=traces)
    return spans


_OPENINFERENCE = "openinference.span.kind"
_OF_MODELS = semconv.CLIENTS_OF_MODELS[_OPENINFERENCE]  # a tuple: an attribute may be a list
_WITHOUT_KIND = frozenset({Kind.INTERNAL, Kind.UNSPECIFIED})
_TAKES = frozenset({Kind.CONSUMER, Kind.CLIENT})  # of a span that took several records

_AT_MOST = 100  # spans among which one is looked for that holds another


def _holding(spans: Iterable[Span], orphans: Collection[Key]) -> dict[Key, Key]:
    """Return for orphans the shortest span that holds it in time, if there is one."""
    found: dict[Key, Key] = {}
    open_: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end, span.span_id)):
        if span.key in orphans:
            while open_ and open_[-1].end <= span.start:
                open_.pop()
            holders = [
                one for one in open_[-_AT_MOST:] if span.end <= one.end and (one.trace_id, one.parent_id) != span.key
            ]
            if holders:
                found[span.key] = min(holders, key=lambda one: one.end - one.start).key
        open_.append(span)
    return found


# Those that start together are in the same order whichever was read first.
_by_start = attrgetter("start", "end", "trace_id", "span_id")
_OUTGOING = frozenset({Kind.CLIENT, Kind.PRODUCER})


def _linked(span: Span) -> Iterator[Key]:
    """Yield what a span links to; a link that names no trace stays in the span's own."""
    return ((trace or span.trace_id, link) for trace, link in zip(span.linked_traces, span.links, strict=False))


def _told_apart(spans: Iterable[Span]) -> list[Span]:
    """Return each span once, with an id that no other one of its trace has.

    Those of one id, kind and process are one span that was read several times. Others share the id of the request that
    they are about: each is the child of the one that the request passed before it.
    """
    by_key: dict[Key, dict[tuple[Kind, str, str], Span]] = {}
    for span in spans:
        sharing = by_key.setdefault(span.key, {})
        known = sharing.setdefault((span.kind, span.service, span.host), span)
        if known != span:
            sharing[span.kind, span.service, span.host] = max(known, span, key=_latest)
    shared = {key: _one_below_another(sharing.values()) for key, sharing in by_key.items() if len(sharing) > 1}
    found: list[Span] = []
    for key, sharing in by_key.items():
        outermost, *others = shared.get(key) or sharing.values()
        found += [_with_kin(outermost, shared) if shared else outermost, *others]
    return found


def _one_below_another(sharing: Iterable[Span]) -> list[Span]:
    """Return the spans of one id, outermost first: who asks comes before who is asked."""
    outermost, *others = sorted(sharing, key=lambda span: (span.kind not in _OUTGOING, _by_start(span), span.service))
    ordered = [outermost]
    for number, span in enumerate(others, 2):
        ordered.append(replace(span, span_id=f"{span.span_id}/{number}", parent_id=ordered[-1].span_id))
    return ordered


def _with_kin(span: Span, shared: Mapping[Key, Sequence[Span]]) -> Span:
    """Return a span with the ids that its parent and what it links to have now."""
    parent = span.parent_id and _meant(span, (span.trace_id, span.parent_id), shared)
    links = tuple(_meant(span, key, shared) for key in _linked(span))
    return span if (parent, links) == (span.parent_id, span.links) else replace(span, parent_id=parent, links=links)


def _meant(span: Span, key: Key, shared: Mapping[Key, Sequence[Span]]) -> str:
    """Return the id of the parent, or linked span: of those that share one the own process's, else the innermost."""
    holders = [one for one in shared.get(key, ()) if one is not span]
    own = [one for one in holders if (one.service, one.host) == (span.service, span.host)]
    return (own or holders)[-1].span_id if holders else key[1]


def _latest(span: Span) -> tuple[int, int, str]:
    return span.end, len(span.attributes), repr(span)
