"""`otel-kfs compare`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from otel_kfs.cli.command import command, option
from otel_kfs.cli.messages import say
from otel_kfs.cli.options import no_sketch, results_as
from otel_kfs.cli.output import write
from otel_kfs.cli.read_traces import print_blocks, print_records, read_measurement
from otel_kfs.cli.trace_options import Parts, Query, given_queries, no_query, query_option, trace_parts
from otel_kfs.errors import ConfigError
from otel_kfs.report.render import FORMATS, Format
from otel_kfs.traces.query_url import is_stdin, joined

if TYPE_CHECKING:
    from otel_kfs.analysis.comparison import Comparisons
    from otel_kfs.analysis.measurement import Series

    _AllSeries = Sequence[Series]

SLOWER_EXIT = 3  # with --fail-if-slower; 1 and 2 are errors


def _percent(_: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Parse a share such as `10%`."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not (value.endswith("%") and 0 <= share < float("inf")):
        raise click.BadParameter(f"{value!r} is not a percentage such as 10%", param=parameter)
    return share


def _selectors(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Parse texts such as `transport=http` into keys and their values."""
    found = {}
    for value in values:
        key, equals, wanted = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE, such as transport=http", param=parameter)
        found[key] = wanted
    return found


def _where(side: str) -> str:
    return f"Only images with this transport, encoding, compression, cell or size, {side}; repeatable."


@command(
    short_help="Compare two measurements, segment by segment.",
    epilog="""\b
Examples:
  otel-kfs compare before/traces after/traces
  otel-kfs compare traces/ --where-a transport=http --where-b transport=kafka
  otel-kfs compare through-ingress/ straight-to-predictor/ --where size=10.2MB
  otel-kfs compare traces/ --run-a monday --run-b tuesday -o comparison.html
  otel-kfs compare clickhouse:http://localhost:8123 --lookback 2d \\
      --run-a monday --run-b tuesday
  otel-kfs compare main.jsonl.gz branch.jsonl.gz --fail-if-slower 10%

\b
Exit code: 0, 1 after an error, 2 if the command line is wrong, 3 if
--fail-if-slower finds B slower.
""",
)
@click.argument("queries", nargs=-1, type=Query(), metavar="QUERY_A [QUERY_B]")
@query_option("The same as QUERY_A and, given again, as QUERY_B.")
@option("--where", multiple=True, callback=_selectors, metavar="KEY=VALUE", help=_where("on both sides"))
@option("--where-a", multiple=True, callback=_selectors, metavar="KEY=VALUE", help="The same for A only.")
@option("--where-b", multiple=True, callback=_selectors, metavar="KEY=VALUE", help="The same for B only.")
@option("--run-a", metavar="ID", help="Only the images of this run (send's --run), for A only.")
@option("--run-b", metavar="ID", help="The same for B only.")
@trace_parts
@results_as((*FORMATS, "html"))
@option("--all", "whole", is_flag=True, help="Text and Markdown: also show the segments that do not differ.")
@option(
    "--fail-if-slower",
    "limit",
    callback=_percent,
    metavar="PERCENT",
    help=f"Exit with {SLOWER_EXIT} if B's total (4-1) is longer by more than this at any size, beyond noise.",
)
@no_sketch("the rank test of a comparison needs every duration")
@click.pass_obj
def compare(
    obj: dict[str, bool],
    queries: tuple[str, ...],
    trace_query: tuple[str, ...],
    where: dict[str, str],
    where_a: dict[str, str],
    where_b: dict[str, str],
    parts: Parts,
    run_a: str | None,
    run_b: str | None,
    format_: Format | Literal["html"],
    output: Path | None,
    whole: bool,
    limit: float | None,
) -> None:
    """Compare two measurements: what became slower, how sure that is, and in which segment.

    A and B are trace queries, as for `otel-kfs tables` (a path, jaeger:URL, tempo:URL or clickhouse:URL); options such
    as --lookback apply to both. Without QUERY_B, both sides come from QUERY_A, selected by --where-a and --where-b or
    by --run-a and --run-b. Images are matched by size, transport, encoding, compression and cell. If the two sides
    share no value of one of these, that one is compared: HTTP with Kafka, a demo with an experiment's cells.
    """
    from otel_kfs.analysis import comparison
    from otel_kfs.report import documents
    from otel_kfs.report.tables import comparison_rows

    queries = given_queries(queries, trace_query, most=2)
    if not queries:
        raise no_query()
    if len(queries) == 1 and where_a == where_b and run_a == run_b:
        raise click.UsageError(
            "nothing to compare: give QUERY_B, or different --where-a and --where-b or --run-a and --run-b"
        )
    if format_ == "html":
        documents.load_libraries(format_)
    query_a, query_b = _side(queries[0], parts, run_a), _side(queries[-1], parts, run_b)
    one_query = len(queries) == 1 and run_a == run_b
    if not one_query and is_stdin(query_a) and is_stdin(query_b):
        raise click.UsageError("standard input can be read only once: give - for A or for B")
    quiet = obj["quiet"]
    in_a, line_a = read_measurement(query_a, quiet=quiet)
    in_b, line_b = (in_a, line_a) if one_query else read_measurement(query_b, quiet=quiet)
    of_a = comparison.select(in_a.series, where | where_a)
    of_b = comparison.select(in_b.series, where | where_b)
    found = comparison.compare(of_a, of_b, in_a.bounds, in_b.bounds)
    if limit is not None and (why := found.too_few()):
        raise ConfigError(f"--fail-if-slower {why}")
    line_a, line_b = _chosen(of_a, where | where_a) + line_a, _chosen(of_b, where | where_b) + line_b
    if format_ == "html":
        made_by = _command(dict.fromkeys([query_a, query_b]), where=where, where_a=where_a, where_b=where_b)
        write(documents.comparison_file(found, (query_a, line_a), (query_b, line_b), command=made_by), output)
    elif format_ in {"text", "md"}:
        print_blocks(comparison_rows.comparison_tables(found, whole=whole), format_, output)
    else:
        document = _document(found, (in_a.series, of_a), (in_b.series, of_b))
        print_records(document["comparison"], document, format_, output)
    if not quiet:
        for side, line in (("A", line_a), ("B", line_b)):
            say(f"{side}: {line}", err=format_ != "text" or output is not None)
    slower = [] if limit is None else found.slower(limit)
    for of in slower:
        say(f"slower than --fail-if-slower allows: {comparison_rows.verdict(of)}")
    if slower:
        sys.exit(SLOWER_EXIT)


