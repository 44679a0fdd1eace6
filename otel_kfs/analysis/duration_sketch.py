"""Sketches: the durations of any number of images as figures of one size; what tables are made of by `--sketch`.

n, mean, standard deviation, minimum and maximum stay exact. A percentile comes from a DDSketch, which counts durations
in bins that are each 2 % wide: it is within ACCURACY of the true one, and the same whoever has read which part.

Source: Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees"
(2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import mul
from typing import Any, Protocol

from otel_kfs.analysis.clock_skew import Clocks
from otel_kfs.analysis.image_size import SizeRange
from otel_kfs.analysis.measurement import Labels, Measurement, Series, grouped_by_size, in_order
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.segment import TOTAL, Segment, Stretch, path_order
from otel_kfs.analysis.skew_correction import correct_skew
from otel_kfs.errors import MissingExtra

ACCURACY = 0.01  # of a percentile, by its own duration


class AnySeries(Protocol):
    """A series' images by segment, whether each duration is kept or a sketch of all: what tables are made of."""

    @property
    def labels(self) -> Labels:
        """How they were sent."""
        ...

    @property
    def size(self) -> str:
        """Their size, as a label."""
        ...

    @property
    def size_range(self) -> SizeRange | None:
        """Their sizes, or their payloads' where only those are known, bytes."""
        ...

    def __len__(self) -> int: ...

    def columns(self) -> Mapping[Stretch, Sequence[int] | Sketch]:
        """Return the durations of every segment, in the order of the path, and of the whole, 4-1, ns."""
        ...

    def bounds(self, stretch: Stretch) -> Sequence[float]:
        """Return how far off the durations of a column may be either way, ns; nothing if each is exact."""
        ...


@dataclass(slots=True)
class Sketch:
    """Some durations, ns; `quantiles`, a DDSketch, has what is not exact."""

    quantiles: Any
    n: int
    total: int
    squares: int
    least: int
    most: int

    @classmethod
    def of(cls, durations: Sequence[int]) -> Sketch:
        """Sketch at least one duration.

        Raises:
            MissingExtra: ddsketch is not installed.
        """
        quantiles = needed()(ACCURACY)
        for duration in durations:
            quantiles.add(duration)
        # Whole numbers of any size: nothing is lost, as it would be from a sum of squares in floats.
        squares = sum(map(mul, durations, durations))
        return cls(quantiles, len(durations), sum(durations), squares, min(durations), max(durations))

    def __len__(self) -> int:
        return self.n

    def copy(self) -> Sketch:
        """Return a sketch of the same durations that can be merged with others by itself."""
        quantiles = needed()(ACCURACY)
        quantiles.merge(self.quantiles)
        return replace(self, quantiles=quantiles)

    def merge(self, other: Sketch) -> None:
        """Count in another's durations."""
        self.quantiles.merge(other.quantiles)
        self.n += other.n
        self.total += other.total
        self.squares += other.squares
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)

    @property
    def mean(self) -> int:
        """The arithmetic mean."""
        return round(self.total / self.n)

    @property
    def sd(self) -> int:
        """The standard deviation of a sample; of at least two durations."""
        return round(math.sqrt((self.n * self.squares - self.total**2) / (self.n * (self.n - 1))))

    def at(self, rank: int) -> float:
        """Return the duration with that many shorter ones: the first and the last exactly, others within ACCURACY."""
        if rank in {0, self.n - 1}:
            return self.least if rank == 0 else self.most
        # The library multiplies by n - 1 again; half a rank more can't become the rank below.
        found: float = self.quantiles.get_quantile_value((rank + 0.5) / (self.n - 1))
        return min(max(found, self.least), self.most)

    def percentile(self, share: float) -> int:
        """Interpolate between ranks, as of samples; 0.5 is the median."""
        below, between = divmod((self.n - 1) * share, 1)
        low = self.at(int(below))
        return round(low + (self.at(int(below) + 1) - low) * between if between else low)


@dataclass(slots=True)
class _Column:
    """A segment of a series; `bound`: how far off each duration may be, ns; 0 if they are exact."""

    durations: Sketch
    bound: float

    def merge(self, other: _Column) -> None:
        self.durations.merge(other.durations)
        self.bound = max(self.bound, other.bound)


