"""From series to rows: the measurement's two tables of 2020, the named segments, their statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from otel_kfs.analysis.clock_skew import ClockOffset
from otel_kfs.analysis.duration_sketch import ACCURACY, AnySeries, SketchedSeries
from otel_kfs.analysis.image_size import TOLERANCE, SizeRange
from otel_kfs.analysis.measurement import Series, by_labels
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.segment import TOTAL, Stretch, path_order
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds, TwoClocks, two_clocks, two_clocks_of_stamps
from otel_kfs.analysis.statistics import (
    INTERVAL_NEEDS,
    P90_NEEDS,
    P95_NEEDS,
    P99_NEEDS,
    Summary,
    intervals_available,
    summary,
)
from otel_kfs.report.segment_names import segment_name

Layout = Literal["seed", "segments", "statistics", "bars"]
LAYOUTS: tuple[Layout, ...] = ("seed", "segments", "statistics", "bars")
DEFAULT_LAYOUTS: tuple[Layout, ...] = ("seed", "segments")

CLOCKS = "some segments lie between two hosts, and contain the difference between their clocks"
BOUND = (
    "\u00b1: the uncertainty of the two hosts' clocks; all durations of that segment and size, and so its other "
    "figures, are off by at most that much, in the same direction"
)
ONE_CLOCK = "all stamps are by the clock of stamp 1's host; \u00b1 is the uncertainty of the other clocks"
INTERVAL = (
    "95 % interval: in 95 of 100 such measurements it contains the median that unlimited images would show; "
    "it covers the noise between these images, not what changes when servers are restarted"
)
SKETCHED = f"percentiles within {100 * ACCURACY:g} %, from sketches"
NO_INTERVAL = "intervals of the medians need scipy: pip install 'otel-kfs[analysis]'"

Unit = Literal["text", "count", "unix", "seconds", "milliseconds"]


class Bounded(NamedTuple):
    """A length that may be off by `bound` either way, ns: a cell's value, printed as `12.3 \u00b10.4`."""

    length: int
    bound: int


class Sized(Protocol):
    """Some images under one label of their size."""

    @property
    def size(self) -> str:
        """The label."""
        ...

    @property
    def size_range(self) -> SizeRange | None:
        """Their sizes, bytes, where they are known."""
        ...


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, and what its cells are: times and lengths are nanoseconds until they are rendered.

    In place of a length a cell may hold a `Bounded` or an `Interval`.
    """

    heading: str
    unit: Unit


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title; a cell is None where there is nothing to say. `notes` go below."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()


def seed_tables(all_series: Sequence[Series], bounds: Bounds = NO_BOUNDS) -> list[Table]:
    """Return the tables of unix times and of seconds of each set of labels, one image per size: the median one."""
    tables = []
    for labels, of_labels in by_labels(all_series).items():
        title = labels.label
        stamps, seconds = [], []
        for series in of_labels:
            one, two, three, four = _stamps(series)
            stamps.append((series.size, one, two, three, four))
            differences = {"2-1": two - one, "3-2": three - two, "4-3": four - three, TOTAL: four - one}
            of_series = {name: bounds.get((series.labels, series.size, name)) for name in differences}
            seconds.append((series.size, *(bounded(length, of_series[name]) for name, length in differences.items())))
        counts = sorted({len(series) for series in of_labels})
        n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        notes = [f"a row is one image, the one with the median 4-1 of n = {n}; each figure is rounded separately"]
        notes += size_notes(of_labels) + stamp_notes(two_clocks_of_stamps(of_labels, bounds))
        tables.append(Table(f"{title}: unix time", _columns("1 2 3 4", "unix"), tuple(stamps)))
        tables.append(
            Table(
                f"{title}: seconds",
                _columns("2-1 3-2 4-3 4-1", "seconds"),
                tuple(seconds),
                tuple(notes),
            )
        )
    return tables


def segment_tables(all_series: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> list[Table]:
    """Return a table for each set of labels: the segments as rows, p50 and p95 of each size as columns."""
    tables = []
    for labels, of_labels in by_labels(all_series).items():
        by_size = [_summaries(series, bounds) for series in of_labels]
        columns = [Column("Segment", "text")]
        few = False
        for series in of_labels:
            n = len(series)
            tail = "p95" if n >= P95_NEEDS else "max"
            few = few or n < P95_NEEDS
            columns += [
                Column(f"{series.size} p50", "milliseconds"),
                Column(f"{tail} (n={n})", "milliseconds"),
            ]
        rows = [
            (segment_name(one), *_p50_and_tail(of_labels, [segments.get(one) for segments in by_size]))
            for one in _stretches(by_size)
        ]
        notes = [f"fewer than {P95_NEEDS} images can't support a p95: the maximum is shown instead"] if few else []
        notes += _rarity_notes(of_labels, by_size) + size_notes(of_labels)
        notes += _sketch_notes(of_labels) + clock_notes(two_clocks(of_labels, bounds))
        tables.append(Table(f"{labels.label}: segments, milliseconds", tuple(columns), tuple(rows), tuple(notes)))
    return tables


def statistics_tables(all_series: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> list[Table]:
    """Return a table for each set of labels: every statistic as columns, each size of each segment as rows."""
    intervals = intervals_available()
    tables = []
    for labels, of_labels in by_labels(all_series).items():
        by_size = [_summaries(series, bounds, interval=intervals) for series in of_labels]
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
        notes += size_notes(of_labels) + _sketch_notes(of_labels) + clock_notes(two_clocks(of_labels, bounds))
        tables.append(Table(f"{labels.label}: statistics, milliseconds", _STATISTICS, tuple(rows), tuple(notes)))
    return tables


def size_notes(all_series: Iterable[Sized]) -> list[str]:
    """Return which rows hold images of different sizes, and how different they may be."""
    ranges: dict[str, SizeRange] = {}
    for series in all_series:
        if series.size_range is not None:
            ranges[series.size] = series.size_range.widen(ranges.get(series.size))
    found = [f"{size} is {low:,} to {high:,} bytes" for size, (low, high) in ranges.items() if low < high]
    return [f"sizes within {TOLERANCE:.0%} of each other are one: {'; '.join(found)}"] if found else []


def _rarity_notes(all_series: Sequence[AnySeries], by_size: Sequence[Mapping[Stretch, Summary]]) -> list[str]:
    """Return which segments only some of the images have, of whom alone their figures are."""
    found = [
        f"{segment_name(stretch)} in {of.n} of {len(series)} of {series.size}"
        for series, segments in zip(all_series, by_size, strict=True)
        for stretch, of in segments.items()
        if of.n < len(series)
    ]
    return [f"not in all images, and the figures are of those that have it: {', '.join(found)}"] if found else []


def stamp_notes(clocks: TwoClocks) -> list[str]:
    """Return what must be said of stamps that are given by two hosts' clocks."""
    return [ONE_CLOCK] * (TwoClocks.BOUNDED in clocks) + [CLOCKS] * (TwoClocks.UNBOUNDED in clocks)


