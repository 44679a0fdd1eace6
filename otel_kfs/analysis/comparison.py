"""Two measurements side by side: how much slower each segment became, how sure that is, and where the time went.

docs/statistics.md says how it decides.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, chain, zip_longest
from typing import Any

from otel_kfs.analysis.image_size import SizeRange, group_labels, nearest_equal, size_label
from otel_kfs.analysis.measurement import Labels, Series
from otel_kfs.analysis.paths.segment import TOTAL, Stretch, path_order
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds, TwoClocks, median_bound, two_clocks
from otel_kfs.analysis.statistics import Interval, difference_interval
from otel_kfs.errors import ConfigError, MissingExtra
from otel_kfs.traces.printable import did_you_mean

FALSE_ALARMS = 0.05  # how often a comparison of equals names any difference, at most

# What a side can be chosen by.
SELECTORS = (*Labels._fields, "size")

_SOME_OVERLAP = 0.1  # of the images: a few that overlap change little
_EXACT_UP_TO = 20  # images; from there on the normal approximation of the rank test is good, and exact is slow


@dataclass(frozen=True, slots=True)
class Difference:
    """One segment on both sides, or the whole, `4-1`; durations in ns.

    An image that lacks a segment spent no time in it, so the durations are those of all images, and the means of the
    segments add up to that of the whole; `images_a` and `images_b` say how many have it. `p` is the rank test's,
    corrected for all the tests of the comparison, with each duration as near to the other side's as the clocks of two
    hosts leave open. `bound`: what they leave open of the difference; 0 where both are exact, `math.inf` where nothing
    bounds one of them.
    """

    segment: Stretch
    images_a: int
    images_b: int
    p50_a: int
    p50_b: int
    difference: int  # b less a
    interval: Interval | None
    p: float
    bound: float = 0
    bound_a: float = 0  # of each side's p50
    bound_b: float = 0
    mean_a: float = 0
    mean_b: float = 0

    @property
    def differs(self) -> bool:
        """Whether it is beyond noise, and beyond the doubt about clocks."""
        return self.p <= FALSE_ALARMS and abs(self.difference) > self.bound

    def relative(self, nanoseconds: float) -> float | None:
        """Return what share of A's p50 a duration is, the difference or an end of its interval; None if that is 0."""
        return nanoseconds / self.p50_a if self.p50_a > 0 else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One size, on both sides; `size_range`: in bytes, where it is known.

    `needed` images on each side can tell a difference of 4-1 from noise at all, and `segments_need` one of a segment,
    of which there are more tests; `enough` and `enough_for_segments`: whether these can.
    """

    labels_a: Labels
    labels_b: Labels
    size: str
    size_range: SizeRange | None
    n_a: int
    n_b: int
    total: Difference
    segments: tuple[Difference, ...]
    enough: bool
    needed: int
    enough_for_segments: bool
    segments_need: int
    two_clocks: TwoClocks

    def slower_by(self) -> float | None:
        """Return by what share of A's 4-1 B takes longer at least, by all clocks; None where it is not beyond noise."""
        total = self.total
        if not total.differs or total.difference < 0 or total.p50_a + total.bound_a <= 0:
            return None
        return (total.difference - total.bound) / (total.p50_a + total.bound_a)


@dataclass(frozen=True, slots=True)
class Comparisons:
    """The comparisons of all sizes that both sides have, and what only one has.

    `overlapping`: the sides, A or B, of whose images many were under way at the same time. Those wait for each other,
    so that they are not independent, as the tests take them to be.
    """

    of_sizes: tuple[Comparison, ...]
    unmatched: tuple[str, ...]
    overlapping: tuple[str, ...] = ()

    def slower(self, by: float) -> list[Comparison]:
        """Return those of which B's 4-1 is longer by more than a share of A's, beyond noise."""
        return [of for of in self.of_sizes if (of.slower_by() or 0) > by]

    def too_few(self) -> str | None:
        """Say at which size there are too few images to ever find a difference; None where there are enough."""
        for of in self.of_sizes:
            if not of.enough:
                return (
                    f"can't tell a difference from noise at {of.size}: there are {of.n_a} and {of.n_b} images, and it "
                    f"takes {of.needed} on each side"
                )
        return None


