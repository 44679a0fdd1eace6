"""The rows of the tables: the two tables of 2020, the named segments, their statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypedDict

from otel_kfs.analysis.duration_sketch import ACCURACY, AnySeries, SketchedSeries
from otel_kfs.analysis.image_size import TOLERANCE, SizeRange
from otel_kfs.analysis.measurement import NO_STAMP, Series, by_labels
from otel_kfs.analysis.paths.segment import OWN_STAMPS, TOTAL, UNTRACED, Segment, Stretch, path_order
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds, TwoClocks, two_clocks, two_clocks_of_stamps
from otel_kfs.analysis.statistics import (
    INTERVAL_NEEDS,
    P90_NEEDS,
    P95_NEEDS,
    P99_NEEDS,
    Interval,
    Summary,
    intervals_available,
    summary,
)
from otel_kfs.report.segment_names import TOTAL_NAME, segment_key, segment_name

Layout = Literal["seed", "segments", "statistics", "bars", "images"]
LAYOUTS: tuple[Layout, ...] = ("seed", "segments", "statistics", "bars", "images")
DEFAULT_LAYOUTS: tuple[Layout, ...] = ("segments", "seed")

CLOCKS = "\u00b1?: between two hosts, and nothing bounds how far their clocks are apart; the figure holds that, too"
_NARROWER = "more images, above all small ones, narrow it: it is as wide as the shortest round trip"
BOUND = (
    "\u00b1: the uncertainty of the two hosts' clocks; the row's other figures are off by at most that much, too; "
    f"{_NARROWER}"
)
WIDER = (
    "\u00b1: the uncertainty of the two hosts' clocks at the median; it is wider where fewer images are near, as at a "
    f"run's ends; {_NARROWER}; in single images, and so in a row's other figures, it is up to "
)
ONE_CLOCK = "all stamps are by the clock of stamp 1's host; \u00b1 is the uncertainty of the other clocks"
EXACT, BOUNDED, UNBOUNDED = "exact", "bounded", "unbounded"  # what a record says of its clocks
_FEW = 4  # segments that are told one by one
STAMPS = "1 sent, 2 arrived, 3 preprocessed, 4 answered; 2-1 is the time from 1 to 2"
SPANS_START = (
    "where no span says when a server had the whole request, stamp 2 is the start of the server's span; "
    "-: no span says when it was"
)
INSIDE = "server (untraced): the model's server wrote no spans; docs/serving.md says how to see inside"
INTERVAL = (
    "95 % interval: in 95 of 100 such measurements it contains the median that unlimited images would show; "
    "it covers the noise between these images, not what changes when servers are restarted"
)
SKETCHED = f"percentiles within {100 * ACCURACY:g} %, from sketches"
NO_INTERVAL = "intervals of the medians need scipy; in a clone of otel-kfs: pip install '.[analysis]'"

Unit = Literal["text", "count", "unix", "seconds", "milliseconds"]


class Bounded(NamedTuple):
    """A duration that may be off by `bound` either way, ns: a cell's value, printed as `12.3 \u00b10.4`.

    Where nothing bounds it, that is `math.inf`, and it is printed as `12.3 \u00b1?`.
    """

    duration: int
    bound: float


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
    """A column's heading, and what its cells are: times and durations are nanoseconds until they are rendered.

    In place of a duration a cell may hold a `Bounded` or an `Interval`. Where a table is too wide for a terminal, its
    columns are shown below one another: each time behind the first one and those that `repeats` says, and never apart
    from the one that they are `joined` to, which stands before.
    """

    heading: str
    unit: Unit
    repeats: bool = False
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title; a cell is None where there is nothing to say. `notes` go below.

    Without columns it is text, which needs no title.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()


def seed_tables(all_series: Sequence[Series]) -> list[Table]:
    """Return each set of labels' table of seconds, then those of unix times; an image per size: the median one."""
    tables, unix_times = [], []
    for labels, of_labels in by_labels(all_series).items():
        title = labels.label
        stamps, seconds = [], []
        for series in of_labels:
            one, two, three, four = _stamps(series)
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
        notes += [STAMPS] * (not _has_own_stamps(of_labels))
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
        by_size = [_summaries(series, bounds) for series in of_labels]
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
        notes += _rarity_notes(of_labels, by_size) + size_notes(of_labels)
        notes += _sketch_notes(of_labels) + clock_notes(two_clocks(of_labels, bounds), _named(of_labels, by_size))
        tables.append(
            Table(f"{labels.label}: segments, milliseconds", tuple(columns), tuple(rows), worded(notes, of_labels))
        )
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
        notes += size_notes(of_labels) + _sketch_notes(of_labels)
        notes += clock_notes(two_clocks(of_labels, bounds), _named(of_labels, by_size))
        tables.append(
            Table(f"{labels.label}: statistics, milliseconds", _STATISTICS, tuple(rows), worded(notes, of_labels))
        )
    return tables


