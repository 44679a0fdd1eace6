"""Trace files: which ones a path means, and their spans, from OTLP-JSON lines to what Jaeger and Tempo let you save."""

from __future__ import annotations

import base64
import glob
import io
import logging
import os
import shutil
import stat
import sys
import tempfile
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import orjson

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import decompression
from otel_kfs.traces.batch import FULL, Batch
from otel_kfs.traces.decompression import CORRUPT, LONGEST
from otel_kfs.traces.formats import detect, otlp, otlp_protobuf
from otel_kfs.traces.query_url import STDIN, QueryUrl
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import NOT_TRACES, ReadProgress, ReadWarnings, printable

ENDINGS = tuple(f".{kind}{packed}" for packed in ("", ".gz", ".zst") for kind in ("json", "jsonl"))
PIECE = 16 * 2**20  # bytes of a plain file that are one part

_log = logging.getLogger(__name__)

_CUT = "files that end in the middle of a line or message, as if still being written; read up to there"
_FEW = 16  # ids for which a line is searched before it is parsed
_METER = 2**20  # bytes between two looks at how far a file is read
_BUFFER = 2**20  # lines are long: put together from Python's 8 kB, they take five times as long to read
_BOM = b"\xef\xbb\xbf"
_NO_SUCH = (
    "give a path of OTLP-JSON traces, - for standard input, jaeger:URL or tempo:URL (see `otel-kfs tables --help`)"
)


def opened(location: QueryUrl, progress: ReadProgress) -> Files:
    """The files of a query that is a path, a pattern, or `-`."""
    location.only(common={"run"})
    if location.place == STDIN:
        return _spooled(sys.stdin.buffer, "standard input", progress)
    try:
        path = Path(location.place)
        if path.exists() and stat.S_ISFIFO(path.stat().st_mode):
            with path.open("rb") as pipe:
                return _spooled(pipe, location.place, progress)
        files = _files(location.place)
        if _log.isEnabledFor(logging.INFO):
            for file in files:
                _log.info("reading %s, %d bytes", printable(str(file)), file.stat().st_size)
        return Files([_File(str(path)) for path in files], progress)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TraceQueryError(f"can't read {printable(location.place)}: {reason}") from error


class _File(NamedTuple):
    """A file, and its name in messages if that is another one."""

    path: str
    name: str = ""

    def __str__(self) -> str:
        return printable(self.name or self.path)


@dataclass(slots=True)
class _Place:
    """Where the reader is; the line's number is counted only if somebody asks."""

    file: _File
    begin: int  # byte of the file at which the reading began
    number: int = 0  # of the line or message, from there

    def __str__(self) -> str:
        return f"{self.file}, line {self.number + _line_ends_before(self.file.path, self.begin)}"


class Files:
    """The spans in some files."""

    def __init__(self, files: list[_File], progress: ReadProgress | None = None) -> None:
        self._files, self._progress = files, progress or ReadProgress()

    def spans(self) -> Iterator[Span]:
        """All spans, in the files' order."""
        return self._read_all(None)

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """The spans of these traces alone."""
        wanted = set(ids)
        return (span for span in self._read_all(_may_hold(wanted)) if span.trace_id in wanted)

    def link(self, trace_id: str) -> str | None:  # noqa: ARG002 - the other stores need it
        """None: there is nothing to open."""
        return None

    def parts(self) -> list[Callable[[], Iterator[Batch]]]:
        """Byte ranges of plain files of JSON lines, cut at line ends; any other file is one piece."""
        return [partial(self._part, file, begin, end) for file in self._files for begin, end in _ranges(file)]

    def _read_all(self, wanted: Callable[[bytes], bool] | None) -> Iterator[Span]:
        remarks = ReadWarnings()
        for file in self._files:
            yield from chain.from_iterable(_read(file, 0, None, remarks, wanted, self._progress))
        remarks.say()

    def _part(self, file: _File, begin: int, end: int | None) -> Iterator[Batch]:
        remarks, batch = ReadWarnings(), Batch()

        def take(line: bytes) -> bool:
            return otlp.read_line(line, batch)

        for spans in _read(file, begin, end, remarks, None, self._progress, take):
            for span in spans:
                batch.add(span)
            if batch.size >= FULL:
                yield batch
                batch = Batch()
        yield batch
        remarks.say()


# --- which files ---


