"""The rows of a measurement's tables: the two tables of 2020, the named segments, their statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from otel_kfs.analysis.duration_sketch import AnySeries
from otel_kfs.analysis.measurement import NO_STAMP, Series, by_labels
from otel_kfs.analysis.paths.segment import TOTAL, UNTRACED, Stretch, path_order
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds, two_clocks, two_clocks_of_stamps
from otel_kfs.analysis.statistics import (
    INTERVAL_NEEDS,
    P90_NEEDS,
    P95_NEEDS,
    P99_NEEDS,
    Summary,
    intervals_available,
    summary,
)
from otel_kfs.report.segment_names import TOTAL_NAME, segment_name
from otel_kfs.report.tables.table import Bounded, Column, Table, Unit, bounded
from otel_kfs.report.tables.table_notes import (
    INSIDE,
    INTERVAL,
    NO_INTERVAL,
    SPANS_START,
    STAMPS,
    clock_notes,
    has_own_stamps,
    rarity_notes,
    size_notes,
    sketch_notes,
    stamp_notes,
    worded,
)

Layout = Literal["seed", "segments", "statistics", "bars", "images"]
LAYOUTS: tuple[Layout, ...] = ("seed", "segments", "statistics", "bars", "images")
DEFAULT_LAYOUTS: tuple[Layout, ...] = ("segments", "seed")


def seed_tables(all_series: Sequence[Series]) -> list[Table]:
    """Return each set of labels' table of seconds, then those of unix times; an image per size: the median one."""
    tables, unix_times = [], []
    for labels, of_labels in by_labels(all_series).items():
        title = labels.label
        stamps, seconds = [], []
        for series in of_labels:
            one, two, three, four = median_stamps(series)
            image = series.median()
            arrival, between, answer = (series.stamp_bound(name, image) for name in ("2-1", "3-2", TOTAL))
            stamps.append(
                (series.size, one, bounded(two, arrival), bounded(three, arrival + between), bounded(four, answer)),
            )
            durations = differences(one, two, three, four)
            seconds.append(
                (
                    series.size,
                    *(bounded(duration, series.stamp_bound(name, image)) for name, duration in durations.items()),
                )
            )
        counts = sorted({len(series) for series in of_labels})
        n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        notes = [f"a row is one image, that of the median {TOTAL_NAME} of n = {n}; each figure is rounded separately"]
        notes += [STAMPS] * (not has_own_stamps(of_labels))
        notes += [SPANS_START] * any(series.second_is_spans for series in of_labels)
        notes += size_notes(of_labels) + stamp_notes(two_clocks_of_stamps(of_labels))
        headings = ("2-1", "3-2", "4-3", TOTAL_NAME)
        tables.append(
            Table(f"{title}: seconds", _columns(headings, "seconds"), tuple(seconds), worded(notes, of_labels))
        )
        unix_times.append(Table(f"{title}: unix time", _columns("1234", "unix"), tuple(stamps)))
    return tables + unix_times


