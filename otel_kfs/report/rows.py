"""From the ways of many images to rows: the measurement's two tables of 2020, the named segments, their statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from otel_kfs.analysis.clock_skew import ClockOffset
from otel_kfs.analysis.measurement import Series, ways
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.segment import TOTAL, Stretch, path_order
from otel_kfs.analysis.sketch import ACCURACY, AnySeries, SketchedSeries
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

CLOCKS = "some segments lie between two hosts, and hold the difference of their clocks"
BOUND = (
    "\u00b1: what the clocks of two hosts leave open; all lengths of that segment and size, so its other figures, too, "
    "are off by so much at most, all one way"
)
ONE_CLOCK = "all stamps are given by the clock of stamp 1's host, as far (\u00b1) as that of the others is known"
INTERVAL = (
    "95 % interval: what encloses the median that ever more images would show, in 95 of 100 such measurements; "
    "it knows the noise between these images, not what another start of the servers changes"
)
SKETCHED = f"percentiles within {100 * ACCURACY:g} %, from sketches"
NO_INTERVAL = "intervals of the medians need scipy: pip install 'otel-kfs[analysis]'"

Unit = Literal["text", "count", "unix", "seconds", "milliseconds"]


class Bounded(NamedTuple):
    """A length that may be off by `bound` either way, ns: a cell's value, printed as `12.3 \u00b10.4`."""

    length: int
    bound: int


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


def seed_tables(cells: Sequence[Series], bounds: Bounds = NO_BOUNDS) -> list[Table]:
    """For each transport the table of unix times and the table of seconds, one image a size: the median one."""
    tables = []
    for way in ways(cells):
        of_way = [cell for cell in cells if cell.way == way]
        title = way.label
        stamps, seconds = [], []
        for cell in of_way:
            one, two, three, four = _stamps(cell)
            stamps.append((cell.size, one, two, three, four))
            differences = {"2-1": two - one, "3-2": three - two, "4-3": four - three, TOTAL: four - one}
            of_cell = {name: bounds.get((cell.way, cell.size, name)) for name in differences}
            seconds.append((cell.size, *(bounded(length, of_cell[name]) for name, length in differences.items())))
        counts = sorted({len(cell) for cell in of_way})
        n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        notes = [f"a row is one image, the one with the median 4-1 of n = {n}; each figure is rounded by itself"]
        notes += stamp_notes(two_clocks_of_stamps(of_way, bounds))
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