def clock_notes(clocks: TwoClocks) -> list[str]:
    """Return what must be said of segments that lie between two hosts."""
    return [BOUND] * (TwoClocks.BOUNDED in clocks) + [CLOCKS] * (TwoClocks.UNBOUNDED in clocks)


def _sketch_notes(all_series: Sequence[AnySeries]) -> list[str]:
    return [SKETCHED] * any(isinstance(series, SketchedSeries) for series in all_series)


def seed_records(all_series: Sequence[Series], bounds: Bounds = NO_BOUNDS) -> list[dict[str, Any]]:
    """Return the two tables of 2020 as one record per series; times in seconds, as text with nine digits.

    `clock_bound_2-1` is None where it was one clock, or nothing bounds it.
    """
    records = []
    for series in all_series:
        one, two, three, four = stamps = _stamps(series)
        record = {**_key(series), "n": len(series), "trace_id": series.trace_ids[series.median()]}
        record |= {str(number): seconds(stamp) for number, stamp in enumerate(stamps, 1)}
        differences = {"2-1": two - one, "3-2": three - two, "4-3": four - three, "4-1": four - one}
        record |= {name: seconds(length) for name, length in differences.items()}
        for name in ("2-1", "4-3", TOTAL):
            bound = bounds.get((series.labels, series.size, name))
            record[f"clock_bound_{name}"] = None if bound is None else seconds(bound)
        records.append(record)
    return records