def segment_tables(all_series: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> list[Table]:
    """Return a table for each set of labels: the segments as rows, p50 and p95 of each size as columns."""
    tables = []
    for labels, of_labels in by_labels(all_series).items():
        by_size = [summaries(series, bounds) for series in of_labels]
        columns = [Column("Segment", "text")]
        few = False
        for series in of_labels:
            n = len(series)
            tail = "p95" if n >= P95_NEEDS else "max"
            few = few or n < P95_NEEDS
            columns += [
                Column(f"{series.size} p50", "milliseconds"),
                Column(f"{tail} (n={n})", "milliseconds", joined=True),
            ]
        rows = [
            (segment_name(one), *_p50_and_tail(of_labels, [segments.get(one) for segments in by_size]))
            for one in _stretches(by_size)
        ]
        notes = [f"fewer than {P95_NEEDS} images can't support a p95: the maximum is shown instead"] if few else []
        notes += [INSIDE] * any(UNTRACED in segments for segments in by_size)
        notes += rarity_notes(of_labels, by_size) + size_notes(of_labels)
        notes += sketch_notes(of_labels) + clock_notes(two_clocks(of_labels, bounds), _named(of_labels, by_size))
        tables.append(
            Table(f"{labels.label}: segments, milliseconds", tuple(columns), tuple(rows), worded(notes, of_labels))
        )
    return tables


def statistics_tables(all_series: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> list[Table]:
    """Return a table for each set of labels: every statistic as columns, each size of each segment as rows."""
    intervals = intervals_available()
    tables = []
    for labels, of_labels in by_labels(all_series).items():
        by_size = [summaries(series, bounds, interval=intervals) for series in of_labels]
        rows = []
        for one in _stretches(by_size):
            for series, segments in zip(of_labels, by_size, strict=True):
                if one in segments:
                    rows.append((segment_name(one), series.size, *_statistics(segments[one])))
        notes = [INTERVAL] if intervals else [NO_INTERVAL]
        if any(of_row[2] < P99_NEEDS for of_row in rows):
            notes.append(
                f"-: too few images; the interval needs {INTERVAL_NEEDS}, p90 {P90_NEEDS}, p95 {P95_NEEDS}, "
                f"p99 {P99_NEEDS}"
            )
        notes += size_notes(of_labels) + sketch_notes(of_labels)
        notes += clock_notes(two_clocks(of_labels, bounds), _named(of_labels, by_size))
        tables.append(
            Table(f"{labels.label}: statistics, milliseconds", _STATISTICS, tuple(rows), worded(notes, of_labels))
        )
    return tables


def median_stamps(series: Series) -> tuple[int, int | None, int | None, int]:
    """Return the stamps of the median image; None where no span tells one."""
    number = series.median()
    one, two, three, four = (column[number] for column in series.stamps)
    return one, None if two == NO_STAMP else two, None if three == NO_STAMP else three, four


def differences(one: int, two: int | None, three: int | None, four: int) -> dict[str, int | None]:
    """Return the columns of 2020, ns; None where a stamp is missing."""
    pairs = {"2-1": (one, two), "3-2": (two, three), "4-3": (three, four), TOTAL: (one, four)}
    return {
        name: None if earlier is None or later is None else later - earlier for name, (earlier, later) in pairs.items()
    }


def summaries(series: AnySeries, bounds: Bounds, *, interval: bool = False) -> dict[Stretch, Summary]:
    """Sum up every segment and the whole, in the order of the path."""
    return {
        name: summary(
            durations,
            bounds.get((series.labels, series.size, name), 0),
            max(series.bounds(name), default=0),
            interval=interval,
        )
        for name, durations in series.columns().items()
    }


def _stretches(by_size: Sequence[Mapping[Stretch, Summary]]) -> list[Stretch]:
    """Return all sizes' segments in the order of the path, and the whole."""
    return sorted({one for stretches in by_size for one in stretches}, key=path_order)


def _named(all_series: Sequence[AnySeries], by_size: Sequence[Mapping[Stretch, Summary]]) -> list[tuple[str, Summary]]:
    """Return the summaries that have bounds, each with its segment and size."""
    return [
        (f"{segment_name(stretch)} of {series.size}", of)
        for series, segments in zip(all_series, by_size, strict=True)
        for stretch, of in segments.items()
        if of.widest
    ]


def _columns(headings: Iterable[str], unit: Unit) -> tuple[Column, ...]:
    return (Column("Size", "text"), *(Column(heading, unit) for heading in headings))


def _p50_and_tail(all_series: Sequence[AnySeries], of_sizes: Sequence[Summary | None]) -> list[int | Bounded | None]:
    """Return two columns per size; a segment that few of many images have has no p95, and no maximum in its place."""
    columns: list[int | Bounded | None] = []
    for series, of_size in zip(all_series, of_sizes, strict=True):
        if of_size is None:
            columns += [None, None]
        else:
            columns += [_p50(of_size), as_read(of_size, of_size.p95 if len(series) >= P95_NEEDS else of_size.max)]
    return columns


_STATISTICS = (
    Column("Segment", "text"),
    Column("Size", "text", repeats=True),
    Column("n", "count"),
    *(
        Column(heading, "milliseconds")
        for heading in ("mean", "sd", "p50", "95 % interval", "p90", "p95", "p99", "max")
    ),
)


def _statistics(of: Summary) -> tuple[Any, ...]:
    interval = None if math.isinf(of.bound) else of.interval
    tails = (as_read(of, figure) for figure in (of.p90, of.p95, of.p99, of.max))
    return of.n, as_read(of, of.mean), as_read(of, of.sd), _p50(of), interval, *tails


def _p50(of: Summary) -> int | Bounded | None:
    return bounded(of.p50, of.bound)


def as_read(of: Summary, figure: int | None) -> int | Bounded | None:
    """Return another figure than p50, marked if nothing bounds it."""
    return Bounded(figure, math.inf) if figure is not None and math.isinf(of.bound) else figure