def _files(query: str) -> list[Path]:
    path = Path(query)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.name.endswith(ENDINGS) and file.is_file())
        if not found:
            raise TraceQueryError(f"no trace files ({', '.join(ENDINGS)}) in the folder {printable(query)}")
        return found
    if path.exists():
        raise TraceQueryError(f"{printable(query)} is neither a file nor a folder")
    if glob.has_magic(query):
        found = sorted(Path(match) for match in glob.glob(query, recursive=True) if Path(match).is_file())
        if not found:
            raise TraceQueryError(
                f"no file matches {printable(query)}; quote the pattern so that the shell leaves it alone"
            )
        return found
    raise TraceQueryError(f"no file or folder {printable(query)}; {_NO_SUCH}")


def _spooled(stream: BinaryIO, name: str, progress: ReadProgress) -> Files:
    """What comes from a stream, kept in a temporary file as long as the store is in use: it can be read again."""
    progress(f"reading {name}")
    _log.info("reading %s to its end", printable(name))
    # Not mkstemp: Ctrl-C between the file's making and its return would leave the file.
    path = os.path.join(tempfile.gettempdir(), f"otel-kfs-traces-{uuid.uuid4().hex}")
    try:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as copy:
            shutil.copyfileobj(stream, copy, _METER)
        store = Files([_File(path, name)], progress)
        # Also at the interpreter's end, and after Ctrl-C; a process that was forked from this one leaves it alone.
        weakref.finalize(store, _remove, path, os.getpid())
    except BaseException as error:
        Path(path).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise TraceQueryError(f"can't keep {printable(name)} in a temporary file: {error.strerror}") from error
        raise
    return store


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:
        Path(path).unlink(missing_ok=True)


# --- what is in them ---


def _read(
    file: _File,
    begin: int,
    end: int | None,
    remarks: ReadWarnings,
    wanted: Callable[[bytes], bool] | None,
    progress: ReadProgress,
    take: Callable[[bytes], bool] | None = None,
) -> Iterator[tuple[Span, ...]]:
    """The spans of the bytes from `begin` to `end` of a file, whatever its format, without the lines not wanted.

    What is to take whole lines, if it can, has taken one wherever there is an empty tuple.

    Raises:
        TraceQueryError: the file can't be read, or something in it is neither JSON nor traces; it names file and line.
    """
    place = _Place(file, begin)
    try:
        raw: io.BufferedReader = io.BufferedReader(io.FileIO(file.path), _BUFFER)
        with raw:
            if decompression.is_framed(raw.peek(8)[:8]):
                yield from _messages(raw, place, remarks)
                return
            raw.seek(begin)
            with decompression.decompressed(raw) as inside:
                lines = _lines(inside, end and end - begin, place, _meter(raw, file, progress))
                yield from _spans(lines, place, remarks, wanted, take)
    except EOFError:
        remarks.add(_CUT, file)
    except CORRUPT as error:
        raise TraceQueryError(f"{file} is damaged: {printable(str(error))}") from error
    except OSError as error:
        raise TraceQueryError(f"can't read {file}: {error.strerror or error}") from error


def _spans(
    lines: Iterator[bytes],
    place: _Place,
    remarks: ReadWarnings,
    wanted: Callable[[bytes], bool] | None,
    take: Callable[[bytes], bool] | None,
) -> Iterator[tuple[Span, ...]]:
    first = place.begin == 0
    for line in lines:
        if first:
            line = line.removeprefix(_BOM)  # noqa: PLW2901
        if line.isspace() or not line:
            continue
        if wanted is not None and not wanted(line) and line.endswith(b"\n") and not first:
            continue
        if take is not None and take(line):
            yield ()
            first = False
            continue
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            begin = place.number
            if first:
                # Not JSON lines, then: one document over many lines, or several.
                line = _rest(line, lines, place)  # noqa: PLW2901
            yield from _several(line, begin, error, place, remarks)
        else:
            with _complaints(place):
                yield from zip(detect.spans_of(document, remarks, place))
        first = False


