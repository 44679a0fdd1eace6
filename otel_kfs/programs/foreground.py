"""Runs a program in the foreground: it shares our terminal and streams, gets our signals, and its exit code is ours."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from otel_kfs.errors import ConfigError

_FORWARDED = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def running(command: Sequence[str], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program; while it runs, SIGINT and SIGTERM are forwarded to it, and it decides when to end.

    Ctrl-C in a terminal reaches the program twice, from the terminal and from us: a second one finds it ending.

    Raises:
        ConfigError: it can't be started.

    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        try:
            child = subprocess.Popen(list(command), **streams)
        except OSError as error:
            raise ConfigError(f"can't start {command[0]}: {error.strerror}; check its name and PATH") from error
        for number in early:
            child.send_signal(number)
        with child:
            try:
                yield child
            except BaseException:
                # We failed, so nobody writes to it or reads from it any more.
                child.kill()
                raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(child: subprocess.Popen[bytes]) -> int:
    """Wait for a program's end; return its exit code as a shell gives it."""
    code = child.wait()
    return code if code >= 0 else 128 - code


def run_untraced(command: Sequence[str]) -> int:
    """Run a program that sends nothing (`--help`, `--version`, wrong arguments) just as it is."""
    with running(command) as child:
        return exit_code(child)
