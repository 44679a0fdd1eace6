"""When images are due in an open loop: at a constant rate, or as a Poisson process, from a seed.

In a closed loop a slow answer delays the next image, and the delay is in no latency: "coordinated omission" (Tene,
"How NOT to measure latency", 2013). Here an image is due whether or not those before it were answered, and its latency
counts from then, as in wrk2. (k6's arrival-rate executors drop what finds nobody free; here it starts late.) Poisson is
what many independent senders add up to.
"""

from __future__ import annotations

import random

from otel_kfs.experiment.config import Arrivals


def due(arrivals: Arrivals, rate: float, seed: str) -> list[float]:
    """Seconds from the stage's start at which its images are due; the first one at once, all within its duration."""
    if arrivals.pattern == "constant":
        return [number / rate for number in range(round(rate * arrivals.duration))]
    drawn = random.Random(seed)  # noqa: S311 - times, no secret
    found, at = [], 0.0
    while at < arrivals.duration:
        found.append(at)
        at += drawn.expovariate(rate)
    return found
