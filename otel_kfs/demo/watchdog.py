"""Kills the demo's processes if the process that started them ends without doing so.

It reads their pids, one a line, from its standard input. Only their parent holds the other end: however the parent
ends, the input ends with it. Each pid stands for the whole session that its process leads, forked workers included.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Run as `python -I -S watchdog.py`: to import anything more would only delay it."""
    for pid in [int(line) for line in sys.stdin]:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
