"""How far apart the clocks of two hosts were: bounds that what was seen proves; no clock is trusted, none corrected.

A request's start on one host comes before its arrival on another: that bounds the difference of their clocks from one
side, and the answer from the other. The difference of two clocks that run steadily, be it at different rates, is a
straight line over time: below every bound of the one kind, above every bound of the other. A bound at a moment is how
high and how low such a line can be there; so it holds for every delay, symmetric or not, and for clocks that drift.

Sources: Cristian, "Probabilistic clock synchronization" (1989), for the bounds; Duda et al., "Estimating global time in
distributed systems" (1987), for lines between the two hulls.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

Point = tuple[int, int]  # a moment by the first host's clock, and the second's clock less the first's, both ns

_RESOLUTION = 1  # ns: what a clock shows is cut to whole ones
_PRUNED_AT = 1024  # points that wait before all but the hull's are forgotten
_KNOTS = 129  # moments at which a bound is computed; between two of them it is a straight line, which holds as well
# A clock that nothing is known of is taken to run within this of another: twice the 500 ppm by which NTP may slew.
_RATE = 1e-3


class Bound(NamedTuple):
    """What the second host's clock shows more than the first's, ns: between these two."""

    low: float
    high: float


class Offset(NamedTuple):
    """How two clocks stood to each other over all that was seen."""

    bound: Bound | None  # in the middle of the time; None where no line fits: a clock was set meanwhile
    steady: bool  # one difference fits all the time; else the clocks drifted apart
    drift: float  # of the second against the first, ns a second, where they drifted

    @property
    def half_width(self) -> float:
        """Half of the bound's width, ns."""
        return math.inf if self.bound is None else (self.bound.high - self.bound.low) / 2


