"""Reader of one trace file: JSON lines, JSON documents over several lines, or framed messages."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import orjson

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import decompression
from otel_kfs.traces.batch import chunks, trimmed
from otel_kfs.traces.decompression import CORRUPT
from otel_kfs.traces.formats import detect, other_formats, otlp_protobuf
from otel_kfs.traces.printable import excerpt
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import NOT_TRACES, ReadProgress, ReadWarnings, why_malformed

BOM = b"\xef\xbb\xbf"

BROKEN = "broken lines or messages passed over"
OTHER = "lines or messages passed over that are not traces"

_CUT = "files that end in the middle of a line or message, as if still being written; read up to there"
_OF_1970 = "lines or messages with times in {unit} where {due} belong, which become times in 1970"
# What the years 2001 to 2103 are in other units.
_OTHER_UNITS = {
    "seconds": range(10**9, 42 * 10**8),
    "milliseconds": range(10**12, 42 * 10**11),
    "microseconds": range(10**15, 42 * 10**14),
}
_UNITS = {1: "nanoseconds", 1000: "microseconds"}
_EXPORT = b'{"resourceSpans"'  # how a line of a traces file begins; within a string its quotes would be escaped
_BEGINNINGS = frozenset({b"{", b"["})
_INSIDE = {bytes([one]) for one in b'"{}[],:-0123456789tfn'}  # what a further line of a JSON document may begin with
_UNFINISHED = frozenset({b",", b"[", b":"})  # after these a value follows
_METER = 2**20  # bytes between two looks at how far a file is read
_SHOWN = 40  # characters of what is not JSON
_BUFFER = 2**20  # lines are long: put together from Python's 8 kB, they take five times as long to read


class File(NamedTuple):
    """A file's path, and its name in messages if that differs."""

    path: str
    name: str = ""

    def __str__(self) -> str:
        return excerpt(self.name or self.path)


@dataclass(slots=True)
class _Position:
    """Where the reader is; line numbers are counted only when a message needs one."""

    file: File
    begin: int  # byte of the file at which the reading began
    number: int = 0  # of the line or message, from there
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number + _line_ends_before(self.file.path, self.begin)}"


