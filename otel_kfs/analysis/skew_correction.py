"""Durations between two hosts: the difference of their clocks is taken off as far as it is known, and said how far.

All moments of an image that were read on one host are moved together, to the middle of what `clocks` leaves open of
that host's clock and that of stamp 1's host. So what begins and ends on one host stays exact, and an image's segments
still add up to its 4-1, to the nanosecond. What begins on one host and ends on another has a bound: by the clock of the
host where it begins, the true duration lies within it. Where nothing bounds the clocks, a duration stays as it was
read.
"""

from __future__ import annotations

import math
import statistics
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Flag, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec import structs

from otel_kfs.analysis.clock_skew import ClockOffset, Clocks, SkewBound
from otel_kfs.analysis.measurement import (
    NO_STAMP,
    ONE_CLOCK,
    Crossing,
    Durations,
    Labels,
    Measurement,
    Route,
    Series,
    crossing,
)
from otel_kfs.analysis.paths.segment import TOTAL, Segment, Stretch

if TYPE_CHECKING:
    from otel_kfs.analysis.duration_sketch import AnySeries
    from otel_kfs.analysis.paths.critical_path import CriticalPath
    from otel_kfs.traces.span import Span

# How far off the median of a column (a segment, or 2-1, 4-3, 4-1, of one series' labels and size) may be either way,
# ns. A column that is not in it is exact; `math.inf` says that nothing bounds it, and is larger than any difference.
Bounds = Mapping[tuple[Labels, str, Stretch], float]

NO_BOUNDS: Bounds = MappingProxyType({})

_BETWEEN_STAMPS = ("2-1", "3-2", "4-3", TOTAL)
_SAME = SkewBound(0, 0)  # of one clock with itself
_UNKNOWN = SkewBound(-math.inf, math.inf)
# ns, 73 years: no clock that was set is off by so much, and what is moved by it may not fit 64 bits.
_FURTHEST = 2**61


class TwoClocks(Flag):
    """What must be said of figures of which some were read on two hosts' clocks."""

    NOTHING = 0
    BOUNDED = auto()  # some are corrected, and have a bound
    UNBOUNDED = auto()  # some are as they were read, because nothing bounds the clocks


def correct_skew(measurement: Measurement) -> tuple[list[Series], dict[tuple[Labels, str, Stretch], float]]:
    """Return the series with what lies between hosts corrected, stamps included, and the bounds of their medians.

    Stamps are then those of the first host's clock.
    """
    all_series: list[Series] = []
    bounds: dict[tuple[Labels, str, Stretch], float] = {}
    routes = list(measurement.routes)
    for series in measurement.all_series():
        corrected = _corrected(series, routes, measurement.clocks)
        all_series.append(corrected)
        stretches: list[Stretch] = [*corrected.ordered_segments(), *corrected.stamp_bounds]
        for stretch in stretches:
            if column := corrected.bounds(stretch):
                bounds[series.labels, series.size, stretch] = _of_median(_lengths(corrected, stretch), column)
    return all_series, bounds


def median_bound(durations: Sequence[int], bounds: Sequence[float]) -> float:
    """Return how far off the median of some durations may be, if each may be off so far; 0 if each is exact."""
    return _of_median(durations, bounds) if bounds else 0


class _Seen(Protocol):
    @property
    def pairs(self) -> Collection[tuple[str, str]]: ...

    @property
    def clocks(self) -> Clocks: ...


def offsets(measurement: _Seen) -> dict[tuple[str, str], ClockOffset | None]:
    """Tell how the clocks of every two hosts stood to each other between which something was measured."""
    pairs = dict.fromkeys(min(pair, pair[::-1]) for pair in sorted(measurement.pairs))
    return {pair: measurement.clocks.offset(*pair) for pair in pairs}


def two_clocks(series: Iterable[AnySeries], bounds: Bounds) -> TwoClocks:
    """Say what must be said of the segments of some series."""
    of_series = {(one.labels, one.size) for one in series}
    return _said(bound for key, bound in bounds.items() if key[:2] in of_series and not isinstance(key[2], str))


