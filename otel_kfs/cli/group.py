"""How every command ends: our errors as one line, and the exit codes."""

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
    """Turns our errors into one line and exit code 1, Ctrl-C into exit code 130, and SIGTERM into 143."""

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
            # The reader (`| head`) has gone; the interpreter must not complain about it at its end either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        # Not before here, where the error and its traceback are gone, and with them the Kafka clients they held: a
        # client that is closed by the interpreter's very end calls back into what is no more, and crashes.
        sys.exit(code)


@contextmanager
def _cleaning_up_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as an exception does, temporary files and processes included; some handle it better."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Stopped(SystemExit):
    """SIGTERM came."""


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it at once
    raise _Stopped(SIGTERM_EXIT)
