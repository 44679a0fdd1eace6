"""`otel-kfs report`."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import quote

import click

from otel_kfs.cli.command import command, option
from otel_kfs.cli.messages import say, say_sentence
from otel_kfs.cli.options import no_sketch, results_as
from otel_kfs.cli.output import STDOUT, write
from otel_kfs.cli.parameter_types import Choice
from otel_kfs.cli.read_traces import covered
from otel_kfs.cli.trace_options import reading, trace_options
from otel_kfs.errors import ConfigError
from otel_kfs.report import documents
from otel_kfs.report.documents import CHARTS, ChartName, FileFormat
from otel_kfs.traces.query_url import without_credentials

FORMATS: tuple[FileFormat, ...] = ("html", "png", "svg")
_ID = "{trace_id}"


@command(
    short_help="Write an HTML report, or charts, of traces.",
    epilog="""\b
Examples:
  otel-kfs report otel-kfs-runs/latest/traces -o report.html
  otel-kfs report jaeger:http://localhost:16686 --lookback 2h
  otel-kfs report traces/ \\
      --trace-link 'http://localhost:16686/trace/{trace_id}'
  otel-kfs report traces/ --chart segments -o segments.svg
""",
)
@trace_options
@results_as(FORMATS, file="report.html", what="html: the whole report. svg, png: charts for a document.")
@option(
    "--chart",
    "charts",
    type=Choice(CHARTS),
    multiple=True,
    help="svg, png: draw bars of the segments, or latency by size. Repeatable.  [default: both]",
)
@option(
    "--trace-link",
    metavar="URL",
    help="html: the URL of a trace's page, with {trace_id} for its id; links saved traces to a Jaeger, for example.  "
    "[default: the store's own page: Jaeger's, or Grafana's with --grafana]",
)
@no_sketch("a report draws every image")
@click.pass_obj
def report(
    obj: dict[str, bool],
    trace_query: str,
    output: Path | None,
    format_: FileFormat,
    charts: tuple[ChartName, ...],
    trace_link: str | None,
) -> None:
    """Write a self-contained HTML report, or charts, of traces.

    QUERY is where to read them: a file, a folder or a pattern, - for standard input, jaeger:URL, tempo:URL or
    clickhouse:URL. See docs/trace-queries.md.
    """
    if trace_link is not None:
        _check_link(trace_link, format_)
    if charts and format_ == "html":
        raise ConfigError("--chart is for svg and png; the HTML file has all charts")
    sentence, line = _write(trace_query, output, format_, charts or CHARTS, trace_link, quiet=obj["quiet"])
    if not obj["quiet"]:
        say_sentence(sentence)
        say(f"{output or 'standard output'}: {line}")


def _write(
    trace_query: str,
    output: Path | None,
    format_: FileFormat,
    charts: tuple[ChartName, ...],
    trace_link: str | None,
    *,
    quiet: bool,
) -> tuple[str, str]:
    """Read the traces and write the file; return the answer, and one line on what was measured and left out."""
    from otel_kfs.analysis.corrected_measurement import read
    from otel_kfs.report.answer import answer

    documents.load_libraries(format_)
    command = ["otel-kfs", "report", "--trace-query", trace_query, "-o", str(output or STDOUT)]
    command += ["--trace-link", trace_link] if trace_link is not None else []
    with reading(quiet=quiet) as say:
        measurement = read(trace_query, progress=say)
        line = covered(measurement.coverage, without_credentials(trace_query), measurement.store)
        content = documents.file_of(
            measurement,
            format_,
            query=trace_query,
            command=shlex.join(command),
            link=None if trace_link is None else lambda trace_id: trace_link.replace(_ID, quote(trace_id)),
            charts=charts,
            progress=say,
        )
    write(content, output)
    return answer(measurement).sentence, line


def _check_link(trace_link: str, format_: FileFormat) -> None:
    if format_ != "html":
        raise ConfigError("--trace-link is for the HTML file; a chart has no links")
    if _ID not in trace_link or not trace_link.startswith(("https://", "http://")):
        raise ConfigError(f"--trace-link {trace_link} is not the URL of a trace's page: give http(s)://...{_ID}...")
