"""LiveMeasurement: spans in, figures out, at any moment; at the end the same as `tables --sketch` has of those spans.

What is exact, and until when:

- An image is counted as often as its trace was sent, once, and late spans change what was counted, as long as its trace
  is remembered (`TraceBounds`).
- What lies within one host, and every count, is exact for good.
- What lies between two hosts is corrected by all that was seen of their clocks, before and after, as long as no more
  than `kept_images` came since. An older image stays corrected by what was known then: its bound is wider, never wrong.
  Between the doublings of the number of images, older blocks are shown by the clocks as they were known before;
  `finish` corrects all of them again.
- Hosts that share a name are told apart in traces that are remembered.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from otel_kfs.analysis.clock_skew import Clocks
from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement, corrected_sketches
from otel_kfs.analysis.duration_sketch import SketchedSeries, Sketches, needed
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import CriticalPath, PathFinder, critical_paths
from otel_kfs.analysis.paths.shared_host_names import contradicted, explained, told_apart
from otel_kfs.analysis.reading.completeness import completeness, is_pending
from otel_kfs.analysis.skew_correction import corrected_path
from otel_kfs.traces.span import Span, SpanGraph
from otel_kfs.watch.core.image_block import BLOCK_IMAGES, BLOCK_SECONDS, Found, ImageBlock
from otel_kfs.watch.core.open_traces import Look, OpenTrace, OpenTraces, TraceBounds
from otel_kfs.watch.core.snapshot import Counts, Observer, Snapshot

_PAUSE = 0.001  # seconds for each span of a trace until it is measured again: ten times as long as that takes
_UNFORESEEN = "an error of otel-kfs, which its log tells"
_log = logging.getLogger(__name__)

LAST = 60.0  # seconds that `Snapshot.last_minute` is about


class LiveMeasurement:
    """Takes spans in any order, and measures the images in them as soon as they are complete.

    All moments are seconds of one monotonic clock, which the caller reads. One thread at a time may call.
    """

    def __init__(
        self,
        now: float,
        bounds: TraceBounds | None = None,
        find: PathFinder = critical_paths,
        *,
        kept_images: int = 50_000,
        observers: Sequence[Observer] = (),
    ) -> None:
        """`kept_images`: of so many images, the latest, the durations between hosts can still be corrected.

        Raises:
            MissingExtra: ddsketch is not installed.
        """
        needed()
        self.counts = Counts()
        self._bounds = bounds or TraceBounds()
        self._observers = observers
        self._find, self._kept_images, self._began = find, kept_images, now
        self._traces = OpenTraces(self._bounds, self.counts, self._joined)
        self._late: dict[OpenTrace, None] = {}  # measured ones to which spans came since
        self._settled = Sketches()  # of blocks that can't change any more
        self._blocks: deque[ImageBlock] = deque([ImageBlock(now)])  # those that can; new images go into the last
        self._closed: Sketches | None = None  # the settled and all but the last block, if nothing changed in them
        self._minute: deque[ImageBlock] = deque(self._blocks)  # those of the last minute, settled or not
        self._clocks = Clocks()  # as they were known when all was corrected the last time
        self._corrected_at = 0  # images that were measured by then
        self._measured = 0
        self._looked_into: frozenset[str] = frozenset()  # hosts of which it was tried whether they are several
        self._apart: frozenset[str] = frozenset()
        self._spans_at: deque[tuple[float, int]] = deque([(now, 0)])

    # --- spans in ---

    def add(self, spans: Iterable[Span], now: float) -> None:
        """Take some spans of any traces: a part of a trace, or several, in any order, any of them again."""
        for trace in self._traces.add(spans, now):
            if trace.found is not None:
                self._late[trace] = None
            elif (look := trace.look()) is not Look.LATER:
                graph, found = self._search(trace)
                pending = look is Look.CLOSER and completeness(graph, found.paths, found.coverage).may_grow
                if found.any and not pending and not any(map(is_pending, found.coverage.left_out)):
                    self._measured_as(trace, found, now)
        if self._traces.is_full:
            self._make_room(now)

    def tick(self, now: float) -> None:
        """Do what is due: correct what late spans changed, wait no longer for what is overdue, forget what is old.

        To be called a few times a second, whether or not spans come.
        """
        self._correct_late(now)
        for trace in self._traces.overdue(now):
            self.counts.incomplete += 1
            self._measured_as(trace, self._search(trace)[1], now)
        for trace in self._traces.outdated(now):
            self._forget(trace, now)
        self._settle(now)
        while self._minute and self._minute[0].began + BLOCK_SECONDS <= now - LAST:
            self._minute.popleft()
        self._spans_at.append((now, self.counts.spans))
        while len(self._spans_at) > 2 and self._spans_at[1][0] <= now - LAST:
            self._spans_at.popleft()

    # --- figures out ---

    def snapshot(self, now: float) -> Snapshot:
        """Return all figures as of now."""
        self.tick(now)
        if self._contradicted() != self._looked_into:
            self._tell_apart(now)
        if self._measured >= 2 * self._corrected_at:
            self._correct_all()
        return self._snapshot(now)

    def finish(self, now: float) -> Snapshot:
        """Measure all that is there, complete or not, and return the figures, of which all are corrected again."""
        for trace in [*self._late]:
            trace.again = now
        self._correct_late(now)
        for trace in list(self._traces.open.values()):
            self.counts.incomplete += 1
            self._measured_as(trace, self._search(trace)[1], now)
        self._tell_apart(now)
        self._correct_all()
        return self._snapshot(now)

    def _snapshot(self, now: float) -> Snapshot:
        if self._closed is None:
            self._closed = self._settled.copy()
            for block in [*self._blocks][:-1]:
                self._closed.merge(block.sketches(self._clocks).copy())
        since_start = self._closed.copy()
        since_start.merge(self._blocks[-1].sketches(self._clocks).copy())
        last_minute = Sketches()
        # Where no image comes any more, the last block stays the last, and is too old at some time.
        for block in (block for block in self._minute if block.began + BLOCK_SECONDS > now - LAST):
            last_minute.merge(block.sketches(self._clocks).copy())
        since, before = self._spans_at[0]
        minute = max(LAST, now - self._minute[0].began) if self._minute else LAST
        return Snapshot(
            now - self._began,
            self._corrected(since_start),
            self._corrected(last_minute),
            replace(self.counts),
            open_traces=len(self._traces.open),
            remembered_traces=len(self._traces.remembered),
            kept_spans=self._traces.spans,
            images_per_second=last_minute.coverage.measured / max(1.0, min(minute, now - self._began)),
            spans_per_second=(self.counts.spans - before) / max(1.0, now - since),
        )

    def _corrected(self, sketches: Sketches) -> CorrectedMeasurement[SketchedSeries]:
        sketches.group_sizes()
        sketches.apart = self._apart
        return corrected_sketches(sketches, find=self._find)

    # --- one trace ---

    def _search(self, trace: OpenTrace) -> tuple[SpanGraph, Found]:
        """Return a trace's graph, and what images it holds."""
        try:
            return self._searched(trace.all())
        except Exception:  # noqa: BLE001 - one unforeseen trace must not end the measuring of all others
            _log.exception("a trace can't be measured: %s", next(iter(trace.ids)))
            return SpanGraph(()), Found((), Coverage(left_out=Counter({_UNFORESEEN: 1})), frozenset())

    def _searched(self, spans: list[Span]) -> tuple[SpanGraph, Found]:
        graph = SpanGraph(spans)
        hosts = frozenset(contradicted(graph))
        if self._apart:
            graph = SpanGraph(told_apart(spans, self._apart))
        paths, coverage = self._find(graph)
        return graph, Found(tuple(paths), coverage, hosts)

    def _measured_as(self, trace: OpenTrace, found: Found, now: float) -> None:
        """Count what a trace holds, in place of what was counted of it before."""
        before, trace.found = trace.found, found
        trace.again = now + _PAUSE * trace.size
        self._traces.measured(trace)
        if trace.block is None and (found.any or found.contradicted):
            trace.block = self._block(now)
        if trace.block is not None:
            trace.block.put(trace, found)
            if trace.block is not self._blocks[-1]:
                self._closed = None
        self._measured += len(found.paths) - (len(before.paths) if before else 0)
        if before is not None and before != found:
            self.counts.corrected += 1
        if self._observers:
            self._tell(before, found)

    def _block(self, now: float) -> ImageBlock:
        """Return the block that new images go into."""
        last = self._blocks[-1]
        if last.images < BLOCK_IMAGES and now < last.began + BLOCK_SECONDS:
            return last
        if self._closed is not None:
            self._closed.merge(last.sketches(self._clocks).copy())
        block = ImageBlock(now)
        self._blocks.append(block)
        self._minute.append(block)
        return block

    def _correct_late(self, now: float) -> None:
        for trace in [trace for trace in self._late if trace.again <= now]:
            del self._late[trace]
            self._measured_as(trace, self._search(trace)[1], now)

    def _joined(self, large: OpenTrace, small: OpenTrace) -> None:
        """Take back what was counted of a trace that became a part of another; that one is to be measured again."""
        self._late.pop(small, None)
        if small.found is None:
            return
        if small.block is not None:
            if small.block is not self._blocks[-1]:
                self._closed = None
            small.block.withdraw(small)
        if large.found is None:
            large.found = small.found
        else:
            coverage = Coverage()
            coverage.merge(large.found.coverage)
            coverage.merge(small.found.coverage)
            large.found = Found(large.found.paths + small.found.paths, coverage, frozenset())

    def _make_room(self, now: float) -> None:
        """Forget remembered traces, the oldest first; then give up open ones."""
        for trace in self._traces.outdated(now):
            self._forget(trace, now)
        for trace in self._traces.excess():
            self.counts.given_up += 1
            self._measured_as(trace, self._search(trace)[1], now)
            self._forget(trace, now)

    def _forget(self, trace: OpenTrace, now: float) -> None:
        if trace in self._late:
            del self._late[trace]
            self._measured_as(trace, self._search(trace)[1], now)
        if trace.block is not None:
            trace.block.fix(trace)
        self._traces.forget(trace)

    # --- all images ---

    def _settle(self, now: float) -> None:
        """Make sketches for good of blocks that can't change, or that are more than can be kept."""
        kept = sum(block.images for block in self._blocks)
        while len(self._blocks) > 1:
            block = self._blocks[0]
            if kept > self._kept_images:
                for trace in block.traces:
                    self._forget(trace, now)
            sketches = block.sketches(self._clocks)
            if block.traces or (sketches.pairs and kept <= self._kept_images):
                return
            if kept > self._kept_images and sketches.pairs:
                sketches = block.sketches(self._all_seen()[0], again=True)
            kept -= block.images
            self._settled.merge(sketches.copy())
            self._blocks.popleft()
            block.release()

    def _all_seen(self) -> tuple[Clocks, set[tuple[str, str]]]:
        """Return what all images say of the hosts' clocks, and between which hosts something was measured."""
        clocks, pairs = Clocks(), set(self._settled.pairs)
        clocks.merge(self._settled.clocks)
        for block in self._blocks:
            sketches = block.sketches(self._clocks)
            clocks.merge(sketches.clocks)
            pairs |= sketches.pairs
        return clocks, pairs

    def _correct_all(self) -> None:
        """Correct what lies between hosts by what is known of their clocks by now."""
        self._clocks, _ = self._all_seen()
        for block in self._blocks:
            block.sketches(self._clocks, again=True)
        self._closed = None
        self._corrected_at = self._measured

    def _tell_apart(self, now: float) -> None:
        """Measure again with a host for each service where the times contradict one clock, if that explains it."""
        self._looked_into = apart = self._contradicted()
        while True:
            self._measure_again(apart, now)
            fitting = explained(apart, *self._all_seen())
            if fitting == apart:
                return
            apart = fitting

    def _contradicted(self) -> frozenset[str]:
        """Return the hosts of which some spans can't be by one clock."""
        of_blocks = [block.sketches(self._clocks).contradicted for block in self._blocks]
        return frozenset(self._settled.contradicted.union(*of_blocks))

    def _measure_again(self, apart: frozenset[str], now: float) -> None:
        if apart == self._apart:
            return
        self._apart = apart
        for trace in [*self._traces.remembered.values()]:
            self._measured_as(trace, self._search(trace)[1], now)

    # --- who is told ---

    def _tell(self, before: Found | None, found: Found) -> None:
        old = {path.key: path for path in before.paths} if before else {}
        for path in found.paths:
            known = old.pop(path.key, None)
            for observer in self._observers:
                if known is None:
                    observer.measured(self._by_one_clock(path))
                elif known != path:
                    observer.corrected(self._by_one_clock(known), self._by_one_clock(path))
        for path in old.values():
            for observer in self._observers:
                observer.corrected(self._by_one_clock(path), None)
        for reason, count in _more(found.coverage, before.coverage if before else Coverage()):
            for observer in self._observers:
                observer.left_out(reason, count)

    def _by_one_clock(self, path: CriticalPath) -> CriticalPath:
        return corrected_path(path, self._clocks)[0] if any(one.hosts for one in path.sections) else path


def _more(now: Coverage, before: Coverage) -> Iterator[tuple[str, int]]:
    """Yield the reasons of which there are more, or fewer, than before, and how many."""
    for reason in now.left_out | before.left_out:
        if count := now.left_out[reason] - before.left_out[reason]:
            yield reason, count
