"""Runs a program as if it had been started in our place, and ends as it ended.

Its streams, descriptors, environment, umask, process group and ignored signals are those that we were given. Signals
that are sent to us are sent on to it, it stops and goes on together with us, and a signal that ended it ends us, too.
SIGKILL and SIGSTOP can't be sent on: nobody sees them but the kernel.

Two things are Python's and can't be undone here: whether SIGPIPE and SIGXFSZ were ignored is not known any more, so the
program gets their defaults, and SIGCHLD, without which no program's end is seen, is not ignored either.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TypeVar

from opentelemetry import trace

from otel_kfs.errors import ConfigError

T = TypeVar("T")

# Never held back: the first two can't be, and by the others the terminal stops whoever uses it from the background.
# Held back, they would turn our own reading of the terminal into an error.
_NEVER_HELD = {signal.SIGKILL, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU}
# From the kernel, these are the terminal's: it sends them to all of the process group, the program included.
_TO_THE_GROUP = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP, signal.SIGCONT, signal.SIGWINCH}
_SI_KERNEL = 128  # signal(7), sigaction(2): who sent it
_CHANGED_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}


@contextmanager
def signals_for_main_thread() -> Iterator[None]:
    """Leave all signals to this, the main thread: threads started within the block get none."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Program:
    """A running program, which has to be waited for."""

    def __init__(self, pid: int, held: set[int]) -> None:
        self.pid = pid
        self.ended = False
        self._held = held

    def wait(self) -> int:
        """Wait for its end, and send signals on to it; return its exit code, or minus the signal that ended it."""
        while True:
            number, sender = _next(self._held | {signal.SIGCHLD})
            if number == signal.SIGCHLD:
                found, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
                if found and os.WIFSTOPPED(status):
                    _stop(os.WSTOPSIG(status))
                elif found:
                    self.ended = True
                    return os.waitstatus_to_exitcode(status)
            elif sender != _SI_KERNEL or number not in _TO_THE_GROUP:
                os.kill(self.pid, number)

    def wait_during(self, work: Callable[[], T], at_end: Callable[[], None] = lambda: None) -> tuple[int, T]:
        """Do some work in another thread while the program runs; `at_end`, called at its end, ends it."""
        with ThreadPoolExecutor(1) as threads:
            result = threads.submit(work)
            try:
                code = self.wait()
            finally:
                at_end()
            return code, result.result()

    def kill(self) -> None:
        """End it: we failed, so nobody writes to it or reads from it any more."""
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.ended = True


@contextmanager
def running(
    command: Sequence[str], streams: Mapping[int, int] | None = None, defaults: Mapping[bytes, bytes] | None = None
) -> Iterator[Program]:
    """Start a program, whose `streams` (standard stream: descriptor of ours) are ours where none is given.

    `defaults` are variables of its environment besides those that we were given, which they never replace.

    Signals are held back for it until the end of the `with`; those that come after the program's end are forgotten.

    Raises:
        ConfigError: it can't be started.

    """
    held: set[int] = {number for number in signal.valid_signals() if signal.getsignal(number) is not signal.SIG_IGN}
    held -= {*_NEVER_HELD, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*held, signal.SIGCHLD})
    on_child = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        try:
            pid = os.posix_spawnp(
                command[0],
                list(command),
                {**(defaults or {}), **_environment()},
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, stream) for stream, fd in (streams or {}).items()],
                setsigmask=before,
                setsigdef=_CHANGED_BY_PYTHON,
            )
        except OSError as error:
            raise ConfigError(f"can't start {command[0]}: {error.strerror}; check its name and PATH") from error
        program = Program(pid, held)
        try:
            yield program
        finally:
            program.kill()
            _forget(held)
    finally:
        signal.signal(signal.SIGCHLD, on_child)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_untraced(command: Sequence[str]) -> int:
    """Run a program that sends nothing (`--help`, `--version`, wrong arguments) just as it is."""
    with running(command) as program:
        return program.wait()


def shell_code(code: int) -> int:
    """Return an exit code as a shell gives it: 128 and the number of a signal."""
    return code if code >= 0 else 128 - code


def end_by(number: int) -> NoReturn:
    """Export the last spans, and end by that signal, which our parent process then sees."""
    if (shutdown := getattr(trace.get_tracer_provider(), "shutdown", None)) is not None:
        with suppress(KeyboardInterrupt, SystemExit):  # a second one asks not to wait
            shutdown()
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # the program left one
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    sys.exit(128 + number)  # still here: signals don't end the first process of a container


def _next(signals: set[int]) -> tuple[int, int]:
    """Wait for a signal; return its number and who sent it."""
    if not hasattr(signal, "sigwaitinfo"):  # macOS: the terminal's signals come twice there, without effect
        return signal.sigwait(signals), 0
    info = signal.sigwaitinfo(signals)
    return info.si_signo, info.si_code


def _forget(signals: set[int]) -> None:
    """Take what is pending of these, so that it is never delivered."""
    while pending := signal.sigpending() & signals:
        signal.sigwait(pending)


def _stop(number: int) -> None:
    """Stop as the program did, until somebody has us go on."""
    if number in _NEVER_HELD:
        os.kill(os.getpid(), number)
        return
    _forget({number})  # the terminal sent it to us as well; once is enough
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.raise_signal(number)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment() -> dict[bytes, bytes]:
    """Return our environment as it was given: in the C locale, Python sets an LC_CTYPE of its own (PEP 538)."""
    environment = dict(os.environb)
    if b"LC_CTYPE" in environment:
        with suppress(OSError):
            given = dict(word.partition(b"=")[::2] for word in Path("/proc/self/environ").read_bytes().split(b"\0"))
            del environment[b"LC_CTYPE"]
            environment |= {name: value for name, value in given.items() if name == b"LC_CTYPE"}
    return environment
