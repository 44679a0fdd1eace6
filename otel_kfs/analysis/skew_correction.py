"""Lengths between two hosts: the difference of their clocks is taken off as far as it is known, and said how far.

A length whose two ends were read on two clocks is moved to the middle of what `clocks` leaves open, and half the width
of that is its bound: the true length lies within it. Where nothing bounds the clocks, a length stays as it was read.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from enum import Flag, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from otel_kfs.analysis.clock_skew import ClockOffset, Clocks, SkewBound
from otel_kfs.analysis.measurement import Labels, Measurement, Series
from otel_kfs.analysis.paths.segment import TOTAL, Stretch

if TYPE_CHECKING:
    from otel_kfs.analysis.duration_sketch import AnySeries

# A segment (or 2-1, 4-3, 4-1) of one series' labels and size, and how far off its lengths may be either way, ns.
Bounds = Mapping[tuple[Labels, str, Stretch], int]

NO_BOUNDS: Bounds = MappingProxyType({})

Pairs = Sequence[tuple[str, str]]


class TwoClocks(Flag):
    """What must be said of figures of which some were read on two hosts' clocks."""

    NOTHING = 0
    BOUNDED = auto()  # some are corrected, and have a bound
    UNBOUNDED = auto()  # some are as they were read, because nothing bounds the clocks


def correct_skew(measurement: Measurement) -> tuple[list[Series], dict[tuple[Labels, str, Stretch], int]]:
    """Return the series with what lies between hosts corrected, stamps included, and the bounds of that.

    Stamps are then those of the first host's clock. What is measured on one clock is as before, and has no bound.
    """
    all_series: list[Series] = []
    bounds: dict[tuple[Labels, str, Stretch], int] = {}
    for series in measurement.all_series():
        corrected, widths = _corrected(series, measurement.pairs, measurement.clocks)
        all_series.append(corrected)
        bounds.update({(series.labels, series.size, name): width for name, width in widths.items()})
    return all_series, bounds


class _Seen(Protocol):
    @property
    def pairs(self) -> Collection[tuple[str, str]]: ...

    @property
    def clocks(self) -> Clocks: ...


def offsets(measurement: _Seen) -> dict[tuple[str, str], ClockOffset | None]:
    """Tell how the clocks of every two hosts stood to each other between which something was measured."""
    pairs = dict.fromkeys(min(pair, pair[::-1]) for pair in sorted(measurement.pairs))
    return {pair: measurement.clocks.offset(*pair) for pair in pairs}


def two_clocks(series: Sequence[AnySeries], bounds: Bounds) -> TwoClocks:
    """Say which segments lie between two hosts."""
    crossing = {(one.labels, one.size, name) for one in series for name in one.between_hosts() - {TOTAL}}
    bounded = crossing & set(bounds)
    found = TwoClocks.BOUNDED if bounded else TwoClocks.NOTHING
    return found | TwoClocks.UNBOUNDED if crossing - bounded else found


def two_clocks_of_stamps(series: Sequence[Series], bounds: Bounds) -> TwoClocks:
    """Say the same of stamps."""
    if any((one.labels, one.size, "2-1") in bounds for one in series):
        return TwoClocks.BOUNDED
    crossing = any(max(one.second_pair, default=-1) >= 0 for one in series)
    return TwoClocks.UNBOUNDED if crossing else TwoClocks.NOTHING


def _corrected(series: Series, pairs: Pairs, clocks: Clocks) -> tuple[Series, dict[Stretch, int]]:
    widths: dict[Stretch, int] = {}
    segments = dict(series.segments)
    for name, lengths in series.segments.items():
        moved = _moved(lengths.lengths, lengths.ends, lengths.pair, pairs, clocks)
        if moved is not None:
            segments[name], widths[name] = replace(lengths, lengths=moved[0]), moved[1]
    one, two, three, four = series.stamps
    second = _moved(two, two, series.second_pair, pairs, clocks)
    fourth = _moved(four, four, series.fourth_pair, pairs, clocks)
    if second is not None:
        three = array("q", [late + now - then for late, now, then in zip(three, second[0], two, strict=True)])
        two, widths["2-1"] = second
    if fourth is not None:
        four, widths["4-1"] = fourth
    if second is not None or fourth is not None:
        widths["4-3"] = widths.get("2-1", 0) + widths.get("4-1", 0)
    return replace(series, segments=segments, stamps=(one, two, three, four)), widths


def _moved(
    values: array[int], moments: array[int], of_pair: array[int], pairs: Pairs, clocks: Clocks
) -> tuple[array[int], int] | None:
    """Take the difference of two clocks at those moments off lengths, or stamps; return them with their bound.

    None where there is nothing to move, or one that nothing bounds.
    """
    by_pair: dict[int, list[int]] = defaultdict(list)
    for number, pair in enumerate(of_pair):
        if pair >= 0:
            by_pair[pair].append(number)
    moved, width = array("q", values), 0.0
    for pair, numbers in by_pair.items():
        first, second = pairs[pair]
        bounds: list[SkewBound | None] = clocks.bounds(second, first, [moments[number] for number in numbers])
        for number, bound in zip(numbers, bounds, strict=True):
            if bound is None:
                return None
            moved[number] += round((bound.low + bound.high) / 2)
            width = max(width, (bound.high - bound.low) / 2)
    return (moved, math.ceil(width) + 1) if by_pair else None  # 1: the middle was rounded
