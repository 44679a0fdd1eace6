"""From a trace store to a Measurement as a stream: however many traces there are, few are in memory at a time.

The spans of one trace lie far apart (a file a process, a batch a second), so they are grouped by trace first
(`reading/group_by_trace.py`). Then each trace is searched for its images' critical paths, which the measurement takes
in. Where there is much to read, processes side by side do both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from otel_kfs.analysis.clock_skew import Clocks
from otel_kfs.analysis.duration_sketch import Sketches, needed
from otel_kfs.analysis.measurement import Measurement
from otel_kfs.analysis.paths.critical_path import PathFinder, critical_paths
from otel_kfs.analysis.paths.shared_host_names import contradicted, explained, told_apart
from otel_kfs.analysis.reading import group_by_trace
from otel_kfs.analysis.reading.group_by_trace import PARTITIONS, Links, SpanTable
from otel_kfs.analysis.reading.process_pool import ParallelMap, process_pool
from otel_kfs.traces.span import Span, SpanGraph
from otel_kfs.traces.store import TraceStore

_TASKS = 4  # for each process, the partitions' measuring
_LOOKED_AT = 100  # traces that are looked at for contradictions before all are measured
_AT_ONCE = 1000  # traces whose images are in memory before they become sketches

Part = Callable[[], Iterator[list[Span]]]
Traces = Iterable[list[Span]]
Progress = Callable[[str], None]
Result = TypeVar("Result")
AnyMeasured = TypeVar("AnyMeasured", Measurement, Sketches)


def read(
    store: TraceStore,
    find: PathFinder = critical_paths,
    *,
    processes: int | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Return the measurement of all images in a store, or of those whose paths `find` finds.

    At most `processes` read side by side (default: one for each core that this one may use); `progress` is called
    with a few words on what is done. New processes import the main module, as always in Python: a script that calls
    this does so under `if __name__ == "__main__"`.

    Raises:
        TraceQueryError: the store can't be read, or holds something else than traces.
        OtelKfsError: there is no room for temporary files, or a process was killed.
    """
    with _grouped(store.parts(), processes, progress or _ignore) as grouped:
        measurement = _told_apart(grouped, partial(_all_measured, grouped, find))
    measurement.sort()
    return measurement


def read_sketches(
    store: TraceStore,
    find: PathFinder = critical_paths,
    *,
    processes: int | None = None,
    progress: Progress | None = None,
) -> Sketches:
    """Return the same as sketches, so that memory does not grow with the number of images.

    How far apart two hosts' clocks were is known when all was read. So where there are several hosts, images are
    measured twice, the second time to correct each duration between hosts by its own moment, as with samples.

    Raises:
        MissingExtra: ddsketch is not installed.
        TraceQueryError: the store can't be read, or holds something else than traces.
        OtelKfsError: there is no room for temporary files, or a process was killed.
    """
    needed()
    with _grouped(store.parts(), processes, progress or _ignore) as grouped:
        sketches = _told_apart(grouped, partial(_all_sketched, grouped, find, None))
        if sketches.pairs:
            sketches.by_key = _all_sketched(grouped, find, sketches.clocks, sketches.apart).by_key
    sketches.group_sizes()
    return sketches