class Clocks:
    """What was seen of the clocks of several hosts; its size does not grow with the number of traces."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], list[Point]] = {}
        self._lines: dict[tuple[str, str], _Lines] = {}

    def before(self, host: str, at: int, other: str, later: int) -> None:
        """An event at `at` by the clock of `host` came before one at `later` by the clock of `other`, ns."""
        points = self._before.setdefault((host, other), [])
        points.append((at, later - at + _RESOLUTION))
        if len(points) >= _PRUNED_AT:
            points[:] = _lower_hull(points)
        self._lines.clear()

    def merge(self, other: Clocks) -> None:
        """Add what another has seen."""
        for pair, points in other._before.items():
            self._before[pair] = _lower_hull([*self._before.get(pair, ()), *points])
        self._lines.clear()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Clocks):
            return NotImplemented
        return {pair: _lower_hull(points) for pair, points in self._before.items()} == {
            pair: _lower_hull(points) for pair, points in other._before.items()
        }

    __hash__ = None  # type: ignore[assignment]  # it changes

    def bounds(self, host: str, other: str, moments: Sequence[int]) -> list[Bound | None]:
        """The bound at each moment by the clock of `host`, ns; None where nothing bounds it, from one side at least.

        What was seen of other pairs of hosts helps: three clocks that are known in pairs are known together.
        """
        if len(moments) <= _KNOTS:
            return [self._at(host, other, moment) for moment in moments]
        first, last = min(moments), max(moments)
        knots = [first + (last - first) * number // (_KNOTS - 1) for number in range(_KNOTS)]
        at_knots = [self._at(host, other, knot) for knot in knots]
        return [_between(knots, at_knots, moment) for moment in moments]

    def offset(self, host: str, other: str) -> Offset | None:
        """How the two clocks stood to each other; None where they were never seen together, even by way of others."""
        lines = self._between(host, other)
        if lines.above and lines.below:
            if not lines.possible:
                return Offset(None, False, math.nan)
            low = max(difference for _, difference in lines.below)
            steady = low <= min(difference for _, difference in lines.above)
            return Offset(self._at(host, other, lines.middle), steady, 0.0 if steady else 1e9 * lines.rate)
        moments = [at for pair, points in self._before.items() if host in pair for at, _ in points]
        bound = self._at(host, other, (min(moments) + max(moments)) // 2) if moments else None
        return None if bound is None else Offset(bound, True, 0.0)

    def _at(self, host: str, other: str, moment: int) -> Bound | None:
        low, high = -math.inf, math.inf
        for path in self._paths((host,), other):
            first = last = 0.0  # the moment by the clock of the path's next host lies between moment + first and + last
            for here, there in pairwise(path):
                lines = self._between(here, there)
                # Whole nanoseconds, because a float can't hold a moment since the epoch that exactly.
                first += lines.low(moment + math.floor(first)) if math.isfinite(first) else 0
                last += lines.high(moment + math.ceil(last)) if math.isfinite(last) else 0
            low, high = max(low, first), min(high, last)
        return Bound(low, high) if low <= high and math.isfinite(low) and math.isfinite(high) else None

    def _paths(self, path: tuple[str, ...], to: str) -> Iterable[tuple[str, ...]]:
        if path[-1] == to:
            yield path
            return
        here = path[-1]
        neighbours = {one if here == other else other for one, other in self._before if here in (one, other)}
        for neighbour in sorted(neighbours.difference(path)):
            yield from self._paths((*path, neighbour), to)

    def _between(self, host: str, other: str) -> _Lines:
        pair = host, other
        if pair not in self._lines:
            # Seen from the other host, the same events bound the line from below.
            below = [(at + difference, -difference) for at, difference in self._before.get((other, host), ())]
            self._lines[pair] = _Lines(tuple(self._before.get(pair, ())), tuple(below))
        return self._lines[pair]


@dataclass(frozen=True)
class _Lines:
    """All straight lines that pass below the points `above` and above the points `below`."""

    above: tuple[Point, ...]
    below: tuple[Point, ...]

    @cached_property
    def middle(self) -> int:
        moments = [at for at, _ in (*self.above, *self.below)]
        return (min(moments) + max(moments)) // 2

    @cached_property
    def rates(self) -> tuple[float, float]:
        """The flattest and the steepest of the lines; no limit on the side where the points give none."""
        flattest, steepest = -math.inf, math.inf
        for above_at, above in _lower_hull(self.above):
            for below_at, below in _upper_hull(self.below):
                if above_at > below_at:
                    steepest = min(steepest, (above - below) / (above_at - below_at))
                elif above_at < below_at:
                    flattest = max(flattest, (below - above) / (below_at - above_at))
        return flattest, steepest

    @cached_property
    def possible(self) -> bool:
        """Whether there is any such line: the two hulls do not cross."""
        other = self._mirrored
        return not (
            any(below > self._hull_high(at) for at, below in self.below)
            or any(-above > other._hull_high(at) for at, above in self.above)
        )

    @property
    def rate(self) -> float:
        """The rate in the middle of those that are possible."""
        return sum(self._limited) / 2

    @cached_property
    def _limited(self) -> tuple[float, float]:
        """The same, with a limit on both sides."""
        flattest, steepest = self.rates
        if not math.isfinite(flattest):
            flattest = min(-_RATE, steepest)
        if not math.isfinite(steepest):
            steepest = max(_RATE, flattest)
        return flattest, steepest

    def high(self, at: int) -> float:
        """How high a line can be there."""
        if not self.possible:
            return math.inf
        if not self.below:
            return self._hull_high(at)  # hops that go one way alone say nothing of how fast the line can rise
        flattest, steepest = self._limited
        beside = (
            difference + (at - moment) * (steepest if at > moment else flattest) for moment, difference in self._high
        )
        return min(self._hull_high(at), min(beside, default=math.inf))

    def low(self, at: int) -> float:
        """How low a line can be there."""
        if not self.possible:
            return -math.inf
        return -self._mirrored.high(at)

    @cached_property
    def _mirrored(self) -> _Lines:
        return _Lines(
            tuple((at, -difference) for at, difference in self.below),
            tuple((at, -difference) for at, difference in self.above),
        )

    @cached_property
    def _high(self) -> list[Point]:
        return _lower_hull(self.above)

    def _hull_high(self, at: int) -> float:
        """The lower hull's height there: every line below all points lies below their hull; infinite beside it."""
        hull = self._high
        after = bisect_right(hull, at, key=lambda point: point[0])
        if after == 0 or (after == len(hull) and at > hull[-1][0]):
            return math.inf
        (left, at_left), (right, at_right) = hull[after - 1], hull[min(after, len(hull) - 1)]
        return at_left if right == left else at_left + (at_right - at_left) * ((at - left) / (right - left))


def _lower_hull(points: Iterable[Point]) -> list[Point]:
    """The corners of the lower convex hull, left to right (Andrew's monotone chain)."""
    hull: list[Point] = []
    for point in sorted(set(points)):
        if hull and hull[-1][0] == point[0]:
            continue  # the higher of two at one moment
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _upper_hull(points: Iterable[Point]) -> list[Point]:
    return [(at, -difference) for at, difference in _lower_hull((at, -difference) for at, difference in points)]


def _turns_down(one: Point, two: Point, three: Point) -> bool:
    return (two[0] - one[0]) * (three[1] - one[1]) <= (two[1] - one[1]) * (three[0] - one[0])


def _between(knots: Sequence[int], bounds: Sequence[Bound | None], moment: int) -> Bound | None:
    after = min(bisect_right(knots, moment), len(knots) - 1)
    left, right = bounds[after - 1], bounds[after]
    if left is None or right is None:
        return left or right if knots[after] == knots[after - 1] else None
    share = (moment - knots[after - 1]) / ((knots[after] - knots[after - 1]) or 1)
    return Bound(
        left.low + (right.low - left.low) * share,
        left.high + (right.high - left.high) * share,
    )