def two_clocks_of_stamps(series: Iterable[Series]) -> TwoClocks:
    """Say the same of the stamps of the median images."""
    return _said(one.stamp_bound(name, one.median()) for one in series for name in one.stamp_bounds)


def _said(bounds: Iterable[float]) -> TwoClocks:
    found = TwoClocks.NOTHING
    for bound in bounds:
        if bound:
            found |= TwoClocks.UNBOUNDED if math.isinf(bound) else TwoClocks.BOUNDED
    return found


def corrected_path(path: CriticalPath, clocks: Clocks) -> tuple[CriticalPath, Mapping[str, int]]:
    """Return one image's path as tables have it, by the clock of stamp 1's host, and how far each host is moved, ns.

    Its sections and its total have their bounds.
    """
    measurement = Measurement(clocks=clocks)
    measurement.add(replace(path, before=()))
    (series,) = measurement.by_key.values()
    if series.routes[0] == ONE_CLOCK:
        return path, {path.hosts[0]: 0}
    (route,) = measurement.routes
    (image,) = _images([series.crossings[0]], [tuple(stamps[0] for stamps in series.stamps)], route, clocks)
    sections, at, crossings = [], path.stamps[0], zip(image.durations, image.bounds, strict=True)
    for section, crosses in zip(path.sections, crossing(path), strict=True):
        duration, bound = next(crossings) if crosses else (section.duration, 0)
        sections.append(structs.replace(section, start=at, end=at + duration, bound=bound))
        at += duration
    shifts = [image.shifts[host] for host in route.stamps]
    first, last = path.stamps[0] + shifts[0], path.stamps[3] + shifts[3]
    second, third = (
        None if stamp is None else stamp + shift for stamp, shift in zip(path.stamps[1:3], shifts[1:3], strict=True)
    )
    stamps, total_bound = (first, second, third, last), image.stamp_bounds[_BETWEEN_STAMPS.index(TOTAL)]
    return replace(path, stamps=stamps, sections=tuple(sections), total_bound=total_bound), image.shifts


def corrected_spans(
    spans: Iterable[Span], path: CriticalPath, shifts: Mapping[str, int], clocks: Clocks
) -> tuple[list[Span], frozenset[str]]:
    """Return an image's spans by the clock of stamp 1's host, too, and the hosts whose clocks nothing bounds.

    What is not on the path is moved by its own moment.
    """
    found, unknown, first = [], set(), path.hosts[0]
    for span in spans:
        (bound,) = _bounds(clocks, span.host, first, [span.start])
        if math.isinf(bound.high):
            unknown.add(span.host)
        by = shifts.get(span.host, 0 if math.isinf(bound.high) else _middle(bound))
        found.append(structs.replace(span, start=span.start + by, end=span.end + by) if by else span)
    return found, frozenset(unknown)


# --- one series ---


class _Image(NamedTuple):
    """One image, corrected: how far each host's moments are moved, its crossings' durations and their bounds."""

    shifts: dict[str, int]
    durations: list[int]
    bounds: list[float]
    stamp_bounds: tuple[float, float, float, float]  # of _BETWEEN_STAMPS


def _corrected(series: Series, routes: Sequence[Route], clocks: Clocks) -> Series:
    by_route: dict[int, list[int]] = {}
    for image, number in enumerate(series.routes):
        if number != ONE_CLOCK:
            by_route.setdefault(number, []).append(image)
    if not by_route:
        return series
    stamps = [array("q", column) for column in series.stamps]
    stamp_bounds = {name: array("d", bytes(8 * len(series))) for name in _BETWEEN_STAMPS}
    moved: dict[Stretch, dict[int, list[tuple[int, float]]]] = {}  # by segment and image: by how much, and its bound
    uncut: set[Segment] = set()
    for number, numbers in by_route.items():
        route = routes[number]
        images = _images(
            [series.crossings[image] for image in numbers],
            [tuple(column[image] for column in series.stamps) for image in numbers],
            route,
            clocks,
        )
        for image, found in zip(numbers, images, strict=True):
            for column, host in zip(stamps, route.stamps, strict=True):
                if column[image] != NO_STAMP:
                    column[image] = _fitting(column[image] + found.shifts[host])
            for name, bound in zip(_BETWEEN_STAMPS, found.stamp_bounds, strict=True):
                stamp_bounds[name][image] = bound
            moments = series.crossings[image]
            for place, one in enumerate(route.crossings):
                by = found.durations[place] - (moments[2 * place + 1] - moments[2 * place])
                moved.setdefault(one.segment, {}).setdefault(image, []).append((by, found.bounds[place]))
                if one.gives_way and any(map(math.isinf, found.bounds[place + 1 : place + 2])):
                    uncut.add(one.segment)
    segments = {
        segment: _moved(durations, moved[segment]) if segment in moved else durations
        for segment, durations in series.segments.items()
    }
    first, second, third, fourth = stamps
    return replace(
        series,
        segments=segments,
        stamps=(first, second, third, fourth),
        stamp_bounds={name: column for name, column in stamp_bounds.items() if any(column)},
        uncut=frozenset(uncut),
    )


