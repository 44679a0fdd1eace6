"""The quartiles of what several rounds of a benchmark measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable


def quartiles(values: Iterable[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile; of a single value it is that, three times."""
    found = sorted(values)
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    return low, middle, high
