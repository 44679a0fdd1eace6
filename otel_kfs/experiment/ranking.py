"""Ranks the cells of an experiment: which is fastest, by how much, and in which segment it saves the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from otel_kfs.analysis.comparison import FALSE_ALARMS, Comparison, Difference, compare, holm, rank_test
from otel_kfs.analysis.measurement import Series, size_label
from otel_kfs.analysis.paths.segment import path_order
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds
from otel_kfs.analysis.statistics import Interval, median_interval, summary
from otel_kfs.experiment.config import Cell, ExperimentConfig
from otel_kfs.experiment.saturation import FEW, SUSTAINED, Saturation, knee, measure_saturation
from otel_kfs.experiment.trial_log import TrialResult
from otel_kfs.report.rows import INTERVAL, Column, Table, bounded, clock_notes
from otel_kfs.report.segment_names import segment_name

Failures = Mapping[tuple[str, str, str], int]  # by transport, label and image


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
        if self.p > FALSE_ALARMS:
            return "not beyond noise"
        if abs(self.against.total.difference) <= (self.against.total.bound or 0):
            return "within the clocks' uncertainty"
        return "faster" if self.against.total.difference < 0 else "slower"

    def saved_most(self) -> Difference | None:
        """Return the segment that saves the most; None if none saves anything beyond its own noise."""
        segments = self.against.segments if self.against else ()
        saving = [one for one in segments if -one.difference > (one.bound or 0) and not _noisy(one)]
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
    for size in _sizes(measured):
        for group in groups.values():
            rates = []
            for cell in sorted(group, key=lambda cell: cell.rate or 0.0):
                stages = [result for result in results if result.key[1:3] == (cell.transport, cell.label)]
                rates.append(measure_saturation(cell, _series(measured, cell, size), _of_size(stages, size)))
            if any(one.series is not None for one in rates):
                found.append(rates)
    return found


def ranking_tables(found: Sequence[Ranking], failures: Failures | None = None) -> list[Table]:
    """Make two tables of each ranking: a row a cell, and what each segment takes more or less."""
    tables = []
    failed = Counter[tuple[str, str]]()
    for (transport, label, _), count in (failures or {}).items():
        failed[transport, label] += count
    for ranking in found:
        if ranking.rate is not None and len(ranking.ranked) + len(ranking.missing) == 1:
            continue  # latency against load has it
        where = ranking.size + (f", {ranking.rate:g}/s" if ranking.rate is not None else "")
        rows = tuple(_row(number, ranked) for number, ranked in enumerate(ranking.ranked, 1))
        notes = [f"no image was measured: {cell.name}" for cell in ranking.missing]
        notes += [
            f"{cell.name}: {count} images of all sizes failed or were not sent"
            for cell in (*(ranked.cell for ranked in ranking.ranked), *ranking.missing)
            if (count := failed[cell.transport, cell.label])
        ]
        notes += dict.fromkeys(
            note for ranked in ranking.ranked if ranked.against for note in clock_notes(ranked.against.two_clocks)
        )
        tables.append(Table(f"{where}: 4-1 by cell, milliseconds", _RANKING, rows, (*notes, *_RANKING_NOTES)))
        if len(ranking.ranked) > 1:
            tables.append(_segments(ranking, where))
    return tables


def saturation_tables(found: Sequence[Sequence[Saturation]]) -> list[Table]:
    """Make a table for each cell and size, with a row a rate, and where the knee is."""
    tables = []
    for rates in found:
        size = next(one.series.size for one in rates if one.series is not None)
        cell = rates[0].cell
        title = f"{cell.name.removesuffix(f' {cell.rate:g}/s')}, {size}: latency against load"
        tables.append(Table(title, _SATURATION, tuple(map(_saturation_row, rates)), (knee(rates), *_SATURATION_NOTES)))
    return tables


def ranking_records(found: Sequence[Ranking]) -> list[dict[str, Any]]:
    """Make a record for each cell, size and rate; lengths in ns."""
    records = []
    for ranking in found:
        for number, ranked in enumerate(ranking.ranked, 1):
            total = ranked.against.total if ranked.against else None
            most = ranked.saved_most()
            cell = ranked.cell
            records.append(
                {
                    "size": ranking.size,
                    "rate": ranking.rate,
                    "rank": number,
                    "transport": cell.transport,
                    "cell": cell.label,
                    "n": len(ranked.series),
                    "p50_ns": ranked.p50,
                    "p50_low_ns": ranked.interval.low if ranked.interval else None,
                    "p50_high_ns": ranked.interval.high if ranked.interval else None,
                    "baseline": ranked.baseline,
                    "times_faster": round(ranked.times_faster, 4),
                    "difference_ns": total.difference if total else None,
                    "difference_low_ns": total.interval.low if total and total.interval else None,
                    "difference_high_ns": total.interval.high if total and total.interval else None,
                    "p": ranked.p,
                    "verdict": ranked.verdict,
                    "saved_most": segment_name(most.segment) if most else None,
                    "saved_most_ns": -most.difference if most else None,
                }
            )
    return records


def segment_records(found: Sequence[Ranking]) -> list[dict[str, Any]]:
    """Make a record for each segment of each cell, size and rate, against the baseline; lengths in ns."""
    return [
        {
            "size": ranking.size,
            "rate": ranking.rate,
            "transport": ranked.cell.transport,
            "cell": ranked.cell.label,
            "segment": segment_name(one.segment),
            "baseline_p50_ns": one.p50_a,
            "p50_ns": one.p50_b,
            "difference_ns": one.difference,
            "low_ns": one.interval.low if one.interval else None,
            "high_ns": one.interval.high if one.interval else None,
        }
        for ranking in found
        for ranked in ranking.ranked
        if ranked.against is not None
        for one in (*ranked.against.segments, ranked.against.total)
    ]


def saturation_records(found: Sequence[Sequence[Saturation]]) -> list[dict[str, Any]]:
    """Make a record for each rate of each cell and size; rates are images a second, lengths ns."""
    return [
        {
            "size": next((other.series.size for other in rates if other.series is not None), None),
            "transport": one.cell.transport,
            "cell": one.cell.base_label,
            "rate": one.cell.rate,
            "offered_rate": one.offered,
            "achieved_rate": one.achieved,
            "n": len(one.series) if one.series is not None else 0,
            "p50_ns": figures.p50 if figures else None,
            "p95_ns": figures.p95 if figures else None,
            "max_ns": figures.max if figures else None,
            "backlog": one.backlog,
            "failed": one.failed,
            "unsent": one.unsent,
            "sustained": one.sustained,
        }
        for rates in found
        for one in rates
        for figures in (summary(one.series.totals()) if one.series is not None else None,)
    ]


# --- measuring ---


def _sizes(measured: Sequence[Series]) -> list[str]:
    """Return the sizes of the images, small ones first."""
    smallest: dict[str, int] = {}
    for series in measured:
        size = series.image_size or series.payload_size or 0
        smallest[series.size] = min(size, smallest.get(series.size, size))
    return sorted(smallest, key=smallest.__getitem__)


def _series(measured: Sequence[Series], cell: Cell, size: str) -> Series | None:
    """Find what was measured of a cell: by its label, which is all of it that travels with its images."""
    wanted = cell.measured_as, cell.label, size
    return next((one for one in measured if (one.labels.transport, one.labels.cell, one.size) == wanted), None)


def _of_size(stages: Sequence[TrialResult], size: str) -> list[TrialResult]:
    """Return the stages of the images of one size."""

    def label(image: str) -> str:
        path = Path(image)
        return size_label(path.stat().st_size, None) if path.is_file() else image

    return [stage for stage in stages if label(stage.image) == size]


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
                None if against is None else rank_test(base.totals(), totals),
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


# --- tables ---

_RANKING = (
    Column("#", "count"),
    Column("Cell", "text"),
    Column("n", "count"),
    Column("p50", "milliseconds"),
    Column("95 % interval", "milliseconds"),
    Column("x faster", "text"),
    Column("", "text"),
    Column("saved most", "text"),
)
_RANKING_NOTES = (
    "x faster: the baseline's p50 divided by the cell's; faster, slower: if all cells were equal, at most 5 of 100 "
    "experiments would call any of them so (Mann-Whitney, corrected by Holm)",
    INTERVAL,
)
_SATURATION = (
    Column("Rate /s", "text"),
    Column("due /s", "text"),
    Column("achieved /s", "text"),
    Column("n", "count"),
    Column("p50", "milliseconds"),
    Column("p95", "milliseconds"),
    Column("max", "milliseconds"),
    Column("backlog", "count"),
    Column("failed", "count"),
    Column("not begun", "count"),
    Column("", "text"),
)
_SATURATION_NOTES = (
    "an image's latency counts from when it was due, not from when a thread was free to send it",
    "backlog: images unanswered when the last one of a stage was due, in the worst stage",
    f"keeps up: {SUSTAINED:.0%} or more of the rate that was due is achieved, or the backlog is {FEW} at most; and no "
    "image failed or was given up",
)


def _row(number: int, ranked: Ranked) -> tuple[Any, ...]:
    most = ranked.saved_most()
    return (
        number,
        ranked.cell.name,
        len(ranked.series),
        ranked.p50,
        ranked.interval,
        f"{ranked.times_faster:.2f}",
        ranked.verdict,
        f"{segment_name(most.segment)} {-most.difference / 1e6:.1f}" if most else None,
    )


def _segments(ranking: Ranking, where: str) -> Table:
    """Make a table of segments by row, and by column the baseline's p50 and each cell's difference, by rank."""
    others = [(number, ranked) for number, ranked in enumerate(ranking.ranked, 1) if ranked.against is not None]
    baseline = next(ranked for ranked in ranking.ranked if ranked.baseline)
    differences = [
        {one.segment: one for one in (*ranked.against.segments, ranked.against.total)}
        for _, ranked in others
        if ranked.against is not None
    ]
    rows = []
    for stretch in sorted({one for of in differences for one in of}, key=path_order):
        of_cells = [of.get(stretch) for of in differences]
        base = next(one.p50_a for one in of_cells if one is not None)
        figures = (None if one is None else bounded(one.difference, one.bound) for one in of_cells)
        rows.append((segment_name(stretch), base, *figures))
    columns = [Column("Segment", "text"), Column("baseline", "milliseconds")]
    columns += [Column(f"#{number}", "milliseconds") for number, _ in others]
    notes = (
        f"baseline: p50 by {baseline.cell.name}; #: by how much longer (or, with -, shorter) it takes by that cell",
        "each is a difference of medians, so that a column adds up to its 4-1 only roughly; -: neither has the segment",
    )
    return Table(f"{where}: segments, milliseconds", tuple(columns), tuple(rows), notes)


def _saturation_row(one: Saturation) -> tuple[Any, ...]:
    figures = summary(one.series.totals()) if one.series is not None else None
    return (
        f"{one.cell.rate:g}",
        None if one.offered is None else f"{one.offered:.2f}",
        None if one.achieved is None else f"{one.achieved:.2f}",
        figures.n if figures else 0,
        figures.p50 if figures else None,
        figures.p95 if figures else None,
        figures.max if figures else None,
        one.backlog,
        one.failed,
        one.unsent,
        "keeps up" if one.sustained else "does not keep up",
    )
