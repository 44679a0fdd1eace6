"""How every command ends: errors in one line, and exit codes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from otel_kfs.cli.messages import say
from otel_kfs.errors import ConfigErrors, OtelKfsError
from otel_kfs.report.render import printable

SIGINT_EXIT = 130  # what a shell reports for a program that Ctrl-C ended
SIGTERM_EXIT = 143  # and SIGTERM


class Group(click.Group):
    """Print our errors in one line and exit with 1; exit with 130 on Ctrl-C and with 143 on SIGTERM."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit."""
        kwargs["standalone_mode"] = False
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
        except BrokenPipeError:
            # The reader (`| head`) has gone; keep the interpreter from complaining about that when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        # Only here are the error and its traceback gone, and with them the Kafka clients that they held: a client
        # that is closed while the interpreter shuts down calls back into what no longer exists, and crashes.
        sys.exit(code)


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
