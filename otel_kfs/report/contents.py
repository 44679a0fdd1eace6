"""What the report says of a measurement: numbers and names, no markup."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from otel_kfs.analysis.clock_skew import Clocks
from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement
from otel_kfs.analysis.findings import share_bound, sum_of_bounds
from otel_kfs.analysis.measurement import Labels, Series, by_labels
from otel_kfs.analysis.paths.critical_path import CriticalPath, PathFinder
from otel_kfs.analysis.paths.segment import TOTAL, Segment, Stretch, path_order
from otel_kfs.analysis.paths.shared_host_names import told_apart
from otel_kfs.analysis.size_fit import Fits, fits
from otel_kfs.analysis.skew_correction import Bounds, corrected_path, corrected_spans
from otel_kfs.analysis.statistics import P95_NEEDS, Summary, summary
from otel_kfs.report.answer import answer
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.span import Key, Span, SpanGraph


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace: its id, and where a browser shows it (None where the store has no such page)."""

    trace_id: str
    link: str | None = None
    linked: tuple[Trace, ...] = ()  # of an image's: those in which it went on, a consumer's own

    @property
    def whole(self) -> tuple[Trace, ...]:
        """The trace and those that are linked to it."""
        return (self, *self.linked)


@dataclass(frozen=True, slots=True)
class Row:
    """One segment of one series, or its 4-1; durations in ns.

    `summary` is of the images that have the segment. `mean` is of all the series' images, `images` of them: one that
    lacks the segment spent no time in it, so that the means of the segments add up to that of 4-1.
    """

    segment: Stretch
    summary: Summary
    mean: float
    images: int
    share: float  # of the time of all the series' images
    median: Trace
    slowest: Trace
    share_bound: float = 0  # how far off the share may be, because of two hosts' clocks

    @property
    def is_unknown(self) -> bool:
        """Whether nothing bounds the clocks that it was read on."""
        return math.isinf(self.summary.bound)

    @property
    def share_is_known(self) -> bool:
        """Whether its share is known, exactly or within a bound: not where it, or the total, is unknown."""
        return not math.isinf(self.share_bound)

    @property
    def name(self) -> str:
        """The segment's name, as it is printed."""
        return segment_name(self.segment)

    @property
    def is_rare(self) -> bool:
        """Whether fewer than half of the images have the segment: of most it is no part."""
        return 2 * self.summary.n < self.images

    @property
    def rarity(self) -> str:
        """How many images have the segment, `in 1 of 20 images`; empty where all have."""
        return "" if self.summary.n == self.images else f"in {self.summary.n} of {self.images} images"


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """One series: its 4-1, its segments in the order of the path, and the trace of its median image."""

    series: Series
    number: int
    total: Row
    rows: tuple[Row, ...]
    median: Trace

    @property
    def title(self) -> str:
        """`HTTP, 1.1MB`."""
        return f"{self.series.labels.label}, {self.series.size}"

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The segments, and 4-1 below them."""
        return (*self.rows, self.total)

    @property
    def largest(self) -> list[Row]:
        """The three segments that take most of the time."""
        return sorted(self.rows, key=lambda row: -row.mean)[:3]


@dataclass(frozen=True, slots=True)
class LabelsReport:
    """The series of the same labels, small images first, and what their images cost."""

    labels: Labels
    number: int
    series: tuple[SeriesReport, ...]
    fits: Fits


@dataclass(frozen=True, slots=True)
class MedianPath:
    """A series' median image: the spans that were read of it, and its path, by the clock of stamp 1's host.

    `unknown`: the hosts whose clocks nothing bounds, so that their spans stand where their own clocks have them.
    """

    of: SeriesReport
    graph: SpanGraph
    root: Span
    path: CriticalPath
    unknown: frozenset[str] = frozenset()

    @property
    def bound(self) -> float:
        """How far off its 4-1 may be, ns."""
        series = self.of.series
        return series.stamp_bound(TOTAL, series.median())


@dataclass(frozen=True, slots=True)
class Undrawn:
    """A series whose median image's path could not be found once more; `missing`: its traces of which no span came."""

    of: SeriesReport
    missing: tuple[Trace, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """What was asked, and by which command."""

    query: str
    command: str
    version: str
    made: datetime


@dataclass(frozen=True, slots=True)
class Contents:
    """All that the report says."""

    origin: Origin
    measurement: CorrectedMeasurement[Series]
    answer: str  # in one or two sentences
    by_labels: tuple[LabelsReport, ...]
    median_paths: tuple[MedianPath, ...] = ()
    undrawn: tuple[Undrawn, ...] = ()

    @property
    def runs(self) -> list[str]:
        """The ids of all images' runs, in their order, if they are known: see `measurement.Runs`."""
        return sorted(self.measurement.runs.ids - {""})

    @property
    def series(self) -> list[SeriesReport]:
        """All series."""
        return [report for group in self.by_labels for report in group.series]

    @property
    def images(self) -> int:
        """The number of images that were measured."""
        return sum(len(report.series) for report in self.series)

    @property
    def segments(self) -> list[Segment]:
        """Every segment that occurs, in the order of the path."""
        return sorted({one for report in self.series for one in report.series.segments}, key=path_order)

    @property
    def small(self) -> bool:
        """Whether some series has too few images for a 95th percentile."""
        return any(len(report.series) < P95_NEEDS for report in self.series)

    @property
    def time_range(self) -> tuple[datetime, datetime]:
        """From the first stamp 1 to the last stamp 4, UTC."""
        first = min(min(report.series.stamps[0]) for report in self.series)
        last = max(max(report.series.stamps[3]) for report in self.series)
        return _moment(first), _moment(last)


def contents(
    measurement: CorrectedMeasurement[Series],
    origin: Origin,
    *,
    link: Callable[[str], str | None] | None = None,
    draws_paths: bool = True,
) -> Contents:
    """Compute what the report says of a measurement of at least one image.

    `link` gives the page of a trace; left out, it is what its store says. Where paths are drawn, the store is asked for
    the spans of the median images once more.
    """
    store = measurement.store
    if link is None:
        link = store.link if store is not None else lambda _: None

    def trace(image: Key) -> Trace:
        trace_id, linked = image[0], measurement.linked.get(image, ())
        return Trace(trace_id, _web_page(link(trace_id)), tuple(Trace(one, _web_page(link(one))) for one in linked))

    groups = []
    for number, (labels, of_labels) in enumerate(by_labels(measurement.series).items()):
        reports = tuple(_report(series, number, trace, measurement.bounds) for series in of_labels)
        groups.append(LabelsReport(labels, number, reports, fits(of_labels)))
    found = [report for group in groups for report in group.series]
    ids = dict.fromkeys(trace.trace_id for report in found for trace in report.median.whole)
    spans = store.traces([*ids]) if store is not None and draws_paths else ()
    once_more = list(
        _median_paths(found, told_apart([*spans], measurement.apart), measurement.clocks, measurement.find)
    )
    return Contents(
        origin,
        measurement,
        answer(measurement).sentence,
        tuple(groups),
        tuple(one for one in once_more if isinstance(one, MedianPath)),
        tuple(one for one in once_more if isinstance(one, Undrawn)),
    )


def _report(series: Series, number: int, trace: Callable[[Key], Trace], bounds: Bounds) -> SeriesReport:
    totals = series.totals()
    time = sum(totals) or 1
    doubt = sum_of_bounds(series.bounds(TOTAL), len(series))

    def row(stretch: Stretch, durations: Sequence[int], images: Sequence[int]) -> Row:
        order = np.argsort(np.asarray(durations, dtype=np.int64), kind="stable").tolist()
        return Row(
            stretch,
            summary(
                durations,
                bounds.get((series.labels, series.size, stretch), 0),
                max(series.bounds(stretch), default=0),
                interval=True,
            ),
            sum(durations) / len(series),
            len(series),
            sum(durations) / time,
            trace(series.key(images[order[(len(order) - 1) // 2]])),
            trace(series.key(images[order[-1]])),
            0
            if stretch == TOTAL
            else share_bound(sum(durations), sum_of_bounds(series.bounds(stretch), len(durations)), time, doubt),
        )

    rows = []
    for segment in series.ordered_segments():
        durations = series.segments[segment]
        rows.append(row(segment, durations.values, durations.images))
    whole = row(TOTAL, totals, range(len(series)))
    return SeriesReport(series, number, whole, tuple(rows), trace(series.key(series.median())))


def _median_paths(
    reports: Sequence[SeriesReport], spans: Iterable[Span], clocks: Clocks, find: PathFinder
) -> Iterable[MedianPath | Undrawn]:
    graph = SpanGraph(spans)
    there = {span.trace_id for span in graph}
    found, _ = find(graph)
    paths = {path.key: path for path in found}
    for report in reports:
        image = report.series.key(report.series.median())
        path, root = paths.get(image), graph.get(image)
        missing = tuple(trace for trace in report.median.whole if trace.trace_id not in there)
        if missing or path is None or root is None:
            yield Undrawn(report, missing)
        else:
            path, shifts = corrected_path(path, clocks)
            whole = {trace.trace_id for trace in report.median.whole}
            own, unknown = corrected_spans((one for one in graph if one.trace_id in whole), path, shifts, clocks)
            yield MedianPath(report, SpanGraph(own), root, path, unknown)


def _web_page(link: str | None) -> str | None:
    """Return a link that a browser may follow."""
    return link if link is not None and link.startswith(("https://", "http://")) else None


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, tz=timezone.utc)
