"""Rows that were stamped by hand beside the traced images of the same sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from otel_kfs import semconv
from otel_kfs.analysis.image_size import UNKNOWN, labelled_size
from otel_kfs.analysis.manual_timestamps.timestamp_tables import Block, words_of
from otel_kfs.analysis.measurement import NO_STAMP, Series
from otel_kfs.analysis.skew_correction import TwoClocks, two_clocks_of_stamps
from otel_kfs.errors import InputError

_TRANSPORT_WORDS = {
    semconv.KAFKA: ("kafka", "topic"),
    semconv.HTTP: ("http", "https", "curl", "rest", "ingress"),
}
_PAIRS = ((1, 0), (2, 1), (3, 2), (3, 0))  # of stamps
_SAME_SIZE = 0.07  # two sizes that differ by no more are one: labels are rounded, and MB may be 2^20 bytes


class Duration(NamedTuple):
    """The time between two stamps, ns; `bound`: what the clocks of two hosts leave open of that traced one."""

    by_hand: int | None
    traced: int | None
    bound: float = 0


@dataclass(frozen=True, slots=True)
class BesideRow:
    """One row of stamps, and the median image of its size among `n` traced ones; None: no traced image has that size.

    The durations are 2-1, 3-2, 4-3 and 4-1.
    """

    label: str
    durations: tuple[Duration, ...]
    n: int | None


@dataclass(frozen=True, slots=True)
class Beside:
    """A block of stamps beside traced images; `transport` is None where nothing says which it is of."""

    section: str
    transport: str | None
    rows: tuple[BesideRow, ...]
    two_clocks: TwoClocks


def beside(found: Sequence[Block], all_series: Sequence[Series]) -> list[Beside]:
    """Put beside each block of four stamps the median images of the same sizes in traces.

    The series are those of a `CorrectedMeasurement`.

    Raises:
        InputError: no block has four stamps.
    """
    four = [block for block in found if len(block.headings) == 4]
    if not four:
        raise InputError("only rows with four stamps can be compared with traces, which have four")
    return [_beside(block, all_series) for block in four]


def _beside(block: Block, all_series: Sequence[Series]) -> Beside:
    transport = _transport(block, all_series)
    of_rows = _of_sizes(block, [series for series in all_series if transport in {None, series.labels.transport}])
    matched = [series for series in of_rows if series is not None]
    rows = tuple(_row(block, row, series) for row, series in enumerate(of_rows))
    return Beside(block.section, transport, rows, two_clocks_of_stamps(matched))


def _row(block: Block, row: int, series: Series | None) -> BesideRow:
    labels = [labels[row] for labels in (block.labels, block.duration_labels) if labels]
    number = None if series is None else series.median()
    durations = []
    for later, earlier in _PAIRS:
        hand = block.between(row, later, earlier)
        by_hand = None if hand is None else int(hand.scaleb(9))
        if series is None or number is None:
            durations.append(Duration(by_hand, None))
        else:
            stamps = series.stamps[later][number], series.stamps[earlier][number]
            traced = None if NO_STAMP in stamps else stamps[0] - stamps[1]
            bound = series.stamp_bound(f"{later + 1}-{earlier + 1}", number)
            durations.append(Duration(by_hand, traced, bound))
    label = labels[0] if labels else f"row {row + 1}"
    return BesideRow(label, tuple(durations), None if series is None else len(series))


def _transport(block: Block, all_series: Sequence[Series]) -> str | None:
    said = words_of(block.section)
    for transport, words in _TRANSPORT_WORDS.items():
        if any(word in said for word in words):
            return transport
    there = {series.labels.transport for series in all_series}
    return there.pop() if len(there) == 1 else None


def _of_sizes(block: Block, all_series: Sequence[Series]) -> list[Series | None]:
    """Find for each row the series of its size: by the images' sizes or by their payloads', whichever fits more rows.

    What is left is matched by the other: labels of either kind occur in one table. A row of unknown size is the series'
    of unknown size.
    """
    texts = [
        [of_row[row] for of_row in (block.labels, block.duration_labels) if of_row] for row in range(len(block.stamps))
    ]
    labels = [[size for text in of_row if (size := labelled_size(text))] for of_row in texts]
    kinds = ([series.image_size for series in all_series], [series.payload_size for series in all_series])
    by_kind = [_nearest(labels, sizes) for sizes in kinds]
    first, second = sorted(by_kind, key=len, reverse=True)
    left = {row: number for row, number in second.items() if row not in first and number not in first.values()}
    matched = first | left
    unknown = [number for number, series in enumerate(all_series) if series.size_range is None]
    matched |= dict(zip(_rows_without_size(texts), unknown, strict=False))
    return [all_series[matched[row]] if row in matched else None for row in range(len(labels))]


def _rows_without_size(texts: Sequence[Sequence[str]]) -> list[int]:
    return [row for row, of_row in enumerate(texts) if UNKNOWN in of_row]


def _nearest(labels: Sequence[Sequence[int]], sizes: Sequence[int | None]) -> dict[int, int]:
    """Match rows with the numbers of the sizes that are nearest to their labels, each once."""
    distances = sorted(
        (abs(size - label) / label, row, number)
        for row, of_row in enumerate(labels)
        for label in of_row
        if label > 0
        for number, size in enumerate(sizes)
        if size is not None
    )
    found: dict[int, int] = {}
    for distance, row, number in distances:
        if distance <= _SAME_SIZE and row not in found and number not in found.values():
            found[row] = number
    return found