def select(all_series: Sequence[Series], where: Mapping[str, str]) -> list[Series]:
    """Return the series that have all these values, `{"transport": "http"}`.

    Raises:
        ConfigError: a key that is not in SELECTORS, or no series is left.
    """
    for key in where:
        if key not in SELECTORS:
            raise ConfigError(
                f"images can't be chosen by {key!r}{did_you_mean(key, SELECTORS)}, only by {', '.join(SELECTORS)}"
            )
    found = [series for series in all_series if all(_has(series, key, value) for key, value in where.items())]
    if not found:
        there = {key: sorted({_value(series, key) for series in all_series}) for key in where}
        wanted = ", ".join(f"{key}={value}" for key, value in where.items())
        choice = "; ".join(
            f"{key} is {' or '.join(value or 'empty' for value in values)}" for key, values in there.items()
        )
        raise ConfigError(f"no image has {wanted}: {choice}")
    return found


def compare(
    a: Sequence[Series], b: Sequence[Series], bounds_a: Bounds = NO_BOUNDS, bounds_b: Bounds = NO_BOUNDS
) -> Comparisons:
    """Compare the series of A and B that have the same labels, and sizes that count as equal.

    Series are matched by the labels that vary on either side and of which the sides share some value. So HTTP is
    compared with Kafka if A has only the one and B only the other, and a measurement without cells with each cell of
    another.

    Raises:
        ConfigError: A and B have nothing in common.
        MissingExtra: scipy is not installed.
    """
    _scipy_stats()
    pairs, only_a, only_b, unclear = _matched(a, b)
    if not pairs:
        raise ConfigError(f"{_nothing_in_common(a, b, unclear)}: A has {_list(a)}; B has {_list(b)}")
    labels = _size_labels([*(of_a for of_a, _ in pairs), *only_a, *only_b])
    both = [_Both(_Side(of_a, bounds_a), _Side(of_b, bounds_b)) for of_a, of_b in pairs]
    ps = {(number, name): of.p(name) for number, of in enumerate(both) for name in of.stretches}
    corrected = _corrected(ps)
    # As `_corrected` shares the false alarms out: half for 4-1 of every size, half for all segments.
    tests, segment_tests = 2 * len(pairs), 2 * (len(ps) - len(pairs))
    found = []
    for number, of in enumerate(both):
        *segments, total = (of.difference(name, corrected[number, name]) for name in of.stretches)
        found.append(_comparison(of, labels[number], segments, total, tests, segment_tests))
    alone = [*(("A", series) for series in only_a), *(("B", series) for series in only_b)]
    unmatched = [
        f"only {side} has {series.labels.label}, {label} (n = {len(series)})"
        for (side, series), label in zip(alone, labels[len(pairs) :], strict=True)
    ]
    unmatched += unclear
    overlapping = tuple(side for side, of_side in (("A", a), ("B", b)) if _overlap(of_side) > _SOME_OVERLAP)
    return Comparisons(tuple(found), tuple(unmatched), overlapping)


def _overlap(all_series: Sequence[Series]) -> float:
    """Return the share of the images that were sent before all earlier ones were answered."""
    # Where nothing bounds the clocks, nothing tells whether images overlap.
    known = [series for series in all_series if not any(map(math.isinf, series.bounds(TOTAL)))]
    images = sorted(pair for series in known for pair in zip(series.stamps[0], series.stamps[3], strict=True))
    before = accumulate((last for _, last in images), max)
    return sum(first < busy for (first, _), busy in zip(images[1:], before, strict=False)) / max(1, len(images))


