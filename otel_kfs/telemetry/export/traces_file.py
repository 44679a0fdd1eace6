"""The file that spans are appended to, as lines of OTLP-JSON, by several processes at a time.

A line is whole or an error, whoever else writes, is killed while writing, removes the file or rotates it.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A process that is stopped while it writes, or was killed while a child of its had its files, keeps its lock.
_LOCK_SECONDS = 1.0

_REOPENINGS = 3


class TracesFile(io.TextIOBase):
    """A file to append lines to, each by one call of the system while no other process does so.

    (On a network's file system lines may mix: give each process a file of its own there.) A FIFO is opened where its
    first line is written, because that waits for a reader.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: io.FileIO | None = None
        if not path.is_fifo():
            self._open()

    def write(self, text: str) -> int:
        """Append one line; what another process, or a full disk, had cut off before it ends first.

        Raises:
            OSError: the line was not written, or only a part of it.
        """
        line = text.encode()
        try:
            for _ in range(_REOPENINGS):
                file = self._current()
                with _locked(file):
                    _append(file, line)
                    if not _is_removed(file):
                        return len(text)
        except OSError:
            self._close()
            raise
        raise FileNotFoundError(errno.ENOENT, "the file is removed again and again", str(self._path))

    def _current(self) -> io.FileIO:
        """Return the open file, or the one at the path by now: a file may be removed, or renamed by rotation."""
        if self._file is not None and _is_regular(self._file):
            with suppress(OSError):
                if os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno())):
                    return self._file
            self._close()
        return self._file or self._open()

    def _open(self) -> io.FileIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            is_regular = self._path.is_file() or not self._path.exists()
            self._file = io.FileIO(self._path, "a+" if is_regular else "a")  # its last byte is read, too
        except PermissionError:
            self._file = io.FileIO(self._path, "a")
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None


def _append(file: io.FileIO, line: bytes) -> None:
    is_regular = _is_regular(file)
    if is_regular and not _ends_line(file):
        line = b"\n" + line
    rest = memoryview(line)
    while rest:
        written = file.write(rest)
        if written is None or (is_regular and written < len(rest)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def _ends_line(file: io.FileIO) -> bool:
    """Return whether the file's last line is whole; where it can't be read, a blank line does no harm."""
    size = os.fstat(file.fileno()).st_size
    return size == 0 or (file.readable() and os.pread(file.fileno(), 1, size - 1) == b"\n")


def _is_regular(file: io.FileIO) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _is_removed(file: io.FileIO) -> bool:
    return _is_regular(file) and os.fstat(file.fileno()).st_nlink == 0


@contextmanager
def _locked(file: io.FileIO) -> Iterator[None]:
    """Keep other processes from writing; without it, where the file system has no locks or one is kept for long."""
    limit = time.monotonic() + _LOCK_SECONDS
    has_lock = False
    while not has_lock and _is_regular(file):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            has_lock = True
        except BlockingIOError:
            if time.monotonic() > limit:
                break
            time.sleep(0.002)
        except OSError:
            break
    try:
        yield
    finally:
        if has_lock:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
