"""Child processes of the demo: each with a log of its own, waited for until it is ready, and never left behind."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from otel_kfs.client.model_request.model_url import redact_url
from otel_kfs.demo import watchdog
from otel_kfs.errors import ConfigError, DemoError

_STOP_SECONDS = 10.0  # for a process to end by itself after SIGTERM


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on, and that the kernel gives to nobody for a while.

    A connection that has just been closed reserves it, except for a server that asks for this very port.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()
        return port


class Processes:
    """A context manager that stops every process that it started, the last one first.

    If this process is killed before it can do that, a watchdog kills them.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._expendable: set[int] = set()  # pids
        self._watchdog: subprocess.Popen[bytes] | None = None
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
            tell_watchdog = self._start_watchdog()
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
        with suppress(BrokenPipeError):  # somebody killed the watchdog; the demo itself does without
            tell_watchdog(b"%d\n" % process.pid)
        if expendable:
            self._expendable.add(process.pid)
        return process

    def wait_until(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready()`; if a process dies or is not ready in time, raise an error with the end of its log.

        Raises:
            DemoError: it died, or was not ready within `seconds`.
        """
        limit = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > limit:
                raise DemoError(f"the {name} was not ready within {seconds:g} s; {self._log_end(name)}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raise a DemoError if one of the processes has died."""
        for name, process in self._running:
            if process.poll() is not None:
                raise DemoError(f"the {name} ended with exit code {process.returncode}; {self._log_end(name)}")

    def stop(self) -> None:
        """End all of them: SIGTERM, so that they write their last spans, and SIGKILL for those that ignore it.

        Expendable ones end last, because the others still talk to them when they end.
        """
        running, self._running = self._running, []
        stopping = [process for _, process in reversed(running) if process.pid not in self._expendable]
        for process in stopping:
            process.terminate()
        limit = time.monotonic() + _STOP_SECONDS
        for process in stopping:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, limit - time.monotonic()))
        for _, process in reversed(running):
            process.kill()  # does nothing to one that has ended
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if self._watchdog is not None:
            # Before its input ends, and after the last of the others: by then a pid may be another process's.
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None

    def _start_watchdog(self) -> Callable[[bytes], object]:
        """Start the watchdog, before the first process that it watches; return what writes to it."""
        if self._watchdog is None:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # what kills this process's group must not kill the watchdog
            )
        assert self._watchdog.stdin is not None  # noqa: S101 - for mypy: it was asked for
        return self._watchdog.stdin.write

    def log(self, name: str) -> Path:
        """Return the file with what the process printed."""
        return self._logs / f"{name}.log"

    def _log_end(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").split("\n")
        last = " | ".join(line.strip() for line in lines if line.strip())[-400:]
        return f"its log, {self.log(name)}, ends: {last or '(empty)'}"


def export_to(otlp_endpoint: str | None) -> None:
    """Let this process and those that it starts send their spans to an endpoint, if there is one.

    Raises:
        ConfigError: it is no URL.
    """
    if otlp_endpoint:
        if not re.match(r"https?://[^/?#]", otlp_endpoint):
            raise ConfigError(f"the OTLP endpoint {redact_url(otlp_endpoint)!r} is no URL; write http://host:port")
        os.environ["OTEL_TRACES_EXPORTER"] = "otlp"
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = otlp_endpoint


def python(*args: str) -> list[str]:
    """Return a command that runs this same interpreter."""
    return [sys.executable, *args]
