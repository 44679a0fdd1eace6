"""The soak run's processes: started with files of their own for what they say, watched, and ended by their pid."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


class Child:
    """One life of one process."""

    def __init__(self, name: str, life: int, command: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self.name = name if life == 1 else f"{name}, life {life}"
        stem = name.replace(" ", "-")
        self.output = folder / f"{stem}-{life}.out"
        self.errors = folder / f"{stem}-{life}.err"
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **env},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                start_new_session=True,  # Ctrl-C reaches the run alone, which ends these in its own order
            )
        self.started = time.monotonic()
        self.ended_by: str | None = None
        self.samples: list[tuple[float, float, int]] = []  # (time, resident MB, open files)
        self._read = 0

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()

    def news(self) -> list[dict[str, Any]]:
        """Return the complete JSON lines printed since the last call; a killed process's last may be cut off."""
        with self.output.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines()]

    def sample(self) -> None:
        """Look at its memory and its open files."""
        with suppress(OSError):
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            files = len(os.listdir(f"/proc/{self.pid}/fd"))
            self.samples.append((time.monotonic(), pages * os.sysconf("SC_PAGE_SIZE") / 1e6, files))

    def between(self, begin: float, end: float) -> tuple[float, int] | None:
        """Return the median memory in MB and the most open files between two moments; None if it was not running."""
        found = [(memory, files) for at, memory, files in self.samples if begin <= at <= end]
        if not found:
            return None
        return statistics.median(memory for memory, _ in found), max(files for _, files in found)

    def kill(self) -> None:
        """End it as a crash would."""
        self.ended_by = "kill -9"
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        self.ended_by = "SIGTERM"
        self.process.terminate()

    def close(self) -> None:
        """End its standard input."""
        self.ended_by = "end of input"
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None, and killed, if it has not ended in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.ended_by = f"kill -9, {seconds:g} s after the {self.ended_by}"
            return None


class Children:
    """All of them; leaving the `with` ends those that still run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.all: list[Child] = []
        self._lives: dict[str, int] = {}

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        running = [child for child in reversed(self.all) if child.process.poll() is None]
        for child in running:
            child.terminate()
        limit = time.monotonic() + 15
        for child in running:
            child.wait(max(0.1, limit - time.monotonic()))

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Child:
        """Start one; a second one of a name is its second life."""
        self._lives[name] = self._lives.get(name, 0) + 1
        child = Child(name, self._lives[name], command, env, self._folder)
        self.all.append(child)
        return child

    def sample(self) -> None:
        """Look at all that live."""
        for child in self.all:
            if child.process.poll() is None:
                child.sample()

    def died(self) -> list[str]:
        """Those that ended without being told to."""
        return [
            f"{child.name} ended by itself with exit code {child.process.returncode}; see {child.errors}"
            for child in self.all
            if child.ended_by is None and child.process.poll() is not None
        ]
