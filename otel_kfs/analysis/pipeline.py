"""From a trace store to a Measurement, as a stream: however many traces there are, few are in memory at a time.

The spans of one trace lie far apart (a file a process, a batch a second), so they are sorted first: into partitions by
their trace's id, in temporary files if there are many. Then one partition after the other is measured. Where there is
much to read, processes side by side do both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

from otel_kfs.analysis import group_by_trace
from otel_kfs.analysis.clock_skew import Clocks
from otel_kfs.analysis.group_by_trace import PARTITIONS, Aliases, Folder, Links, Sorter, partition
from otel_kfs.analysis.measurement import Measurement
from otel_kfs.analysis.paths.critical_path import CriticalPath, critical_paths
from otel_kfs.analysis.paths.path_builder import Section
from otel_kfs.analysis.paths.segment import BRIDGE, BROKER, CLIENT, DELIVER, ENCODE, Place, Segment
from otel_kfs.analysis.process_pool import Workers
from otel_kfs.analysis.sketch import Sketches, needed
from otel_kfs.traces.batch import Batch, Flat, Traces, Whats, batched, spans_of
from otel_kfs.traces.finished import Finished, Finishing
from otel_kfs.traces.span import Span, SpanGraph
from otel_kfs.traces.store import TraceStore

_BATCHES = 4  # pieces of work that the partitions are, for each process

Part = Callable[[], Iterator[Batch]]
Result = TypeVar("Result")


def read(
    store: TraceStore, *, processes: int | None = None, progress: Callable[[str], None] | None = None
) -> Measurement:
    """The measurement of all images in a store.

    At most `processes` read side by side (default: one for each core that this one may use); `progress` is told in a
    few words what is done. New processes import the main module, as ever in Python: a script that calls this does so
    under `if __name__ == "__main__"`.

    Raises:
        TraceQueryError: the store can't be read, or holds something else than traces.
        OtelKfsError: there is no room for temporary files, or a process was killed.
    """
    measurement = Measurement()
    if isinstance(store, Finishing):
        parts: list[Part] = [partial(batched, partial(_finishing, store, measurement))]
    else:
        parts = store.parts()
    with _by_trace(parts, processes, progress or _nobody) as traces:
        if isinstance(traces, _Few):
            traces.measure(measurement)
        else:
            for found in traces.each(_measure_batch):
                measurement.merge(found)
    measurement.sort()
    return measurement


def read_sketches(
    store: TraceStore, *, processes: int | None = None, progress: Callable[[str], None] | None = None
) -> Sketches:
    """The same as sketches, so that memory does not grow with the number of images.

    How far apart two hosts' clocks were is known when all was read. So where there are several hosts, many images are
    measured twice, the second time to correct each length between hosts by its own moment, as with samples.

    Raises:
        MissingExtra: ddsketch is not installed.
        TraceQueryError: the store can't be read, or holds something else than traces.
        OtelKfsError: there is no room for temporary files, or a process was killed.
    """
    needed()
    sketches = Sketches()
    # A store that finishes images itself can't do so twice; of its spans, all else is as of other stores' spans.
    with _by_trace(store.parts(), processes, progress or _nobody) as traces:
        if isinstance(traces, _Few):
            measurement = Measurement()
            traces.measure(measurement)
            sketches.take(measurement, measurement.clocks)
            return sketches.close(measurement)
        for found in traces.each(_sketch_batch, None):
            sketches.merge(found)
        if sketches.pairs:
            corrected = Sketches()
            for found in traces.each(_sketch_batch, sketches.clocks):
                corrected.merge(found)
            sketches.correct(corrected)
    return sketches


def _finishing(store: Finishing, measurement: Measurement) -> Iterator[Span]:
    """Count in what the store has finished itself; gives the spans of what it has not."""
    for found in store.finished():
        if isinstance(found, Span):
            yield found
        elif isinstance(found, Finished):
            fields = found._asdict()
            sections = tuple(Section(_segment(name), *edges) for name, *edges in fields.pop("segments"))
            measurement.add(CriticalPath(sections=sections, **fields))
            measurement.account.measured += 1
        else:
            measurement.account.left_out[found.reason] += 1


_BEFORE_SERVERS = {
    "client": Segment(CLIENT),
    "encode": ENCODE,
    "deliver": DELIVER,
    "broker": BROKER,
    "bridge": Segment(BRIDGE),
}


def _segment(name: str) -> Segment:
    """Return the segment that a store calls so."""
    role, _, step = name.partition(" ")
    return _BEFORE_SERVERS.get(name) or Segment(Place(role), step)


def _nobody(_: str) -> None:
    """Whom progress is told to by default."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Do(Protocol):
    """Does pieces of work, here or in other processes; results come as they are done."""

    def __call__(self, function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], /) -> Iterator[Result]: ...


@contextmanager
def _side_by_side(count: int) -> Iterator[_Do]:
    if count == 1:
        yield lambda function, tasks: (function(*arguments) for arguments in tasks)
    else:
        with Workers(count) as workers:
            yield workers.do


# --- spans into partitions ---


