"""A comparison as records: what its JSON and CSV are made of."""

from __future__ import annotations

from typing import TypedDict

from otel_kfs.analysis.comparison import Comparisons
from otel_kfs.report.records.segment_records import bound_or_none, certainty
from otel_kfs.report.segment_names import segment_key


class ComparisonRecord(TypedDict):
    """One segment of one size on both sides, or `4-1`; durations in ns, sizes in bytes.

    `low_ns` and `high_ns` are the 95 % interval of the difference, None where there are too few images.
    """

    transport_a: str
    encoding_a: str  # "" is base64 in JSON, as in 2020
    compression_a: str
    cell_a: str
    transport_b: str
    encoding_b: str
    compression_b: str
    cell_b: str
    size: str  # a label
    segment: str
    n_a: int
    n_b: int
    images_a: int  # that have the segment
    images_b: int
    p50_a_ns: int
    p50_b_ns: int
    difference_ns: int  # b less a
    difference_share: float | None  # of A's p50; None if that is not above 0
    low_ns: int | None
    high_ns: int | None
    p: float
    clock_bound_ns: int | None  # how far off the difference may be either way; None where exact, or nothing bounds it
    clocks: str  # `exact`, `bounded` or `unbounded`
    differs: bool
    size_low_bytes: int | None
    size_high_bytes: int | None


def comparison_records(found: Comparisons) -> list[ComparisonRecord]:
    """Return one record for each size and segment, `4-1` among them."""
    records: list[ComparisonRecord] = []
    for of in found.of_sizes:
        a, b = of.labels_a, of.labels_b
        size_low, size_high = of.size_range or (None, None)
        for difference in (*of.segments, of.total):
            low, high = difference.interval or (None, None)
            records.append(
                ComparisonRecord(
                    transport_a=a.transport,
                    encoding_a=a.encoding,
                    compression_a=a.compression,
                    cell_a=a.cell,
                    transport_b=b.transport,
                    encoding_b=b.encoding,
                    compression_b=b.compression,
                    cell_b=b.cell,
                    size=of.size,
                    segment=segment_key(difference.segment),
                    n_a=of.n_a,
                    n_b=of.n_b,
                    images_a=difference.images_a,
                    images_b=difference.images_b,
                    p50_a_ns=difference.p50_a,
                    p50_b_ns=difference.p50_b,
                    difference_ns=difference.difference,
                    difference_share=difference.relative(difference.difference),
                    low_ns=low,
                    high_ns=high,
                    p=difference.p,
                    clock_bound_ns=bound_or_none(difference.bound),
                    clocks=certainty(difference.bound),
                    differs=difference.differs,
                    size_low_bytes=size_low,
                    size_high_bytes=size_high,
                )
            )
    return records
