"""The summary of a column of durations: n, mean, standard deviation, percentiles, and the median's interval.

docs/statistics.md has every figure's definition, and what n it needs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_kfs.analysis.duration_sketch import Sketch
from otel_kfs.errors import MissingExtra

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

# A percentile needs as many values as let one of them be expected above it.
P90_NEEDS, P95_NEEDS, P99_NEEDS = 10, 20, 100
SD_NEEDS = 2
INTERVAL_NEEDS = 6  # with 5, even from the least to the largest the median lies in 94 of 100 cases only

CONFIDENCE = 0.95
RESAMPLES = 4999
_EXACT_TOSSES = 1000
SEED = 0  # the same traces give the same interval


class Interval(NamedTuple):
    """Where a figure lies with 95 % confidence, ns."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one segment in one series, ns; None where n is too small for a figure.

    `bound`: how far off p50 may be, because its ends were read on the clocks of two hosts: 0 where it was one clock,
    `math.inf` where nothing bounds it. `widest`: the same of the one duration that may be off most.
    """

    n: int
    mean: int
    sd: int | None
    p50: int
    p90: int | None
    p95: int | None
    p99: int | None
    max: int
    interval: Interval | None = None  # of p50
    bound: float = 0
    widest: float = 0


def summary(values: Sequence[int] | Sketch, bound: float = 0, widest: float = 0, *, interval: bool = False) -> Summary:
    """Sum up at least one value, or a sketch of some; the median's interval only if asked for.

    Raises:
        MissingExtra: an interval is asked for, and scipy is not installed.
    """
    if isinstance(values, Sketch):
        return replace(_of_sketch(values, interval=interval), bound=bound, widest=widest)
    ordered = sorted(values)
    n = len(ordered)
    percentiles = [round(cut) for cut in statistics.quantiles(ordered, n=100, method="inclusive")] if n > 1 else ordered

    def percentile(number: int, needs: int) -> int | None:
        return percentiles[number - 1] if n >= needs else None

    return Summary(
        n=n,
        mean=round(statistics.fmean(ordered)),
        sd=round(statistics.stdev(ordered)) if n >= SD_NEEDS else None,
        p50=round(statistics.median(ordered)),
        p90=percentile(90, P90_NEEDS),
        p95=percentile(95, P95_NEEDS),
        p99=percentile(99, P99_NEEDS),
        max=ordered[-1],
        interval=median_interval(ordered) if interval else None,
        bound=bound,
        widest=widest,
    )


def _of_sketch(of: Sketch, *, interval: bool) -> Summary:
    return Summary(
        n=of.n,
        mean=of.mean,
        sd=of.sd if of.n >= SD_NEEDS else None,
        p50=of.percentile(0.5),
        p90=of.percentile(0.9) if of.n >= P90_NEEDS else None,
        p95=of.percentile(0.95) if of.n >= P95_NEEDS else None,
        p99=of.percentile(0.99) if of.n >= P99_NEEDS else None,
        max=of.most,
        interval=_ranked_interval(of) if interval else None,
    )


def _ranked_interval(of: Sketch) -> Interval | None:
    """Return what the bootstrap's interval tends to as resamples grow: the values at the ranks that it draws."""
    if of.n < INTERVAL_NEEDS:
        return None
    _, special = _libraries()
    middle, tail = (of.n + 1) // 2, _tail(of.n)
    low, high = (special.betaincinv(middle, of.n + 1 - middle, share) for share in (tail, 1 - tail))
    return Interval(*(round(of.at(min(int(uniform * of.n), of.n - 1))) for uniform in (low, high)))


def median_interval(values: Sequence[int]) -> Interval | None:
    """Return the bootstrap's interval of the median, 95 %; None where there are too few values.

    Raises:
        MissingExtra: scipy is not installed.
    """
    if len(values) < INTERVAL_NEEDS:
        return None
    return percentile_interval(median_resamples(values, SEED), len(values))


def rank_interval(values: Sequence[int] | Sketch, confidence: float = CONFIDENCE) -> Interval | None:
    """Return between which two of its values the median lies; None where there are too few for that confidence.

    It is exact for every distribution, of samples and of sketches alike (within their accuracy), and needs no library;
    the bootstrap's is narrower. Source: Thompson, "On confidence ranges for the median and other expectation
    distributions for populations of unknown distribution form" (1936).
    """
    below = _ranks_below(len(values), confidence)
    if not below:
        return None
    low, high = below - 1, len(values) - below
    if isinstance(values, Sketch):
        return Interval(round(values.at(low)), round(values.at(high)))
    ordered = sorted(values)
    return Interval(ordered[low], ordered[high])


