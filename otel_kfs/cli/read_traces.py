"""What the commands that read traces share: reading them, and printing or writing what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_kfs.cli.output import write
from otel_kfs.cli.trace_options import reading
from otel_kfs.report.render import Format

if TYPE_CHECKING:
    from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement
    from otel_kfs.analysis.duration_sketch import SketchedSeries
    from otel_kfs.analysis.measurement import Series
    from otel_kfs.analysis.paths.coverage import Coverage
    from otel_kfs.report.tables.table import Table
    from otel_kfs.report.terminal_bars import Chart
    from otel_kfs.traces.store import TraceStore


def read_measurement(trace_query: str, *, quiet: bool) -> tuple[CorrectedMeasurement[Series], str]:
    """Return the images that a query finds, and one line on what was measured and left out.

    Raises:
        OtelKfsError: there is no image.
        TraceQueryError: the query can't be understood or answered.
    """
    from otel_kfs.analysis.corrected_measurement import read

    with reading(quiet=quiet) as say:
        found = read(trace_query, progress=say)
    return found, covered(found.coverage, trace_query, found.store)


def read_sketches(trace_query: str, *, quiet: bool) -> tuple[CorrectedMeasurement[SketchedSeries], str]:
    """Return the same as sketches.

    Raises:
        MissingExtra: ddsketch is not installed.
        OtelKfsError: there is no image.
        TraceQueryError: the query can't be understood or answered.
    """
    from otel_kfs.analysis.corrected_measurement import read_sketches

    with reading(quiet=quiet) as say:
        found = read_sketches(trace_query, progress=say)
    return found, covered(found.coverage, trace_query, found.store)


def covered(coverage: Coverage, trace_query: str, store: TraceStore | None = None) -> str:
    """Return one line on what was measured and left out; if nothing was, on what `store` has instead.

    Raises:
        OtelKfsError: no image was measured.
    """
    from otel_kfs.reader.no_images import need_images
    from otel_kfs.report.coverage_lines import coverage_line
    from otel_kfs.traces.printable import printable

    need_images(coverage, trace_query, store)
    return printable(coverage_line(coverage))


def print_blocks(blocks: Sequence[Table | Chart], format_: Format, output: Path | None, *, wide: bool = False) -> None:
    """Print or write tables and bars as text or Markdown."""
    from otel_kfs.report import render

    if format_ == "md":
        write(render.markdown(blocks), output)
    elif output is None:
        render.terminal(blocks, wide=wide)
    else:
        write(render.text(blocks, wide=wide), output)


def print_records(records: Iterable[Mapping[str, Any]], document: Any, format_: Format, output: Path | None) -> None:
    """Print or write records as CSV, or a document as JSON."""
    from otel_kfs.report import render

    write(render.comma_separated(records) if format_ == "csv" else render.json(document), output)
