"""What a measurement shows first: totals, the segments that are most of it, what grows with size, what would save most.

Made from any series, of samples or of sketches, without a library. A difference is one if the medians' rank intervals
do not meet, each widened by what the clocks of two hosts leave open; the intervals hold together with 95 % confidence,
however many series there are (Bonferroni). docs/statistics.md says more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from otel_kfs.analysis.duration_sketch import AnySeries, Sketch
from otel_kfs.analysis.image_size import SizeRange, is_payload_label
from otel_kfs.analysis.measurement import Labels, by_labels
from otel_kfs.analysis.paths.segment import TOTAL, Segment
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds
from otel_kfs.analysis.statistics import CONFIDENCE, Interval, rank_interval, rank_interval_needs, summary

Certainty = Literal["differs", "noise", "too few", "clocks"]


@dataclass(frozen=True, slots=True)
class Part:
    """One segment of some images' time: its mean over all of them, ns, and its share of their mean total, 0 to 1.

    `images` of `of` have it; the others spent no time in it. `bound` and `share_bound` say how far off both may be,
    because of two hosts' clocks: 0 where they are exact, `math.inf` where nothing bounds them.
    """

    segment: Segment
    mean: float
    share: float
    images: int
    of: int
    bound: float = 0
    share_bound: float = 0


@dataclass(frozen=True, slots=True)
class SeriesFinding:
    """The total of one series, ns, and its parts, the largest first; `interval` is where the p50 lies, if n allows."""

    labels: Labels
    size: str
    size_range: SizeRange | None
    n: int
    p50: int
    bound: float
    interval: Interval | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the time at one size, the largest first, of all the images that were sent in these ways.

    `largest` is the first one, if no other may be larger; it is None where that can't be told.
    """

    size: str
    labels: tuple[Labels, ...]
    parts: tuple[Part, ...]
    largest: Part | None


@dataclass(frozen=True, slots=True)
class LabelsDifference:
    """By how much the p50 of one series exceeds that of another of the same size, ns, and whether that is certain.

    Of more than two ways of sending they are the slowest and the fastest.
    """

    slow: SeriesFinding
    fast: SeriesFinding
    certainty: Certainty

    @property
    def difference(self) -> int:
        """How many nanoseconds the slow one takes longer."""
        return self.slow.p50 - self.fast.p50


@dataclass(frozen=True, slots=True)
class Growth:
    """What the larger size takes longer than the smaller, ns, and which segment is most of that.

    `largest` is None where no segment can be told to be; its `share` is of the whole growth.
    """

    small: str
    large: str
    labels: tuple[Labels, ...]
    certainty: Certainty
    difference: float
    largest: Part | None


@dataclass(frozen=True, slots=True)
class Saving:
    """What would save most at one size: to send in the fast way, or the largest segment, whose time is the most, ns."""

    size: str
    nanoseconds: float
    segment: Segment | None
    fast: Labels | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What the images of a measurement show; `sizes` are the smallest and the largest that all ways of sending have.

    `needed`: how many images of each series can tell a difference from noise.
    """

    series: tuple[SeriesFinding, ...]
    sizes: tuple[str, ...]
    parts: tuple[Parts, ...]  # at each of `sizes`; else of the slowest series
    labels_difference: LabelsDifference | None  # at the largest of `sizes`
    growth: Growth | None
    saving: Saving | None
    needed: int


def findings(all_series: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> Findings:
    """Return what at least one series of images shows."""
    confidence = 1 - (1 - CONFIDENCE) / len(all_series)
    of = {(one.labels, one.size): _Series(one, bounds, confidence) for one in all_series}
    found = tuple(one.finding for one in of.values())
    sizes = _ends(all_series)
    slowest = max(found, key=lambda one: one.p50)
    at = [[one for one in of.values() if one.finding.size == size] for size in sizes] or [
        [of[slowest.labels, slowest.size]]
    ]
    parts = tuple(_parts_at(one) for one in at)
    difference = _labels_difference([one.finding for one in at[-1]])
    growth = _growth(of, parts[-1], sizes) if len(sizes) > 1 else None
    needed = rank_interval_needs(confidence)
    return Findings(found, sizes, parts, difference, growth, _saving(parts[-1], difference), needed)


class _Series:
    """One series' totals by segment: sums over its images, ns, and how far off each may be."""

    def __init__(self, series: AnySeries, bounds: Bounds, confidence: float) -> None:
        columns = dict(series.columns())
        totals = columns.pop(TOTAL)
        self.n = len(series)
        self.total = _sum(totals)
        self.total_bound = sum_of_bounds(series.bounds(TOTAL), self.n)
        self.sums = {segment: _sum(column) for segment, column in columns.items() if isinstance(segment, Segment)}
        self.bounds = {segment: sum_of_bounds(series.bounds(segment), len(columns[segment])) for segment in self.sums}
        self.images = {segment: len(columns[segment]) for segment in self.sums}
        self.finding = SeriesFinding(
            series.labels,
            series.size,
            series.size_range,
            self.n,
            summary(totals).p50,
            bounds.get((series.labels, series.size, TOTAL), 0),
            rank_interval(totals, confidence),
            _parts([self]),
        )


def _parts_at(all_series: Sequence[_Series]) -> Parts:
    """Return the parts of all ways of sending together where they have the same largest one, else of the slowest."""
    largest = {part.segment if (part := _largest(one.finding.parts)) else None for one in all_series}
    if len(largest) > 1 or None in largest:
        all_series = [max(all_series, key=lambda one: one.finding.p50)]
    parts = _parts(all_series)
    labels = tuple(one.finding.labels for one in all_series)
    return Parts(all_series[0].finding.size, labels, parts, _largest(parts))