def _document(found: Comparisons, a: tuple[_AllSeries, _AllSeries], b: tuple[_AllSeries, _AllSeries]) -> dict[str, Any]:
    """Return what JSON has of a comparison; of each side the series that were measured, and those that were chosen."""
    from otel_kfs.report.records import comparison_records
    from otel_kfs.report.tables import comparison_rows

    return {
        "comparison": comparison_records.comparison_records(found),
        "verdicts": [comparison_rows.verdict(of) for of in found.of_sizes],
        "unmatched": list(found.unmatched),
        "overlapping": list(found.overlapping),
        "images": {
            side: {"measured": sum(map(len, measured)), "chosen": sum(map(len, chosen))}
            for side, (measured, chosen) in (("a", a), ("b", b))
        },
    }


def _command(queries: Iterable[str], **chosen: dict[str, str]) -> str:
    """Return the command line, as the page names it."""
    options = [
        part
        for name, by in chosen.items()
        for key, value in by.items()
        for part in (f"--{name.replace('_', '-')}", f"{key}={value}")
    ]
    return shlex.join(["otel-kfs", "compare", *queries, *options])


def _chosen(series: Sequence[Series], where: dict[str, str]) -> str:
    """Say how many images a side has after its choice; nothing where all were chosen."""
    if not where:
        return ""
    count = sum(map(len, series))
    by = ", ".join(f"{key}={value}" for key, value in where.items())
    return f"{count} image{'' if count == 1 else 's'} with {by}, of "


def _side(query: str, parts: Parts, run: str | None) -> str:
    """Return the whole query of one side."""
    if run is not None and "run" in parts:
        raise click.UsageError("--run applies to both sides: give either --run, or --run-a and --run-b")
    return joined(query, parts if run is None else {**parts, "run": [run]})
