"""Child processes of the demo: started with a log of their own, waited for until they answer, never left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from otel_kfs.demo import watchdog
from otel_kfs.errors import DemoError

_STOP_SECONDS = 10.0  # for a process to end by itself after SIGTERM


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on, and that the kernel gives to nobody for a while.

    A connection that has just been closed keeps it so, except to a server that asks for this very port.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()
        return port


class Processes:
    """A context manager that stops, on the way out, every process it started, the last one first.

    Where this process is killed first, another one sees to it that those end, too.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._expendable: set[int] = set()  # pids
        self._keeper: subprocess.Popen[bytes] | None = None
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        pipe: bool = False,
        expendable: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start one; its output goes to `logs/name.log`, its standard output into a pipe if asked for.

        An expendable one has nothing to write at its end: it is killed instead of asked to stop.
        """
        try:
            tell = self._kept()
            with open(self.log(name), "wb") as log:
                process = subprocess.Popen(
                    list(command),
                    env={**os.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE if pipe else log,
                    stderr=subprocess.STDOUT if not pipe else log,
                    # Ctrl-C reaches the terminal's whole group; these are stopped by us, in order, instead.
                    start_new_session=True,
                )
        except OSError as error:
            raise DemoError(f"can't start the {name}: {error}") from error
        self._running.append((name, process))
        with suppress(BrokenPipeError):  # somebody killed the keeper; the demo itself does without
            tell(b"%d\n" % process.pid)
        if expendable:
            self._expendable.add(process.pid)
        return process

    def wait_until(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready()`; a process that has died, or is not ready in time, is an error with its last words.

        Raises:
            DemoError: it died, or was not ready within `seconds`.
        """
        limit = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > limit:
                raise DemoError(f"the {name} was not ready within {seconds:g} s; {self._last_words(name)}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raise a DemoError if one of the processes has died."""
        for name, process in self._running:
            if process.poll() is not None:
                raise DemoError(f"the {name} ended with exit code {process.returncode}; {self._last_words(name)}")

    def stop(self) -> None:
        """End all of them: SIGTERM, so that they write their last spans, and SIGKILL for what does not listen.

        Expendable ones end last, because the others say farewell to them.
        """
        running, self._running = self._running, []
        asked = [process for _, process in reversed(running) if process.pid not in self._expendable]
        for process in asked:
            process.terminate()
        limit = time.monotonic() + _STOP_SECONDS
        for process in asked:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, limit - time.monotonic()))
        for _, process in reversed(running):
            process.kill()  # does nothing to one that has ended
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if self._keeper is not None:
            # Before its input ends, and after the last of the others: it must not meet a pid that is another's by now.
            self._keeper.kill()
            self._keeper.communicate()
            self._keeper = None

    def _kept(self) -> Callable[[bytes], object]:
        """What tells the keeper, which is started before anything that it keeps."""
        if self._keeper is None:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # what kills this process's group must not take the keeper along
            )
        assert self._keeper.stdin is not None  # noqa: S101 - for mypy: it was asked for
        return self._keeper.stdin.write

    def log(self, name: str) -> Path:
        """The file with what the process printed."""
        return self._logs / f"{name}.log"

    def _last_words(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").split("\n")
        last = " | ".join(line.strip() for line in lines if line.strip())[-400:]
        return f"its log, {self.log(name)}, ends: {last or '(empty)'}"


def python(*args: str) -> list[str]:
    """A command that runs this same interpreter."""
    return [sys.executable, *args]