def _parts(all_series: Sequence[_Series]) -> tuple[Part, ...]:
    """Return every segment's part of the time of all images in some series."""
    n, total = sum(one.n for one in all_series), sum(one.total for one in all_series)
    doubt = sum(one.total_bound for one in all_series)
    found = []
    for segment in dict.fromkeys(segment for one in all_series for segment in one.sums):
        time = sum(one.sums.get(segment, 0) for one in all_series)
        bound = sum(one.bounds.get(segment, 0) for one in all_series)
        share = time / total if total > 0 else 0.0
        images = sum(one.images.get(segment, 0) for one in all_series)
        found.append(Part(segment, time / n, share, images, n, bound / n, share_bound(time, bound, total, doubt)))
    return tuple(sorted(found, key=lambda part: -part.mean))


def share_bound(time: float, bound: float, total: float, doubt: float) -> float:
    """Return how far off a share may be, 0 to 1, where a part and the whole may be off."""
    if total - doubt <= 0 or math.isinf(bound):
        return math.inf
    share = time / total
    edges = [(time + sign * bound) / whole for sign in (-1, 1) for whole in (total - doubt, total + doubt)]
    return max(abs(edge - share) for edge in edges)


def _largest(parts: Sequence[Part]) -> Part | None:
    """Return the largest part if, within the doubt about clocks, no other may be larger."""
    if not parts or parts[0].mean <= 0 or math.isinf(parts[0].bound):
        return None
    first, *others = parts
    return first if all(first.mean - first.bound >= one.mean + one.bound for one in others) else None


def _labels_difference(found: Sequence[SeriesFinding]) -> LabelsDifference | None:
    if len(found) < 2:
        return None
    slow, fast = max(found, key=lambda one: one.p50), min(found, key=lambda one: one.p50)
    if slow is fast:  # all are equal
        slow, fast = found[0], found[1]
    return LabelsDifference(slow, fast, _exceeds(slow, fast))


def _growth(of: Mapping[tuple[Labels, str], _Series], parts: Parts, sizes: tuple[str, ...]) -> Growth | None:
    small, large = sizes[0], sizes[-1]
    pairs = [(of[labels, small], of[labels, large]) for labels in parts.labels]
    if any(one.finding.size_range is None for pair in pairs for one in pair):
        return None
    if is_payload_label(small) is not is_payload_label(large):
        return None
    certain = {_exceeds(more.finding, less.finding) for less, more in pairs}
    order: tuple[Certainty, ...] = ("too few", "clocks", "noise", "differs")
    certainty = next(one for one in order if one in certain)
    difference = sum(more.total / more.n - less.total / less.n for less, more in pairs) / len(pairs)
    doubt = sum(one.total_bound / one.n for pair in pairs for one in pair) / len(pairs)
    found = []
    for segment in dict.fromkeys(segment for pair in pairs for one in pair for segment in one.sums):
        grown = sum(more.sums.get(segment, 0) / more.n - less.sums.get(segment, 0) / less.n for less, more in pairs)
        grown /= len(pairs)
        bound = sum(one.bounds.get(segment, 0) / one.n for pair in pairs for one in pair) / len(pairs)
        share = grown / difference if difference > 0 else 0.0
        images = sum(more.images.get(segment, 0) for _, more in pairs)
        of_all = sum(more.n for _, more in pairs)
        of_share = share_bound(grown, bound, difference, doubt)
        found.append(Part(segment, grown, share, images, of_all, bound, of_share))
    largest = _largest(sorted(found, key=lambda part: -part.mean)) if certainty == "differs" else None
    return Growth(small, large, parts.labels, certainty, difference, largest)


def _saving(parts: Parts, difference: LabelsDifference | None) -> Saving | None:
    largest = parts.largest
    if difference is not None and difference.certainty == "differs":
        saved = difference.difference - difference.slow.bound - difference.fast.bound
        if largest is None or saved > largest.mean + largest.bound:
            return Saving(parts.size, difference.difference, None, difference.fast.labels)
    return None if largest is None else Saving(parts.size, largest.mean + largest.bound, largest.segment, None)


def _exceeds(more: SeriesFinding, less: SeriesFinding) -> Certainty:
    """Say whether the median of one exceeds that of the other beyond noise and doubt."""
    if math.isinf(more.bound) or math.isinf(less.bound):
        return "clocks"
    if more.interval is None or less.interval is None:
        return "too few"
    if more.interval.low <= less.interval.high:
        return "noise"
    return "differs" if more.interval.low - more.bound > less.interval.high + less.bound else "clocks"


def _ends(all_series: Sequence[AnySeries]) -> tuple[str, ...]:
    """Return the smallest and the largest size that all ways of sending have; one or none if there are not two."""
    groups = [[one.size for one in of_labels] for of_labels in by_labels(all_series).values()]
    common = [size for size in groups[0] if all(size in group for group in groups)]
    return (common[0], common[-1]) if len(common) > 1 else tuple(common)


def _sum(column: Sequence[int] | Sketch) -> int:
    return column.total if isinstance(column, Sketch) else sum(column)


def sum_of_bounds(bounds: Sequence[float], n: int) -> float:
    """Return how far off the sum of n durations may be; a sketch has one bound for all."""
    return sum(bounds) if len(bounds) == n else n * max(bounds, default=0)