@contextmanager
def _by_trace(parts: Sequence[Part], processes: int | None, say: Callable[[str], None]) -> Iterator[_Few | _Many]:
    """The spans of all parts, sorted by trace; as long as they are needed."""
    count = _cores() if processes is None else max(1, processes)
    with Folder() as folder:
        sorter = Sorter(folder)
        done = 0
        # As soon as it can be seen that there is much, others do the rest.
        while done < len(parts) and sorter.total * len(parts) <= group_by_trace.FEW * max(1, done):
            sorter.add(parts[done]())
            done += 1
            say(f"read {done} of {len(parts)} parts")
        if done == len(parts) and sorter.total <= group_by_trace.FEW:
            yield _Few(sorter)
            return
        sorter.write()
        with _side_by_side(count) as do:
            for links in do(_sort, ((folder.path, part) for part in parts[done:])):
                sorter.links.update(links)
                done += 1
                say(f"read {done} of {len(parts)} parts")
            yield _Many(do, folder.path, sorter.links.resolved(), count * _BATCHES, say)


def _sort(folder: Path, part: Part) -> Links:
    """Put a part of the store into the folder."""
    sorter = Sorter(Folder(folder))
    sorter.add(part())
    sorter.write()
    return sorter.links


# --- partitions into a measurement ---

_Partition = tuple[int, Aliases, Aliases]  # its number, and the aliases that leave it and that arrive


class _Few:
    """Spans in memory."""

    def __init__(self, sorter: Sorter) -> None:
        self._sorter = sorter

    def measure(self, measurement: Measurement) -> None:
        """Count all images in, once."""
        _measure(self._sorter.blocks(), self._sorter.links.resolved(), measurement)


class _Many:
    """Spans in the partitions of a folder."""

    def __init__(self, do: _Do, folder: Path, aliases: Aliases, batches: int, say: Callable[[str], None]) -> None:
        self._do, self._folder, self._say = do, folder, say
        leaving: dict[int, dict[str, str]] = {}
        arriving: dict[int, dict[str, str]] = {}
        for trace_id, other in aliases.items():
            leaving.setdefault(partition(trace_id), {})[trace_id] = other
            arriving.setdefault(partition(other), {})[trace_id] = other
        # First every trace that is read as part of another moves to where that is.
        for _ in do(_move, ((folder, number, moving) for number, moving in leaving.items())):
            pass
        self._batches: list[list[_Partition]] = [
            [
                (number, leaving.get(number, {}), arriving.get(number, {}))
                for number in range(first, PARTITIONS, batches)
            ]
            for first in range(batches)
        ]

    def each(self, function: Callable[..., Result], *arguments: Any) -> Iterator[Result]:
        """What a module's function makes of each batch of partitions, in the order in which they are done."""
        tasks = [(self._folder, batch, *arguments) for batch in self._batches]
        for done, found in enumerate(self._do(function, tasks), 1):
            yield found
            self._say(f"measured {100 * done // len(tasks)} %")


def _move(folder: Path, number: int, leaving: Aliases) -> None:
    for whats, traces in Folder(folder).blocks(number):
        moving: dict[int, Traces] = {}
        for trace_id, flat in traces.items():
            if (other := leaving.get(trace_id)) is not None and (to := partition(other)) != number:
                moving.setdefault(to, {})[trace_id] = flat
        for to, moved in moving.items():
            Folder(folder).append(to, moved, whats, "moved")


def _measure_batch(folder: Path, partitions: list[_Partition]) -> Measurement:
    measurement = Measurement()
    for _ in _measured_in_turn(folder, partitions, measurement):
        pass
    return measurement


def _sketch_batch(folder: Path, partitions: list[_Partition], clocks: Clocks | None) -> Sketches:
    sketches, measurement = Sketches(), Measurement()
    for _ in _measured_in_turn(folder, partitions, measurement):
        sketches.take(measurement, clocks)
    return sketches.close(measurement)


def _measured_in_turn(folder: Path, partitions: list[_Partition], measurement: Measurement) -> Iterator[None]:
    """Count in the images of some partitions; whenever it yields, the measurement may be emptied."""
    for number, leaving, arriving in partitions:
        gone = {trace_id for trace_id, other in leaving.items() if partition(other) != number}
        blocks = Folder(folder).blocks(number)
        if gone:
            blocks = (
                (whats, {one: flat for one, flat in traces.items() if one not in gone}) for whats, traces in blocks
            )
        if arriving:
            blocks = chain(blocks, Folder(folder).blocks(number, "moved"))
        for piece in Folder(folder).pieces(number, blocks, arriving):
            _measure(piece, arriving, measurement)
            yield


def _measure(blocks: Iterable[tuple[Whats, Traces]], aliases: Aliases, measurement: Measurement) -> None:
    """Search some traces, each together with those that are read as part of it, and count their images in."""
    linked: dict[str, list[tuple[str, Flat, Whats]]] = {}
    for whats, traces in blocks:
        for trace_id, flat in traces.items():
            linked.setdefault(aliases.get(trace_id, trace_id), []).append((trace_id, flat, whats))
    for together in linked.values():
        graph = SpanGraph(span for trace_id, flat, whats in together for span in spans_of(trace_id, flat, whats))
        paths, coverage = critical_paths(graph)
        measurement.account.merge(coverage)
        for path in paths:
            measurement.add(path)
