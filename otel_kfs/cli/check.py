"""`otel-kfs check`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from otel_kfs.cli.measured import print_blocks, print_records, read_measurement
from otel_kfs.cli.messages import say
from otel_kfs.cli.trace_options import optional_trace_options
from otel_kfs.errors import InputError, OtelKfsError
from otel_kfs.report.render import FORMATS, Format
from otel_kfs.traces.query_url import STDIN, is_stdin

if TYPE_CHECKING:
    from otel_kfs.analysis.manual_timestamps import Block
    from otel_kfs.report.rows import Table

WRONG_EXIT, UNREADABLE_EXIT = 1, 2  # as linters have them
_LARGEST = 10_000_000  # bytes; a table that somebody stamped by hand is smaller


class _Failed(click.ClickException):
    """One of our errors: it must not look like columns that do not follow."""

    exit_code = UNREADABLE_EXIT


def _failing(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command end with that exit code wherever one of our errors comes from."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except OtelKfsError as error:
            raise _Failed(str(error)) from error

    return run


@click.command(
    short_help="Check hand-stamped tables against their stamps.",
    epilog="""\b
Examples:
  otel-kfs check measurement.md
  otel-kfs check stamps.csv --trace-query otel-kfs-runs/latest/traces
  pbpaste | otel-kfs check - --format json

\b
Exit code: 0 all columns follow from the stamps, 1 some do not, 2 the file, or the traces, can't be read.
""",
)
@_failing
@click.argument("file", metavar="FILE")
@optional_trace_options("Show the traced figures of the same sizes beside them.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write there, not to the terminal."
)
@click.pass_obj
def check(obj: dict[str, bool], file: str, trace_query: str | None, format_: Format, output: Path | None) -> None:
    """Check tables of times stamped by hand: which columns follow from the stamps, and what the others seem to be.

    FILE (- is standard input) has unix times in columns (in s, ms, us or ns), and lengths beside them or in tables of
    as many rows: Markdown, CSV, or text with two blanks between columns. A length may be off by the last digit that is
    printed.
    """
    if trace_query is not None and format_ == "csv":
        raise click.UsageError("one CSV holds one table: choose another --format for --trace-query")
    if file == STDIN and trace_query is not None and is_stdin(trace_query):
        raise click.UsageError("standard input can be read once: give - for FILE or for --trace-query")
    if _check(file, trace_query, format_, output, quiet=obj["quiet"]):
        sys.exit(WRONG_EXIT)


def _check(file: str, trace_query: str | None, format_: Format, output: Path | None, *, quiet: bool) -> bool:
    """Print or write what is found; returns whether something does not follow."""
    from dataclasses import asdict

    from otel_kfs.analysis import manual_timestamps
    from otel_kfs.report.rows import Table

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
    """The traced figures, as `tables` has them: corrected by the hosts' clocks, and with what those leave open."""
    from otel_kfs.analysis import manual_timestamps
    from otel_kfs.analysis.skew_correction import correct_skew, offsets
    from otel_kfs.report.rows import clock_lines
    from otel_kfs.report.timestamp_rows import beside_table

    measurement, line = read_measurement(trace_query, quiet=quiet)
    tables = [beside_table(of) for of in manual_timestamps.beside(found, *correct_skew(measurement))]
    if not quiet:
        for clock_line in clock_lines(offsets(measurement)):
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
        raise InputError(f"more than {_LARGEST // 1_000_000} MB: that is no table stamped by hand")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8") from error
