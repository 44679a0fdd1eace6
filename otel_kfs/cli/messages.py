"""Messages of one line, without control sequences, whatever a span, a store or a file is called."""

from __future__ import annotations

import logging
import sys

import click

from otel_kfs.traces.printable import printable


def say(text: str, *, err: bool = True) -> None:
    """Print one line, on standard error unless it is part of the result."""
    click.echo(printable(text), err=err)


class OneLine(logging.Formatter):
    """Formats a log record's message as one line; a traceback below it keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        record.message = printable(record.message)
        return super().formatMessage(record)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]  # not generic before Python 3.11
    """Ours, to tell it from a handler of whoever runs a command within another program."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s"))


def log_to_stderr(*, verbose: bool, quiet: bool) -> None:
    """Log to standard error, unless somebody has configured logging already; a second call changes how much."""
    root, chatty = logging.getLogger(), ("opentelemetry", "urllib3")
    if not root.handlers:
        root.addHandler(_Handler())
    if any(isinstance(handler, _Handler) for handler in root.handlers):
        root.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
    for name in chatty:
        # An exporter warns at each failed try, and logs an error when it gives up; the error is enough. The same for
        # urllib3, whose warnings contain whole URLs.
        logging.getLogger(name).setLevel(logging.NOTSET if verbose else logging.ERROR)
