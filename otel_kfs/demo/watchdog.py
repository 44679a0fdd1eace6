"""Kills the demo's processes once whoever started them is gone without having done so.

It reads their pids from its standard input, one a line, whose other end only their parent holds: however that one ends,
the input ends with it. The pid stands for the whole session that each of them leads, forked workers included.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """`python -I -S keeper.py`: an import of anything more would only delay it."""
    for pid in [int(line) for line in sys.stdin]:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
