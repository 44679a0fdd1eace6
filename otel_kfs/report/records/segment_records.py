"""Segments with their statistics, and the two tables of 2020, as records: what JSON and CSV are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict

from otel_kfs.analysis.duration_sketch import AnySeries
from otel_kfs.analysis.image_size import SizeRange
from otel_kfs.analysis.measurement import Series
from otel_kfs.analysis.paths.segment import TOTAL
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds
from otel_kfs.analysis.statistics import Interval, intervals_available
from otel_kfs.report.segment_names import segment_key
from otel_kfs.report.tables.rows import differences, median_stamps, summaries

EXACT, BOUNDED, UNBOUNDED = "exact", "bounded", "unbounded"  # what a record says of its clocks


def seed_records(all_series: Sequence[Series]) -> list[dict[str, Any]]:
    """Return the two tables of 2020 as one record per series; times in seconds, as text with nine digits.

    `clocks_2-1` says whether it is exact, bounded or unbounded; `clock_bound_2-1` is None unless it is bounded. The
    stamps and what lies between them are numbers, too, in ns: `stamp_1_ns` (since the epoch) and `2-1_ns`.
    """
    records = []
    for series in all_series:
        one, two, three, four = stamps = median_stamps(series)
        record = {**_series_key(series), "n": len(series), "trace_id": series.trace_ids[series.median()]}
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
        for stretch, of_segment in summaries(series, bounds, interval=intervals).items():
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


def certainty(bound: float) -> str:
    """Return which of the three a record's figure is."""
    return UNBOUNDED if math.isinf(bound) else BOUNDED if bound else EXACT


def bound_or_none(bound: float) -> int | None:
    """Return what a record has of a bound, ns: nothing where a figure is exact, or nothing bounds it."""
    return int(bound) if bound and not math.isinf(bound) else None


def seconds(nanoseconds: int) -> str:
    """Write nanoseconds as seconds with nine digits, exactly."""
    sign = "-" if nanoseconds < 0 else ""
    whole, rest = divmod(abs(nanoseconds), 1_000_000_000)
    return f"{sign}{whole}.{rest:09d}"


def _series_key(series: AnySeries) -> dict[str, Any]:
    """Return which series a record is of."""
    return {**series.labels._asdict(), "size": series.size}
