"""`otel-kfs tables`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from otel_kfs.cli.command import command, option
from otel_kfs.cli.messages import say
from otel_kfs.cli.options import results_as
from otel_kfs.cli.output import write
from otel_kfs.cli.parameter_types import Choice
from otel_kfs.cli.read_traces import print_blocks, read_measurement, read_sketches
from otel_kfs.cli.trace_options import trace_options
from otel_kfs.errors import ConfigError
from otel_kfs.report import render
from otel_kfs.report.records import arrow
from otel_kfs.report.tables.rows import DEFAULT_LAYOUTS, LAYOUTS, Layout

Format = render.Format | Literal["parquet"]
FORMATS: tuple[Format, ...] = (*render.FORMATS, "parquet")


@command(
    short_help="Print tables of where the time went.",
    epilog="""\b
Examples:
  otel-kfs tables otel-kfs-runs/latest/traces
  otel-kfs tables 'traces/*.jsonl' --layout segments -o segments.md
  otel-kfs tables jaeger:http://localhost:16686 --lookback 30m --run monday
  otel-kfs tables 'tempo:http://localhost:3200?lookback=2h'
  zcat traces.jsonl.gz | otel-kfs tables -
  otel-kfs tables archive/ --sketch
  otel-kfs tables traces/ --layout images -o images.parquet
""",
)
@trace_options
@results_as(FORMATS)
@option(
    "--layout",
    type=Choice(LAYOUTS),
    multiple=True,
    help="seed: unix times and their differences. segments: every segment. statistics: the same with sd, "
    "percentiles and intervals of the medians. bars: each segment's share. images: for csv, json and parquet, a record "
    "for each image and segment. Repeatable.  "
    "[default: segments, seed, and before them bars on a terminal]",
)
@option(
    "--wide",
    is_flag=True,
    help="Text: do not fold wide tables. By default, columns that do not fit are shown below the others.",
)
@option(
    "--sketch",
    is_flag=True,
    help="For very many images: keep sketches instead of every duration, so that memory does not grow with their "
    "number. Percentiles are then within 1 %, and there are no seed and images layouts, as no single image is kept.",
)
@click.pass_obj
def tables(
    obj: dict[str, bool],
    trace_query: str,
    format_: Format,
    layout: tuple[Layout, ...],
    output: Path | None,
    *,
    wide: bool,
    sketch: bool,
) -> None:
    """Say what traces show, and print tables of segments and stamps.

    QUERY is where to read them: a file, a folder or a pattern, - for standard input, jaeger:URL, tempo:URL or
    clickhouse:URL. See docs/trace-queries.md.
    """
    if not layout:
        layout = ("segments",) if sketch else DEFAULT_LAYOUTS
        if format_ == "text" and output is None and sys.stdout.isatty():
            layout = ("bars", *layout)
    print_tables(trace_query, format_, layout, output, wide=wide, sketch=sketch, quiet=obj["quiet"])


def print_tables(
    trace_query: str,
    format_: Format,
    layouts: tuple[Layout, ...],
    output: Path | None,
    *,
    wide: bool = False,
    sketch: bool = False,
    quiet: bool,
) -> None:
    """Read the traces; print or write the answer, the tables and what was left out."""
    from otel_kfs.report import documents
    from otel_kfs.report.clock_lines import clock_lines
    from otel_kfs.report.tables import table_notes

    layouts = tuple(dict.fromkeys(layouts))
    _check(format_, layouts, output, sketch=sketch)
    measurement: documents.AnyMeasurement
    if sketch:
        measurement, line = read_sketches(trace_query, quiet=quiet)
        line = f"{line}; {table_notes.SKETCHED}"
    else:
        measurement, line = read_measurement(trace_query, quiet=quiet)
    match format_:
        case "text" | "md":
            blocks = [documents.answer_block(measurement), *documents.blocks(measurement, layouts)]
            print_blocks(blocks, format_, output, wide=wide)
        case _:
            write(documents.pieces(measurement, layouts, format_), output)
    if not quiet:
        for clock_line in clock_lines(measurement.offsets):
            say(clock_line, err=format_ != "text" or output is not None)
        say(line, err=format_ != "text" or output is not None)


def _check(format_: Format, layouts: Sequence[Layout], output: Path | None, *, sketch: bool) -> None:
    """Raise an error for what can't go together, before minutes of reading."""
    if format_ in {"csv", "parquet"} and len(layouts) > 1:
        name = "CSV" if format_ == "csv" else "Parquet"
        raise ConfigError(f"a {name} file holds one table: choose one --layout, such as segments or images")
    if "bars" in layouts and format_ not in {"text", "md"}:
        raise ConfigError("bars are drawn only as text or md; --layout statistics has their figures")
    if "images" in layouts and format_ in {"text", "md"}:
        raise ConfigError("--layout images is a file for other programs: choose csv, json or parquet by --format or -o")
    if format_ == "parquet":
        if "seed" in layouts:
            raise ConfigError("--layout seed is not for parquet; --layout images has the stamps of every image")
        if output is None and sys.stdout.isatty():
            raise ConfigError("Parquet is not for a terminal: name a file by -o")
        arrow.needed()
    for layout in ("seed", "images"):
        if sketch and layout in layouts:
            raise ConfigError(
                f"--layout {layout} shows single images, which --sketch does not keep; choose one of them"
            )