def segment_tables(cells: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> list[Table]:
    """For each transport a table with the segments as rows, and p50 and p95 of each size as columns."""
    tables = []
    for way in ways(cells):
        of_way = [cell for cell in cells if cell.way == way]
        by_size = [_summaries(cell, bounds) for cell in of_way]
        columns = [Column("Segment", "text")]
        few = False
        for cell in of_way:
            n = len(cell)
            tail = "p95" if n >= P95_NEEDS else "max"
            few = few or n < P95_NEEDS
            columns += [
                Column(f"{cell.size} p50", "milliseconds"),
                Column(f"{tail} (n={n})", "milliseconds"),
            ]
        rows = [
            (segment_name(one), *_p50_and_tail(of_way, [segments.get(one) for segments in by_size]))
            for one in _stretches(by_size)
        ]
        notes = [f"fewer than {P95_NEEDS} images can't support a p95: the largest value stands there"] if few else []
        notes += _sketch_notes(of_way) + clock_notes(two_clocks(of_way, bounds))
        tables.append(Table(f"{way.label}: segments, milliseconds", tuple(columns), tuple(rows), tuple(notes)))
    return tables


def statistics_tables(cells: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> list[Table]:
    """For each transport a table with every statistic as columns, and each size of each segment as rows."""
    intervals = intervals_available()
    tables = []
    for way in ways(cells):
        of_way = [cell for cell in cells if cell.way == way]
        by_size = [_summaries(cell, bounds, interval=intervals) for cell in of_way]
        rows = []
        for one in _stretches(by_size):
            for cell, segments in zip(of_way, by_size, strict=True):
                if one in segments:
                    rows.append((segment_name(one), cell.size, *_statistics(segments[one])))
        notes = [INTERVAL] if intervals else [NO_INTERVAL]
        if any(of_row[2] < P99_NEEDS for of_row in rows):
            notes.append(
                f"-: too few images; the interval needs {INTERVAL_NEEDS}, p90 {P90_NEEDS}, p95 {P95_NEEDS}, "
                f"p99 {P99_NEEDS}"
            )
        notes += _sketch_notes(of_way) + clock_notes(two_clocks(of_way, bounds))
        tables.append(Table(f"{way.label}: statistics, milliseconds", _STATISTICS, tuple(rows), tuple(notes)))
    return tables


def stamp_notes(clocks: TwoClocks) -> list[str]:
    """Return what must be said of stamps that are given by two hosts' clocks."""
    return [ONE_CLOCK] * (TwoClocks.BOUNDED in clocks) + [CLOCKS] * (TwoClocks.UNBOUNDED in clocks)


def clock_notes(clocks: TwoClocks) -> list[str]:
    """Return what must be said of segments that lie between two hosts."""
    return [BOUND] * (TwoClocks.BOUNDED in clocks) + [CLOCKS] * (TwoClocks.UNBOUNDED in clocks)


def _sketch_notes(cells: Sequence[AnySeries]) -> list[str]:
    return [SKETCHED] * any(isinstance(cell, SketchedSeries) for cell in cells)


def seed_records(cells: Sequence[Series], bounds: Bounds = NO_BOUNDS) -> list[dict[str, Any]]:
    """The two tables of 2020 as one record a transport and size; times in seconds, as text with nine digits.

    `clock_bound_2-1` is None where it was one clock, or nothing bounds it.
    """
    records = []
    for cell in cells:
        one, two, three, four = stamps = _stamps(cell)
        record = {**_key(cell), "n": len(cell), "trace_id": cell.trace_ids[cell.median()]}
        record |= {str(number): seconds(stamp) for number, stamp in enumerate(stamps, 1)}
        differences = {"2-1": two - one, "3-2": three - two, "4-3": four - three, "4-1": four - one}
        record |= {name: seconds(length) for name, length in differences.items()}
        for name in ("2-1", "4-3", TOTAL):
            bound = bounds.get((cell.way, cell.size, name))
            record[f"clock_bound_{name}"] = None if bound is None else seconds(bound)
        records.append(record)
    return records


def segment_records(cells: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> list[dict[str, Any]]:
    """One record a transport, size and segment, `4-1` among them, with every statistic; lengths in ns."""
    intervals = intervals_available()
    records = []
    for cell in cells:
        for stretch, of_segment in _summaries(cell, bounds, interval=intervals).items():
            interval = of_segment.interval
            records.append(
                {
                    **_key(cell),
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


def coverage_line(account: Coverage) -> str:
    """What was measured and what was left out, and why, in one line."""
    parts = [f"{account.measured} {'image' if account.measured == 1 else 'images'} measured"]
    parts += [f"{count} left out: {reason}" for reason, count in sorted(account.left_out.items())]
    if account.retried:
        parts.append(f"{account.retried} with retries")
    if account.redelivered:
        parts.append(f"{account.redelivered} redelivered")
    return "; ".join(parts)


def clock_lines(offsets: Mapping[tuple[str, str], ClockOffset | None]) -> list[str]:
    """How the clocks of the hosts stood to each other, a line a pair."""
    return [f"clocks: {_stood(one, other, offset)}" for (one, other), offset in offsets.items()]


def clock_records(offsets: Mapping[tuple[str, str], ClockOffset | None]) -> list[dict[str, Any]]:
    """The same as records: by how much the second host's clock is ahead of the first's, in the middle of the time."""
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
        return f"nothing bounds how far {one} and {other} are apart"
    if offset.bound is None:
        return f"no steady rate fits {one} and {other}: one was set meanwhile, or events are out of order"
    middle, half = sum(offset.bound) / 2e6, math.ceil(offset.half_width / 1e5) / 10
    ahead = f"{other} is {middle:.1f} \u00b1{half:.1f} ms ahead of {one}"
    return ahead if offset.steady else f"{ahead} in the middle of the time, and drifts by {offset.drift / 1000:.0f} ppm"


def seconds(nanoseconds: int) -> str:
    """Nanoseconds as seconds with nine digits, exactly."""
    sign = "-" if nanoseconds < 0 else ""
    whole, rest = divmod(abs(nanoseconds), 1_000_000_000)
    return f"{sign}{whole}.{rest:09d}"


def _stamps(cell: Series) -> tuple[int, int, int, int]:
    """Those of the median image."""
    number = cell.median()
    one, two, three, four = (column[number] for column in cell.stamps)
    return one, two, three, four


def _summaries(cell: AnySeries, bounds: Bounds, *, interval: bool = False) -> dict[Stretch, Summary]:
    """Sum up every segment and the whole, in the order of the path."""
    return {
        name: summary(lengths, bounds.get((cell.way, cell.size, name)), interval=interval)
        for name, lengths in cell.columns().items()
    }


def _stretches(by_size: Sequence[Mapping[Stretch, Summary]]) -> list[Stretch]:
    """Return all sizes' segments in the order of the path, and the whole."""
    return sorted({one for stretches in by_size for one in stretches}, key=path_order)


def _key(cell: AnySeries) -> dict[str, Any]:
    """Which cell a record is of."""
    return {**cell.way._asdict(), "size": cell.size}


def _columns(headings: str, unit: Unit) -> tuple[Column, ...]:
    return (Column("Size", "text"), *(Column(heading, unit) for heading in headings.split()))


def _p50_and_tail(cells: Sequence[AnySeries], of_sizes: Sequence[Summary | None]) -> list[int | Bounded | None]:
    """Two columns a size; a segment that few of many images have has no p95, and no maximum under that heading."""
    columns: list[int | Bounded | None] = []
    for cell, of_size in zip(cells, of_sizes, strict=True):
        if of_size is None:
            columns += [None, None]
        else:
            columns += [_p50(of_size), of_size.p95 if len(cell) >= P95_NEEDS else of_size.max]
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
    """A length, with its bound if it has one."""
    return length if bound is None else Bounded(length, bound)
