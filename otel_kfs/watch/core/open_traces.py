"""Traces that are being put together: their spans, in any order, once each, within bounds on memory.

A trace is *open* until it is measured, then *remembered*, so that what comes late still finds it, then *forgotten*: of
it only the id is known, so that what comes then is told from a new trace. Traces that links join are one here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_kfs.analysis.paths.model_calls import is_store
from otel_kfs.traces.span import Kind, Span
from otel_kfs.watch.core.snapshot import Counts

if TYPE_CHECKING:
    from otel_kfs.watch.core.image_block import Found, ImageBlock

_FORGOTTEN = 100_000  # ids of traces that are forgotten
_FEW = 256  # spans; a trace with more is not looked at again at each span that comes


@dataclass(frozen=True, slots=True)
class TraceBounds:
    """What is kept of traces at most."""

    spans: int = 200_000  # of all traces
    spans_of_trace: int = 20_000  # of one, or of those that links join
    linger: float = 10.0  # seconds after its last span for which an incomplete trace is waited for
    remember: float = 600.0  # seconds after its last span for which a measured trace is corrected by late ones


class OpenTrace:
    """The spans of a trace, or of several that links join."""

    __slots__ = ("block", "found", "ids", "last", "looked_at", "size", "spans")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        # By trace and span id; of one id there are several where a client and a server share it.
        self.spans: dict[tuple[str, str], list[Span]] = {}
        self.size = 0
        self.last = 0.0  # when its last span came
        self.looked_at = 0  # spans that there were when it was last looked at
        self.found: Found | None = None  # what was measured last; None while it is open
        self.block: ImageBlock | None = None  # in which that is counted

    def __iter__(self) -> Iterator[Span]:
        for sharing in self.spans.values():
            yield from sharing

    def add(self, span: Span) -> bool:
        """Add a span, unless it is there already; return whether it was new, or says more than what was there."""
        sharing = self.spans.get(span.key)
        if sharing is None:
            self.spans[span.key] = [span]
            self.size += 1
            return True
        for place, known in enumerate(sharing):
            if (known.kind, known.service, known.host) == (span.kind, span.service, span.host):
                if known == span or _latest(known) >= _latest(span):
                    return False
                sharing[place] = span
                return True
        sharing.append(span)
        self.size += 1
        return True

    def may_be_complete(self) -> bool:
        """Tell, at little cost, whether a closer look is worth it: there is a root, and all that spans refer to."""
        if self.size > _FEW and self.size < self.looked_at * 5 // 4:
            return False
        self.looked_at = self.size
        parents = set()
        has_root = False
        for span in self:
            if span.parent_id is None:
                has_root = has_root or not span.part_of
            else:
                parents.add((span.trace_id, span.parent_id))
        if not has_root or not parents <= self.spans.keys():
            return False
        return all(
            span.kind is not Kind.CLIENT or span.failed or span.key in parents or is_store(span) for span in self
        )


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
            counts.late += trace.found is not None
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
        while self.spans > self._bounds.spans and self.open and not self.remembered:
            yield next(iter(self.open.values()))

    def outdated(self, now: float) -> Iterator[OpenTrace]:
        """Yield the remembered traces that are to be forgotten, for their age or for lack of room."""
        while self.remembered:
            first = next(iter(self.remembered.values()))
            if self.spans <= self._bounds.spans and first.last + self._bounds.remember > now:
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
                    self._of[other_id] = trace
            elif other is not trace and trace.size + other.size <= self._bounds.spans_of_trace:
                trace = self._join(trace, other, touched)
        return trace

    def _join(self, one: OpenTrace, other: OpenTrace, touched: dict[int, OpenTrace]) -> OpenTrace:
        large, small = (one, other) if one.size >= other.size else (other, one)
        self._remove(small)
        touched.pop(id(small), None)
        before = large.size
        for span in small:
            large.add(span)
        self.spans += large.size - before
        large.ids |= small.ids
        for trace_id in small.ids:
            self._of[trace_id] = large
        self._joined(large, small)
        touched[id(large)] = large
        return large


def _latest(span: Span) -> tuple[int, int, str]:
    return span.end, len(span.attributes), repr(span)
