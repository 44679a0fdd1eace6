"""The file that keeps every request before it is acknowledged.

It has the form of the Collector's file exporter with `format: proto`: each request as it came, behind its length (4
bytes, big-endian), so that keeping one costs a write. What was acknowledged is in the file whatever becomes of this
process. Nothing is synced: a machine that loses its power loses what its kernel had not yet written to the disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from otel_kfs.errors import ConfigError
from otel_kfs.traces.decompression import is_framed

_LENGTH = 4


class SpansFile:
    """A file that requests are appended to, by one process at a time."""

    def __init__(self, path: Path, largest: int | None = None, kept: int = 5) -> None:
        """Open the file, and cut off what a process that was killed left incomplete at its end.

        Before it has more than `largest` bytes, another one is begun; `kept` older ones stay, `path`.1 the newest.

        Raises:
            ConfigError: it can't be written, another process writes it, or it holds something else.
        """
        self._path, self._largest, self._kept = path, largest, kept
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = _opened(path)
            self._end = _whole(self._descriptor, path)
        except BlockingIOError as error:
            raise ConfigError(f"another process writes {path}: give each its own file") from error
        except OSError as error:
            raise ConfigError(f"can't write {path}: {error.strerror}") from error

    def __call__(self, request: bytes, _: int) -> None:
        """Append a request.

        Raises:
            OSError: it can't be written; nothing of it stays in the file.
        """
        framed = len(request).to_bytes(_LENGTH, "big") + request
        if self._largest is not None and 0 < self._end > self._largest - len(framed):
            self._begin_another()
        written = 0
        try:
            written = os.pwrite(self._descriptor, framed, self._end)
        finally:
            if written < len(framed):
                os.ftruncate(self._descriptor, self._end)
        if written < len(framed):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += len(framed)

    def _begin_another(self) -> None:
        """Give the file the name of an older one, and go on in a new one; what fails is tried again next time."""
        fresh = self._path.with_name(f".{self._path.name}.new")
        descriptor = _opened(fresh)
        try:
            # Number 0 is free where the last step failed before: all others have their new names then.
            free = next((number for number in range(self._kept) if not self._older(number).exists()), self._kept)
            for number in range(free, 0, -1):
                with suppress(FileNotFoundError):
                    os.replace(self._older(number - 1), self._older(number))
            os.replace(fresh, self._path)
        except OSError:
            os.close(descriptor)
            raise
        os.close(self._descriptor)
        self._descriptor, self._end = descriptor, 0

    def _older(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


def _opened(path: Path) -> int:
    """Return the descriptor of a file that nobody else writes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _whole(descriptor: int, path: Path) -> int:
    """Cut a file off behind its last whole message; return where that is."""
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, 8, 0)
    if len(head) > _LENGTH and not is_framed(head):
        raise ConfigError(f"{path} holds something else than such requests: name another file")
    end = 0
    while end + _LENGTH <= size:
        after = end + _LENGTH + int.from_bytes(os.pread(descriptor, _LENGTH, end), "big")
        if after > size:
            break
        end = after
    if end < size:
        os.ftruncate(descriptor, end)
    return end