def _several(
    text: bytes, begin: int, error: orjson.JSONDecodeError, place: _Place, remarks: ReadWarnings
) -> Iterator[tuple[Span]]:
    """The spans of what is no JSON document, and begins in line `begin`: perhaps it is several."""
    try:
        for document, line in detect.documents(text):
            place.number = begin + line - 1
            with _complaints(place):
                yield from zip(detect.spans_of(document, remarks, place))
    except detect.NotJson as no:
        rest = text[no.at :]
        place.number = begin + text.count(b"\n", 0, no.at)
        if rest.startswith((b"{", b"[")) and b"\n" not in rest:
            remarks.add(_CUT, place)
            return
        raise TraceQueryError(
            f"{place}: not JSON ({printable(no.reason or error.msg)}); if its writer was stopped in mid-line, remove "
            "that line"
        ) from error


def _messages(raw: BinaryIO, place: _Place, remarks: ReadWarnings) -> Iterator[tuple[Span]]:
    for message in decompression.messages(raw):
        place.number += 1
        with _complaints(place):
            if message[:1] in {b"{", b"["}:
                yield from zip(detect.spans_of(orjson.loads(message), remarks, place))
            else:
                yield from zip(otlp_protobuf.spans_of(message, remarks, place))


@contextmanager
def _complaints(place: _Place) -> Iterator[None]:
    try:
        yield
    except NOT_TRACES as error:
        raise TraceQueryError(
            f"{place}: JSON, but not traces ({printable(f'{type(error).__name__}: {error}')})"
        ) from error


def _lines(inside: BinaryIO, length: int | None, place: _Place, meter: Callable[[int], None]) -> Iterator[bytes]:
    """The lines of the next `length` bytes, or of all."""
    done = seen = 0
    while length is None or done < length:
        line = inside.readline(LONGEST + 1)
        if not line:
            return
        place.number += 1
        done += len(line)
        if len(line) > LONGEST:
            raise TraceQueryError(f"{place}: {decompression.too_long('the line')}")
        if done - seen > _METER:
            seen = done
            meter(done)
        yield line


def _rest(line: bytes, lines: Iterator[bytes], place: _Place) -> bytes:
    text = bytearray(line)
    number = place.number
    for more in lines:
        text += more
        if len(text) > LONGEST:
            place.number = number
            raise TraceQueryError(
                f"{place}: not JSON; if the whole file is one document, {decompression.too_long('it')}"
            )
    return bytes(text)


def _meter(raw: io.BufferedReader, file: _File, progress: ReadProgress) -> Callable[[int], None]:
    """What to call with the bytes that were read, decompressed."""
    size = max(1, os.fstat(raw.fileno()).st_size)
    origin = raw.tell()

    def look(inside: int) -> None:
        at = raw.tell()
        try:
            decompression.check_density(inside, at - origin)
        except TraceQueryError as error:
            raise TraceQueryError(f"{file}: {error}") from error
        progress(f"reading {file}: {100 * at // size} %")

    return look


def _may_hold(ids: set[str]) -> Callable[[bytes], bool]:
    """Whether a line may have spans of these traces: a quick look for their ids in all spellings."""
    if len(ids) > _FEW or not all(len(one) == 32 and set(one) <= set("0123456789abcdef") for one in ids):
        return lambda _: True
    spellings = []
    for one in ids:
        short = one.lstrip("0") or "0"
        spellings += [short.encode(), short.upper().encode(), base64.b64encode(bytes.fromhex(one))]
    return lambda line: any(spelling in line for spelling in spellings)


# --- parts of a file ---


def _ranges(file: _File) -> Iterator[tuple[int, int | None]]:
    """Where the parts of a file begin and end."""
    try:
        size = os.path.getsize(file.path)
        if size <= PIECE:
            yield 0, None
            return
        with open(file.path, "rb") as raw:
            head = raw.peek(8)[:8]
            if (
                decompression.is_compressed(head)
                or decompression.is_framed(head)
                or not _is_json(raw.readline(LONGEST))
            ):
                yield 0, None
                return
            begin = 0
            while begin + PIECE < size:
                raw.seek(begin + PIECE)
                raw.readline(LONGEST)
                yield begin, (end := raw.tell())
                begin = end
            yield begin, None
    except OSError as error:
        raise TraceQueryError(f"can't read {file}: {error.strerror}") from error


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line.removeprefix(_BOM), type=msgspec.Raw)  # which makes nothing of it
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _line_ends_before(path: str, end: int) -> int:
    count = 0
    with open(path, "rb") as raw:
        while end > 0 and (chunk := raw.read(min(end, _METER))):
            count += chunk.count(b"\n")
            end -= len(chunk)
    return count