def worded(notes: Iterable[str], all_series: Iterable[AnySeries]) -> tuple[str, ...]:
    """Return notes about images, or, where a stamps file says what was measured, about paths."""
    own = _has_own_stamps(all_series)
    return tuple(note.replace("image", "path") if own else note for note in notes)


def _has_own_stamps(all_series: Iterable[AnySeries]) -> bool:
    """Return whether a stamps file says what the stamps are."""
    stretches = (stretch for series in all_series for stretch in series.columns())
    return any(isinstance(one, Segment) and one.place.name == OWN_STAMPS for one in stretches)


def size_notes(all_series: Iterable[Sized]) -> list[str]:
    """Name the rows that hold images of different sizes, with the range of each."""
    ranges: dict[str, SizeRange] = {}
    for series in all_series:
        if series.size_range is not None:
            ranges[series.size] = series.size_range.widen(ranges.get(series.size))
    found = [f"{size} is {low:,} to {high:,} bytes" for size, (low, high) in ranges.items() if low < high]
    return [f"sizes within {TOLERANCE:.0%} of each other are one: {'; '.join(found)}"] if found else []


def _rarity_notes(all_series: Sequence[AnySeries], by_size: Sequence[Mapping[Stretch, Summary]]) -> list[str]:
    """Name the segments that only some of the images have, with their numbers."""
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


def clock_notes(clocks: TwoClocks, summaries: Iterable[tuple[str, Summary]] = ()) -> list[str]:
    """Return what must be said of segments that lie between two hosts; `summaries`: theirs, each with its name."""
    wider = [
        f"{milliseconds_off(of.widest)} for {name}"
        for name, of in sorted(summaries, key=lambda one: -one[1].widest)
        if of.bound < of.widest < math.inf and milliseconds_off(of.bound) != milliseconds_off(of.widest)
    ]
    others = [f"less for {len(wider) - _FEW} more"] if len(wider) > _FEW else []
    told = WIDER + ", ".join([*wider[:_FEW], *others]) if wider else BOUND
    return [told] * (TwoClocks.BOUNDED in clocks) + [CLOCKS] * (TwoClocks.UNBOUNDED in clocks)


def milliseconds_off(bound: float) -> str:
    """Write a bound, ns; rounded up, because it must not promise more than it holds."""
    return "\u00b1?" if math.isinf(bound) else f"\u00b1{math.ceil(bound / 1e5) / 10:.1f} ms"


def certainty(bound: float) -> str:
    """Return which of the three a record's figure is."""
    return UNBOUNDED if math.isinf(bound) else BOUNDED if bound else EXACT


def bound_or_none(bound: float) -> int | None:
    """Return what a record has of a bound, ns: nothing where a figure is exact, or nothing bounds it."""
    return int(bound) if bound and not math.isinf(bound) else None


def _sketch_notes(all_series: Sequence[AnySeries]) -> list[str]:
    return [SKETCHED] * any(isinstance(series, SketchedSeries) for series in all_series)


def seed_records(all_series: Sequence[Series]) -> list[dict[str, Any]]:
    """Return the two tables of 2020 as one record per series; times in seconds, as text with nine digits.

    `clocks_2-1` says whether it is exact, bounded or unbounded; `clock_bound_2-1` is None unless it is bounded. The
    stamps and what lies between them are numbers, too, in ns: `stamp_1_ns` (since the epoch) and `2-1_ns`.
    """
    records = []
    for series in all_series:
        one, two, three, four = stamps = _stamps(series)
        record = {**_key(series), "n": len(series), "trace_id": series.trace_ids[series.median()]}
        record |= {str(number): stamp if stamp is None else seconds(stamp) for number, stamp in enumerate(stamps, 1)}
        durations = differences(one, two, three, four)
        record |= {name: duration if duration is None else seconds(duration) for name, duration in durations.items()}
        for name in ("2-1", "3-2", "4-3", TOTAL):
            bound = series.stamp_bound(name, series.median())
            whole = bound_or_none(bound)
            record[f"clock_bound_{name}"] = None if whole is None else seconds(whole)
            record[f"clocks_{name}"] = None if durations[name] is None else certainty(bound)
        record |= {f"stamp_{number}_ns": stamp for number, stamp in enumerate(stamps, 1)}
        record |= {f"{name}_ns": duration for name, duration in durations.items()}
        records.append(record | size_record(series.size_range))
    return records


