"""A store seen through what every query may ask besides: one run's images alone, or as many images as are expected."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta
from functools import partial
from itertools import chain

from otel_kfs import semconv
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.batch import FIELDS, Batch, What, batched
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import ReadProgress, TraceStore

_PAUSE = 2.0  # seconds between two looks at a store


class RunFilter:
    """The images of one run, and the traces that link to them.

    What shows which traces those are may come last, so a store is read twice, or kept in memory in between.
    """

    def __init__(self, store: TraceStore, run: str, *, keep: bool) -> None:
        """`keep`: hold what is read in memory instead of reading it twice, for a store that is far away."""
        self._store, self._run, self._keep = store, run, keep

    def spans(self) -> Iterator[Span]:
        """All spans of the run's traces."""
        spans = list(self._store.spans()) if self._keep else None
        ids = _of_run(batched(lambda: spans) if spans is not None else self._batches(), self._run)
        yield from (span for span in (self._store.spans() if spans is None else spans) if span.trace_id in ids)

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """The spans of these traces alone."""
        return self._store.traces(ids)

    def link(self, trace_id: str) -> str | None:
        """The store's own."""
        return self._store.link(trace_id)

    def parts(self) -> list[Callable[[], Iterator[Batch]]]:
        """The store's own, of which each leaves out what is not the run's; one piece, if they are kept."""
        if self._keep:
            return [self._kept]
        ids = _of_run(self._batches(), self._run)
        return [partial(_within, part, ids) for part in self._store.parts()]

    def _kept(self) -> Iterator[Batch]:
        batches = list(self._batches())
        ids = _of_run(batches, self._run)
        return (batch.keep(ids) for batch in batches)

    def _batches(self) -> Iterator[Batch]:
        return chain.from_iterable(part() for part in self._store.parts())


class WaitForImages:
    """A store that is asked again until it has as many images as are expected, and no more spans come."""

    def __init__(self, store: TraceStore, expect: int, wait: timedelta, progress: ReadProgress) -> None:
        self._store, self._expect, self._wait, self._progress = store, expect, wait.total_seconds(), progress

    def spans(self) -> Iterator[Span]:
        """All spans, when they are there or the time is over."""
        self._there()
        yield from self._store.spans()

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """The spans of these traces alone."""
        return self._store.traces(ids)

    def link(self, trace_id: str) -> str | None:
        """The store's own."""
        return self._store.link(trace_id)

    def parts(self) -> list[Callable[[], Iterator[Batch]]]:
        """One piece: what the store had when it was asked last."""
        return [self._there]

    def _there(self) -> Iterator[Batch]:
        """Ask until all is there or the time is over."""
        limit = time.monotonic() + self._wait
        before = -1
        while True:
            batches = [batch for part in self._store.parts() for batch in part()]
            images, spans = _counted(batches)
            # The spans of an image's last steps may come from another process, later than its first.
            if images >= self._expect and spans == before:
                break
            if (left := limit - time.monotonic()) <= 0:
                break
            before = spans
            self._progress(f"waiting for traces: {images} of {self._expect} images, {left:.0f} s left")
            time.sleep(min(_PAUSE, left))
        return iter(batches)


def expected(text: str) -> int:
    """The number of images that a query expects.

    Raises:
        TraceQueryError: it is none.
    """
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 10 or int(text) == 0:
        raise TraceQueryError("expect is the number of images that should be there, as in expect=40")
    return int(text)


def _counted(batches: Iterable[Batch]) -> tuple[int, int]:
    """How many images there are, without warm-ups, and how many spans."""
    images, spans = set[tuple[str, str]](), set[tuple[str, str]]()
    for batch in batches:
        sent = {
            number for number, what in batch.whats.items() if what[0] == semconv.SEND_IMAGE and not _is_warmup(what)
        }
        for trace_id, flat in batch.traces.items():
            ids = flat[0::FIELDS]
            spans.update((trace_id, span_id) for span_id in ids)
            numbers = zip(ids, flat[4::FIELDS], strict=True)
            images.update((trace_id, span_id) for span_id, number in numbers if number in sent)
    return len(images), len(spans)


def _of_run(batches: Iterable[Batch], run: str) -> frozenset[str]:
    """The ids of the traces that belong to a run."""
    ids: set[str] = set()
    linked: list[tuple[str, str]] = []
    for batch in batches:
        linked += batch.linked
        sent = {number for number, what in batch.whats.items() if _is_sent_in(what, run)}
        if sent:
            ids.update(trace_id for trace_id, flat in batch.traces.items() if not sent.isdisjoint(flat[4::FIELDS]))
    return frozenset(ids | {trace_id for trace_id, other in linked if other in ids})


def _is_sent_in(what: What, run: str) -> bool:
    name, *_, attributes = what
    return name == semconv.SEND_IMAGE and (semconv.RUN_ID, "str", run) in attributes


def _within(part: Callable[[], Iterator[Batch]], ids: frozenset[str]) -> Iterator[Batch]:
    return (batch.keep(ids) for batch in part())


def _is_warmup(what: What) -> bool:
    return any(key == semconv.WARMUP and value for key, _, value in what[-1])
