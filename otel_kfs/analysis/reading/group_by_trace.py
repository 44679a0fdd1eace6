"""Spans grouped by trace in an SQLite table: in memory, or in a temporary file if there are many."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType

import msgspec

from otel_kfs.errors import OtelKfsError
from otel_kfs.traces.span import Span

FEW = 50_000  # spans that are kept in memory
PARTITIONS = 64

_WRITTEN_TOGETHER = 20_000  # spans
_LOCK_TIMEOUT = 3600.0  # seconds to wait for other processes that write
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(list[Span]).decode


class Links:
    """Which traces belong together (a union-find): a consumer's own trace is part of those of what it links to."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def join(self, trace_id: str, other: str) -> None:
        """Put two traces together."""
        one, two = self._top(trace_id), self._top(other)
        if one != two:
            self._above[one] = two

    def update(self, other: Links) -> None:
        """Put together what another has put together."""
        for pair in other._above.items():
            self.join(*pair)

    def resolved(self) -> dict[str, str]:
        """Return, for each trace that is part of another, the trace at the top, which is part of none."""
        return {trace_id: self._top(trace_id) for trace_id in self._above}

    def _top(self, trace_id: str) -> str:
        path = []
        while (above := self._above.get(trace_id)) is not None:
            path.append(trace_id)
            trace_id = above
        for passed in path:
            self._above[passed] = trace_id
        return trace_id


class SpanTable:
    """Takes spans and gives them back trace by trace; linked traces come as one.

    Several processes may add to a table in a file and, once all spans are there, read its partitions.
    """

    def __init__(self, path: Path | None = None) -> None:
        """`path`: the file of a table that another process created, and will remove."""
        self.path = path
        self.links = Links()
        self.total = 0  # spans that were added
        self._waiting: dict[str, list[Span]] = defaultdict(list)
        self._folder: str | None = None
        self._database = _connected(path)
        if path is None:
            self._database.execute("CREATE TABLE spans (trace_id TEXT, partition INTEGER, spans BLOB)")

    def __enter__(self) -> SpanTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, batches: Iterable[list[Span]]) -> None:
        """Add spans; once there are more than FEW, the table is in a file."""
        waiting = 0
        for batch in batches:
            for span in batch:
                self._waiting[span.trace_id].append(span)
                if span.linked_traces:
                    for other in span.part_of:
                        self.links.join(span.trace_id, other)
            self.total += len(batch)
            waiting += len(batch)
            if waiting >= _WRITTEN_TOGETHER:
                self._write()
                waiting = 0
        self._write()

    def move_to_file(self) -> Path:
        """Move the table to a file, which other processes may use from now on; return its path."""
        if self.path is not None:
            return self.path
        with _disk_errors():
            self._folder = tempfile.mkdtemp(prefix="otel-kfs-")
            self.path = Path(self._folder) / "spans.sqlite"
            database = _connected(self.path)
            self._database.backup(database)
            self._database.close()
            self._database = database
        return self.path

    def close(self, links: Links) -> None:
        """Join the linked traces, now that all spans are there."""
        with _disk_errors():
            self._database.execute("CREATE TEMPORARY TABLE joined (trace_id TEXT PRIMARY KEY, other TEXT, partition)")
            rows = ((trace_id, other, _partition(other)) for trace_id, other in links.resolved().items())
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT INTO joined VALUES (?, ?, ?)", rows)
            self._database.execute(
                "UPDATE spans SET (trace_id, partition) ="
                " (SELECT other, joined.partition FROM joined WHERE joined.trace_id = spans.trace_id)"
                " WHERE trace_id IN (SELECT trace_id FROM joined)"
            )
            self._database.execute("CREATE INDEX by_trace ON spans (partition, trace_id)")
            self._database.execute("COMMIT")

    def traces(self, partitions: Iterable[int] = range(PARTITIONS)) -> Iterator[list[Span]]:
        """Yield the spans of each trace, with those of the traces that it is linked to."""
        question = "SELECT trace_id, spans FROM spans WHERE partition = ? ORDER BY trace_id, rowid"
        for partition in partitions:
            with _disk_errors():
                for _, rows in groupby(self._database.execute(question, (partition,)), itemgetter(0)):
                    yield list(chain.from_iterable(_DECODE(spans) for _, spans in rows))

    def _write(self) -> None:
        if self.total > FEW:
            self.move_to_file()
        rows = [(trace_id, _partition(trace_id), _ENCODE(spans)) for trace_id, spans in self._waiting.items()]
        self._waiting.clear()
        with _disk_errors():
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT INTO spans VALUES (?, ?, ?)", rows)
            self._database.execute("COMMIT")


def _partition(trace_id: str) -> int:
    return zlib.crc32(trace_id.encode("ascii", "replace")) % PARTITIONS


def _connected(path: Path | None) -> sqlite3.Connection:
    with _disk_errors():
        database = sqlite3.connect(path or ":memory:", timeout=_LOCK_TIMEOUT, isolation_level=None)
        # The file is temporary: nothing has to survive a crash.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        return database


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise OtelKfsError(
            f"can't keep spans in temporary files: {reason}; TMPDIR names a folder with more room"
        ) from error
