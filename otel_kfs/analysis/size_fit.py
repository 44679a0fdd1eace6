"""What a request costs whatever the image's size, and what each MB adds: a line through all images, least squares.

Least squares, because its lines add up: where every duration is the sum of its segments, so is every cost. The
intervals are those of heteroscedasticity-consistent errors (HC3; MacKinnon and White 1985), as large images scatter
more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from otel_kfs.analysis.image_size import equal_sizes
from otel_kfs.analysis.measurement import Series
from otel_kfs.analysis.paths.segment import TOTAL, Segment, Stretch

MEGABYTE = 1e6  # bytes
_CONFIDENCE = 0.95
_PARAMETERS = 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line `fixed + per_megabyte * MB`, ns; the errors are half of a 95 % interval, None where n is too small.

    The bounds say how far off both may be because of two hosts' clocks: 0 where every duration is exact, `math.inf`
    where nothing bounds one of them.
    """

    n: int
    fixed: float
    per_megabyte: float
    fixed_error: float | None
    per_megabyte_error: float | None
    fixed_bound: float = 0
    per_megabyte_bound: float = 0

    def at(self, size: float) -> float:
        """Return the duration that belongs to a size in bytes, ns."""
        return self.fixed + self.per_megabyte * size / MEGABYTE


@dataclass(frozen=True, slots=True)
class Fits:
    """The lines of 4-1 and of each segment, for series of the same labels; None without two sizes."""

    total: Line | None
    segments: dict[Segment, Line | None]


def fits(all_series: list[Series]) -> Fits:
    """Fit the lines of series of the same labels, each image at its own size; those of unknown size are left out.

    An image without a segment spent no time in it.
    """
    known = [series for series in all_series if series.image_sizes]
    sizes = np.concatenate([np.asarray(series.image_sizes, dtype=np.float64) for series in known] or [np.empty(0)])
    totals = np.concatenate([np.asarray(series.totals(), dtype=np.float64) for series in known] or [np.empty(0)])
    bounds = np.concatenate([_bounds(series, TOTAL) for series in known] or [np.empty(0)])
    lines = {}
    for segment in dict.fromkeys(one for series in known for one in series.ordered_segments()):
        durations = np.concatenate([_durations(series, segment) for series in known])
        lines[segment] = line(sizes, durations, np.concatenate([_bounds(series, segment) for series in known]))
    return Fits(line(sizes, totals, bounds), lines)


def _durations(series: Series, segment: Segment) -> NDArray[np.float64]:
    found = np.zeros(len(series))
    if (of_segment := series.segments.get(segment)) is not None:
        found[np.asarray(of_segment.images)] = np.asarray(of_segment.values)
    return found


def _bounds(series: Series, stretch: Stretch) -> NDArray[np.float64]:
    """Return how far off each image's duration may be, ns; one without the segment is exact."""
    found = np.zeros(len(series))
    if isinstance(stretch, Segment):
        of_segment = series.segments.get(stretch)
        if of_segment is not None and of_segment.bounds:
            found[np.asarray(of_segment.images)] = np.asarray(of_segment.bounds)
    elif bounds := series.bounds(stretch):
        found[:] = bounds
    return found


def line(
    sizes: NDArray[np.float64], durations: NDArray[np.float64], bounds: NDArray[np.float64] | None = None
) -> Line | None:
    """Fit the line through (bytes, ns), of which each may be off by its bound.

    None where all sizes count as equal, and leave its slope open.
    """
    n = len(sizes)
    if n < _PARAMETERS or equal_sizes(float(sizes.min()), float(sizes.max())):
        return None
    megabytes = sizes / MEGABYTE
    deviations = megabytes - megabytes.mean()
    squares = float(deviations @ deviations)
    slope = float(deviations @ durations) / squares
    fixed = float(durations.mean()) - slope * float(megabytes.mean())
    leverage = 1 / n + deviations**2 / squares
    # How each duration weighs in the slope and in the fixed cost.
    in_slope = deviations / squares
    in_fixed = 1 / n - float(megabytes.mean()) * in_slope
    doubts = tuple(_doubt(weights, bounds) for weights in (in_fixed, in_slope))
    # A size with one image alone pins the line there: its residual says nothing of the scatter.
    if n <= _PARAMETERS or np.any(leverage > 1 - 1e-9):
        return Line(n, fixed, slope, None, None, *doubts)
    residuals = ((durations - fixed - slope * megabytes) / (1 - leverage)) ** 2
    student = float(stdtrit(n - _PARAMETERS, (1 + _CONFIDENCE) / 2))
    return Line(
        n,
        fixed,
        slope,
        student * float(np.sqrt(in_fixed**2 @ residuals)),
        student * float(np.sqrt(in_slope**2 @ residuals)),
        *doubts,
    )


def _doubt(weights: NDArray[np.float64], bounds: NDArray[np.float64] | None) -> float:
    """Return how far off a weighted sum of durations may be that may each be off by a bound, ns."""
    if bounds is None or not bounds.any():
        return 0.0
    return float(np.abs(weights) @ bounds) if np.isfinite(bounds).all() else math.inf
