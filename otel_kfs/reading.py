"""From a trace store to a Measurement, as a stream: however many traces there are, few are in memory at a time.

The spans of one trace lie far apart (a file a process, a batch a second), so they are sorted first: into partitions by
their trace's id, in temporary files if there are many. Then one partition after the other is measured. Where there is
much to read, processes side by side do both.
"""

from __future__ import annotations

import marshal
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

from otel_kfs import names
from otel_kfs.errors import OtelKfsError
from otel_kfs.measurement import Measurement
from otel_kfs.segments import ATTRIBUTES, Journey, Segment, journeys
from otel_kfs.traces.finished import Finished, Finishing
from otel_kfs.traces.span import Forest, Kind, Span
from otel_kfs.traces.store import TraceStore
from otel_kfs.workers import Workers

FEW = 50_000  # spans that are kept in memory, and measured by this process alone

_PARTITIONS = 256
_BATCHES = 8  # pieces of work that the partitions are, for each process
_KINDS = tuple(Kind)
_PLAIN = frozenset({str, int, float, bool})

Row = tuple[Any, ...]  # a Span as `marshal` writes it: Span's fields up to `links`
Aliases = Mapping[str, str]  # a trace that is to be read as part of another, and that other
Part = Callable[[], Iterator[Span]]
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
    parts: list[Part] = [lambda: _finishing(store, measurement)] if isinstance(store, Finishing) else store.parts()
    with _Folder() as folder:
        sorter = _Sorter(folder)
        done = 0
        while done < len(parts) and sorter.total <= FEW:
            sorter.add(parts[done]())
            done += 1
            say(f"read {done} of {len(parts)} parts")
        if sorter.total <= FEW:
            _measure(sorter.rows(), sorter.links.resolved(), measurement)
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


class _Links:
    """Which traces are read as one: a consumer's own trace is part of that of what it links to."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def join(self, trace_id: str, other: str) -> None:
        one, two = self._top(trace_id), self._top(other)
        if one != two:
            self._above[one] = two

    def update(self, other: _Links) -> None:
        for trace_id, above in other._above.items():
            self.join(trace_id, above)

    def resolved(self) -> dict[str, str]:
        return {trace_id: self._top(trace_id) for trace_id in self._above}

    def _top(self, trace_id: str) -> str:
        path = []
        while (above := self._above.get(trace_id)) is not None:
            path.append(trace_id)
            trace_id = above
        for passed in path:
            self._above[passed] = trace_id
        return trace_id


class _Sorter:
    """Spans by partition: in memory, and from FEW on in the folder."""

    def __init__(self, folder: _Folder) -> None:
        self._folder = folder
        self._partitions: list[list[Row]] = [[] for _ in range(_PARTITIONS)]
        self._in_memory = 0
        self._written = 0
        self.links = _Links()

    @property
    def total(self) -> int:
        """Spans that were added."""
        return self._in_memory + self._written

    def add(self, spans: Iterable[Span]) -> None:
        """Take spans in."""
        partitions, crc32, consumer = self._partitions, zlib.crc32, Kind.CONSUMER
        texts: dict[str, str] = {}  # one object for each of the few names, which `marshal` then writes once
        for span in spans:
            trace_id = span.trace_id
            row = (
                trace_id,
                span.span_id,
                span.parent_id,
                texts.setdefault(span.name, span.name),
                int(span.kind),
                span.start,
                span.end,
                span.service,
                span.host,
                span.failed,
                {key: value for key, value in span.attributes.items() if key in ATTRIBUTES and type(value) in _PLAIN},
                span.links,
            )
            partitions[crc32(trace_id.encode("ascii", "replace")) % _PARTITIONS].append(row)
            if span.kind is consumer and span.parent_id is None:
                for linked in filter(None, span.linked_traces):
                    self.links.join(trace_id, linked)
            self._in_memory += 1
            if self._in_memory > FEW:
                self.write()
                texts.clear()

    def rows(self) -> Iterator[Row]:
        """The spans that are in memory."""
        for rows in self._partitions:
            yield from rows

    def write(self) -> None:
        """Put what is in memory into the folder."""
        for number, rows in enumerate(self._partitions):
            if rows:
                _append(self._folder.path, number, rows)
                rows.clear()
        self._written += self._in_memory
        self._in_memory = 0


def _partition(trace_id: str) -> int:
    return zlib.crc32(trace_id.encode("ascii", "replace")) % _PARTITIONS


def _sort(folder: Path, part: Part) -> _Links:
    """Put a part of the store into the folder."""
    sorter = _Sorter(_Folder(folder))
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
        leaving.setdefault(_partition(trace_id), {})[trace_id] = other
        arriving.setdefault(_partition(other), {})[trace_id] = other
    # First every trace that is read as part of another moves to where that is.
    for _ in do(_move, ((folder, number, moving) for number, moving in leaving.items())):
        pass
    tasks = []
    for first in range(batches):
        numbers = range(first, _PARTITIONS, batches)
        tasks.append((folder, [(number, leaving.get(number, {}), arriving.get(number, {})) for number in numbers]))
    for done, found in enumerate(do(_measure_batch, tasks), 1):
        measurement.merge(found)
        say(f"measured {100 * done // len(tasks)} %")


def _move(folder: Path, number: int, leaving: Aliases) -> None:
    moving: dict[int, list[Row]] = {}
    for row in _rows(folder, number):
        if (other := leaving.get(row[0])) is not None and (to := _partition(other)) != number:
            moving.setdefault(to, []).append(row)
    for to, rows in moving.items():
        _append(folder, to, rows, "moved")


def _measure_batch(folder: Path, partitions: list[tuple[int, Aliases, Aliases]]) -> Measurement:
    measurement = Measurement()
    for number, leaving, arriving in partitions:
        rows = _rows(folder, number)
        if leaving:
            gone = {trace_id for trace_id, other in leaving.items() if _partition(other) != number}
            rows = (row for row in rows if row[0] not in gone)
        if arriving:
            rows = chain(rows, _rows(folder, number, "moved"))
        _measure(rows, arriving, measurement)
    return measurement


def _measure(rows: Iterable[Row], aliases: Aliases, measurement: Measurement) -> None:
    """Count the images of some rows in; an alias's rows are among those of its other trace."""
    traces: dict[str, list[Row]] = {}
    for row in rows:
        trace_id = row[0]
        traces.setdefault(aliases.get(trace_id, trace_id) if aliases else trace_id, []).append(row)
    for trace in traces.values():
        if any(row[3] in _NEEDED for row in trace):
            found, account = journeys(Forest([_span(row) for row in trace]))
            measurement.account.merge(account)
            for journey in found:
                measurement.add(journey)