def segment_records(all_series: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> list[dict[str, Any]]:
    """Return one record for each series and segment, `4-1` among them, with every statistic; lengths in ns."""
    intervals = intervals_available()
    records = []
    for series in all_series:
        for stretch, of_segment in _summaries(series, bounds, interval=intervals).items():
            interval = of_segment.interval
            records.append(
                {
                    **_key(series),
                    "segment": segment_name(stretch),
                    "n": of_segment.n,
                    "mean_ns": of_segment.mean,
                    "sd_ns": of_segment.sd,
                    "p50_ns": of_segment.p50,
                    "p50_low_ns": interval.low if interval else None,
                    "p50_high_ns": interval.high if interval else None,
                    "p90_ns": of_segment.p90,
                    "p95_ns": of_segment.p95,
                    "p99_ns": of_segment.p99,
                    "max_ns": of_segment.max,
                    "clock_bound_ns": of_segment.bound,
                }
            )
    return records


def coverage_line(coverage: Coverage) -> str:
    """Say in one line what was measured and what was left out, and why."""
    parts = [f"{coverage.measured} {'image' if coverage.measured == 1 else 'images'} measured"]
    parts += [f"{count} left out: {reason}" for reason, count in sorted(coverage.left_out.items())]
    if coverage.retried:
        parts.append(f"{coverage.retried} with retries")
    if coverage.redelivered:
        parts.append(f"{coverage.redelivered} redelivered")
    return "; ".join(parts)


def clock_lines(offsets: Mapping[tuple[str, str], ClockOffset | None]) -> list[str]:
    """Say how the clocks of the hosts stood to each other, a line for each pair."""
    return [f"clocks: {_stood(one, other, offset)}" for (one, other), offset in offsets.items()]


def clock_records(offsets: Mapping[tuple[str, str], ClockOffset | None]) -> list[dict[str, Any]]:
    """Return the same as records: how far the second host's clock is ahead in the middle of the time."""
    records = []
    for (one, other), offset in offsets.items():
        bound = offset.bound if offset else None
        records.append(
            {
                "hosts": [one, other],
                "ahead_low_ns": None if bound is None else math.floor(bound.low),
                "ahead_high_ns": None if bound is None else math.ceil(bound.high),
                "drift_ppm": None if bound is None or offset is None else round(offset.drift / 1000, 3),
            }
        )
    return records


def _stood(one: str, other: str, offset: ClockOffset | None) -> str:
    if offset is None:
        return f"nothing bounds the skew between {one} and {other}"
    if offset.bound is None:
        return f"no constant drift fits {one} and {other}: a clock was set meanwhile, or events are out of order"
    middle, half = sum(offset.bound) / 2e6, math.ceil(offset.half_width / 1e5) / 10
    ahead = f"{other} is {middle:.1f} \u00b1{half:.1f} ms ahead of {one}"
    return ahead if offset.steady else f"{ahead} half-way through, and drifts by {offset.drift / 1000:.0f} ppm"


def seconds(nanoseconds: int) -> str:
    """Write nanoseconds as seconds with nine digits, exactly."""
    sign = "-" if nanoseconds < 0 else ""
    whole, rest = divmod(abs(nanoseconds), 1_000_000_000)
    return f"{sign}{whole}.{rest:09d}"


def _stamps(series: Series) -> tuple[int, int, int, int]:
    """Return those of the median image."""
    number = series.median()
    one, two, three, four = (column[number] for column in series.stamps)
    return one, two, three, four


def _summaries(series: AnySeries, bounds: Bounds, *, interval: bool = False) -> dict[Stretch, Summary]:
    """Sum up every segment and the whole, in the order of the path."""
    return {
        name: summary(lengths, bounds.get((series.labels, series.size, name)), interval=interval)
        for name, lengths in series.columns().items()
    }


def _stretches(by_size: Sequence[Mapping[Stretch, Summary]]) -> list[Stretch]:
    """Return all sizes' segments in the order of the path, and the whole."""
    return sorted({one for stretches in by_size for one in stretches}, key=path_order)


def _key(series: AnySeries) -> dict[str, Any]:
    """Return which series a record is of."""
    return {**series.labels._asdict(), "size": series.size}


def _columns(headings: str, unit: Unit) -> tuple[Column, ...]:
    return (Column("Size", "text"), *(Column(heading, unit) for heading in headings.split()))


def _p50_and_tail(all_series: Sequence[AnySeries], of_sizes: Sequence[Summary | None]) -> list[int | Bounded | None]:
    """Return two columns per size; a segment that few of many images have has no p95, and no maximum in its place."""
    columns: list[int | Bounded | None] = []
    for series, of_size in zip(all_series, of_sizes, strict=True):
        if of_size is None:
            columns += [None, None]
        else:
            columns += [_p50(of_size), of_size.p95 if len(series) >= P95_NEEDS else of_size.max]
    return columns


_STATISTICS = (
    Column("Segment", "text"),
    Column("Size", "text"),
    Column("n", "count"),
    *(
        Column(heading, "milliseconds")
        for heading in ("mean", "sd", "p50", "95 % interval", "p90", "p95", "p99", "max")
    ),
)


def _statistics(of: Summary) -> tuple[Any, ...]:
    return of.n, of.mean, of.sd, _p50(of), of.interval, of.p90, of.p95, of.p99, of.max


def _p50(of: Summary) -> int | Bounded:
    return bounded(of.p50, of.bound)


def bounded(length: int, bound: int | None) -> int | Bounded:
    """Return a length, with its bound if it has one."""
    return length if bound is None else Bounded(length, bound)