def _matched(
    a: Sequence[Series], b: Sequence[Series]
) -> tuple[list[tuple[Series, Series]], list[Series], list[Series], list[str]]:
    """Pair the series of equal size whose labels agree; return the pairs, what is left of each side, what is unclear.

    One set of labels may be compared with several of the other side, but not several with several.
    """
    fields = _matched_by(a, b)
    pairs, unclear, told = [], [], set()
    in_b = _by_values(b, fields)
    for values, of_a in _by_values(a, fields).items():
        of_b = in_b.get(values, {})
        if len(of_a) > 1 and len(of_b) > 1:
            names = [", ".join(labels.label for labels in of_side) for of_side in (of_a, of_b)]
            unclear.append(f"choose which of A's cells ({names[0]}) to compare with which of B's ({names[1]})")
            told |= {id(series) for of_side in (of_a, of_b) for series in chain.from_iterable(of_side.values())}
            continue
        pairs += [pair for one in of_a.values() for other in of_b.values() for pair in _of_equal_size(one, other)]
    told |= {id(series) for pair in pairs for series in pair}
    only_a, only_b = ([series for series in side if id(series) not in told] for side in (a, b))
    return pairs, only_a, only_b, unclear


def _matched_by(a: Sequence[Series], b: Sequence[Series]) -> list[str]:
    """Return the labels that vary on either side, and of which the sides share some value."""
    values = {key: ({_value(one, key) for one in a}, {_value(one, key) for one in b}) for key in Labels._fields}
    return [key for key, (in_a, in_b) in values.items() if len(in_a | in_b) > 1 and in_a & in_b]


_ByValues = dict[tuple[str, ...], dict[Labels, list[Series]]]


def _by_values(all_series: Sequence[Series], fields: Sequence[str]) -> _ByValues:
    """Group series by what their labels have in these fields, and then by all of their labels."""
    found: _ByValues = {}
    for series in all_series:
        values = tuple(_value(series, key) for key in fields)
        found.setdefault(values, {}).setdefault(series.labels, []).append(series)
    return found


def _of_equal_size(a: Sequence[Series], b: Sequence[Series]) -> list[tuple[Series, Series]]:
    """Pair the series of two sets of labels whose sizes count as equal."""
    pairs, left = [], list(b)
    for series in a:
        alike = [(n, other) for n, other in enumerate(left) if bool(other.image_sizes) is bool(series.image_sizes)]
        if series.size_range is None:
            match = next((number for number, other in alike if other.size == series.size), None)
        else:
            sizes = [(number, other.size_range.low) for number, other in alike if other.size_range is not None]
            match = nearest_equal(series.size_range.low, sizes)
        if match is not None:
            pairs.append((series, left.pop(match)))
    return pairs


def _nothing_in_common(a: Sequence[Series], b: Sequence[Series], unclear: Sequence[str]) -> str:
    """Say why no image of A can be compared with one of B."""
    if unclear:
        return "; ".join(unclear)
    if not _of_equal_size(a, b):
        return "A and B have no image size in common"
    fields = " and ".join(_matched_by(a, b))
    return f"A and B have no images of the same size in common that were sent with the same {fields}"


def _size_labels(all_series: Sequence[Series]) -> list[str]:
    """Label each series' size so that sizes of either side that are not equal can be told apart."""
    ranges = {f"{number} {series.size}": series.size_range for number, series in enumerate(all_series)}
    labels = group_labels(ranges)
    return [labels[key] if of else series.size for series, (key, of) in zip(all_series, ranges.items(), strict=True)]


def rank_test(a: Sequence[int], b: Sequence[int]) -> float:
    """Return the two-sided p of Mann and Whitney's test: 1 where all values are equal."""
    if min(*a, *b) == max(*a, *b):
        return 1.0
    exact = max(len(a), len(b)) <= _EXACT_UP_TO and len({*a, *b}) == len(a) + len(b)
    found = _scipy_stats().mannwhitneyu(a, b, alternative="two-sided", method="exact" if exact else "asymptotic")
    return float(found.pvalue)