_NEEDED = frozenset({names.SEND_IMAGE, names.PREPROCESS})  # a trace that has neither is of no image


def _span(row: Row) -> Span:
    trace_id, span_id, parent_id, name, kind, start, end, service, host, failed, attributes, links = row
    return Span(trace_id, span_id, parent_id, name, _KINDS[kind], start, end, service, host, failed, attributes, links)


# --- temporary files ---


class _Folder:
    """A private folder for temporary files, made when it is needed and removed when the work ends, however it ends."""

    def __init__(self, path: Path | None = None) -> None:
        """`path`: a folder that another process has made, and will remove."""
        if path is not None:
            self.path = path

    @cached_property
    def path(self) -> Path:
        """Where it is."""
        with _room():
            return Path(tempfile.mkdtemp(prefix="otel-kfs-"))

    def __enter__(self) -> _Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "path" in self.__dict__:
            shutil.rmtree(self.path, ignore_errors=True)


def _append(folder: Path, number: int, rows: list[Row], what: str = "spans") -> None:
    """Add rows to a partition's file, of which each process has its own."""
    block = marshal.dumps(rows)
    with _room():
        of_partition = folder / f"{number}-{what}"
        of_partition.mkdir(exist_ok=True)
        with (of_partition / str(os.getpid())).open("ab") as file:
            file.write(len(block).to_bytes(8, "little") + block)


def _rows(folder: Path, number: int, what: str = "spans") -> Iterator[Row]:
    with _room():
        for path in sorted((folder / f"{number}-{what}").glob("*")):
            with path.open("rb") as file:
                while length := file.read(8):
                    yield from marshal.loads(file.read(int.from_bytes(length, "little")))  # noqa: S302 - our own


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OtelKfsError(
            f"can't keep spans in temporary files: {error.strerror or error}; TMPDIR names a folder with more room"
        ) from error