@dataclass(slots=True)
class SketchedSeries:
    """All images of the same labels and size, as sketches."""

    labels: Labels
    size: str
    size_range: SizeRange | None
    by_segment: dict[Stretch, _Column]

    def __len__(self) -> int:
        return len(self.by_segment[TOTAL].durations)

    @property
    def segments(self) -> list[Segment]:
        """Every segment that occurs, in the order of the path."""
        return [one for one in sorted(self.by_segment, key=path_order) if isinstance(one, Segment)]

    def columns(self) -> dict[Stretch, Sketch]:
        """Return the sketch of every segment, in the order of the path, and of the whole."""
        return {one: self.by_segment[one].durations for one in sorted(self.by_segment, key=path_order)}

    def bounds(self, stretch: Stretch) -> Sequence[float]:
        """Return how far off the durations of a column may be at most, ns; nothing if each is exact."""
        bound = self.by_segment[stretch].bound
        return (bound,) if bound else ()

    def copy(self) -> SketchedSeries:
        """Return the same images by themselves."""
        by_segment = {name: replace(one, durations=one.durations.copy()) for name, one in self.by_segment.items()}
        return replace(self, by_segment=by_segment)

    def merge(self, other: SketchedSeries) -> None:
        """Count in another's images."""
        if other.size_range is not None:
            self.size_range = other.size_range.widen(self.size_range)
        for name, column in other.by_segment.items():
            if name in self.by_segment:
                self.by_segment[name].merge(column)
            else:
                self.by_segment[name] = column


@dataclass(slots=True)
class Sketches:
    """Every image that was measured, by series, and what became of the others."""

    coverage: Coverage = field(default_factory=Coverage)
    pairs: set[tuple[str, str]] = field(default_factory=set)  # hosts on whose two clocks something was read
    clocks: Clocks = field(default_factory=Clocks)
    by_key: dict[tuple[Labels, str], SketchedSeries] = field(default_factory=dict)
    contradicted: set[str] = field(default_factory=set)  # as those of a `Measurement`
    apart: frozenset[str] = frozenset()

    def take(self, measurement: Measurement, clocks: Clocks | None) -> None:
        """Count in the images of a measurement, and empty it of them.

        `clocks`: all that was seen of them anywhere, to correct what lies between two hosts; None leaves it as read.
        """
        all_series, _ = correct_skew(replace(measurement, clocks=Clocks() if clocks is None else clocks))
        for series in all_series:
            self._add(_sketched(series))
        measurement.by_key.clear()
        measurement.linked.clear()

    def close(self, measurement: Measurement) -> Sketches:
        """Take over what else a measurement has, once its images were taken."""
        self.coverage.merge(measurement.coverage)
        self.clocks.merge(measurement.clocks)
        self.pairs.update(measurement.pairs)
        self.contradicted |= measurement.contradicted
        return self

    def merge(self, other: Sketches) -> None:
        """Count in all that another has, which becomes a part of this one: merge a `copy` to go on with it."""
        self.coverage.merge(other.coverage)
        self.clocks.merge(other.clocks)
        self.pairs |= other.pairs
        self.contradicted |= other.contradicted
        for series in other.by_key.values():
            self._add(series)

    def copy(self) -> Sketches:
        """Return the same by itself."""
        found = Sketches(apart=self.apart)
        found.merge(replace(self, by_key={key: series.copy() for key, series in self.by_key.items()}))
        return found

    def group_sizes(self) -> None:
        """Make one series of the images whose sizes count as equal, and label each; for when all images are counted."""
        self.by_key = grouped_by_size(self.by_key, SketchedSeries.merge)

    def correct_skew(self) -> tuple[list[SketchedSeries], dict[tuple[Labels, str, Stretch], float]]:
        """Return the series, and how far off their durations between hosts may be, as `skew_correction` does."""
        all_series = in_order(self.by_key.values())
        return all_series, {
            (series.labels, series.size, name): column.bound
            for series in all_series
            for name, column in series.by_segment.items()
            if column.bound
        }

    def _add(self, series: SketchedSeries) -> None:
        known = self.by_key.setdefault((series.labels, series.size), series)
        if known is not series:
            known.merge(series)


def needed() -> Any:
    """Return the library's class.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from ddsketch import DDSketch
    except ImportError as error:
        raise MissingExtra("ddsketch", "sketch") from error
    return DDSketch


def _sketched(series: Series) -> SketchedSeries:
    columns = {
        name: _Column(Sketch.of(durations), max(series.bounds(name), default=0))
        for name, durations in series.columns().items()
    }
    return SketchedSeries(series.labels, series.size, series.size_range, columns)
