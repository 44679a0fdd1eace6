"""Messages of one line, without control sequences, whatever a span, a store or a file is called."""

from __future__ import annotations

import logging

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
