"""Tests and intervals by block: images that are under way together wait for each other, and are not independent.

Each block is one draw of the order, the arrivals and the state of the machine. So a block's median is one value, and
the number of blocks counts, not that of the images. With one image a block, as in a closed loop that sends one at a
time, this is the test of images.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import TYPE_CHECKING, Any

from otel_kfs.analysis.comparison import FALSE_ALARMS, rank_test
from otel_kfs.analysis.statistics import (
    INTERVAL_NEEDS,
    SEED,
    Interval,
    effective_n,
    median_resamples,
    percentile_interval,
)
from otel_kfs.experiment.trial_log import TrialResult

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

_RESAMPLES = 999
_AT_ONCE = 4_000_000  # numbers in memory while blocks are resampled


@dataclass(frozen=True)
class InBlocks:
    """Some durations, ns, and the block that each image belongs to."""

    values: Sequence[int]
    blocks: Sequence[int]

    @property
    def medians(self) -> dict[int, float]:
        """The median of each block."""
        found: dict[int, list[int]] = {}
        for value, block in zip(self.values, self.blocks, strict=True):
            found.setdefault(block, []).append(value)
        return {block: median(values) for block, values in sorted(found.items())}

    def only(self, blocks: set[int]) -> InBlocks:
        """Return the values of these blocks alone."""
        kept = [(value, block) for value, block in zip(self.values, self.blocks, strict=True) if block in blocks]
        return InBlocks([value for value, _ in kept], [block for _, block in kept])


def blocks_of(due: Sequence[int], results: Sequence[TrialResult]) -> list[int]:
    """Return the block of each image of a cell, by when it was due (ns since the epoch) and that cell's trials.

    Without trials each image is a block of its own.
    """
    if not results:
        return list(range(len(due)))
    ordered = sorted(results, key=lambda result: result.start)
    starts = [result.start for result in ordered]
    return [ordered[max(bisect_right(starts, moment) - 1, 0)].block for moment in due]


def block_test(a: InBlocks, b: InBlocks, *, paired: bool) -> float:
    """Return the two-sided p of equal blocks.

    Paired, where all cells of a block had the same arrivals: Wilcoxon's signed ranks of the differences of the blocks'
    medians ("Individual comparisons by ranking methods", 1945). Else the rank test of the blocks' medians.
    """
    of_a, of_b = a.medians, b.medians
    if not paired:
        return rank_test(_whole(of_a.values()), _whole(of_b.values()))
    differences = [of_b[block] - of_a[block] for block in of_a if block in of_b]
    if not any(differences):
        return 1.0
    from scipy import stats

    return float(stats.wilcoxon(differences).pvalue)


def needed_blocks(tests: int, *, paired: bool) -> int:
    """Return how many blocks it takes to find a difference by so many tests at all."""
    blocks = 2
    while least_p(blocks, paired=paired) * tests > FALSE_ALARMS:
        blocks += 1
    return blocks


@lru_cache
def least_p(blocks: int, *, paired: bool) -> float:
    """Return p where each block of one side is slower than each of the other, or than its like: no test gives less."""
    return 2.0 ** (1 - blocks) if paired else rank_test(range(blocks), range(blocks, 2 * blocks))


def block_interval(of: InBlocks) -> Interval | None:
    """Return the 95 % interval of the median of all images by resampled blocks; None where there are too few."""
    if (n := len(set(of.blocks))) < INTERVAL_NEEDS:
        return None
    return percentile_interval(_resamples(of, SEED), n)


def block_difference_interval(of: InBlocks, less: InBlocks, *, paired: bool) -> Interval | None:
    """Return the same of the difference of two medians; paired, both sides are resampled by the same blocks."""
    if paired:
        common = set(of.blocks) & set(less.blocks)
        of, less = of.only(common), less.only(common)
    counts = len(set(of.blocks)), len(set(less.blocks))
    if min(counts) < INTERVAL_NEEDS:
        return None
    one = _resamples(of, SEED)
    other = _resamples(less, SEED if paired else SEED + 1)
    n = counts[0] if paired else effective_n((one, counts[0]), (other, counts[1]))
    return percentile_interval(one[: len(other)] - other[: len(one)], n)


def _resamples(of: InBlocks, seed: int) -> NDArray[float64]:
    """Draw the medians of bootstrap samples of blocks, all of whose images are drawn with them.

    Source: Davison and Hinkley, "Bootstrap methods and their application" (1997), section 3.8.
    """
    import numpy

    names, block = numpy.unique(numpy.asarray(of.blocks), return_inverse=True)
    if len(names) == len(of.values):
        return median_resamples(of.values, seed)
    values = numpy.asarray(of.values, dtype=numpy.float64)
    order = numpy.argsort(values, kind="stable")
    ordered, block = values[order], block[order]
    draws = numpy.random.default_rng(seed).multinomial(len(names), [1 / len(names)] * len(names), _RESAMPLES)
    step = max(1, _AT_ONCE // len(values))
    found = [_medians(ordered, draws[first : first + step], block) for first in range(0, _RESAMPLES, step)]
    return numpy.concatenate(found)


def _medians(ordered: NDArray[float64], draws: NDArray[Any], block: NDArray[Any]) -> NDArray[float64]:
    """Return the median of each draw, in which a value counts as often as its block was drawn."""
    import numpy

    counts = numpy.cumsum(draws[:, block], axis=1)
    whole = counts[:, -1:]
    lower = numpy.argmax(counts >= (whole + 1) // 2, axis=1)
    upper = numpy.argmax(counts >= whole // 2 + 1, axis=1)
    found: NDArray[float64] = (ordered[lower] + ordered[upper]) / 2
    return found


def _whole(values: Any) -> list[int]:
    """Return twice the medians, which are whole."""
    return [round(2 * value) for value in values]
