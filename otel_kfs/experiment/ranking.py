"""Ranks the cells of an experiment: which is fastest, by how much, and in which segment it saves the time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from otel_kfs.analysis.comparison import FALSE_ALARMS, Comparison, Difference, cautious_rank_test, compare, holm
from otel_kfs.analysis.image_size import SizeRange, labelled_size
from otel_kfs.analysis.measurement import Series
from otel_kfs.analysis.paths.segment import TOTAL
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds
from otel_kfs.analysis.statistics import Interval, median_interval, summary
from otel_kfs.experiment.config.experiment_config import Cell, ExperimentConfig
from otel_kfs.experiment.saturation import Saturation, measure_saturation
from otel_kfs.experiment.trial_log import TrialResult


@dataclass(frozen=True)
class Ranked:
    """One cell at one size, and what it is beside the baseline. `p` is the rank test's, corrected for all cells."""

    cell: Cell
    series: Series
    p50: int  # of 4-1, ns
    interval: Interval | None
    baseline: bool
    times_faster: float
    against: Comparison | None  # None: it is the baseline
    p: float | None

    @property
    def verdict(self) -> str:
        """Whether it differs from the baseline beyond noise."""
        if self.against is None or self.p is None:
            return "baseline"
        difference, bound = self.against.total.difference, self.against.total.bound
        if math.isinf(bound):
            return "unknown: nothing bounds the clocks"
        if bound and abs(difference) <= bound:
            return "within the clocks' uncertainty"
        if self.p > FALSE_ALARMS:
            return "not beyond noise"
        return "faster" if self.against.total.difference < 0 else "slower"

    def saved_most(self) -> Difference | None:
        """Return the segment that saves the most; None if none saves anything beyond its own noise."""
        segments = self.against.segments if self.against else ()
        saving = [one for one in segments if -one.difference > one.bound and not _noisy(one)]
        return min(saving, key=lambda one: one.difference, default=None)


def _noisy(one: Difference) -> bool:
    return one.interval is not None and one.interval.high >= 0


@dataclass(frozen=True)
class Ranking:
    """The cells at one size, and in an open loop at one rate, the fastest first."""

    size: str
    rate: float | None
    ranked: tuple[Ranked, ...]
    missing: tuple[Cell, ...]  # of which no image was measured


def rankings(measured: Sequence[Series], config: ExperimentConfig, bounds: Bounds = NO_BOUNDS) -> list[Ranking]:
    """Rank the cells at every size and rate of which the baseline was measured.

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
                found.append(Ranking(size, rate, _ranked(of_cell, baseline, bounds), missing))
    return _corrected(found)


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


def _ranked(of_cell: Mapping[Cell, Series], baseline: Cell, bounds: Bounds) -> tuple[Ranked, ...]:
    base = of_cell[baseline]
    base_p50 = summary(base.totals()).p50
    found = []
    for cell, series in of_cell.items():
        totals = series.totals()
        p50 = summary(totals).p50
        against = None if cell == baseline else compare([base], [series], bounds, bounds).of_sizes[0]
        found.append(
            Ranked(
                cell,
                series,
                p50,
                median_interval(totals),
                cell == baseline,
                base_p50 / p50 if p50 else 1.0,
                against,
                None
                if against is None
                else cautious_rank_test(base.totals(), totals, base.bounds(TOTAL), series.bounds(TOTAL)),
            )
        )
    return tuple(sorted(found, key=lambda ranked: ranked.p50))


def _corrected(found: Sequence[Ranking]) -> list[Ranking]:
    """Correct every p for the number of all cells, sizes and rates."""
    ps = iter(holm([ranked.p for ranking in found for ranked in ranking.ranked if ranked.p is not None]))
    return [
        replace(
            ranking,
            ranked=tuple(ranked if ranked.p is None else replace(ranked, p=next(ps)) for ranked in ranking.ranked),
        )
        for ranking in found
    ]