def _ignore(_: str) -> None:
    """Ignore progress, by default."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- spans by trace ---


@contextmanager
def _grouped(parts: Sequence[Part], processes: int | None, progress: Progress) -> Iterator[_InMemory | _OnDisk]:
    """Group the spans of all parts by trace, for as long as they are needed."""
    count = _cores() if processes is None else max(1, processes)
    with SpanTable() as table:
        done = 0
        # As soon as it can be seen that there is much, others do the rest.
        while done < len(parts) and table.total * len(parts) <= group_by_trace.FEW * max(1, done):
            table.add(parts[done]())
            done += 1
            progress(f"read {done} of {len(parts)} parts")
        if done == len(parts) and table.total <= group_by_trace.FEW:
            table.close(table.links)
            yield _InMemory(table)
            return
        path = table.move_to_file()
        with process_pool(count) as parallel_map:
            for links in parallel_map(_add, ((path, part) for part in parts[done:])):
                table.links.update(links)
                done += 1
                progress(f"read {done} of {len(parts)} parts")
            table.close(table.links)
            yield _OnDisk(path, parallel_map, count * _TASKS, progress)


def _add(path: Path, part: Part) -> Links:
    """Add a part of a store to a table; returns which traces are linked in it."""
    with SpanTable(path) as table:
        table.add(part())
        return table.links


class _InMemory:
    """Spans in memory."""

    def __init__(self, table: SpanTable) -> None:
        self._table = table

    def map(self, function: Callable[..., Result], *arguments: Any) -> Iterator[Result]:
        """Yield what a function makes of all traces."""
        yield function(self._table.traces(), *arguments)

    def some(self) -> Traces:
        """Return a few traces."""
        return islice(self._table.traces(), _LOOKED_AT)


class _OnDisk:
    """Spans in a file."""

    def __init__(self, path: Path, parallel_map: ParallelMap, tasks: int, progress: Progress) -> None:
        self._path, self._map, self._tasks, self._progress = path, parallel_map, tasks, progress

    def map(self, function: Callable[..., Result], *arguments: Any) -> Iterator[Result]:
        """Yield what a module's function makes of the traces in each share of the partitions, as they are done."""
        tasks = [
            (self._path, range(first, PARTITIONS, self._tasks), function, arguments) for first in range(self._tasks)
        ]
        for done, found in enumerate(self._map(_of_partitions, tasks), 1):
            yield found
            self._progress(f"measured {100 * done // len(tasks)} %")

    def some(self) -> Traces:
        """Yield a few traces."""
        with SpanTable(self._path) as table:
            yield from islice(table.traces(), _LOOKED_AT)


def _of_partitions(
    path: Path, partitions: Iterable[int], function: Callable[..., Result], arguments: tuple[Any, ...]
) -> Result:
    with SpanTable(path) as table:
        return function(table.traces(partitions), *arguments)


# --- traces into a measurement ---


def _told_apart(grouped: _InMemory | _OnDisk, measure: Callable[[frozenset[str]], AnyMeasured]) -> AnyMeasured:
    """Measure all, with a host for each service where the times contradict one clock and several explain it.

    What contradicts one clock mostly does in all traces: so a look at a few of them saves measuring all in vain.
    """
    apart = frozenset[str]().union(*(contradicted(SpanGraph(spans)) for spans in grouped.some()))
    unexplained = frozenset[str]()
    while True:
        measured = measure(apart)
        if more := measured.contradicted - unexplained:
            apart |= more
            continue
        fitting = explained(apart, measured.clocks, measured.pairs)
        if fitting == apart:
            measured.apart = apart
            return measured
        unexplained |= apart - fitting
        apart = fitting


def _all_measured(grouped: _InMemory | _OnDisk, find: PathFinder, apart: frozenset[str]) -> Measurement:
    measurement = Measurement()
    for found in grouped.map(_measured, find, apart):
        measurement.merge(found)
    return measurement


def _all_sketched(
    grouped: _InMemory | _OnDisk, find: PathFinder, clocks: Clocks | None, apart: frozenset[str]
) -> Sketches:
    sketches = Sketches()
    for found in grouped.map(_sketched, clocks, find, apart):
        sketches.merge(found)
    return sketches


def _measured(traces: Traces, find: PathFinder, apart: frozenset[str]) -> Measurement:
    measurement = Measurement()
    for spans in traces:
        graph = SpanGraph(told_apart(spans, apart))
        measurement.contradicted |= contradicted(graph)
        paths, coverage = find(graph)
        measurement.coverage.merge(coverage)
        for path in paths:
            measurement.add(path)
    return measurement


def _sketched(traces: Traces, clocks: Clocks | None, find: PathFinder, apart: frozenset[str]) -> Sketches:
    sketches, rest = Sketches(), iter(traces)
    for first in rest:
        measurement = _measured(chain([first], islice(rest, _AT_ONCE - 1)), find, apart)
        sketches.take(measurement, clocks)
        sketches.close(measurement)
    return sketches
