"""From a measurement to the blocks, records or document of the layouts that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement
from otel_kfs.analysis.duration_sketch import ACCURACY, AnySeries, SketchedSeries
from otel_kfs.analysis.image_size import TOLERANCE
from otel_kfs.analysis.measurement import Series
from otel_kfs.report import rows
from otel_kfs.report.rows import Layout, Table
from otel_kfs.report.terminal_bars import Chart, charts

AnyMeasurement = CorrectedMeasurement[AnySeries]


def blocks(measurement: AnyMeasurement, layouts: Iterable[Layout]) -> list[Table | Chart]:
    """Return tables and bars, to be printed as text or Markdown."""
    bounds = measurement.bounds
    of_layout: dict[Layout, Callable[[], Sequence[Table | Chart]]] = {
        "seed": lambda: rows.seed_tables(_samples(measurement)),
        "segments": lambda: rows.segment_tables(measurement.series, bounds),
        "statistics": lambda: rows.statistics_tables(measurement.series, bounds),
        "bars": lambda: charts(measurement.series),
    }
    return [block for layout in layouts for block in of_layout[layout]()]


def records(measurement: AnyMeasurement, layout: Layout) -> list[dict[str, Any]]:
    """Return the records of one layout, a line of CSV each."""
    if layout == "seed":
        return rows.seed_records(_samples(measurement))
    return rows.segment_records(measurement.series, measurement.bounds)


def document(measurement: AnyMeasurement, layouts: Iterable[Layout]) -> dict[str, Any]:
    """Return all that JSON says: the records of each layout, what was left out, and the clocks."""
    coverage = measurement.coverage
    counts = {
        "measured": coverage.measured,
        "left_out": dict(coverage.left_out),
        "retried": coverage.retried,
        "redelivered": coverage.redelivered,
    }
    found: dict[str, Any] = {layout: records(measurement, layout) for layout in layouts}
    found |= {"account": counts, "size_tolerance": TOLERANCE, "clocks": rows.clock_records(measurement.offsets)}
    return found | {"percentiles_within": ACCURACY} if is_sketched(measurement) else found


def is_sketched(measurement: AnyMeasurement) -> bool:
    """Return whether it has sketches in place of single images."""
    return any(isinstance(one, SketchedSeries) for one in measurement.series)


def _samples(measurement: AnyMeasurement) -> list[Series]:
    return [one for one in measurement.series if isinstance(one, Series)]