class _Lines:
    """Lines, with a look at the next one."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._ahead: bytes | None = None
        self.number = 0  # of the line that was read last

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line, self._ahead = self.peek(), None
        if not line:
            raise StopIteration
        self.number += 1
        return line

    def peek(self) -> bytes:
        """Return the next line, without consuming it; empty at the end."""
        if self._ahead is None:
            self._ahead = next(self._lines, b"")
        return self._ahead


def begins_document(before: bytes, line: bytes) -> bool:
    """Whether a new document begins in a line; `before` is the last line that was not blank.

    In JSON a brace or a bracket opens only after a comma, a colon or a bracket, or where a document begins.
    """
    ending, beginning = before.rstrip()[-1:], line.lstrip()[:1]
    if beginning in _BEGINNINGS:
        return bool(ending) and ending not in _UNFINISHED
    return not line or (bool(beginning) and beginning not in _INSIDE)


class FileReader:
    """Reads the bytes from `begin` to `end` of a file of any format as batches of spans."""

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
        is_alone: bool = True,
    ) -> None:
        """`wanted`: whether a line is read; `for_tables`: keep only the attributes that tables are made of.

        `is_alone`: no other file is read, so that it is an error if this one holds no traces.
        """
        self._file, self._warnings, self._progress = file, warnings, progress
        self._begin, self._end = begin, end
        self._wanted, self._for_tables, self._is_alone = wanted, for_tables, is_alone
        self._position = _Position(file, begin)
        self._has_read = False  # anything that is traces, or another signal of OpenTelemetry
        self._first_complaint: str | None = None

    def read(self) -> Iterator[list[Span]]:
        """Yield all spans; anything else is skipped and counted.

        Raises:
            TraceQueryError: the file can't be read, or has content, but no traces, and is alone.
        """
        try:
            raw: io.BufferedReader = io.BufferedReader(io.FileIO(self._file.path), _BUFFER)
            with raw:
                if decompression.is_framed(raw.peek(8)[:8]):
                    yield from self._messages(raw)
                else:
                    raw.seek(self._begin)
                    with decompression.decompressed(raw) as inside:
                        yield from self._unframed(inside, self._meter(raw))
        except EOFError:
            self._warnings.add(_CUT, self._file)
        except CORRUPT as error:
            raise TraceQueryError(f"{self._file} is damaged: {excerpt(str(error))}") from error
        except OSError as error:
            raise TraceQueryError(f"can't read {self._file}: {error.strerror or error}") from error
        is_all = self._is_alone and self._begin == 0 and self._end is None and self._wanted is None
        if self._first_complaint is not None and is_all and not self._has_read:
            raise TraceQueryError(self._first_complaint)

    def _unframed(self, inside: BinaryIO, meter: Callable[[int], None]) -> Iterator[list[Span]]:
        """Yield the spans of one message in protobuf, as an answer of Tempo's is saved, or of text."""
        if self._begin == 0 and otlp_protobuf.begins_like_traces(decompression.peeked(inside)):
            message = inside.read(decompression.longest() + 1)
            if len(message) > decompression.longest():
                raise TraceQueryError(f"{self._file}: {decompression.too_long('it')}")
            meter(len(message))
            if otlp_protobuf.is_traces(message):
                spans = otlp_protobuf.spans_of(message, self._warnings, self._position)
                yield from self._read(self._chunks(spans))
                return
            inside = io.BytesIO(message)
        yield from self._documents(_Lines(self._lines(inside, meter)))

    def _documents(self, lines: _Lines) -> Iterator[list[Span]]:
        for line in lines:
            self._position.number = lines.number
            if self._begin == 0 and lines.number == 1:
                line = line.removeprefix(BOM)  # noqa: PLW2901
            if line.isspace() or not line:
                continue
            if self._wanted is not None and not self._wanted(line) and detect.is_json(line):
                continue
            yield from self._document(line, lines)

    def _document(self, line: bytes, lines: _Lines) -> Iterator[list[Span]]:
        """Yield the spans of a line; if it is not JSON by itself, a document may begin in it."""
        if (read := self._with_types(line)) is not None:
            yield from self._read(*read)
            return
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            text = self._whole_document(line, lines)
            if text != line and (read := self._with_types(text)) is not None:
                yield from self._read(*read)
            else:
                yield from self._several(text, error, lines.peek())
        else:
            yield from self._spans(document)

    def _whole_document(self, line: bytes, lines: _Lines) -> bytes:
        """Return a line and those that follow, up to where another document begins."""
        if line.lstrip()[:1] not in _BEGINNINGS:
            return line
        text = bytearray(line)
        last = line  # that is not blank
        while (more := lines.peek()) and not begins_document(last, more):
            text += next(lines)
            last = last if more.isspace() else more
            if len(text) > decompression.longest():
                raise TraceQueryError(
                    f"{self._position}: not JSON; if the whole file is one document, {decompression.too_long('it')}"
                )
        return bytes(text)

    def _several(self, text: bytes, error: orjson.JSONDecodeError, ahead: bytes) -> Iterator[list[Span]]:
        """Yield the spans of a text that is not one JSON document: perhaps it is several, one after another.

        `ahead` is the line after it.
        """
        begin = self._position.number
        try:
            for document, line in detect.documents(text):
                self._position.number = begin + line - 1
                yield from self._spans(document)
        except detect.NotJson as no:
            self._position.number = begin + text.count(b"\n", 0, no.at)
            rest = text[no.at :]
            name = other_formats.name_of_text(rest + ahead[:_SHOWN])
            reason = no.reason or error.msg
            if rest.lstrip()[:1] not in _BEGINNINGS:
                reason = _beginning(rest)
            yield from self._broken(rest, name, reason, is_cut=no.is_cut and not ahead)

    def _broken(self, text: bytes, name: str | None, reason: str, *, is_cut: bool) -> Iterator[list[Span]]:
        """Count a text that is not JSON; yield the spans of complete documents within it.

        They follow what a writer left incomplete when it was stopped: on the same line, or on lines of their own.
        """
        swallowed = text.rfind(_EXPORT, 1)
        is_cut = is_cut and (b"\n" in text.strip() or b"\n" not in text)  # a line with its end is broken
        if text[:1] in _BEGINNINGS and is_cut and swallowed < 0 and name is None:
            self._warnings.add(_CUT, self._position)
            return
        self._complain(BROKEN, f"not traces, but {name}" if name else f"not JSON ({excerpt(reason)})")
        begin = self._position.number
        for number, line in enumerate(io.BytesIO(text)):
            self._position.number = begin + number
            last = line.rfind(_EXPORT)
            for at in ([0] if number else []) + ([last] if last > 0 else []):
                document = detect.parsed(line[at:].rstrip(b", \t\r\n"))
                if detect.is_known(document):
                    yield from self._spans(document)
                    break

    def _messages(self, raw: BinaryIO) -> Iterator[list[Span]]:
        self._position.unit = "message"
        for packed in decompression.messages(raw):
            self._position.number += 1
            try:
                message = decompression.inflated(packed)
            except (EOFError, *CORRUPT) as error:
                self._complain(BROKEN, f"damaged ({excerpt(str(error))})")
                continue
            if message[:1] in _BEGINNINGS:
                yield from self._document(message, _Lines(iter(())))
                continue
            try:
                spans = otlp_protobuf.spans_of(message, self._warnings, self._position)
            except ValueError as error:
                self._complain(BROKEN, f"neither JSON nor traces in protobuf ({excerpt(str(error))})")
            else:
                yield from self._read(self._chunks(spans))

    def _with_types(self, text: bytes) -> tuple[Iterator[list[Span]], int] | None:
        return detect.read_with_types(text, self._warnings, self._position) if self._for_tables else None

    def _spans(self, document: Any) -> Iterator[list[Span]]:
        """Yield the spans of a document, or of an array of such, each for itself."""
        if isinstance(document, list) and (detect.is_known(document) or not any(map(detect.is_known, document))):
            document = [document] if document else []
        for one in document if isinstance(document, list) else (document,):
            spans = detect.spans_of(one, self._warnings, self._position)
            yield from self._read(self._chunks(spans), detect.unit_of(one))

    def _read(self, batches: Iterable[list[Span]], unit: int = 1) -> Iterator[list[Span]]:
        """Yield batches up to where a document is malformed; `unit` is that of its times, ns."""
        try:
            for batch in batches:
                self._has_read = True
                self._look_at_times(batch, unit)
                yield batch
            self._has_read = True
        except detect.UnknownFormatError as error:
            self._complain(OTHER, f"{error}")
        except NOT_TRACES as error:
            self._complain(OTHER, f"JSON, but not traces ({excerpt(why_malformed(error))})")

    def _look_at_times(self, batch: list[Span], unit: int) -> None:
        earliest = min((span.start for span in batch), default=0) // unit
        for other, years in _OTHER_UNITS.items():
            if earliest in years and other != _UNITS[unit]:
                self._warnings.note(_OF_1970.format(unit=other, due=_UNITS[unit]), self._position)

    def _complain(self, what: str, reason: str) -> None:
        """Count what is skipped here; if the file has nothing else, this is its error."""
        complaint = f"{self._position}: {reason}"
        if self._warnings.strict:
            raise TraceQueryError(complaint)
        self._first_complaint = self._first_complaint or complaint
        self._warnings.add(what, self._position, reason)

    def _chunks(self, spans: Iterator[Span]) -> Iterator[list[Span]]:
        return chunks(map(trimmed, spans) if self._for_tables else spans)

    def _lines(self, inside: BinaryIO, meter: Callable[[int], None]) -> Iterator[bytes]:
        done = seen = number = 0
        longest = decompression.longest()
        while self._end is None or done < self._end - self._begin:
            try:
                line = inside.readline(longest + 1)
            except EOFError:
                self._warnings.add(_CUT, self._file)
                return
            if not line:
                return
            number += 1
            done += len(line)
            if len(line) > longest:
                self._position.number = number
                raise TraceQueryError(f"{self._position}: {decompression.too_long('the line')}")
            if done - seen > _METER:
                seen = done
                meter(done)
            yield line

    def _meter(self, raw: io.BufferedReader) -> Callable[[int], None]:
        """Return the function that is called with the number of decompressed bytes read so far."""
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


def _beginning(text: bytes) -> str:
    """Say how a text begins that is no JSON at all."""
    shown = text[:_SHOWN].decode("utf-8", "ignore")
    is_text = len(shown.encode()) > len(text[:_SHOWN]) - 4 and "\0" not in shown  # a character may be cut
    return f"it begins `{excerpt(shown.strip(), _SHOWN)}`" if is_text else "binary data"


def _line_ends_before(path: str, end: int) -> int:
    count = 0
    with open(path, "rb") as raw:
        while end > 0 and (chunk := raw.read(min(end, _METER))):
            count += chunk.count(b"\n")
            end -= len(chunk)
    return count
