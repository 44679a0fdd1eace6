"""Ranks the cells of an experiment: which is fastest, by how much, and in which segment it saves the time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from otel_kfs.analysis.comparison import (
    FALSE_ALARMS,
    Comparison,
    Difference,
    compare,
    durations_by_segment,
    holm,
    nearest,
)
from otel_kfs.analysis.image_size import SizeRange, labelled_size
from otel_kfs.analysis.measurement import Series
from otel_kfs.analysis.paths.segment import TOTAL
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds, median_bound
from otel_kfs.analysis.statistics import Interval, summary
from otel_kfs.experiment.block_tests import (
    InBlocks,
    block_difference_interval,
    block_interval,
    block_test,
    blocks_of,
    least_p,
    needed_blocks,
)
from otel_kfs.experiment.config.experiment_config import Cell, ExperimentConfig
from otel_kfs.experiment.saturation import Saturation, measure_saturation
from otel_kfs.experiment.trial_log import TrialResult


@dataclass(frozen=True)
class Ranked:
    """One cell at one size, and what it is beside the baseline.

    `p` is the test's of its blocks, corrected for all cells; `interval` is by blocks, too. `needed`: how many blocks it
    takes to find a difference at all, where there are fewer.
    """

    cell: Cell
    series: Series
    p50: int  # of 4-1, ns
    interval: Interval | None
    baseline: bool
    times_faster: float
    against: Comparison | None  # None: it is the baseline
    p: float | None
    blocks: int
    needed: int | None = None

    @property
    def bound(self) -> float:
        """How far off p50 may be either way, ns, because of two hosts' clocks; `math.inf` where nothing bounds it."""
        return median_bound(self.series.totals(), self.series.bounds(TOTAL))

    @property
    def is_unknown(self) -> bool:
        """Whether nothing bounds by how much it differs from the baseline."""
        return self.against is not None and math.isinf(self.against.total.bound)

    @property
    def verdict(self) -> str:
        """Whether it differs from the baseline beyond noise."""
        if self.against is None or self.p is None:
            return "baseline"
        difference, bound = self.against.total.difference, self.against.total.bound
        if self.is_unknown:
            return "unknown: nothing bounds the clocks"
        if bound and abs(difference) <= bound:
            return "within the clocks' uncertainty"
        if self.needed is not None:
            return "too few blocks"
        if self.p > FALSE_ALARMS:
            return "not beyond noise"
        return "faster" if self.against.total.difference < 0 else "slower"

    def saved_most(self) -> Difference | None:
        """Return the segment that saves the most; None if none saves anything beyond its own noise."""
        segments = self.against.segments if self.against else ()
        saving = [one for one in segments if -one.difference > one.bound and not _noisy(one)]
        return min(saving, key=lambda one: one.difference, default=None)


def _noisy(one: Difference) -> bool:
    return one.interval is None or one.interval.high >= 0


@dataclass(frozen=True)
class Ranking:
    """The cells at one size, and in an open loop at one rate, the fastest first, those of unknown duration last."""

    size: str
    rate: float | None
    ranked: tuple[Ranked, ...]
    missing: tuple[Cell, ...]  # of which no image was measured


def rankings(
    measured: Sequence[Series],
    config: ExperimentConfig,
    results: Sequence[TrialResult] = (),
    bounds: Bounds = NO_BOUNDS,
) -> list[Ranking]:
    """Rank the cells at every size and rate of which the baseline was measured.

    `results` tell which block each image is of; without them each is taken for a block of its own.

    Raises:
        MissingExtra: scipy is not installed.
    """
    found = []
    baselines = {baseline.rate: baseline for baseline in config.baselines}
    for size in _sizes(measured):
        for rate, baseline in baselines.items():
            cells = [cell for cell in config.cells if cell.rate == rate]
            of_cell = {cell: series for cell in cells if (series := _series(measured, cell, size)) is not None}
            if baseline in of_cell:
                missing = tuple(cell for cell in cells if cell not in of_cell)
                found.append(Ranking(size, rate, _ranked(of_cell, baseline, results, bounds), missing))
    return _corrected(found, paired=_paired(results))


def saturations(
    measured: Sequence[Series], config: ExperimentConfig, results: Sequence[TrialResult]
) -> list[list[Saturation]]:
    """Measure, for each cell and size, the saturation at its rates; there are none in a closed loop."""
    if config.arrivals is None:
        return []
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in config.cells:
        groups.setdefault((cell.transport, cell.base_label), []).append(cell)
    found = []
    sizes = _sizes(measured)
    size_of = {image: _nearest_size(image, sizes) for image in {result.image for result in results}}
    for size in sizes:
        for group in groups.values():
            rates = []
            for cell in sorted(group, key=lambda cell: cell.rate or 0.0):
                stages = [
                    result
                    for result in results
                    if result.key[1:3] == (cell.transport, cell.label) and size_of[result.image] == size
                ]
                rates.append(measure_saturation(cell, _series(measured, cell, size), stages))
            if any(one.series is not None for one in rates):
                found.append(rates)
    return found


