"""Writing a file in one step: what was there stays whole until all is written."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from otel_kfs.errors import ConfigError

# What Linux and macOS call this process's own open files.
_DESCRIPTORS = re.compile(r"/dev/(?P<name>stdout|stderr)|/(dev|proc/self)/fd/(?P<number>\d+)")


def write_file(pieces: Iterable[str | bytes], output: Path) -> None:
    """Write pieces of text (as UTF-8) or bytes to a file.

    A regular file is replaced in one step: what was there stays whole until all is written. Links are followed, and an
    old file keeps its mode and, where that is allowed, its owner. Anything else, such as a device or a FIFO, is
    written into.

    Raises:
        ConfigError: the file can't be written.
    """
    encoded = (piece.encode() if isinstance(piece, str) else piece for piece in pieces)
    try:
        descriptor = _own_descriptor(output)
        if descriptor is not None:
            with os.fdopen(os.dup(descriptor), "wb") as opened:
                opened.writelines(encoded)
            return
        try:
            old = os.stat(output)
        except FileNotFoundError:
            old = None
        if old is None or stat.S_ISREG(old.st_mode):
            _replace(Path(os.path.realpath(output)), encoded, old)
        else:
            with output.open("wb") as opened:
                opened.writelines(encoded)
    except OSError as error:
        need_folder(output)
        raise ConfigError(f"can't write {output}: {error.strerror}") from error


def need_folder(output: Path) -> None:
    """Raise a ConfigError if a file's folder is not there: best before the work that the file is to hold."""
    if _own_descriptor(output) is None:
        try:
            os.stat(os.path.dirname(os.path.realpath(output)))
        except FileNotFoundError:
            raise ConfigError(f"can't write {output}: there is no folder {output.parent}") from None
        except OSError:  # whatever else is wrong, writing will tell
            pass


def _own_descriptor(output: Path) -> int | None:
    """Return the number of the open file that a path such as /dev/stdout or /dev/fd/3 names."""
    found = _DESCRIPTORS.fullmatch(str(output))
    if found is None:
        return None
    return int(found["number"]) if found["number"] else {"stdout": 1, "stderr": 2}[found["name"]]


def _replace(output: Path, pieces: Iterable[bytes], old: os.stat_result | None) -> None:
    with tempfile.NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}.", delete=False) as part:
        try:
            part.writelines(pieces)
            part.close()
            if old is not None and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):
                    os.chown(part.name, old.st_uid, old.st_gid)
            os.chmod(part.name, 0o666 & ~_umask() if old is None else stat.S_IMODE(old.st_mode))
            os.replace(part.name, output)
        except BaseException:
            os.unlink(part.name)
            raise


def _umask() -> int:
    """Return the umask: a temporary file is private, but a result gets the permissions of any new file."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
