"""How every command ends: our errors as one line, and the exit codes."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from otel_kfs.errors import OtelKfsError

SIGINT_EXIT = 130  # what a shell reports for a program that Ctrl-C ended


class Group(click.Group):
    """Turns our errors into one line and exit code 1, and Ctrl-C into exit code 130."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit."""
        kwargs["standalone_mode"] = False
        try:
            return super().main(*args, **kwargs)
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except OtelKfsError as error:
            click.echo(f"Error: {error}", err=True)
            code = 1
        except (click.Abort, KeyboardInterrupt):
            click.echo("stopped", err=True)
            code = SIGINT_EXIT
        except BrokenPipeError:
            # The reader (`| head`) has gone; the interpreter must not complain about it at its end either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        # Not before here, where the error and its traceback are gone, and with them the Kafka clients they held: a
        # client that is closed by the interpreter's very end calls back into what is no more, and crashes.
        sys.exit(code)
