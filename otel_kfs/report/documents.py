"""The front door of this room: from a measurement to tables, records, a JSON document, an HTML page or charts.

What a command prints or writes of a measurement it asks for here; all other modules serve these functions. Comparisons
and stamps beside traces, which are of more than one measurement, have doors of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import otel_kfs
from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement
from otel_kfs.analysis.duration_sketch import ACCURACY, AnySeries, SketchedSeries
from otel_kfs.analysis.image_size import TOLERANCE
from otel_kfs.analysis.measurement import Series
from otel_kfs.errors import MissingExtra
from otel_kfs.report import render
from otel_kfs.report.answer import answer
from otel_kfs.report.clock_lines import clock_records
from otel_kfs.report.records import arrow, segment_records
from otel_kfs.report.records.image_records import ImageRecord, image_records
from otel_kfs.report.records.segment_records import SegmentRecord
from otel_kfs.report.tables import rows
from otel_kfs.report.tables.rows import Layout
from otel_kfs.report.tables.table import Table
from otel_kfs.report.terminal_bars import Chart, bar_charts
from otel_kfs.traces.query_url import without_credentials

if TYPE_CHECKING:
    from otel_kfs.analysis.comparison import Comparisons
    from otel_kfs.report.contents import Origin

AnyMeasurement = CorrectedMeasurement[AnySeries]
Link = Callable[[str], str | None]

RecordFormat = Literal["csv", "json", "parquet"]
FileFormat = Literal["html", "svg", "png"]
ChartName = Literal["segments", "sizes"]
CHARTS: tuple[ChartName, ...] = ("segments", "sizes")
_ENDINGS: dict[str, FileFormat] = {".html": "html", ".htm": "html", ".svg": "svg", ".png": "png"}
# Modules that the report's extra brings, and the packages that they are of.
_EXTRA = {"jinja2": "Jinja2", "markupsafe": "Jinja2", "numpy": "numpy", "scipy": "scipy"}


def blocks(measurement: AnyMeasurement, layouts: Iterable[Layout]) -> list[Table | Chart]:
    """Return tables and bars, to be printed as text or Markdown."""
    found: list[Table | Chart] = []
    for layout in layouts:
        if layout == "seed":
            found += rows.seed_tables(_samples(measurement))
        elif layout == "segments":
            found += rows.segment_tables(measurement.series, measurement.bounds)
        elif layout == "statistics":
            found += rows.statistics_tables(measurement.series, measurement.bounds)
        elif layout == "bars":
            found += bar_charts(measurement.series)
        else:
            raise ValueError(f"the layout {layout} has records, no tables")
    return found


def answer_block(measurement: AnyMeasurement) -> Table:
    """Return the answer, to be printed before the others, or after them."""
    return Table("", (), (), (answer(measurement).sentence,))


def records(measurement: AnyMeasurement, layout: Layout) -> Iterable[Mapping[str, Any]]:
    """Return the records of one layout, a line of CSV each; those of images come one after the other."""
    if layout == "images":
        return image_records(_samples(measurement))
    if layout == "seed":
        return segment_records.seed_records(_samples(measurement))
    return segment_records.segment_records(measurement.series, measurement.bounds)


def pieces(measurement: AnyMeasurement, layouts: Sequence[Layout], format_: RecordFormat) -> Iterator[str | bytes]:
    """Yield the records of some layouts as a file, in pieces, so that those of images are never all in memory.

    Raises:
        ConfigError: pyarrow, for Parquet, can't be imported.
        MissingExtra: it is not installed.
    """
    if format_ == "json":
        return render.json_pieces(document(measurement, layouts))
    (layout,) = layouts
    found = records(measurement, layout)
    if format_ == "csv":
        return render.csv_pieces(found)
    return arrow.parquet_pieces(found, _RECORDS[layout])


_RECORDS: Mapping[Layout, type] = {
    "images": ImageRecord,
    "segments": SegmentRecord,
    "statistics": SegmentRecord,
}


def document(measurement: AnyMeasurement, layouts: Iterable[Layout]) -> dict[str, Any]:
    """Return all that JSON says: the answer, the records of each layout, what was left out, the clocks.

    The records of images are an iterator, which `render.json_pieces` takes.
    """
    coverage = measurement.coverage
    counts: dict[str, Any] = {
        "measured": coverage.measured,
        "left_out": dict(coverage.left_out),
        "retried": coverage.retried,
        "redelivered": coverage.redelivered,
        "in_batches": coverage.in_batches,
    }
    if coverage.roots:  # what images began with that our senders did not send
        counts["roots"] = dict(coverage.roots)
    if coverage.lacking:  # of what a stamps file names
        counts["lacking"] = dict(coverage.lacking)
    found: dict[str, Any] = {"answer": answer(measurement).data}
    found |= {layout: records(measurement, layout) for layout in layouts}
    found |= {"account": counts, "size_tolerance": TOLERANCE, "clocks": clock_records(measurement.offsets)}
    return found | {"percentiles_within": ACCURACY} if is_sketched(measurement) else found


def load_libraries(format_: FileFormat) -> None:
    """Import what a file of this format needs, so that what is missing is known before minutes of reading.

    Raises:
        MissingExtra: a library of the report's extra, what makes PNG, or its font, is not installed.
    """
    try:
        from otel_kfs.report import contents  # noqa: F401
        from otel_kfs.report.charts import figure
        from otel_kfs.report.html import comparison_page, page  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise MissingExtra(_EXTRA[error.name], "report") from error
    if format_ == "png":
        figure.need_png()


def file_format(output: Path) -> FileFormat | None:
    """Return the format of a file with that ending; None of any other."""
    return _ENDINGS.get(output.suffix.lower())


def file_of(
    measurement: CorrectedMeasurement[Series],
    format_: FileFormat,
    *,
    query: str,
    command: str,
    link: Link | None = None,
    charts: Sequence[ChartName] = CHARTS,
    progress: Callable[[str], None] = lambda _: None,
) -> str | bytes:
    """Return the file of a measurement of at least one image: the whole report as HTML, or its charts as SVG or PNG.

    `query` and `command`, which the report names, are without credentials there. `link` gives the page of a trace; left
    out, it is what the store says.

    Raises:
        ConfigError: `sizes` alone is asked for, and there is only one size.
        MissingExtra: what makes PNG, or its font, is not installed.
    """
    from otel_kfs.report.contents import contents

    progress("computing the figures")
    origin = _origin(query, command)
    found = contents(measurement, origin, link=link, draws_paths=format_ == "html")
    progress("drawing the charts")
    if format_ == "html":
        from otel_kfs.report.html.page import page

        return page(found)
    from otel_kfs.report.charts import figure

    drawing = figure.figure(found, charts)
    return figure.png(drawing) if format_ == "png" else drawing


def comparison_file(found: Comparisons, a: tuple[str, str], b: tuple[str, str], *, command: str) -> str:
    """Return the HTML file of a comparison; of each side its query, and one line on what was measured.

    Raises:
        ModuleNotFoundError: a library of the report's extra is not installed.
    """
    from otel_kfs.report.html.comparison_page import Side, comparison_page

    side_a, side_b = (Side(without_credentials(query), line) for query, line in (a, b))
    return comparison_page(found, side_a, side_b, _origin(a[0], command))


def _origin(query: str, command: str) -> Origin:
    from otel_kfs.report.contents import Origin

    return Origin(
        without_credentials(query), without_credentials(command), otel_kfs.__version__, datetime.now(timezone.utc)
    )


def is_sketched(measurement: AnyMeasurement) -> bool:
    """Return whether it has sketches in place of single images."""
    return any(isinstance(one, SketchedSeries) for one in measurement.series)


def _samples(measurement: AnyMeasurement) -> list[Series]:
    return [one for one in measurement.series if isinstance(one, Series)]
