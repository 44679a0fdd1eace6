"""Where a service's files are, and one server process: start it, wait for it, and stop it by its own pid."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
START_LIMIT = 180.0
STOP_LIMIT = 20.0
LOGS_KEPT = 20
LOG_LINES_SHOWN = 20


class ServiceError(Exception):
    """A service could not be fetched, started or kept running."""


class ServiceMissing(ServiceError):
    """A program that a service needs is not on this computer."""


def say(text: str) -> None:
    """Print one progress line to stderr."""
    print(f"services: {text}", file=sys.stderr, flush=True)


def cache_dir() -> Path:
    """Return the folder, outside the source tree, for logs and what was fetched."""
    own = os.environ.get("OTEL_KFS_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-kfs"
    return base.expanduser().absolute() / "services"


def program(name: str, how: str) -> str:
    """Return the path of a program on PATH, or say how to get it."""
    found = shutil.which(name)
    if found is None:
        raise ServiceMissing(f"{name} is not on PATH: {how}")
    return found


def finished(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; `stdout` then has all its output. The options are those of subprocess.run."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Yield a temporary folder to build the target in; renaming it from there makes it appear as a whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}-partial-") as partial:
        yield Path(partial)


def choose_ports(*wanted: int) -> list[int]:
    """Return the wanted loopback ports, each 0 replaced by a free one; raise if one is in use."""
    sockets = [socket.socket() for _ in wanted]
    try:
        # All are held until the last is chosen, so that none is given twice.
        for each, port in zip(sockets, wanted, strict=True):
            # A port whose last connections are still closing is free enough for a server.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                each.bind((HOST, port))
                # Binding alone lets two such sockets share one port.
                each.listen()
            except OSError as error:
                raise ServiceError(f"port {port} of {HOST} is taken or not allowed: {error}") from error
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def fill(template: Path, target: Path, **words: object) -> Path:
    """Write the template to the target with its $words replaced, and return the target."""
    target.write_text(Template(template.read_text("utf-8")).substitute(words), "utf-8")
    return target


def http_ok(url: str) -> bool:
    """Tell whether a GET of the URL answers 200."""
    # No proxy setting of the environment may stand between this computer and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def server_environment() -> dict[str, str]:
    """Return the environment without OTEL_*, which would make a trace store send its own traces."""
    return {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}


class Server:
    """One running server process and its log file."""

    def __init__(self, name: str, command: Sequence[str], directory: Path, stop_limit: float) -> None:
        """Start the command in the directory, with its output in a new log file."""
        self.name = name
        self.stop_limit = stop_limit
        self.log = _new_log(name)
        self._directory = directory
        if sys.platform == "linux" and threading.current_thread() is threading.main_thread():
            # Should this process be killed outright, the kernel ends the server too. The kernel
            # watches the starting thread, so a server started by a short-lived one goes without.
            setpriv = shutil.which("setpriv")
            command = [setpriv, "--pdeathsig", "TERM", "--", *command] if setpriv else command
        self._command = command
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=server_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches the starter alone, which then stops its servers in its own order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return the server's process id."""
        return self.process.pid

    def error(self, what: str) -> ServiceError:
        """Return an error that names the log file and shows its last lines."""
        lines = self.log.read_text("utf-8", "replace").splitlines()[-LOG_LINES_SHOWN:]
        return ServiceError("\n  ".join([f"{self.name}: {what}; the log is {self.log}", *lines]))

    def check(self) -> None:
        """Raise if the server has ended by itself."""
        if self.process.poll() is not None:
            raise self.error(f"ended with exit code {self.process.returncode}")

    def wait(self, ready: Callable[[], bool], limit: float = START_LIMIT) -> None:
        """Wait until the server is ready; raise if it ends or the time limit passes."""
        until = time.monotonic() + limit
        while True:
            self.check()
            if ready():
                return
            if time.monotonic() > until:
                raise self.error(f"not ready within {limit:g} s")
            time.sleep(0.1)

    def kill(self) -> None:
        """End the server as a crash would: at once, without writing anything more."""
        self.process.kill()
        self.process.wait()

    def start_again(self, ready: Callable[[], bool]) -> None:
        """Start a server that has ended again, with the same command, ports and data; wait for it.

        Call it from the thread that made this object: the kernel ends the server with the thread that started it.
        """
        self.process = self._start()
        self.wait(ready)

    def stop(self) -> None:
        """End the server, by force if it does not end in time or if the wait is interrupted."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(self.stop_limit)
        except subprocess.TimeoutExpired:
            with self.log.open("a", encoding="utf-8") as output:
                print(f"{self.name} did not end within {self.stop_limit:g} s and was killed", file=output)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    directory: Path,
    ready: Callable[[], bool],
    stop_limit: float = STOP_LIMIT,
) -> Iterator[Server]:
    """Run a server until the block ends, entering the block once it is ready."""
    server = Server(name, command, directory, stop_limit)
    try:
        server.wait(ready)
        yield server
    finally:
        server.stop()


def _new_log(name: str) -> Path:
    """Return the path of a new log file, after removing the oldest ones."""
    logs = cache_dir() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    oldest_first = sorted(logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
    for old in oldest_first[: max(0, len(oldest_first) - LOGS_KEPT + 1)]:
        old.unlink(missing_ok=True)
    return logs / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 10**9:09d}.log"
