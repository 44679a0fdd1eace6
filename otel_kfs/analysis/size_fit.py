"""What a request costs whatever the image's size, and what each MB adds: a line through all images, least squares.

Least squares, because its lines add up: where every duration is the sum of its segments, so is every cost. The
intervals are those of heteroscedasticity-consistent errors (HC3; MacKinnon and White 1985), as large images scatter
more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from otel_kfs.analysis.image_size import equal_sizes
from otel_kfs.analysis.measurement import Series
from otel_kfs.analysis.paths.segment import Segment

MEGABYTE = 1e6  # bytes
_CONFIDENCE = 0.95
_PARAMETERS = 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line `fixed + per_megabyte * MB`, ns; the errors are half of a 95 % interval, None where n is too small."""

    n: int
    fixed: float
    per_megabyte: float
    fixed_error: float | None
    per_megabyte_error: float | None

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
    durations = {}
    for segment in dict.fromkeys(one for series in known for one in series.ordered_segments()):
        columns = []
        for series in known:
            column = np.zeros(len(series))
            if (found := series.segments.get(segment)) is not None:
                column[np.asarray(found.images)] = np.asarray(found.values)
            columns.append(column)
        durations[segment] = np.concatenate(columns)
    return Fits(line(sizes, totals), {segment: line(sizes, column) for segment, column in durations.items()})


def line(sizes: NDArray[np.float64], durations: NDArray[np.float64]) -> Line | None:
    """Fit the line through (bytes, ns); None where all sizes count as equal, and leave its slope open."""
    n = len(sizes)
    if n < _PARAMETERS or equal_sizes(float(sizes.min()), float(sizes.max())):
        return None
    megabytes = sizes / MEGABYTE
    deviations = megabytes - megabytes.mean()
    squares = float(deviations @ deviations)
    slope = float(deviations @ durations) / squares
    fixed = float(durations.mean()) - slope * float(megabytes.mean())
    leverage = 1 / n + deviations**2 / squares
    # A size with one image alone pins the line there: its residual says nothing of the scatter.
    if n <= _PARAMETERS or np.any(leverage > 1 - 1e-9):
        return Line(n, fixed, slope, None, None)
    residuals = ((durations - fixed - slope * megabytes) / (1 - leverage)) ** 2
    # How each duration weighs in the slope and in the fixed cost.
    in_slope = deviations / squares
    in_fixed = 1 / n - float(megabytes.mean()) * in_slope
    student = float(stdtrit(n - _PARAMETERS, (1 + _CONFIDENCE) / 2))
    return Line(
        n,
        fixed,
        slope,
        student * float(np.sqrt(in_fixed**2 @ residuals)),
        student * float(np.sqrt(in_slope**2 @ residuals)),
    )
