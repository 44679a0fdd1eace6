"""Lines for a person: each stays one line without control sequences, whatever a span, a store or a file is called."""

from __future__ import annotations

import logging

import click

from otel_kfs.report.render import printable


def say(text: str, *, err: bool = True) -> None:
    """Print one line, on standard error unless it is part of the result."""
    click.echo(printable(text), err=err)


class OneLine(logging.Formatter):
    """Log records whose message is one line; a traceback below it keeps its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record's line."""
        record.message = printable(record.message)
        return super().formatMessage(record)