def cautious_rank_test(
    a: Sequence[int], b: Sequence[int], bounds_a: Sequence[float] = (), bounds_b: Sequence[float] = ()
) -> float:
    """Return the same where durations may be off by some bounds: its p for those nearest to the other side's.

    It is 1 where nothing bounds one of them.
    """
    near = nearest(a, b, bounds_a, bounds_b)
    return 1.0 if near is None else rank_test(*near)


def nearest(
    a: Sequence[int], b: Sequence[int], bounds_a: Sequence[float] = (), bounds_b: Sequence[float] = ()
) -> tuple[Sequence[int], Sequence[int]] | None:
    """Return both sides' durations, each moved towards the other side by as much as it may be off.

    None where nothing bounds one of them, or where the medians meet.
    """
    if not any(bounds_a) and not any(bounds_b):
        return a, b
    if any(map(math.isinf, (*bounds_a, *bounds_b))):
        return None
    toward = 1 if statistics.median(b) >= statistics.median(a) else -1
    near_a = [duration + toward * round(bound) for duration, bound in zip_longest(a, bounds_a, fillvalue=0)]
    near_b = [duration - toward * round(bound) for duration, bound in zip_longest(b, bounds_b, fillvalue=0)]
    if toward * (statistics.median(near_b) - statistics.median(near_a)) <= 0:
        return None
    return near_a, near_b


def holm(ps: Sequence[float]) -> list[float]:
    """Correct for their number, in their order: Holm, "A simple sequentially rejective multiple test" (1979)."""
    corrected = [1.0] * len(ps)
    highest = 0.0
    for done, number in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, ps[number] * (len(ps) - done)))
        corrected[number] = highest
    return corrected


def _corrected(ps: Mapping[tuple[Any, Stretch], float]) -> dict[tuple[Any, Stretch], float]:
    """Correct p by Holm, 4-1 of all sizes and all segments separately: each may raise half of the false alarms."""
    found = {}
    for whole in (True, False):
        family = [key for key in ps if (key[1] == TOTAL) == whole]
        for key, p in zip(family, holm([ps[key] for key in family]), strict=True):
            found[key] = min(1.0, 2 * p)
    return found


def durations_by_segment(series: Series) -> dict[Stretch, list[int]]:
    """Return every segment's duration in every image, and the whole."""
    columns: dict[Stretch, list[int]] = {TOTAL: series.totals()}
    for name, durations in series.segments.items():
        column = columns[name] = [0] * len(series)
        for image, duration in zip(durations.images, durations.values, strict=True):
            column[image] = duration
    return columns


def _comparison(
    of: _Both, size: str, segments: Sequence[Difference], total: Difference, tests: int, segment_tests: int
) -> Comparison:
    """Return the comparison of a pair of series among so many tests of 4-1, and so many of segments."""
    a, b = of.a.series, of.b.series
    least = _least_p(len(a), len(b))
    return Comparison(
        a.labels,
        b.labels,
        size,
        a.size_range and a.size_range.widen(b.size_range),
        len(a),
        len(b),
        total,
        tuple(segments),
        enough=least * tests <= FALSE_ALARMS,
        needed=_needed(tests),
        enough_for_segments=least * segment_tests <= FALSE_ALARMS,
        segments_need=_needed(segment_tests),
        two_clocks=two_clocks([a], of.a.bounds) | two_clocks([b], of.b.bounds),
    )