def _sizes(measured: Sequence[Series]) -> dict[str, SizeRange]:
    """Return the sizes of the images, small ones first."""
    found: dict[str, SizeRange] = {}
    for series in measured:
        of_series = series.size_range or SizeRange(0, 0)
        found[series.size] = of_series.widen(found.get(series.size))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _nearest_size(image: str, sizes: Mapping[str, SizeRange]) -> str:
    """Return which of the measured sizes is that of an image: a file, or one of the demo's pictures."""
    path = Path(image)
    size = path.stat().st_size if path.is_file() else labelled_size(image) or 0
    return min(sizes, key=lambda label: abs(sizes[label].low - size))


def _series(measured: Sequence[Series], cell: Cell, size: str) -> Series | None:
    """Find what was measured of a cell: by its label, which is all of it that travels with its images."""
    wanted = cell.measured_as, cell.label, size
    return next((one for one in measured if (one.labels.transport, one.labels.cell, one.size) == wanted), None)


def _paired(results: Sequence[TrialResult]) -> bool:
    """Return whether the cells of a block had the same arrivals: as in an open loop, of which alone they are known."""
    return any(result.last_due is not None for result in results)


def _ranked(
    of_cell: Mapping[Cell, Series], baseline: Cell, results: Sequence[TrialResult], bounds: Bounds
) -> tuple[Ranked, ...]:
    paired = _paired(results)
    base = of_cell[baseline]
    base_p50 = summary(base.totals()).p50
    blocks = {
        cell: blocks_of(series.stamps[0], [one for one in results if one.key[1:3] == (cell.transport, cell.label)])
        for cell, series in of_cell.items()
    }
    found = []
    for cell, series in of_cell.items():
        totals = InBlocks(series.totals(), blocks[cell])
        p50 = summary(totals.values).p50
        against = None
        if cell != baseline:
            against = compare([base], [series], bounds, bounds).of_sizes[0]
            against = _by_blocks(against, (base, blocks[baseline]), (series, blocks[cell]), paired=paired)
        found.append(
            Ranked(
                cell,
                series,
                p50,
                block_interval(totals),
                cell == baseline,
                base_p50 / p50 if p50 else 1.0,
                against,
                None if against is None else _test((base, blocks[baseline]), (series, blocks[cell]), paired=paired),
                len(set(blocks[cell]) & set(blocks[baseline]) if paired else set(blocks[cell])),
            )
        )
    # What nothing bounds has no rank: it comes last.
    return tuple(sorted(found, key=lambda ranked: (math.isinf(ranked.bound), ranked.p50)))


def _test(base: tuple[Series, list[int]], cell: tuple[Series, list[int]], *, paired: bool) -> float:
    """Return the p of two cells' 4-1 by blocks: 1 where the clocks leave open whether there is a difference."""
    near = nearest(base[0].totals(), cell[0].totals(), base[0].bounds(TOTAL), cell[0].bounds(TOTAL))
    if near is None:
        return 1.0
    return block_test(InBlocks(near[0], base[1]), InBlocks(near[1], cell[1]), paired=paired)


def _by_blocks(
    against: Comparison, base: tuple[Series, list[int]], cell: tuple[Series, list[int]], *, paired: bool
) -> Comparison:
    """Return a comparison with its intervals by blocks."""
    if not paired and all(len(set(blocks)) == len(blocks) for _, blocks in (base, cell)):
        return against  # each image is a block: its intervals are by blocks already
    in_base, in_cell = durations_by_segment(base[0]), durations_by_segment(cell[0])

    def with_interval(one: Difference) -> Difference:
        of, less = (
            InBlocks(columns.get(one.segment) or [0] * len(blocks), blocks)
            for columns, blocks in ((in_cell, cell[1]), (in_base, base[1]))
        )
        return replace(one, interval=block_difference_interval(of, less, paired=paired))

    return replace(against, total=with_interval(against.total), segments=tuple(map(with_interval, against.segments)))


def _corrected(found: Sequence[Ranking], *, paired: bool) -> list[Ranking]:
    """Correct every p for the number of all cells, sizes and rates, and say where there are too few blocks for that."""
    ps = [ranked.p for ranking in found for ranked in ranking.ranked if ranked.p is not None]
    corrected = iter(holm(ps))

    def with_p(ranked: Ranked, base: Ranked) -> Ranked:
        if ranked.p is None:
            return ranked
        least = least_p(max(1, min(ranked.blocks, base.blocks)), paired=paired)
        needed = needed_blocks(len(ps), paired=paired) if least * len(ps) > FALSE_ALARMS else None
        return replace(ranked, p=next(corrected), needed=needed)

    rankings = []
    for ranking in found:
        base = next(ranked for ranked in ranking.ranked if ranked.baseline)
        rankings.append(replace(ranking, ranked=tuple(with_p(ranked, base) for ranked in ranking.ranked)))
    return rankings
