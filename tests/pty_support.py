"""A command on a terminal of the tests' own, which it may draw on."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_LEFT_SCREEN = b"\x1b[?1049l"  # what a program sends when it gives the terminal back as it was


class Terminal:
    """What a command sent to its terminal."""

    def __init__(self, ours: int) -> None:
        self._ours = ours
        self._sent = bytearray()
        self.process: subprocess.Popen[bytes]

    @property
    def text(self) -> str:
        """All of it, without control sequences."""
        return _CONTROL.sub(b"", bytes(self._sent)).decode(errors="replace").replace("\r", "")

    @property
    def after_the_screen(self) -> str:
        """What came after the command gave the terminal back."""
        return _CONTROL.sub(b"", bytes(self._sent).rpartition(_LEFT_SCREEN)[2]).decode().replace("\r", "")

    def forget(self) -> None:
        """Look from now on only at what comes."""
        del self._sent[:]

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def read(self) -> None:
        """Read until the command has ended."""
        try:
            while chunk := os.read(self._ours, 65536):
                self._sent.extend(chunk)
        except OSError:  # how Linux says that the terminal's other side is closed
            pass


@contextmanager
def on_a_drawable_terminal(*arguments: str, rows: int = 40, columns: int = 80, **env: str) -> Iterator[Terminal]:
    """Run otel-kfs with these arguments; it has ended after the `with`."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    terminal = Terminal(ours)
    command = [sys.executable, "-m", "otel_kfs.cli", *arguments]
    environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES", "NO_COLOR"}}
    with subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, env=environment | {"TERM": "xterm-256color"} | env
    ) as process:
        os.close(its)
        terminal.process = process
        reader = threading.Thread(target=terminal.read)
        reader.start()
        try:
            yield terminal
        finally:
            process.terminate()
            process.wait(60)
            reader.join(10)
            os.close(ours)