@dataclass(frozen=True)
class _Side:
    """One series that is compared, and how far off its medians may be."""

    series: Series
    bounds: Bounds

    @cached_property
    def columns(self) -> Mapping[Stretch, Sequence[int]]:
        return durations_by_segment(self.series)

    def durations(self, stretch: Stretch) -> Sequence[int]:
        return self.columns.get(stretch) or [0] * len(self.series)

    def doubts(self, stretch: Stretch) -> Sequence[float]:
        """Return how far off each image's duration may be; an image that lacks the segment is exact."""
        if isinstance(stretch, str):
            return self.series.bounds(stretch)
        durations = self.series.segments.get(stretch)
        if durations is None or not durations.bounds:
            return ()
        found = [0.0] * len(self.series)
        for image, bound in zip(durations.images, durations.bounds, strict=True):
            found[image] = bound
        return found

    def bound(self, stretch: Stretch) -> float:
        """Return how far off the median of all images' durations may be."""
        if doubts := self.doubts(stretch):
            return median_bound(self.durations(stretch), doubts)
        return self.bounds.get((self.series.labels, self.series.size, stretch), 0)

    def images(self, stretch: Stretch) -> int:
        """Return how many images have it."""
        if isinstance(stretch, str):
            return len(self.series)
        return len(self.series.segments[stretch]) if stretch in self.series.segments else 0


@dataclass(frozen=True)
class _Both:
    """Two series of equal size."""

    a: _Side
    b: _Side

    @cached_property
    def stretches(self) -> Sequence[Stretch]:
        """The segments of either, in the order of the path, and the whole."""
        return sorted({*self.a.columns, *self.b.columns}, key=path_order)

    def ends_alike(self, stretch: Stretch) -> bool:
        """Return whether a segment that both have is cut where the next one ends on both sides, or on neither."""
        if not self.a.images(stretch) or not self.b.images(stretch):
            return True
        return (stretch in self.a.series.uncut) == (stretch in self.b.series.uncut)

    def p(self, stretch: Stretch) -> float:
        """Return the p of the rank test, not corrected."""
        if not self.ends_alike(stretch):
            return 1.0
        a, b = self.a, self.b
        return cautious_rank_test(a.durations(stretch), b.durations(stretch), a.doubts(stretch), b.doubts(stretch))

    def difference(self, stretch: Stretch, p: float) -> Difference:
        a, b = self.a.durations(stretch), self.b.durations(stretch)
        p50_a, p50_b = statistics.median(a), statistics.median(b)
        bound_a, bound_b = self.a.bound(stretch), self.b.bound(stretch)
        return Difference(
            segment=stretch,
            images_a=self.a.images(stretch),
            images_b=self.b.images(stretch),
            p50_a=round(p50_a),
            p50_b=round(p50_b),
            difference=round(p50_b - p50_a),
            interval=difference_interval(b, a),
            p=p,
            bound=bound_a + bound_b if self.ends_alike(stretch) else math.inf,
            bound_a=bound_a,
            bound_b=bound_b,
            mean_a=statistics.fmean(a),
            mean_b=statistics.fmean(b),
        )


@lru_cache
def _least_p(n_a: int, n_b: int) -> float:
    """Return p where each image of one side is faster than each of the other: no test can give less."""
    return rank_test(range(n_a), range(n_a, n_a + n_b))


@lru_cache
def _needed(tests: int) -> int:
    """Return how many images each side needs so that so many tests can find a difference."""
    n = 2
    while _least_p(n, n) * tests > FALSE_ALARMS:
        n += 1
    return n


def _has(series: Series, key: str, value: str) -> bool:
    """Return whether a series has a value; a size is also chosen by its shorter label, which others may share."""
    sizes = {series.size, size_label(series.image_size, series.payload_size)}
    return value in (sizes if key == "size" else {_value(series, key)})


def _value(series: Series, key: str) -> str:
    value: str = series.size if key == "size" else getattr(series.labels, key)
    return value


def _name(series: Series) -> str:
    return f"{series.labels.label}, {series.size} (n = {len(series)})"


def _list(all_series: Sequence[Series]) -> str:
    return "; ".join(map(_name, all_series))


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtra("scipy", "analysis") from error
    return stats
