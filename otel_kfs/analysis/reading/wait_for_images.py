"""A store that is asked again until the images that are expected are there as a whole, or the time is over.

A store shows a trace's spans a while after they ended, and one process's before another's: OpenTelemetry's batch
processor exports every five seconds. So an image may be there without its server, which then looks untraced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from itertools import chain

from otel_kfs.analysis.paths.critical_path import PathFinder, critical_paths
from otel_kfs.analysis.reading.completeness import Completeness, completeness
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.span import Span, SpanGraph
from otel_kfs.traces.store import ReadProgress, TraceStore

_PAUSE = 2.0  # seconds between two looks at a store
# Seconds without a new span after which none is awaited that may never have been recorded: twice what the batch
# processor waits (OTEL_BSP_SCHEDULE_DELAY).
_QUIET = 10.0


class WaitForImages:
    """A store whose spans are read when it has what is expected."""

    def __init__(
        self,
        store: TraceStore,
        expect: int,
        wait: timedelta,
        progress: ReadProgress,
        paths_in: PathFinder = critical_paths,
    ) -> None:
        """`expect` images, without warm-ups, of those that `paths_in` finds."""
        self._store, self._expect, self._wait, self._progress = store, expect, wait.total_seconds(), progress
        self._paths_in = paths_in

    def spans(self) -> Iterator[Span]:
        """All spans, with their whole attributes, when what is expected is there.

        Raises:
            TraceQueryError: it is not there when the time is over.
        """
        self._there()
        yield from self._store.spans()

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """Return the spans of these traces alone."""
        return self._store.traces(ids)

    def link(self, trace_id: str) -> str | None:
        """Return the store's own."""
        return self._store.link(trace_id)

    def parts(self) -> list[Callable[[], Iterator[list[Span]]]]:
        """One piece: what the store had when it was asked last."""
        return [self._there]

    def _there(self) -> Iterator[list[Span]]:
        """Ask until all is there.

        Raises:
            TraceQueryError: it is not when the time is over.
        """
        limit = time.monotonic() + self._wait
        spans, since = -1, time.monotonic()
        while True:
            batches = [batch for part in self._store.parts() for batch in part()]
            seen, now = _seen(batches, self._paths_in), time.monotonic()
            if seen.spans != spans:
                spans, since = seen.spans, now
            is_enough = seen.whole + seen.settled >= self._expect
            if seen.whole >= self._expect and not seen.may_grow:
                break
            if is_enough and (now - since >= _QUIET or now >= limit):
                break
            if now >= limit:
                raise TraceQueryError(self._missing(seen))
            self._progress(
                f"waiting for traces: {seen.whole + seen.settled} of {self._expect} images, {limit - now:.0f} s left"
            )
            time.sleep(min(_PAUSE, limit - now))
        return iter(batches)

    def _missing(self, seen: Completeness) -> str:
        """Say what is not there."""
        reasons = dict(seen.pending)
        if seen.torn:
            reasons[f"a span's parent is not there (the first: {seen.first_torn})"] = seen.torn
        of_others = self._expect - seen.whole - seen.settled - sum(reasons.values())
        if of_others > 0:
            reasons["no span is there"] = of_others
        return (
            f"after {self._wait:g} s, {seen.whole + seen.settled} of the {self._expect} images that are expected were "
            f"complete; missing: {'; '.join(f'{count} ({reason})' for reason, count in reasons.items())}. "
            "Wait longer (--wait 5m), or leave --expect out to read what is there"
        )


def _seen(batches: list[list[Span]], paths_in: PathFinder) -> Completeness:
    graph = SpanGraph(chain.from_iterable(batches))
    return completeness(graph, *paths_in(graph))
