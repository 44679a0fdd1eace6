"""`otel-kfs tables`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from otel_kfs.errors import ConfigError, OtelKfsError
from otel_kfs.output import write
from otel_kfs.render import FORMATS, Format
from otel_kfs.tables import LAYOUTS, Layout


@click.command(
    epilog="""\b
Examples:
  otel-kfs tables --trace-query otel-kfs-runs/latest/traces
  otel-kfs tables --trace-query 'traces/*.jsonl' --layout segments --format md -o segments.md
  otel-kfs tables --trace-query 'jaeger:http://localhost:16686?service=image-sender&lookback=1h'
  otel-kfs tables --trace-query 'tempo:http://localhost:3200?start=2026-01-31T12:00:00Z'
"""
)
@click.option(
    "--trace-query",
    required=True,
    metavar="QUERY",
    help="A file, folder or pattern of OTLP-JSON traces; jaeger:URL or tempo:URL.",
)
@click.option("--format", "format_", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    multiple=True,
    help="seed: unix times and their differences; segments: every named segment. Left out: both.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write there, not to the terminal.",
)
@click.pass_obj
def tables(
    obj: dict[str, bool], trace_query: str, format_: Format, layout: tuple[Layout, ...], output: Path | None
) -> None:
    """Rebuild the tables from traces."""
    print_tables(trace_query, format_, layout or LAYOUTS, output, quiet=obj["quiet"])


def print_tables(
    trace_query: str, format_: Format, layouts: tuple[Layout, ...], output: Path | None, *, quiet: bool
) -> None:
    """Read the traces, and print or write the tables and the account of what was left out."""
    from otel_kfs import render, tables
    from otel_kfs.segments import journeys
    from otel_kfs.traces import query
    from otel_kfs.traces.span import Forest

    layouts = tuple(dict.fromkeys(layouts))
    if format_ == "csv" and len(layouts) > 1:
        raise ConfigError("one CSV holds one table: choose --layout seed or --layout segments")
    found, account = journeys(Forest(query.spans(trace_query)))
    line = render.printable(tables.account_line(account))
    if not found:
        raise OtelKfsError(f"no image was measured in {trace_query}: {line}")
    cells = tables.cells(found)
    if format_ in {"text", "md"}:
        of_layout = {"seed": tables.seed_tables, "segments": tables.segment_tables}
        printed = [table for layout in layouts for table in of_layout[layout](cells)]
        if format_ == "md":
            text = render.markdown(printed)
        elif output is None:
            render.terminal(printed)
            text = None
        else:
            text = render.text(printed)
    else:
        records = {"seed": tables.seed_records, "segments": tables.segment_records}
        if format_ == "csv":
            text = render.comma_separated(records[layouts[0]](cells))
        else:
            document: dict[str, Any] = {layout: records[layout](cells) for layout in layouts}
            document["account"] = {
                "measured": account.measured,
                "left_out": dict(account.left_out),
                "retried": account.retried,
                "redelivered": account.redelivered,
            }
            text = render.json(document)
    if text is not None:
        write(text, output)
    if not quiet:
        click.echo(line, err=format_ != "text" or output is not None)
