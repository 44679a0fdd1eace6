"""What is in a trace file: its spans, whether it holds JSON lines, whole JSON documents or framed messages."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import orjson

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import decompression
from otel_kfs.traces.batch import chunks, trimmed
from otel_kfs.traces.decompression import CORRUPT
from otel_kfs.traces.formats import detect, otlp_protobuf
from otel_kfs.traces.printable import excerpt
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import NOT_TRACES, ReadProgress, ReadWarnings

BOM = b"\xef\xbb\xbf"

_CUT = "files that end in the middle of a line or message, as if still being written; read up to there"
_METER = 2**20  # bytes between two looks at how far a file is read
_BUFFER = 2**20  # lines are long: put together from Python's 8 kB, they take five times as long to read


class File(NamedTuple):
    """A file, and its name in messages if that is another one."""

    path: str
    name: str = ""

    def __str__(self) -> str:
        return excerpt(self.name or self.path)


@dataclass(slots=True)
class _Position:
    """Where the reader is; the line's number is counted only if somebody asks."""

    file: File
    begin: int  # byte of the file at which the reading began
    number: int = 0  # of the line or message, from there

    def __str__(self) -> str:
        return f"{self.file}, line {self.number + _line_ends_before(self.file.path, self.begin)}"


class FileReader:
    """Reads the bytes from `begin` to `end` of a file, whatever its format, as batches of spans."""

    def __init__(
        self,
        file: File,
        warnings: ReadWarnings,
        progress: ReadProgress,
        begin: int = 0,
        end: int | None = None,
        *,
        wanted: Callable[[bytes], bool] | None = None,
        for_tables: bool = False,
    ) -> None:
        """`wanted` says of a line whether it is read; `for_tables`: only the attributes that tables are made of."""
        self._file, self._warnings, self._progress = file, warnings, progress
        self._begin, self._end = begin, end
        self._wanted, self._for_tables = wanted, for_tables
        self._position = _Position(file, begin)

    def read(self) -> Iterator[list[Span]]:
        """Yield all spans.

        Raises:
            TraceQueryError: the file can't be read, or something in it is neither JSON nor traces; it names file and
                line.
        """
        try:
            raw: io.BufferedReader = io.BufferedReader(io.FileIO(self._file.path), _BUFFER)
            with raw:
                if decompression.is_framed(raw.peek(8)[:8]):
                    yield from self._messages(raw)
                    return
                raw.seek(self._begin)
                with decompression.decompressed(raw) as inside:
                    yield from self._documents(self._lines(inside, self._meter(raw)))
        except EOFError:
            self._warnings.add(_CUT, self._file)
        except CORRUPT as error:
            raise TraceQueryError(f"{self._file} is damaged: {excerpt(str(error))}") from error
        except OSError as error:
            raise TraceQueryError(f"can't read {self._file}: {error.strerror or error}") from error

    def _documents(self, lines: Iterator[bytes]) -> Iterator[list[Span]]:
        first = self._begin == 0
        for line in lines:
            if first:
                line = line.removeprefix(BOM)  # noqa: PLW2901
            if line.isspace() or not line:
                continue
            if self._wanted is not None and not self._wanted(line) and line.endswith(b"\n") and not first:
                continue
            yield from self._document(line, lines if first else iter(()))
            first = False

    def _document(self, line: bytes, further: Iterator[bytes]) -> Iterator[list[Span]]:
        """Yield the spans of a line; what is no JSON by itself may be the beginning of what follows."""
        if (batches := self._with_types(line)) is not None:
            with self._complaints():
                yield from batches
            return
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            begin = self._position.number
            text = self._rest(line, further)
            if text != line and (batches := self._with_types(text)) is not None:
                with self._complaints():
                    yield from batches
            else:
                yield from self._several(text, begin, error)
        else:
            yield from self._spans(document)

    def _several(self, text: bytes, begin: int, error: orjson.JSONDecodeError) -> Iterator[list[Span]]:
        """Yield the spans of what is no JSON document, and begins in line `begin`: perhaps it is several."""
        try:
            for document, line in detect.documents(text):
                self._position.number = begin + line - 1
                yield from self._spans(document)
        except detect.NotJson as no:
            rest = text[no.at :]
            self._position.number = begin + text.count(b"\n", 0, no.at)
            if rest.startswith((b"{", b"[")) and b"\n" not in rest:
                self._warnings.add(_CUT, self._position)
                return
            raise TraceQueryError(
                f"{self._position}: not JSON ({excerpt(no.reason or error.msg)}); if its writer was stopped in "
                "mid-line, remove that line"
            ) from error

    def _messages(self, raw: BinaryIO) -> Iterator[list[Span]]:
        for message in decompression.messages(raw):
            self._position.number += 1
            if message[:1] in {b"{", b"["}:
                yield from self._document(message, iter(()))
            else:
                with self._complaints():
                    yield from self._chunks(otlp_protobuf.spans_of(message, self._warnings, self._position))

    def _with_types(self, text: bytes) -> Iterator[list[Span]] | None:
        return detect.read_with_types(text, self._warnings, self._position) if self._for_tables else None

    def _spans(self, document: Any) -> Iterator[list[Span]]:
        with self._complaints():
            yield from self._chunks(detect.spans_of(document, self._warnings, self._position))

    def _chunks(self, spans: Iterator[Span]) -> Iterator[list[Span]]:
        return chunks(map(trimmed, spans) if self._for_tables else spans)

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        try:
            yield
        except NOT_TRACES as error:
            raise TraceQueryError(
                f"{self._position}: JSON, but not traces ({excerpt(f'{type(error).__name__}: {error}')})"
            ) from error

    def _lines(self, inside: BinaryIO, meter: Callable[[int], None]) -> Iterator[bytes]:
        done = seen = 0
        longest = decompression.longest()
        while self._end is None or done < self._end - self._begin:
            line = inside.readline(longest + 1)
            if not line:
                return
            self._position.number += 1
            done += len(line)
            if len(line) > longest:
                raise TraceQueryError(f"{self._position}: {decompression.too_long('the line')}")
            if done - seen > _METER:
                seen = done
                meter(done)
            yield line

    def _rest(self, line: bytes, lines: Iterator[bytes]) -> bytes:
        text = bytearray(line)
        number = self._position.number
        for more in lines:
            text += more
            if len(text) > decompression.longest():
                self._position.number = number
                raise TraceQueryError(
                    f"{self._position}: not JSON; if the whole file is one document, {decompression.too_long('it')}"
                )
        return bytes(text)

    def _meter(self, raw: io.BufferedReader) -> Callable[[int], None]:
        """Return what to call with the number of bytes that were read, decompressed."""
        size = max(1, os.fstat(raw.fileno()).st_size)
        origin = raw.tell()

        def look(inside: int) -> None:
            at = raw.tell()
            try:
                decompression.check_density(inside, at - origin)
            except TraceQueryError as error:
                raise TraceQueryError(f"{self._file}: {error}") from error
            self._progress(f"reading {self._file}: {100 * at // size} %")

        return look


def _line_ends_before(path: str, end: int) -> int:
    count = 0
    with open(path, "rb") as raw:
        while end > 0 and (chunk := raw.read(min(end, _METER))):
            count += chunk.count(b"\n")
            end -= len(chunk)
    return count
