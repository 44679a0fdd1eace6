"""Traces that are being put together: their spans, in any order, once each, within bounds on memory.

A trace is *open* until it is measured, then *remembered*, so that what comes late still finds it, then *forgotten*: of
it only the id is known, so that what comes then is told from a new trace. Traces that links join are one here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain
from typing import TYPE_CHECKING

from otel_kfs.analysis.paths.model_calls import is_store
from otel_kfs.traces.span import Key, Kind, Span
from otel_kfs.watch.core.snapshot import Counts

if TYPE_CHECKING:
    from otel_kfs.watch.core.image_block import Found, ImageBlock

_FORGOTTEN = 100_000  # ids of traces that are forgotten
_FEW = 256  # spans; a trace with more is not looked at again at each span that comes


@dataclass(frozen=True, slots=True)
class TraceBounds:
    """What is kept of traces at most."""

    spans: int = 200_000  # of all traces, and what they link to
    spans_of_trace: int = 20_000  # of one, or of those that links join
    linger: float = 10.0  # seconds after its last span for which an incomplete trace is waited for
    remember: float = 600.0  # seconds after its last span for which a measured trace is corrected by late ones


class Look(Enum):
    """What can be told of a trace without searching it."""

    LATER = auto()  # something is certainly still to come
    CLOSER = auto()  # it takes a closer look
    REFERS_TO_NOTHING_MISSING = auto()


class OpenTrace:
    """The spans of a trace, or of several that links join."""

    __slots__ = ("again", "block", "found", "ids", "last", "looked_at", "others", "spans")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.spans: dict[Key, Span] = {}
        self.others: dict[Key, list[Span]] = {}  # with an id that one of these has: a client and a server may share one
        self.last = 0.0  # when its last span came
        self.looked_at = 0  # spans that there were when it was last looked at
        self.again = 0.0  # when it may be measured again
        self.found: Found | None = None  # what was measured last; None while it is open
        self.block: ImageBlock | None = None  # in which that is counted

    @property
    def size(self) -> int:
        """How many spans there are."""
        return len(self.spans) + (sum(map(len, self.others.values())) if self.others else 0)

    def all(self) -> list[Span]:
        """Return all spans."""
        return [*self.spans.values(), *chain.from_iterable(self.others.values())]

    def add(self, span: Span) -> bool:
        """Add a span, unless it is there already; return whether it was new, or says more than what was there."""
        key = (span.trace_id, span.span_id)
        known = self.spans.get(key)
        if known is None:
            self.spans[key] = span
            return True
        if _is_same(known, span):
            if not _says_more(span, known):
                return False
            self.spans[key] = span
            return True
        others = self.others.setdefault(key, [])
        for place, other in enumerate(others):
            if _is_same(other, span):
                if not _says_more(span, other):
                    return False
                others[place] = span
                return True
        others.append(span)
        return True

    def look(self) -> Look:
        """Tell, at little cost, whether its images can be complete: is there a root, and all that spans refer to."""
        size = self.size
        if size > _FEW and size < self.looked_at * 5 // 4:
            return Look.LATER
        self.looked_at = size
        parents: set[Key] = set()
        answered: set[Key] = set()
        calls = []
        has_root = False
        spans = self.all() if self.others else self.spans.values()
        for span in spans:
            kind = span.kind
            if span.parent_id is None:
                has_root = has_root or not span.part_of
            else:
                key = (span.trace_id, span.parent_id)
                parents.add(key)
                if kind is Kind.SERVER:
                    answered.add(key)
            if kind is Kind.CLIENT:
                calls.append(span)
        if not has_root or not parents <= self.spans.keys():
            return Look.LATER
        unclear = [span for span in calls if span.key not in answered and not span.failed and not is_store(span)]
        if any(span.key not in parents for span in unclear):
            return Look.LATER
        return Look.CLOSER if unclear or self.others else Look.REFERS_TO_NOTHING_MISSING


class OpenTraces:
    """All traces that are open or remembered."""

    def __init__(self, bounds: TraceBounds, counts: Counts, joined: Callable[[OpenTrace, OpenTrace], None]) -> None:
        """Call `joined` when all of a trace, the second, became a part of another, the first."""
        self._bounds, self._counts, self._joined = bounds, counts, joined
        self._of: dict[str, OpenTrace] = {}
        # By when their last span came, the longest ago first.
        self.open: OrderedDict[int, OpenTrace] = OrderedDict()
        self.remembered: OrderedDict[int, OpenTrace] = OrderedDict()
        self._forgotten: OrderedDict[str, None] = OrderedDict()
        self.spans = 0  # that are kept
        self._links = 0  # ids of traces that others are part of

    @property
    def is_full(self) -> bool:
        """Whether there is more than may be kept."""
        return self.spans + self._links > self._bounds.spans

    def add(self, spans: Iterable[Span], now: float) -> list[OpenTrace]:
        """Add spans; return the traces to which they brought something."""
        touched: dict[int, OpenTrace] = {}
        counts = self._counts
        for span in spans:
            counts.spans += 1
            trace = self._trace_of(span, touched)
            if trace is None:
                counts.too_late += 1
                continue
            before = trace.size
            if before >= self._bounds.spans_of_trace and span.key not in trace.spans:
                counts.dropped += 1
                continue
            if not trace.add(span):
                counts.duplicates += 1
                continue
            self.spans += trace.size - before
            if trace.found is not None:
                counts.late += 1
            touched[id(trace)] = trace
        for trace in touched.values():
            trace.last = now
            self._place(trace)
        return list(touched.values())

    def measured(self, trace: OpenTrace) -> None:
        """Note that a trace is measured."""
        self.open.pop(id(trace), None)
        self.remembered.setdefault(id(trace), trace)

    def overdue(self, now: float) -> Iterator[OpenTrace]:
        """Yield the open traces for which nothing came for the linger time; each is to be measured before the next."""
        while self.open and (first := next(iter(self.open.values()))).last + self._bounds.linger <= now:
            yield first

    def excess(self) -> Iterator[OpenTrace]:
        """Yield the open traces that are to be given up, because all that is kept is open and there is too much."""
        while self.is_full and self.open and not self.remembered:
            yield next(iter(self.open.values()))

    def outdated(self, now: float) -> Iterator[OpenTrace]:
        """Yield the remembered traces that are to be forgotten, for their age or for lack of room."""
        while self.remembered:
            first = next(iter(self.remembered.values()))
            if not self.is_full and first.last + self._bounds.remember > now:
                return
            yield first

    def forget(self, trace: OpenTrace) -> None:
        """Keep no more than a trace's id."""
        self._remove(trace)
        for trace_id in trace.ids:
            self._of.pop(trace_id, None)
            self._forgotten[trace_id] = None
        while len(self._forgotten) > _FORGOTTEN:
            self._forgotten.popitem(last=False)

    def _place(self, trace: OpenTrace) -> None:
        """Put a trace behind all others of its kind."""
        place, other = self.remembered, self.open
        if trace.found is None:
            place, other = other, place
        other.pop(id(trace), None)
        place[id(trace)] = trace
        place.move_to_end(id(trace))

    def _remove(self, trace: OpenTrace) -> None:
        self.open.pop(id(trace), None)
        self.remembered.pop(id(trace), None)
        self.spans -= trace.size
        self._links -= len(trace.ids) - 1

    def _trace_of(self, span: Span, touched: dict[int, OpenTrace]) -> OpenTrace | None:
        """Return the trace that a span belongs to, with all that the span joins; None if that is forgotten."""
        trace_id, part_of = span.trace_id, span.part_of
        trace = self._of.get(trace_id)
        if trace is None:
            if trace_id in self._forgotten:
                return None
            if part_of and not self._forgotten.keys().isdisjoint(part_of):
                self._forgotten[trace_id] = None
                return None
            trace = self._of[trace_id] = OpenTrace()
            trace.ids.add(trace_id)
        for other_id in part_of:
            other = self._of.get(other_id)
            if other is None:
                if other_id not in self._forgotten:
                    trace.ids.add(other_id)
                    self._links += 1
                    self._of[other_id] = trace
            elif other is not trace and trace.size + other.size <= self._bounds.spans_of_trace:
                trace = self._join(trace, other, touched)
        return trace

    def _join(self, one: OpenTrace, other: OpenTrace, touched: dict[int, OpenTrace]) -> OpenTrace:
        large, small = (one, other) if one.size >= other.size else (other, one)
        self._remove(small)
        touched.pop(id(small), None)
        before = large.size
        for span in small.all():
            large.add(span)
        self.spans += large.size - before
        self._links += len(small.ids)
        large.ids |= small.ids
        for trace_id in small.ids:
            self._of[trace_id] = large
        self._joined(large, small)
        touched[id(large)] = large
        return large


def _is_same(one: Span, other: Span) -> bool:
    """Return whether two spans of one id are one span that came twice, as `SpanGraph` decides it."""
    return (one.kind, one.service, one.host) == (other.kind, other.service, other.host)


def _says_more(one: Span, other: Span) -> bool:
    return one != other and _latest(one) > _latest(other)


def _latest(span: Span) -> tuple[int, int, str]:
    return span.end, len(span.attributes), repr(span)