def _moved(durations: Durations, moved: Mapping[int, Sequence[tuple[int, float]]]) -> Durations:
    values, bounds = array("q", durations.values), array("d", bytes(8 * len(durations)))
    for place, image in enumerate(durations.images):
        for by, bound in moved.get(image, ()):
            values[place] = _fitting(values[place] + by)
            bounds[place] += bound
    return Durations(durations.images, values, bounds if any(bounds) else array("d"))


def _fitting(nanoseconds: int) -> int:
    """Return a time that fits 64 bits, as those do that were read; what was set wrong by centuries may not."""
    return max(NO_STAMP + 1, min(nanoseconds, 2**63 - 1))


# --- one route ---


def _images(
    crossings: Sequence[Sequence[int]], stamps: Sequence[tuple[int, ...]], route: Route, clocks: Clocks
) -> list[_Image]:
    """Correct images of one route, of each of which the moments of its crossings are known, and the stamps."""
    shifts = _shifts(crossings, stamps, route, clocks)
    hops = [
        _bounds(clocks, one.ends, one.begins, [moments[2 * place + 1] for moments in crossings])
        for place, one in enumerate(route.crossings)
    ]
    first, second, third, last = route.stamps
    to_second = _bounds(clocks, second, first, [of[1] for of in stamps])
    to_last = _bounds(clocks, last, first, [of[3] for of in stamps])
    to_third = _bounds(clocks, third, second, [of[2] for of in stamps])
    between = _bounds(clocks, last, third, [of[3] for of in stamps])
    found = []
    for number, moments in enumerate(crossings):
        shift = shifts[number]
        durations, bounds = _durations_of(route.crossings, moments, shift, [hop[number] for hop in hops])
        _, arrived, preprocessed, _ = stamps[number]
        stamp_bounds = (
            0 if arrived == NO_STAMP else _off(shift[second] - shift[first], to_second[number]),
            0 if NO_STAMP in (arrived, preprocessed) else _off(shift[third] - shift[second], to_third[number]),
            0 if preprocessed == NO_STAMP else _off(shift[last] - shift[third], between[number]),
            _off(shift[last] - shift[first], to_last[number]),
        )
        found.append(_Image(shift, durations, bounds, stamp_bounds))
    return found


def _shifts(
    crossings: Sequence[Sequence[int]], stamps: Sequence[tuple[int, ...]], route: Route, clocks: Clocks
) -> list[dict[str, int]]:
    """Return, for each image, how far the moments of each of its hosts are moved: onto the clock of stamp 1's.

    A clock of which nothing is known in respect of that is moved as the one is that it was met from: what lies between
    the two is then corrected, if their difference is known, or else as it was read.
    """
    first = route.stamps[0]
    shifts: list[dict[str, int]] = [{first: 0} for _ in crossings]
    met_from = {first: first}
    seen: dict[str, list[int]] = {}  # by host, the places of its moments
    for place, one in enumerate(route.crossings):
        for host, at in ((one.begins, 2 * place), (one.ends, 2 * place + 1)):
            seen.setdefault(host, []).append(at)
        met_from.setdefault(one.begins, first)
        met_from.setdefault(one.ends, one.begins)
    for host in route.stamps[1:]:  # which a path without sections has, too
        met_from.setdefault(host, first)
    met_from.pop(first)
    for host, before in met_from.items():
        places = seen.get(host, ())
        moments = [
            sum(of := [own[place] for place in places] or [stamp[3]]) // len(of)
            for own, stamp in zip(crossings, stamps, strict=True)
        ]
        direct = _bounds(clocks, host, first, moments)
        near = direct if before == first else _bounds(clocks, host, before, moments)
        for shift, known, otherwise in zip(shifts, direct, near, strict=True):
            if math.isfinite(known.low):
                shift[host] = _middle(known)
            else:
                shift[host] = shift.get(before, 0) + (_middle(otherwise) if math.isfinite(otherwise.low) else 0)
    return shifts


