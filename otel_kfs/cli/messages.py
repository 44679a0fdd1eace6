"""Messages of one line, without control sequences, whatever a span, a store or a file is called."""

from __future__ import annotations

import copy
import logging
import shutil
import sys
import textwrap

import click

from otel_kfs.traces.printable import printable


def say(text: str, *, err: bool = True) -> None:
    """Print one line, on standard error unless it is part of the result.

    Where standard error has no room, the line is lost, and the work that it tells of goes on.
    """
    try:
        click.echo(printable(text), err=err)
    except OSError as error:
        if not err or isinstance(error, BrokenPipeError):
            raise


def say_sentence(text: str, *, err: bool = True) -> None:
    """Print sentences of any length: on a terminal in lines that end between words."""
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        lines = textwrap.wrap(printable(text), shutil.get_terminal_size().columns, break_long_words=False)
        for line in lines:
            say(line, err=err)
    else:
        say(text, err=err)


class OneLine(logging.Formatter):
    """Formats a log record's message as one line; a traceback stands below it, or else its error's text in it."""

    def __init__(self, form: str, *, tracebacks: bool) -> None:
        super().__init__(form)
        self.tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, and what belongs below it."""
        if self.tracebacks or not record.exc_info:
            return super().format(record)
        short, error = copy.copy(record), record.exc_info[1]
        short.exc_info = short.exc_text = short.stack_info = None
        if error is not None and str(error) not in record.getMessage():
            short.msg, short.args = f"{record.getMessage()}: {type(error).__name__}: {error}", ()
        return super().format(short)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        record.message = printable(record.message)
        return super().formatMessage(record)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]  # not generic before Python 3.11
    """Our handler, told by its class from those of a program that runs a command within itself."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)


def log_to_stderr(*, verbose: bool, quiet: bool) -> None:
    """Log to standard error, unless somebody has configured logging already; a second call changes how much."""
    root, chatty = logging.getLogger(), ("opentelemetry", "urllib3")
    if not root.handlers:
        root.addHandler(_Handler())
    for handler in root.handlers:
        if isinstance(handler, _Handler):
            handler.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s", tracebacks=verbose))
            root.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
    for name in chatty:
        # An exporter warns at each failed try, and logs an error when it gives up; the error is enough. The same for
        # urllib3, whose warnings contain whole URLs.
        logging.getLogger(name).setLevel(logging.NOTSET if verbose else logging.ERROR)
