"""SIGTERM while a command works: finish what is under way, start nothing new, and end at once on a second one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

GRACE_SECONDS = 10.0  # for what is under way; an orchestrator kills after 30 s, and spans must be exported before


class _TooLong(Exception):
    """What was under way did not finish in time."""


class Stopping:
    """Inside the `with`, SIGTERM sets `wanted` and cuts off what is still running `GRACE_SECONDS` later."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._stop), signal.signal(signal.SIGALRM, self._cut)
        return self

    def _stop(self, *_: int | FrameType | None) -> None:
        self.wanted = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Repeatedly, in case an `except Exception` swallows the first one.
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS, 1.0)

    def _cut(self, *_: int | FrameType | None) -> None:
        raise _TooLong(f"stopped by SIGTERM, and not finished within {GRACE_SECONDS:g} s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if threading.current_thread() is threading.main_thread():
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGTERM, self._before[0])
            signal.signal(signal.SIGALRM, self._before[1])
        return isinstance(error, _TooLong)
