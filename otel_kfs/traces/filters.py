"""A store limited to the traces of one run's images, which every query may ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import chain

from otel_kfs import semconv
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.batch import chunks, trimmed
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import TraceStore


class RunFilter:
    """The traces of one run's images, and those that link to them; a trace may have images of other runs, too.

    What shows which traces those are may come last, so a store is read twice, or kept in memory in between.
    """

    def __init__(self, store: TraceStore, run: str, *, keep: bool) -> None:
        """`keep`: keep the spans in memory instead of reading a remote store twice."""
        self._store, self._run, self._keep = store, run, keep

    def spans(self) -> Iterator[Span]:
        """Yield all spans of the run's traces."""
        spans = list(self._store.spans()) if self._keep else None
        ids = _of_run([spans] if spans is not None else self._batches(), self._run)
        yield from (span for span in (self._store.spans() if spans is None else spans) if span.trace_id in ids)

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """Return the spans of these traces alone."""
        return self._store.traces(ids)

    def link(self, trace_id: str) -> str | None:
        """Return the store's own."""
        return self._store.link(trace_id)

    def parts(self) -> list[Callable[[], Iterator[list[Span]]]]:
        """Return the store's own, of which each leaves out what is not the run's; one piece, if they are kept."""
        if self._keep:
            return [self._kept]
        ids = _of_run(self._batches(), self._run)
        return [partial(_within, part, ids) for part in self._store.parts()]

    def _kept(self) -> Iterator[list[Span]]:
        batches = list(self._batches())
        return _within(lambda: iter(batches), _of_run(batches, self._run))

    def _batches(self) -> Iterator[list[Span]]:
        return chain.from_iterable(part() for part in self._store.parts())


class KeepAttributes:
    """A store whose parts keep all attributes of spans, not only those that tables are made of."""

    def __init__(self, store: TraceStore, keys: Collection[str]) -> None:
        self._store, self._keys = store, semconv.READ.union(keys)

    def spans(self) -> Iterator[Span]:
        """Return the store's own, which have all attributes."""
        return self._store.spans()

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """Return the spans of these traces alone."""
        return self._store.traces(ids)

    def link(self, trace_id: str) -> str | None:
        """Return the store's own."""
        return self._store.link(trace_id)

    def parts(self) -> list[Callable[[], Iterator[list[Span]]]]:
        """One piece."""
        return [self._kept]

    def _kept(self) -> Iterator[list[Span]]:
        return chunks(trimmed(span, self._keys) for span in self._store.spans())


def expected(text: str) -> int:
    """Return the number of images that a query expects.

    Raises:
        TraceQueryError: it is none.
    """
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 10 or int(text) == 0:
        raise TraceQueryError("expect is the number of images that should be there, as in expect=40")
    return int(text)


def _of_run(batches: Iterable[list[Span]], run: str) -> frozenset[str]:
    """Return the ids of the traces that belong to a run."""
    ids: set[str] = set()
    linked: list[tuple[str, str]] = []
    for span in chain.from_iterable(batches):
        linked += [(span.trace_id, other) for other in span.part_of]
        if span.name == semconv.SEND_IMAGE and span.attributes.get(semconv.RUN_ID) == run:
            ids.add(span.trace_id)
    return frozenset(ids | {trace_id for trace_id, other in linked if other in ids})


def _within(part: Callable[[], Iterator[list[Span]]], ids: frozenset[str]) -> Iterator[list[Span]]:
    return ([span for span in batch if span.trace_id in ids] for batch in part())
