"""How every command ends: errors in one line, and exit codes."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import signal
import sys
import threading
from collections import UserDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from otel_kfs.cli.command import Command, Context, verbosity_options
from otel_kfs.cli.exit_codes import SIGINT_EXIT, SIGPIPE_EXIT, SIGTERM_EXIT
from otel_kfs.cli.messages import say
from otel_kfs.errors import ConfigErrors, OtelKfsError
from otel_kfs.traces.printable import printable

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


_log = logging.getLogger(__name__)


class _NoReader(Exception):
    """Whoever read standard output (`| head`) has gone."""


class LazyCommands(UserDict[str, click.Command]):
    """A group's commands, by name; a command's module is imported when that command is asked for.

    Each imports much that the others don't need, and `exec` stands in scripts that run it for every image.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        """Keep where the commands are: `module:attribute`, by name."""
        super().__init__()
        self._places = places

    def __getitem__(self, name: str) -> click.Command:
        """Import a command."""
        if name not in self.data:
            module, _, attribute = self._places[name].partition(":")
            self.data[name] = getattr(importlib.import_module(module), attribute)
        return self.data[name]

    def __contains__(self, name: object) -> bool:
        """Say whether there is such a command."""
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        """Name the commands."""
        return iter(self._places)

    def __len__(self) -> int:
        """Count the commands."""
        return len(self._places)


class Group(click.Group):
    """Print our errors in one line and exit with 1; exit with 130 on Ctrl-C, 143 on SIGTERM, 141 without a reader."""

    context_class = Context
    command_class = Command

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += verbosity_options()

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # here, where a failure is reported, not while the interpreter shuts down
        except BrokenPipeError as error:
            raise _NoReader from error  # click would exit with 1
        return result

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit."""
        kwargs["standalone_mode"] = False
        _open_closed_streams()
        code: str | int | None
        try:
            with _cleaning_up_on_sigterm():
                return super().main(*args, **kwargs)
        except click.ClickException as error:
            error.message = printable(error.message)  # type: ignore[misc]  # click's own are lines already
            error.show()
            code = error.exit_code
        except OtelKfsError as error:
            first, *others = error.lines if isinstance(error, ConfigErrors) else (str(error),)
            for line in (f"Error: {first}", *others):
                say(line)
            code = 1
        except (click.Abort, KeyboardInterrupt):
            say("stopped")
            code = SIGINT_EXIT
        except _Stopped:
            say("stopped by SIGTERM")
            code = SIGTERM_EXIT
        except _NoReader:
            _discard_output()
            code = SIGPIPE_EXIT
        except SystemExit as ending:
            code = ending.code
        except OSError as error:
            if error.filename is not None:  # an unforeseen error with a file or folder
                _log.info("%s", error, exc_info=True)
                say(f"Error: can't use {error.filename}: {error.strerror}")
            elif error.errno in _NO_ROOM:
                _discard_output()
                say(f"Error: can't write to standard output: {error.strerror}")
            else:
                raise
            code = 1
        # Only here are the error and its traceback gone, and with them the Kafka clients that they held: a client
        # that is closed while the interpreter shuts down calls back into what no longer exists, and crashes.
        sys.exit(code)


def _open_closed_streams() -> None:
    """Let what would go to a stream that is closed (`>&-`) go nowhere: Python has none then."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _discard_output() -> None:
    """Keep the interpreter from complaining, when it exits, about what standard output does not take."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _cleaning_up_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as an exception does, so that temporary files and processes are cleaned up."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Stopped(SystemExit):
    """SIGTERM was received."""


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it at once
    raise _Stopped(SIGTERM_EXIT)
