"""What SIGTERM does after `configure`: the last spans leave, and then it does what it did before.

By itself it ends a Python process at once, without exit hooks and whatever its threads are doing. So it does here, with
the same exit code: nothing of the program's own runs in the main thread while the spans leave, or after that.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from otel_kfs.telemetry.safe_tracer import never_raises

_LIMIT_SECONDS = 11.0  # for all of it; exporters take 10 s at most, and then say what they lost

_last_actions: list[Callable[[], Any]] = []
_flush: Callable[[], Any]


class _CutOff(BaseException):
    """A second SIGTERM, which asks not to wait any longer."""


def at_end(action: Callable[[], Any]) -> None:
    """Run this at the interpreter's end, or on a SIGTERM that the program does not handle; the last one first."""
    _last_actions.append(action)
    atexit.register(finish, [action])


def handle_sigterm(flush: Callable[[], Any]) -> None:
    """Let SIGTERM wait for what `at_end` was given, unless the program handles it itself.

    `flush` is for a process that SIGTERM does not end: the first one of a container.
    """
    global _flush  # noqa: PLW0603 - a process has one handler of a signal
    _flush = flush
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end_by_sigterm)


def is_ended_by_sigterm() -> bool:
    """Return whether a SIGTERM ends this process, after `end_by_sigterm`."""
    return signal.getsignal(signal.SIGTERM) is end_by_sigterm and os.getpid() != 1


def end_by_sigterm(*_: object) -> None:
    """Let the last spans leave, and end the process as SIGTERM ends one that does not handle it."""
    limit = threading.Timer(_LIMIT_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
    if os.getpid() == 1:
        limit = threading.Timer(0, _flush)
    limit.daemon = True
    with suppress(RuntimeError):  # the interpreter is at its end, and starts no threads any more
        limit.start()
    if os.getpid() != 1:
        signal.signal(signal.SIGTERM, _cut_off)
        finish(list(reversed(_last_actions)))
        _end()


def finish(actions: list[Callable[[], Any]]) -> None:
    """Run what is to run last; Ctrl-C cuts it off, and so does SIGTERM, which then ends the process."""
    is_main = threading.current_thread() is threading.main_thread()
    is_ours = is_main and signal.getsignal(signal.SIGTERM) is end_by_sigterm
    if is_ours:
        signal.signal(signal.SIGTERM, _cut_off)
    try:
        for action in actions:
            never_raises("the last spans")(action)()
    except KeyboardInterrupt:
        pass
    except _CutOff:
        _end()
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, end_by_sigterm)


def _cut_off(*_: object) -> None:
    raise _CutOff


def _end() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
