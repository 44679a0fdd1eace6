"""`otel-kfs check`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from otel_kfs.cli.command import command
from otel_kfs.cli.messages import say
from otel_kfs.cli.options import result_options
from otel_kfs.cli.read_traces import print_blocks, print_records, read_measurement
from otel_kfs.cli.trace_options import optional_trace_options
from otel_kfs.errors import InputError, OtelKfsError
from otel_kfs.report.render import Format
from otel_kfs.traces.query_url import STDIN, is_stdin

if TYPE_CHECKING:
    from otel_kfs.analysis.manual_timestamps import Block
    from otel_kfs.report.tables.table import Table

WRONG_EXIT, UNREADABLE_EXIT = 1, 2  # as for linters
_LARGEST = 10_000_000  # bytes; a table that somebody stamped by hand is smaller


class _Failed(click.ClickException):
    """One of our errors, with an exit code that differs from that of wrong columns."""

    exit_code = UNREADABLE_EXIT


def _failing(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command exit with that code on any of our errors."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except OtelKfsError as error:
            raise _Failed(str(error)) from error

    return run


@command(
    short_help="Check hand-stamped tables against their stamps.",
    epilog="""\b
Examples:
  otel-kfs check measurement.md
  otel-kfs check stamps.csv otel-kfs-runs/latest/traces
  pbpaste | otel-kfs check - --format json

\b
Exit code: 0 if all columns follow from the stamps, 1 if some do not,
2 if the file or the traces can't be read.
""",
)
@_failing
@click.argument("file", metavar="FILE")
@optional_trace_options
@result_options
@click.pass_obj
def check(obj: dict[str, bool], file: str, trace_query: str | None, format_: Format, output: Path | None) -> None:
    """Check tables of hand-stamped times: which columns follow from the stamps, and what the others seem to show.

    FILE (- for standard input) has columns of unix times (in s, ms, us or ns), and durations next to them or in another
    table with the same number of rows. It is Markdown, CSV, or text with two spaces between columns. A duration may be
    off by one in its last printed digit.

    With QUERY, the figures of these traces stand beside it, for the same sizes; QUERY is what `otel-kfs tables` takes.
    """
    if trace_query is not None and format_ == "csv":
        raise click.UsageError("a CSV file holds one table: choose another --format with QUERY")
    if file == STDIN and trace_query is not None and is_stdin(trace_query):
        raise click.UsageError("standard input can be read only once: give - for FILE or for QUERY")
    if _check(file, trace_query, format_, output, quiet=obj["quiet"]):
        sys.exit(WRONG_EXIT)


def _check(file: str, trace_query: str | None, format_: Format, output: Path | None, *, quiet: bool) -> bool:
    """Print or write what is found; return whether something does not follow."""
    from dataclasses import asdict

    from otel_kfs.analysis import manual_timestamps
    from otel_kfs.report.tables.table import Table

    try:
        found = manual_timestamps.blocks(_read(file))
    except InputError as error:
        raise InputError(f"{'standard input' if file == STDIN else file}: {error}") from error
    findings = manual_timestamps.check(found)
    beside = [] if trace_query is None else _beside(found, trace_query, quiet=quiet)
    if format_ in {"text", "md"}:
        wrong = tuple(finding.text for finding in findings if finding.wrong)
        right = tuple(finding.text for finding in findings if not finding.wrong)
        blocks = [Table("Does not follow from the stamps", (), (), wrong)] if wrong else []
        blocks += [Table("Besides" if wrong else "All columns follow from the stamps", (), (), right)]
        print_blocks([*beside, *blocks], format_, output)
    else:
        records = [finding._asdict() for finding in findings]
        print_records(records, {"findings": records, "beside": [asdict(table) for table in beside]}, format_, output)
    return any(finding.wrong for finding in findings)


def _beside(found: Sequence[Block], trace_query: str, *, quiet: bool) -> list[Table]:
    """Return the traced figures as `tables` prints them: corrected for clock skew, with their bounds."""
    from otel_kfs.analysis import manual_timestamps
    from otel_kfs.report.clock_lines import clock_lines
    from otel_kfs.report.tables.timestamp_rows import beside_table

    measurement, line = read_measurement(trace_query, quiet=quiet)
    tables = [beside_table(of) for of in manual_timestamps.beside(found, measurement.series)]
    if not quiet:
        for clock_line in clock_lines(measurement.offsets):
            say(clock_line)
        say(f"traced: {line}")
    return tables


def _read(file: str) -> str:
    try:
        with click.open_file(file, "rb") as opened:
            content: bytes = opened.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(error.strerror or str(error)) from error
    if len(content) > _LARGEST:
        raise InputError(f"more than {_LARGEST // 1_000_000} MB: too large for a table stamped by hand")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8") from error
