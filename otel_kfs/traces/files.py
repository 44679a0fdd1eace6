"""Trace files: which files a path stands for, and their spans."""

from __future__ import annotations

import base64
import glob
import logging
import os
import shutil
import stat
import sys
import tempfile
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import decompression
from otel_kfs.traces.file_reader import BOM, File, FileReader, begins_document
from otel_kfs.traces.formats import detect, otlp_protobuf
from otel_kfs.traces.printable import excerpt
from otel_kfs.traces.query_url import STDIN, QueryUrl, misspelled_option
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import ReadProgress, ReadWarnings

EXTENSIONS = tuple(f".{kind}{packed}" for packed in ("", ".gz", ".zst") for kind in ("json", "jsonl"))
PART_SIZE = 16 * 2**20  # bytes of a plain file

_log = logging.getLogger(__name__)

_HEAD = 4096  # bytes that tell what a file is
_OF_A_RUN = "traces"  # in a run's folder; its logs and results lie beside it
_FEW = 16  # ids for which a line is searched before it is parsed
_COPIED = 2**20  # bytes of a stream that are copied at a time
_NO_SUCH = (
    "give a file, a folder or a pattern, - for standard input, jaeger:URL, tempo:URL or clickhouse:URL "
    "(see `otel-kfs tables --help`)"
)


def from_query(query_url: QueryUrl, progress: ReadProgress) -> Files:
    """Return the files of a query: a path, a pattern, or `-`."""
    options = query_url.only(common={"run", "server", "stamps", "strict"}).single()
    strict = _is_on("strict", options.get("strict", "0"))
    if query_url.place == STDIN:
        return _spooled(sys.stdin.buffer, "standard input", progress, strict=strict)
    try:
        path = Path(query_url.place)
        if path.exists() and stat.S_ISFIFO(path.stat().st_mode):
            with path.open("rb") as pipe:
                return _spooled(pipe, query_url.place, progress, strict=strict)
        files = _files(query_url.place, strict=strict)
        if _log.isEnabledFor(logging.INFO):
            for file in files:
                _log.info("reading %s, %d bytes", excerpt(str(file)), file.stat().st_size)
        return Files([File(str(path)) for path in files], progress, strict=strict)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        place = error.filename if isinstance(error, OSError) and error.filename else query_url.place
        raise TraceQueryError(f"can't read {excerpt(str(place))}: {reason}") from error


class Files:
    """The spans in some files."""

    def __init__(self, files: list[File], progress: ReadProgress | None = None, *, strict: bool = False) -> None:
        """`strict`: raise an error instead of a warning where something can't be read."""
        self._files, self._progress, self._strict = files, progress or ReadProgress(), strict

    @property
    def _is_single(self) -> bool:
        return len(self._files) == 1

    def spans(self) -> Iterator[Span]:
        """All spans, in the files' order."""
        return self._read_all(None)

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """Return the spans of these traces alone."""
        wanted = set(ids)
        return (span for span in self._read_all(_may_hold(wanted)) if span.trace_id in wanted)

    def link(self, trace_id: str) -> str | None:  # noqa: ARG002 - the other stores need it
        """None: there is nothing to open."""
        return None

    def parts(self) -> list[Callable[[], Iterator[list[Span]]]]:
        """Return byte ranges of plain JSON-lines files, cut where documents begin; any other file is one part."""
        return [partial(self._part, file, begin, end) for file in self._files for begin, end in _ranges(file)]

    def _read_all(self, wanted: Callable[[bytes], bool] | None) -> Iterator[Span]:
        warnings = ReadWarnings(strict=self._strict)
        for file in self._files:
            for batch in FileReader(file, warnings, self._progress, wanted=wanted, is_alone=self._is_single).read():
                yield from batch
        warnings.say()

    def _part(self, file: File, begin: int, end: int | None) -> Iterator[list[Span]]:
        warnings = ReadWarnings(strict=self._strict)
        yield from FileReader(
            file, warnings, self._progress, begin, end, for_tables=True, is_alone=self._is_single
        ).read()
        warnings.say()


# --- which files ---


def _files(query: str, *, strict: bool) -> list[Path]:
    path = Path(query)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _in_folder(path, strict=strict)
    if path.exists():
        raise TraceQueryError(f"{excerpt(query)} is neither a file nor a folder")
    if glob.has_magic(query):
        found = sorted(Path(match) for match in glob.glob(query, recursive=True) if Path(match).is_file())
        if not found:
            raise TraceQueryError(
                f"no file matches {excerpt(query)}{misspelled_option(query)}; quote the pattern so that the shell "
                "leaves it alone"
            )
        return found
    raise TraceQueryError(f"no file or folder {excerpt(query)}{misspelled_option(query)}; {_NO_SUCH}")


