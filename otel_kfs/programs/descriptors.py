"""Which files and descriptors may be touched here without taking something from the program."""

from __future__ import annotations

import os
import stat


def inherited(fd: int) -> bool:
    """Return whether a descriptor was open when we were started: Python marks its own as not to be inherited."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def is_regular_file(path: str) -> bool:
    """Return whether a file can be read here without taking it from the program, as from a pipe or a terminal."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False
