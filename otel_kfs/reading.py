"""From a trace store to a Measurement, as a stream: however many traces there are, few are in memory at a time.

The spans of one trace lie far apart (a file a process, a batch a second), so they are sorted first: into partitions by
their trace's id, in temporary files if there are many. Then one partition after the other is measured. Where there is
much to read, processes side by side do both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

from otel_kfs import sorting
from otel_kfs.alike import Ways
from otel_kfs.measurement import Measurement
from otel_kfs.segments import Journey, Segment
from otel_kfs.sorting import PARTITIONS, Aliases, Folder, Links, Sorter, partition
from otel_kfs.traces.batch import Batch, Traces, batched
from otel_kfs.traces.finished import Finished, Finishing
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import TraceStore
from otel_kfs.workers import Workers

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
    say = progress or (lambda _: None)
    count = _cores() if processes is None else max(1, processes)
    measurement = Measurement()
    if isinstance(store, Finishing):
        parts: list[Part] = [partial(batched, partial(_finishing, store, measurement))]
    else:
        parts = store.parts()
    with Folder() as folder:
        sorter = Sorter(folder)
        done = 0
        # As soon as it can be seen that there is much, others do the rest.
        while done < len(parts) and sorter.total * len(parts) <= sorting.FEW * max(1, done):
            sorter.add(parts[done]())
            done += 1
            say(f"read {done} of {len(parts)} parts")
        if done == len(parts) and sorter.total <= sorting.FEW:
            Ways(measurement).measure(sorter.blocks(), sorter.links.resolved())
        else:
            sorter.write()
            with _side_by_side(count) as do:
                for links in do(_sort, ((folder.path, part) for part in parts[done:])):
                    sorter.links.update(links)
                    done += 1
                    say(f"read {done} of {len(parts)} parts")
                _measure_partitions(do, folder.path, sorter.links.resolved(), count * _BATCHES, measurement, say)
    measurement.sort()
    return measurement


def _finishing(store: Finishing, measurement: Measurement) -> Iterator[Span]:
    """Count in what the store has finished itself; gives the spans of what it has not."""
    for found in store.finished():
        if isinstance(found, Span):
            yield found
        elif isinstance(found, Finished):
            way = found._replace(segments=tuple(Segment(*one) for one in found.segments))
            measurement.add(Journey(**way._asdict()))
            measurement.account.measured += 1
        else:
            measurement.account.left_out[found.reason] += 1


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


def _sort(folder: Path, part: Part) -> Links:
    """Put a part of the store into the folder."""
    sorter = Sorter(Folder(folder))
    sorter.add(part())
    sorter.write()
    return sorter.links


# --- partitions into a measurement ---


def _measure_partitions(
    do: _Do, folder: Path, aliases: Aliases, batches: int, measurement: Measurement, say: Callable[[str], None]
) -> None:
    """Measure what is in the folder, in as many pieces of work."""
    leaving: dict[int, dict[str, str]] = {}
    arriving: dict[int, dict[str, str]] = {}
    for trace_id, other in aliases.items():
        leaving.setdefault(partition(trace_id), {})[trace_id] = other
        arriving.setdefault(partition(other), {})[trace_id] = other
    # First every trace that is read as part of another moves to where that is.
    for _ in do(_move, ((folder, number, moving) for number, moving in leaving.items())):
        pass
    tasks = []
    for first in range(batches):
        numbers = range(first, PARTITIONS, batches)
        tasks.append((folder, [(number, leaving.get(number, {}), arriving.get(number, {})) for number in numbers]))
    for done, found in enumerate(do(_measure_batch, tasks), 1):
        measurement.merge(found)
        say(f"measured {100 * done // len(tasks)} %")


def _move(folder: Path, number: int, leaving: Aliases) -> None:
    for whats, traces in Folder(folder).blocks(number):
        moving: dict[int, Traces] = {}
        for trace_id, flat in traces.items():
            if (other := leaving.get(trace_id)) is not None and (to := partition(other)) != number:
                moving.setdefault(to, {})[trace_id] = flat
        for to, moved in moving.items():
            Folder(folder).append(to, moved, whats, "moved")


def _measure_batch(folder: Path, partitions: list[tuple[int, Aliases, Aliases]]) -> Measurement:
    measurement = Measurement()
    ways = Ways(measurement)
    for number, leaving, arriving in partitions:
        gone = {trace_id for trace_id, other in leaving.items() if partition(other) != number}
        blocks = Folder(folder).blocks(number)
        if gone:
            blocks = (
                (whats, {one: flat for one, flat in traces.items() if one not in gone}) for whats, traces in blocks
            )
        if arriving:
            blocks = chain(blocks, Folder(folder).blocks(number, "moved"))
        ways.measure(blocks, arriving)
    return measurement