def _in_folder(folder: Path, *, strict: bool) -> list[Path]:
    """Return the trace files in a folder, by their names or else by their content."""
    found: list[Path] = []
    others: list[Path] = []
    for file in _all_in(folder, strict=strict):
        if file.is_file():
            is_one = file.name.endswith(EXTENSIONS) or _is_certain(file)
            (found if is_one else others).append(file)
    others = [file for file in others if not file.name.startswith(".") and file.stat().st_size]
    if found and all(file.is_relative_to(folder / _OF_A_RUN) for file in found):
        others = [file for file in others if file.is_relative_to(folder / _OF_A_RUN)]
    if not found:
        there = f"; {excerpt(str(others[0]))} is there: name a file to have it read" if others else ""
        raise TraceQueryError(f"no trace files ({', '.join(EXTENSIONS)}) in the folder {excerpt(str(folder))}{there}")
    if others:
        _log.warning(
            "files passed over that are not traces by name (%s) or content: %d, the first: %s; to read one, name it",
            ", ".join(EXTENSIONS),
            len(others),
            excerpt(str(others[0])),
        )
    return found


def _all_in(folder: Path, *, strict: bool) -> list[Path]:
    """Return what is in a folder and the folders below it, links to folders aside.

    Raises:
        OSError: the folder can't be read; with `strict`, or one below it.
    """
    unreadable: list[OSError] = []
    found = [Path(place, name) for place, _, names in os.walk(folder, onerror=unreadable.append) for name in names]
    of_below = [error for error in unreadable if error.filename != str(folder)]
    if unreadable and (strict or len(of_below) < len(unreadable)):
        raise unreadable[0]
    if of_below:
        first = of_below[0]
        _log.warning(
            "folders passed over that can't be read: %d, the first: %s (%s)",
            len(of_below),
            excerpt(str(first.filename)),
            first.strerror,
        )
    return sorted(found)


def _is_certain(file: Path) -> bool:
    """Whether a file begins as only trace files do."""
    try:
        with file.open("rb") as raw:
            if decompression.is_framed(raw.peek(8)[:8]):
                message = decompression.inflated(next(decompression.messages(raw)))
                return detect.begins_like_traces(message) or otlp_protobuf.is_traces(message)
            with decompression.decompressed(raw) as inside:
                if otlp_protobuf.begins_like_traces(decompression.peeked(inside)):
                    return otlp_protobuf.is_traces(inside.read(decompression.longest()))
                return detect.begins_like_traces(inside.read(_HEAD))
    except (OSError, EOFError, TraceQueryError, *decompression.CORRUPT):
        return False


def _spooled(stream: BinaryIO, name: str, progress: ReadProgress, *, strict: bool) -> Files:
    """Copy a stream to a temporary file, so that it can be read twice; the file is removed with the store."""
    progress(f"reading {name}")
    _log.info("reading %s to its end", excerpt(name))
    # Not mkstemp: Ctrl-C between the file's making and its return would leave the file.
    path = os.path.join(tempfile.gettempdir(), f"otel-kfs-traces-{uuid.uuid4().hex}")
    try:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as copy:
            shutil.copyfileobj(stream, copy, _COPIED)
        store = Files([File(path, name)], progress, strict=strict)
        # Also at the interpreter's end, and after Ctrl-C; a process that was forked from this one leaves it alone.
        weakref.finalize(store, _remove, path, os.getpid())
    except BaseException as error:
        Path(path).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise TraceQueryError(f"can't keep {excerpt(name)} in a temporary file: {error.strerror}") from error
        raise
    return store


def _is_on(name: str, value: str) -> bool:
    if value not in {"0", "1"}:
        raise TraceQueryError(f"{name}={excerpt(value)} is neither 1 nor 0")
    return value == "1"


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:
        Path(path).unlink(missing_ok=True)


def _may_hold(ids: set[str]) -> Callable[[bytes], bool]:
    """Return whether a line may hold spans of these traces, by a quick search for their ids in all spellings."""
    if len(ids) > _FEW or not all(len(one) == 32 and set(one) <= set("0123456789abcdef") for one in ids):
        return lambda _: True
    spellings = []
    for one in ids:
        short = one.lstrip("0") or "0"
        spellings += [short.encode(), short.upper().encode(), base64.b64encode(bytes.fromhex(one))]
    return lambda line: any(spelling in line for spelling in spellings)


# --- parts of a file ---


def _ranges(file: File) -> Iterator[tuple[int, int | None]]:
    """Yield where each part of a file begins and ends."""
    try:
        size = os.path.getsize(file.path)
        if size <= PART_SIZE:
            yield 0, None
            return
        with open(file.path, "rb") as raw:
            head = raw.peek(8)[:8]
            # Whether a file holds nothing that can be read, only one reader of the whole of it can tell.
            packed = decompression.is_compressed(head) or decompression.is_framed(head)
            if packed or not detect.is_known(detect.parsed(raw.readline(PART_SIZE).removeprefix(BOM))):
                yield 0, None
                return
            begin = 0
            while begin + PART_SIZE < size:
                raw.seek(begin + PART_SIZE)
                line = raw.readline(decompression.longest())
                while not begins_document(line, raw.peek(1)):
                    line = raw.readline(decompression.longest())
                yield begin, (end := raw.tell())
                begin = end
            if begin < size:
                yield begin, None
    except OSError as error:
        raise TraceQueryError(f"can't read {file}: {error.strerror}") from error
