"""The processes of a run."""

from __future__ import annotations

from pathlib import Path
from subprocess import Popen

from listening_support import addresses_of_processes
from support import wait_until

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


def addresses_until_the_end(process: Popen[str], mark: str) -> set[str]:
    """Every address on which a run's processes listen, as long as the one that started them lives."""
    found: set[str] = set()

    def ended() -> bool:
        found.update(addresses_of_processes(processes_of(mark)))
        return process.poll() is not None

    wait_until("the run's end", ended, 500, pause=0.2)  # a look at all processes takes what the run needs itself
    return found
