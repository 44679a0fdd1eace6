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
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

Point = tuple[int, int]  # a moment by the first host's clock, and the second's clock less the first's, both ns

_RESOLUTION = 1  # ns: what a clock shows is cut to whole ones
_PRUNED_AT = 1024  # points that wait before all but the hull's are forgotten
_KNOTS = 129  # moments, evenly spread, at which a host's bounds are computed
_KEPT = 2_000_000  # bounds
# A clock that nothing is known of is taken to run within this of another: twice the 500 ppm by which NTP may slew.
_RATE = 1e-3
# No two clocks run so far apart unless one is set, however fast it is slewed: only a step explains a steeper line.
FASTEST = 0.02


class SkewBound(NamedTuple):
    """What the second host's clock shows more than the first's, ns: between these two."""

    low: float
    high: float


class ClockOffset(NamedTuple):
    """How two clocks stood to each other over all that was seen."""

    bound: SkewBound | None  # in the middle of the time; None where no line fits: a clock was set meanwhile
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
        self._known: _Net | None = None  # what follows from that, when it was asked for

    def before(self, host: str, at: int, other: str, later: int) -> None:
        """Note that an event at `at` by the clock of `host` came before one at `later` by the clock of `other`, ns."""
        points = self._before.setdefault((host, other), [])
        points.append((at, later - at + _RESOLUTION))
        if len(points) >= _PRUNED_AT:
            points[:] = _lower_hull(points)
        self._known = None

    def merge(self, other: Clocks) -> None:
        """Add what another has seen."""
        for pair, points in other._before.items():
            self._before[pair] = _lower_hull([*self._before.get(pair, ()), *points])
        self._known = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Clocks):
            return NotImplemented
        return self._hulls() == other._hulls()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def bounds(self, host: str, other: str, moments: Sequence[int]) -> list[SkewBound | None]:
        """Return the bound at each moment by the clock of `host`, ns; None where one side at least has none.

        What was seen of other pairs of hosts helps: three clocks that are known in pairs are known together.
        """
        return self._net.bounds(host, other, moments)

    def offset(self, host: str, other: str) -> ClockOffset | None:
        """Tell how two clocks stood to each other; None where they were never seen together, even through others."""
        net = self._net
        lines = net.lines(host, other)
        if lines.above and lines.below:
            if not lines.possible:
                return ClockOffset(None, False, math.nan)
            low = max(difference for _, difference in lines.below)
            steady = low <= min(difference for _, difference in lines.above)
            return ClockOffset(net.at(host, other, lines.middle), steady, 0.0 if steady else 1e9 * lines.rate)
        moments = [at for pair, points in self._before.items() if host in pair for at, _ in points]
        bound = net.at(host, other, (min(moments) + max(moments)) // 2) if moments else None
        return None if bound is None else ClockOffset(bound, True, 0.0)

    def _hulls(self) -> dict[tuple[str, str], list[Point]]:
        return {pair: _lower_hull(points) for pair, points in self._before.items()}

    @property
    def _net(self) -> _Net:
        if self._known is None:
            self._known = _Net(self._hulls())
        return self._known


class _Net:
    """What follows from what was seen of pairs of hosts for any two of them, through others.

    A bound of one clock against a second and a bound of that against a third add up to one of the first against the
    third. Of all chains of hosts the one that adds up to least gives the bound: a shortest path, found for all other
    hosts at once. No chain passes a host twice: it gains by that only where clocks contradict one another.
    """

    def __init__(self, before: dict[tuple[str, str], list[Point]]) -> None:
        self._before = before
        # What goes one way alone bounds nothing before its first hop and after its last: these are knots, too.
        ends: dict[str, set[int]] = {}
        for (host, other), points in before.items():
            moments = [at + difference for at, difference in points]
            ends.setdefault(host, set()).update((points[0][0], points[-1][0]))
            ends.setdefault(other, set()).update((min(moments), max(moments)))
        self._numbers = {host: number for number, host in enumerate(sorted(ends))}
        self._knots = {host: _knots(of_host) for host, of_host in ends.items()}
        # To whom a chain goes on from each host, and what bounds that host's clock from above, and from below.
        self._above: dict[str, list[tuple[str, _Lines]]] = {host: [] for host in self._numbers}
        self._below: dict[str, list[tuple[str, _Lines]]] = {host: [] for host in self._numbers}
        for host, other in sorted({*before, *(pair[::-1] for pair in before)}):
            lines = self.lines(host, other)
            if host != other and lines.possible:
                if lines.above:
                    self._above[host].append((other, lines))
                if lines.below:
                    self._below[host].append((other, lines.mirrored))
        # At a moment by one host's clock, the bounds of all others: from above, and, negative, from below.
        self._found: dict[tuple[str, int], tuple[array[float], array[float]]] = {}

    def lines(self, host: str, other: str) -> _Lines:
        """Return what was seen of these two alone."""
        # Seen from the other host, the same events bound the line from below.
        below = [(at + difference, -difference) for at, difference in self._before.get((other, host), ())]
        return _Lines(tuple(self._before.get((host, other), ())), tuple(below))

    def bounds(self, host: str, other: str, moments: Sequence[int]) -> list[SkewBound | None]:
        """Return the bound at each moment: between two of the host's knots a straight line, which holds as well."""
        if host not in self._numbers or other not in self._numbers:
            return [None] * len(moments)
        knots = self._knots[host]
        found: list[SkewBound | None] = []
        for moment in moments:
            after = bisect_right(knots, moment)
            if not 0 < after < len(knots) or knots[after - 1] == moment:
                found.append(self.at(host, other, moment))
                continue
            left, right = knots[after - 1], knots[after]
            at_left, at_right = self.at(host, other, left), self.at(host, other, right)
            if at_left is not None and at_right is not None:
                found.append(_between(at_left, at_right, (moment - left) / (right - left)))
            else:
                # What bounds it may begin or end between the two.
                found.append(None if at_left is at_right else self.at(host, other, moment))
        return found

    def at(self, host: str, other: str, moment: int) -> SkewBound | None:
        """Return the bound at one moment."""
        if host not in self._numbers or other not in self._numbers:
            return None
        if (host, moment) not in self._found:
            if len(self._found) * len(self._numbers) > _KEPT:
                self._found.clear()
            self._found[host, moment] = self._shortest(host, moment, 1), self._shortest(host, moment, -1)
        above, below = self._found[host, moment]
        number = self._numbers[other]
        low, high = -below[number], above[number]
        return SkewBound(low, high) if low <= high and math.isfinite(low) and math.isfinite(high) else None

    def _shortest(self, host: str, moment: int, sign: int) -> array[float]:
        """Work out how much more each host's clock can show then, at most (sign 1), or how much less (-1)."""
        onward = self._above if sign > 0 else self._below
        total = {host: 0.0}
        previous: dict[str, str] = {}
        ahead = [host]
        # Bellman and Ford's rounds, each from the hosts that the one before brought nearer.
        for _ in self._numbers:
            nearer: dict[str, None] = {}
            for here in ahead:
                so_far = total[here]
                # Whole nanoseconds, because a float can't hold a moment since the epoch that exactly.
                at = moment + sign * math.ceil(so_far)
                for there, lines in onward[here]:
                    least = so_far + lines.high(at)
                    if least < total.get(there, math.inf) and there not in _chain(here, previous):
                        total[there] = least
                        previous[there] = here
                        nearer[there] = None
            ahead = list(nearer)
        return array("d", [total.get(one, math.inf) for one in self._numbers])


def _chain(host: str, previous: dict[str, str]) -> list[str]:
    """Return the hosts through which a host was reached."""
    chain = [host]
    while (before := previous.get(chain[-1])) is not None:
        chain.append(before)
    return chain


def _knots(ends: set[int]) -> list[int]:
    first, last = min(ends), max(ends)
    return sorted({*ends, *(first + (last - first) * number // (_KNOTS - 1) for number in range(_KNOTS))})


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
        """Whether there is any such line, of two clocks that run: the two hulls do not cross."""
        roof, floor = self._roof, self.mirrored._roof
        flattest, steepest = self.rates
        if flattest > FASTEST or steepest < -FASTEST:
            return False
        return not (
            any(below > roof.height(at) for at, below in self.below)
            or any(-above > floor.height(at) for at, above in self.above)
        )

    @property
    def rate(self) -> float:
        """The rate in the middle of those that are possible."""
        return sum(self._limited) / 2

    @cached_property
    def _limited(self) -> tuple[float, float]:
        """The same of two clocks that run: with a limit on both sides, where the points give none, or one too far."""
        flattest, steepest = self.rates
        if not math.isfinite(flattest):
            flattest = -_RATE if steepest >= -_RATE else -FASTEST
        if not math.isfinite(steepest):
            steepest = _RATE if flattest <= _RATE else FASTEST
        return max(flattest, -FASTEST), min(steepest, FASTEST)

    def high(self, at: int) -> float:
        """Return how high a line can be there, where there is one."""
        return self._highest.height(at)

    @cached_property
    def mirrored(self) -> _Lines:
        """The same lines with above and below exchanged: how high one can be there is how low it can be here."""
        return _Lines(
            tuple((at, -difference) for at, difference in self.below),
            tuple((at, -difference) for at, difference in self.above),
        )

    @cached_property
    def _roof(self) -> _Roof:
        """Every line below all points lies below their hull; it says nothing of what is beside it."""
        return _Roof.over(self.above, -math.inf, math.inf)

    @cached_property
    def _highest(self) -> _Roof:
        # Hops that go one way alone say nothing of how fast the line can rise.
        return _Roof.over(self.above, *self._limited) if self.below else self._roof


class _Roof(NamedTuple):
    """How high lines can be that pass below some points: straight from corner to corner, steeper and steeper."""

    moments: list[int]
    heights: list[int]
    slopes: list[float]  # before the first corner, between each two, after the last

    @classmethod
    def over(cls, points: Iterable[Point], flattest: float, steepest: float) -> _Roof:
        """For lines that are neither flatter nor steeper than that."""
        hull = _lower_hull(points)
        slopes = [(right - left) / (after - before) for (before, left), (after, right) in pairwise(hull)]
        first, last = bisect_left(slopes, flattest), bisect_right(slopes, steepest)
        corners = hull[first : last + 1]
        return cls(
            [moment for moment, _ in corners],
            [height for _, height in corners],
            [flattest, *slopes[first:last], steepest],
        )

    def height(self, at: int) -> float:
        """Infinite where nothing limits it."""
        if not self.moments:
            return math.inf
        after = bisect_right(self.moments, at)
        corner = max(after - 1, 0)
        away = at - self.moments[corner]
        return self.heights[corner] + away * self.slopes[after] if away else self.heights[corner]


def _lower_hull(points: Iterable[Point]) -> list[Point]:
    """Return the corners of the lower convex hull, left to right (Andrew's monotone chain)."""
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


def _between(left: SkewBound, right: SkewBound, share: float) -> SkewBound:
    return SkewBound(left.low + (right.low - left.low) * share, left.high + (right.high - left.high) * share)