def _durations_of(
    crossings: Sequence[Crossing], moments: Sequence[int], shift: Mapping[str, int], hops: Sequence[SkewBound]
) -> tuple[list[int], list[float]]:
    """Return the corrected durations of one image's crossings, and how far off each may be.

    From the last to the first: what gives way to the next is over when that ends, at the latest.
    """
    durations, bounds = [0] * len(crossings), [0.0] * len(crossings)
    until = 0  # when the next one ends, by the clock of stamp 1's host
    low: float = 0  # and what is certain of that, by the clock of the host where the next one begins: not sooner
    high: float = 0  # and not later
    for place in reversed(range(len(crossings))):
        one, start, end = crossings[place], moments[2 * place], moments[2 * place + 1]
        ended = end + shift[one.ends]
        # Where the one has ended, by the clock of that host: certainly not before, not after.
        earliest: float = end
        latest: float = end
        if one.gives_way and place + 1 < len(crossings) and math.isfinite(low):
            ended = min(ended, until)
            earliest, latest = min(end, low), min(end, high)
            # The next one begins where this one ends.
            durations[place + 1] = until - ended
            bounds[place + 1] = _widest(durations[place + 1], max(0, low - end), max(0, high - end))
        durations[place] = ended - (start + shift[one.begins])
        low, high = earliest + hops[place].low, latest + hops[place].high
        bounds[place] = _widest(durations[place], low - start, high - start)
        until = ended
    return durations, bounds


def _bounds(clocks: Clocks, host: str, other: str, moments: Sequence[int]) -> list[SkewBound]:
    """Return how much more the other's clock shows at each moment by that of `host`: at least, and at most."""
    if host == other:
        return [_SAME] * len(moments)
    # Whole nanoseconds, because a float can't hold a moment since the epoch that exactly.
    return [
        _UNKNOWN
        if bound is None or max(-bound.low, bound.high) > _FURTHEST
        else SkewBound(math.floor(bound.low), math.ceil(bound.high))
        for bound in clocks.bounds(host, other, moments)
    ]


def _middle(bound: SkewBound) -> int:
    return round((bound.low + bound.high) / 2)


def _off(by: int, bound: SkewBound) -> float:
    """Return how far off a duration may be that was moved by so much."""
    return _widest(by, bound.low, bound.high)


def _widest(value: int, low: float, high: float) -> float:
    """Return how far the ends of what is certain lie from a value: 0 where that is exact."""
    if low == high == value:
        return 0
    width = max(high - value, value - low)
    return width if math.isinf(width) else math.ceil(width) + 1  # 1: floats are not exact, nor are middles


def _lengths(series: Series, stretch: Stretch) -> Sequence[int]:
    if not isinstance(stretch, str):
        return series.segments[stretch].values
    later, earlier = (series.stamps[int(stamp) - 1] for stamp in stretch.split("-"))
    return [0 if NO_STAMP in (end, start) else end - start for end, start in zip(later, earlier, strict=True)]


def _of_median(durations: Sequence[int], bounds: Sequence[float]) -> float:
    """Return how far off the median may be: the true one lies between those of all the least and all the largest."""
    if any(map(math.isinf, bounds)):
        return math.inf
    middle = statistics.median(durations)
    low = statistics.median([duration - bound for duration, bound in zip(durations, bounds, strict=True)])
    high = statistics.median([duration + bound for duration, bound in zip(durations, bounds, strict=True)])
    return math.ceil(max(middle - low, high - middle))
