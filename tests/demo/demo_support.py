"""The processes of a run."""

from __future__ import annotations

from pathlib import Path

MARK = "OTEL_KFS_TESTS_MARK"  # an environment variable, by which a run's processes are found


def processes_of(mark: str) -> set[int]:
    """The pids of all processes that inherited the mark."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue
    return found
