"""Batches of spans by partitions of trace ids: in memory, or in temporary files if there are many."""

from __future__ import annotations

import marshal
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType

from otel_kfs.errors import OtelKfsError
from otel_kfs.traces.batch import FIELDS, Batch, Traces, Whats

FEW = 50_000  # spans that are kept in memory
PARTITIONS = 64
PIECE = 8 * 2**20  # bytes of a partition that are read at a time, some 32,000 spans

Aliases = Mapping[str, str]  # a trace that is to be read as part of another, and that other


def partition(trace_id: str) -> int:
    """The number of a trace's partition."""
    return zlib.crc32(trace_id.encode("ascii", "replace")) % PARTITIONS


def _piece(trace_id: str, count: int) -> int:
    """The number of a trace's piece in its partition."""
    return zlib.crc32(trace_id.encode("ascii", "replace")) // PARTITIONS % count


class Links:
    """Which traces are read as one: a consumer's own trace is part of that of what it links to."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def join(self, pairs: Iterable[tuple[str, str]]) -> None:
        """The two of each pair are one."""
        for trace_id, other in pairs:
            one, two = self._top(trace_id), self._top(other)
            if one != two:
                self._above[one] = two

    def update(self, other: Links) -> None:
        """Join what another has joined."""
        self.join(other._above.items())

    def resolved(self) -> dict[str, str]:
        """For each trace that is part of another, that other, which is part of none."""
        return {trace_id: self._top(trace_id) for trace_id in self._above}

    def _top(self, trace_id: str) -> str:
        path = []
        while (above := self._above.get(trace_id)) is not None:
            path.append(trace_id)
            trace_id = above
        for passed in path:
            self._above[passed] = trace_id
        return trace_id


class Sorter:
    """Takes batches in; has them in memory, and from FEW spans on in the folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._batches: list[Batch] = []
        self.total = 0  # spans that were added
        self._in_memory = 0
        self.links = Links()

    def add(self, batches: Iterable[Batch]) -> None:
        """Take spans in."""
        for batch in batches:
            self.links.join(batch.linked)
            self._batches.append(batch)
            self._in_memory += batch.size
            self.total += batch.size
            if self._in_memory > FEW:
                self.write()

    def blocks(self) -> list[tuple[Whats, Traces]]:
        """What is in memory."""
        return [(batch.whats, batch.traces) for batch in self._batches]

    def write(self) -> None:
        """Put what is in memory into the folder."""
        for whats, traces in self.blocks():
            parts: list[Traces] = [{} for _ in range(PARTITIONS)]
            for trace_id, flat in traces.items():
                parts[partition(trace_id)][trace_id] = flat
            for number, part in enumerate(parts):
                if part:
                    self._folder.append(number, part, whats)
        self._batches.clear()
        self._in_memory = 0


class Folder:
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

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "path" in self.__dict__:
            shutil.rmtree(self.path, ignore_errors=True)

    def append(self, number: int, traces: Traces, whats: Whats, what: str = "spans") -> None:
        """Add traces to a partition's file, of which each process has its own."""
        used = set().union(*[flat[4::FIELDS] for flat in traces.values()])
        block = marshal.dumps(({number: whats[number] for number in used}, traces), 2)
        with _room():
            of_partition = self.path / f"{number}-{what}"
            of_partition.mkdir(exist_ok=True)
            with (of_partition / str(os.getpid())).open("ab") as file:
                file.write(len(block).to_bytes(8, "little") + block)

    def blocks(self, number: int, what: str = "spans") -> Iterator[tuple[Whats, Traces]]:
        """What was added to a partition."""
        with _room():
            for path in sorted((self.path / f"{number}-{what}").glob("*")):
                with path.open("rb") as file:
                    while length := file.read(8):
                        yield marshal.loads(file.read(int.from_bytes(length, "little")))  # noqa: S302 - our own

    def pieces(
        self, number: int, blocks: Iterable[tuple[Whats, Traces]], aliases: Aliases
    ) -> Iterator[Iterable[tuple[Whats, Traces]]]:
        """What of a partition is to be read, in pieces that fit into memory, each with all spans of its traces.

        A trace is in one piece with those that are read as part of it.
        """
        with _room():
            size = sum(path.stat().st_size for path in self.path.glob(f"{number}-*/*"))
        count = -(-size // PIECE)
        if count <= 1:
            yield blocks
            return
        for whats, traces in blocks:
            of_piece: dict[int, Traces] = {}
            for trace_id, flat in traces.items():
                of_piece.setdefault(_piece(aliases.get(trace_id, trace_id), count), {})[trace_id] = flat
            for piece, part in of_piece.items():
                self.append(number, part, whats, f"piece {piece}")
        for piece in range(count):
            yield self.blocks(number, f"piece {piece}")
            shutil.rmtree(self.path / f"{number}-piece {piece}", ignore_errors=True)


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OtelKfsError(
            f"can't keep spans in temporary files: {error.strerror or error}; TMPDIR names a folder with more room"
        ) from error