class SegmentRecord(TypedDict):
    """One segment of one series, or `4-1`, and every statistic of it; durations in ns, sizes in bytes.

    A figure is None where there are too few images for it. The sizes are those of the smallest and the largest image,
    or, where only those are known (`size` ends with `JSON` then), of their payloads.
    """

    transport: str
    encoding: str  # "" is base64 in JSON, as in 2020
    compression: str
    cell: str
    size: str  # a label
    segment: str
    n: int
    mean_ns: int
    sd_ns: int | None
    p50_ns: int
    p50_low_ns: int | None  # of the 95 % interval
    p50_high_ns: int | None
    p90_ns: int | None
    p95_ns: int | None
    p99_ns: int | None
    max_ns: int
    clock_bound_ns: int | None  # how far off p50 may be either way; None where it is exact or nothing bounds it
    widest_clock_bound_ns: int | None  # the same of the one duration that may be off most
    clocks: str  # `exact`, `bounded` or `unbounded`
    size_low_bytes: int | None
    size_high_bytes: int | None


def segment_records(all_series: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> list[SegmentRecord]:
    """Return one record for each series and segment, `4-1` among them, with every statistic."""
    intervals = intervals_available()
    records: list[SegmentRecord] = []
    for series in all_series:
        for stretch, of_segment in _summaries(series, bounds, interval=intervals).items():
            p50_low, p50_high = of_segment.interval or (None, None)
            low, high = series.size_range or (None, None)
            records.append(
                SegmentRecord(
                    transport=series.labels.transport,
                    encoding=series.labels.encoding,
                    compression=series.labels.compression,
                    cell=series.labels.cell,
                    size=series.size,
                    segment=segment_key(stretch),
                    n=of_segment.n,
                    mean_ns=of_segment.mean,
                    sd_ns=of_segment.sd,
                    p50_ns=of_segment.p50,
                    p50_low_ns=p50_low,
                    p50_high_ns=p50_high,
                    p90_ns=of_segment.p90,
                    p95_ns=of_segment.p95,
                    p99_ns=of_segment.p99,
                    max_ns=of_segment.max,
                    clock_bound_ns=bound_or_none(of_segment.bound),
                    widest_clock_bound_ns=bound_or_none(of_segment.widest),
                    clocks=certainty(max(of_segment.bound, of_segment.widest)),
                    size_low_bytes=low,
                    size_high_bytes=high,
                )
            )
    return records


def size_record(sizes: SizeRange | None) -> dict[str, int | None]:
    """Return the smallest and the largest size, bytes, as two fields of a record; both are None where it is unknown."""
    low, high = sizes or (None, None)
    return {"size_low_bytes": low, "size_high_bytes": high}


def interval_record(interval: Interval | None, prefix: str = "") -> dict[str, int | None]:
    """Return an interval's two fields of a record, ns; both are None where there is none."""
    low, high = interval or (None, None)
    return {f"{prefix}low_ns": low, f"{prefix}high_ns": high}


def seconds(nanoseconds: int) -> str:
    """Write nanoseconds as seconds with nine digits, exactly."""
    sign = "-" if nanoseconds < 0 else ""
    whole, rest = divmod(abs(nanoseconds), 1_000_000_000)
    return f"{sign}{whole}.{rest:09d}"


def _stamps(series: Series) -> tuple[int, int | None, int | None, int]:
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


def _summaries(series: AnySeries, bounds: Bounds, *, interval: bool = False) -> dict[Stretch, Summary]:
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


def _key(series: AnySeries) -> dict[str, Any]:
    """Return which series a record is of."""
    return {**series.labels._asdict(), "size": series.size}


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


def bounded(duration: int | None, bound: float) -> int | Bounded | None:
    """Return a duration, if there is one, with its bound unless it is exact."""
    return Bounded(duration, bound) if bound and duration is not None else duration
