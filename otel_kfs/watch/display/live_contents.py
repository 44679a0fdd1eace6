"""What the report's charts are given, made of sketches: no single image and no trace is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement
from otel_kfs.analysis.duration_sketch import Sketch, SketchedSeries
from otel_kfs.analysis.findings import share_bound, sum_of_bounds
from otel_kfs.analysis.measurement import Labels, by_labels
from otel_kfs.analysis.paths.segment import TOTAL, Segment, Stretch, path_order
from otel_kfs.analysis.statistics import summary
from otel_kfs.report.contents import Row, Trace

Window = CorrectedMeasurement[SketchedSeries]

_NONE = Trace("")


@dataclass(frozen=True, slots=True)
class LiveSeries:
    """One series, as `contents.SeriesReport`."""

    series: SketchedSeries
    number: int
    total: Row
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """`HTTP, 1.1MB`."""
        return f"{self.series.labels.label}, {self.series.size}"

    @property
    def largest(self) -> list[Row]:
        """The three segments that take most of the time."""
        return sorted(self.rows, key=lambda row: -row.mean)[:3]


class LiveLabels(NamedTuple):
    """The series of the same labels, small images first."""

    labels: Labels
    series: Sequence[LiveSeries]


@dataclass(frozen=True, slots=True)
class LiveContents:
    """What `stacked_bars` draws, as `contents.Contents`; `segments`: those of the legend, in the order of the path."""

    by_labels: Sequence[LiveLabels]
    segments: Sequence[Segment]

    @property
    def series(self) -> list[LiveSeries]:
        """All series."""
        return [report for group in self.by_labels for report in group.series]


def live_contents(window: Window, segments: Sequence[Segment]) -> LiveContents:
    """Return what charts are drawn of, with the letters that `segments` give to each."""
    return LiveContents(
        [
            LiveLabels(labels, [_report(series, number, window) for series in of_labels])
            for number, (labels, of_labels) in enumerate(by_labels(window.series).items())
        ],
        segments,
    )


def segments_of(window: Window) -> list[Segment]:
    """Return every segment that occurs, in the order of the path."""
    return sorted({one for series in window.series for one in series.segments}, key=path_order)


def _report(series: SketchedSeries, number: int, window: Window) -> LiveSeries:
    columns: dict[Stretch, Sketch] = series.columns()
    time = columns[TOTAL].total or 1

    def row(stretch: Stretch, sketch: Sketch) -> Row:
        bound = window.bounds.get((series.labels, series.size, stretch), 0)
        figures = summary(sketch, bound, max(series.bounds(stretch), default=0))
        images = len(series)
        of_share = 0.0
        if stretch != TOTAL:
            bound = sum_of_bounds(series.bounds(stretch), len(sketch))
            of_share = share_bound(sketch.total, bound, time, sum_of_bounds(series.bounds(TOTAL), images))
        return Row(stretch, figures, sketch.total / images, images, sketch.total / time, _NONE, _NONE, of_share)

    rows = {stretch: row(stretch, sketch) for stretch, sketch in columns.items()}
    return LiveSeries(series, number, rows.pop(TOTAL), tuple(rows.values()))