def rank_interval_needs(confidence: float = CONFIDENCE) -> int:
    """Return how many values that interval needs."""
    return math.ceil(1 - math.log2(1 - confidence))


@lru_cache
def _ranks_below(n: int, confidence: float) -> int:
    """Return how many of the smallest values the median lies above with that confidence: the most there can be.

    So many heads, or more, are as likely in n tosses of a coin.
    """
    share = (1 - confidence) / 2
    if n > _EXACT_TOSSES:  # one rank less than the normal approximation, which is that good
        return math.floor((n + statistics.NormalDist().inv_cdf(share) * math.sqrt(n)) / 2) - 1
    tosses, fewer, below = 2**n, 0, 0
    while fewer + math.comb(n, below) <= share * tosses:
        fewer += math.comb(n, below)
        below += 1
    return below


def difference_interval(of: Sequence[int], less: Sequence[int]) -> Interval | None:
    """Return the same of the difference of two medians.

    It is as much wider than the plain percentile interval as for that n which has the degrees of freedom of the
    difference's variance: those of the smaller side, nearly, where that is much the smaller. Source: Welch, "The
    generalization of Student's problem when several different population variances are involved" (1947).

    Raises:
        MissingExtra: scipy is not installed.
    """
    if min(len(of), len(less)) < INTERVAL_NEEDS:
        return None
    one, other = median_resamples(of, SEED), median_resamples(less, SEED + 1)
    return percentile_interval(one - other, effective_n((one, len(of)), (other, len(less))))


def effective_n(*sides: tuple[NDArray[float64], int]) -> float:
    """Return the n of a single sample with as many degrees of freedom as the difference of two resampled figures."""
    variances = [(float(resamples.var()), n) for resamples, n in sides]
    whole = sum(variance for variance, _ in variances)
    if not whole:
        return sum(n for _, n in variances)
    return 1 + whole**2 / sum(variance**2 / (n - 1) for variance, n in variances)


def percentile_interval(resamples: NDArray[float64], n: float) -> Interval:
    """Return the middle of some resampled figures: 95 %, and somewhat more the smaller n is.

    The plain percentile interval is too narrow for small n. How much more it takes: Hesterberg, "What teachers should
    know about the bootstrap" (2015), the expanded percentile interval.
    """
    numpy, _ = _libraries()
    tail = _tail(n)
    low, high = numpy.quantile(resamples, [tail, 1 - tail])
    return Interval(round(float(low)), round(float(high)))


def _tail(n: float) -> float:
    """Return what share of the resamples lies below that interval, which is also the share above it."""
    _, special = _libraries()
    return float(special.ndtr(math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 - CONFIDENCE) / 2)))


def median_resamples(values: Sequence[int], seed: int) -> NDArray[float64]:
    """Draw the medians of RESAMPLES bootstrap samples of some values, without drawing the samples.

    A bootstrap sample's k-th smallest value is the one at rank ceil(n U), where U is the k-th smallest of n uniform
    numbers, which is Beta(k, n + 1 - k): so 100,000 values take no longer than 20. The distribution is that of
    `scipy.stats.bootstrap`, with which a test compares it.

    Sources: Maritz and Jarrett, "A note on estimating the variance of the sample median" (1978); Efron, "Bootstrap
    methods: another look at the jackknife" (1979), section 3.
    """
    numpy, _ = _libraries()
    random = numpy.random.default_rng(seed)
    ordered = numpy.sort(numpy.asarray(values, dtype=numpy.float64))
    n = len(ordered)
    middle = (n + 1) // 2

    def at(uniform: NDArray[float64]) -> NDArray[float64]:
        found: NDArray[float64] = ordered[numpy.minimum((uniform * n).astype(numpy.int64), n - 1)]
        return found

    lower = random.beta(middle, n + 1 - middle, RESAMPLES)
    if n % 2:
        return at(lower)
    # The next one of the n - middle uniform numbers that lie above.
    upper = lower + (1 - lower) * random.beta(1, n - middle, RESAMPLES)
    return (at(lower) + at(upper)) / 2


def intervals_available() -> bool:
    """Return whether the libraries that intervals need are installed."""
    try:
        _libraries()
    except MissingExtra:
        return False
    return True


def _libraries() -> tuple[Any, Any]:
    try:
        import numpy
        from scipy import special
    except ImportError as error:
        raise MissingExtra("scipy", "analysis") from error
    return numpy, special
