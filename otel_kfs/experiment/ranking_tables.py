"""The tables and records that show a ranking, and latency against load."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from otel_kfs.analysis.paths.segment import TOTAL, path_order
from otel_kfs.analysis.statistics import INTERVAL_NEEDS, summary
from otel_kfs.experiment.ranking import Ranked, Ranking
from otel_kfs.experiment.saturation import FEW, SUSTAINED, Saturation, knee
from otel_kfs.report import render
from otel_kfs.report.records.segment_records import bound_or_none, certainty, interval_record
from otel_kfs.report.segment_names import TOTAL_NAME, segment_key, segment_name
from otel_kfs.report.tables.table import Column, Table, bounded
from otel_kfs.report.tables.table_notes import INTERVAL, clock_notes, size_notes

Failures = Mapping[tuple[str, str, str], int]  # by transport, label and image

_RANKING = (
    Column("#", "count"),
    Column("Cell", "text", repeats=True),
    Column("n", "count"),
    Column("p50", "milliseconds"),
    Column("95 % interval", "milliseconds", joined=True),
    Column("- baseline", "milliseconds"),
    Column("its 95 % interval", "milliseconds", joined=True),
    Column("x faster", "text", joined=True),
    Column("", "text", joined=True),
    Column("saved most", "text"),
)
_RANKING_NOTES = (
    "- baseline: by how many milliseconds a cell's p50 exceeds the baseline's (with -, is below it); x faster: the "
    "baseline's p50 divided by the cell's; faster, slower: if all cells were equal, at most 5 of 100 "
    "experiments would call any of them so (a rank test of the blocks' medians, corrected by Holm)",
    f"{INTERVAL}; whole blocks are resampled",
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


def ranking_answer(found: Sequence[Ranking], saturations: Sequence[Sequence[Saturation]] = ()) -> str:
    """Say what an experiment found: which cell is how much faster at the largest size, or where the knees are."""
    if saturations:
        size = _size(saturations[-1])
        knees = [f"{_without_rate(rates[0])}: {knee(rates)}" for rates in saturations if _size(rates) == size]
        return f"At {size}, {'; '.join(knees)}."
    ranking = found[-1]
    baseline = next(ranked for ranked in ranking.ranked if ranked.baseline)
    base = f"{baseline.cell.name} ({_ms(baseline.p50, baseline.bound)})"
    if len(ranking.ranked) == 1:
        return f"At {ranking.size} there is nothing to compare the baseline with: {base}."
    faster = next((ranked for ranked in ranking.ranked if ranked.verdict == "faster"), None)
    if faster is None:
        needed = next((ranked.needed for ranked in ranking.ranked if ranked.needed is not None), None)
        if needed is not None:
            return f"At {ranking.size} too few blocks tell a cell from the baseline, {base}: it takes {needed}."
        if all(ranked.is_unknown for ranked in ranking.ranked if not ranked.baseline):
            return f"At {ranking.size} nothing bounds the clocks by which cells differ from the baseline, {base}."
        return f"At {ranking.size} no cell is faster than the baseline, {base}, beyond noise."
    most = faster.saved_most()
    saved = f"; `{segment_name(most.segment)}` saves most, {_ms(-most.difference, most.bound)}" if most else ""
    takes = f"{faster.cell.name} takes {_ms(faster.p50, faster.bound)}"
    return f"At {ranking.size} {takes}: {faster.times_faster:.2f} times as fast as the baseline, {base}{saved}."


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
        needed = [(ranked.blocks, ranked.needed) for ranked in ranking.ranked if ranked.needed is not None]
        notes += [
            f"too few blocks: whatever the images take, so many cells can't be told apart by {blocks}; it takes {least}"
            for blocks, least in needed[:1]
        ]
        if any(ranked.interval is None for ranked in ranking.ranked):
            notes.append(f"-: too few blocks; an interval needs {INTERVAL_NEEDS}")
        notes += size_notes(ranked.series for ranked in ranking.ranked)
        notes += dict.fromkeys(
            note for ranked in ranking.ranked if ranked.against for note in clock_notes(ranked.against.two_clocks)
        )
        tables.append(Table(f"{where}: {TOTAL_NAME} by cell, milliseconds", _RANKING, rows, (*notes, *_RANKING_NOTES)))
        if len(ranking.ranked) > 1:
            tables.append(_segments(ranking, where))
    return tables


def saturation_tables(found: Sequence[Sequence[Saturation]]) -> list[Table]:
    """Make a table for each cell and size, with a row a rate, and where the knee is."""
    tables = []
    for rates in found:
        title = f"{_without_rate(rates[0])}, {_size(rates)}: latency against load"
        tables.append(Table(title, _SATURATION, tuple(map(_saturation_row, rates)), (knee(rates), *_SATURATION_NOTES)))
    return tables


def ranking_records(found: Sequence[Ranking]) -> list[dict[str, Any]]:
    """Make a record for each cell, size and rate; durations in ns."""
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
                    **interval_record(ranked.interval, "p50_"),
                    "baseline": ranked.baseline,
                    "times_faster": None if ranked.is_unknown else round(ranked.times_faster, 4),
                    "difference_ns": total.difference if total else None,
                    **interval_record(total.interval if total else None, "difference_"),
                    "difference_clock_bound_ns": bound_or_none(total.bound) if total else None,
                    "difference_clocks": certainty(total.bound) if total else None,
                    "p": ranked.p,
                    "verdict": ranked.verdict,
                    "clock_bound_ns": bound_or_none(ranked.bound),
                    "clocks": certainty(max(ranked.series.bounds(TOTAL), default=0)),
                    "saved_most": segment_name(most.segment) if most else None,
                    "saved_most_ns": -most.difference if most else None,
                }
            )
    return records


def segment_records(found: Sequence[Ranking]) -> list[dict[str, Any]]:
    """Make a record for each segment of each cell, size and rate, against the baseline; durations in ns."""
    return [
        {
            "size": ranking.size,
            "rate": ranking.rate,
            "transport": ranked.cell.transport,
            "cell": ranked.cell.label,
            "segment": segment_key(one.segment),
            "baseline_p50_ns": one.p50_a,
            "p50_ns": one.p50_b,
            "difference_ns": one.difference,
            **interval_record(one.interval),
            "clock_bound_ns": bound_or_none(one.bound),
            "clocks": certainty(one.bound),
        }
        for ranking in found
        for ranked in ranking.ranked
        if ranked.against is not None
        for one in (*ranked.against.segments, ranked.against.total)
    ]


def saturation_records(found: Sequence[Sequence[Saturation]]) -> list[dict[str, Any]]:
    """Make a record for each rate of each cell and size; rates are images a second, durations ns."""
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
            "clock_bound_ns": bound_or_none(widest),
            "clocks": certainty(widest),
            "backlog": one.backlog,
            "failed": one.failed,
            "unsent": one.unsent,
            "sustained": one.sustained,
        }
        for rates in found
        for one in rates
        for figures in (summary(one.series.totals()) if one.series is not None else None,)
        for widest in (_widest(one),)
    ]


def _size(rates: Sequence[Saturation]) -> str:
    return next(one.series.size for one in rates if one.series is not None)


def _without_rate(one: Saturation) -> str:
    return one.cell.name.removesuffix(f" {one.cell.rate:g}/s")


def _ms(nanoseconds: int, bound: float) -> str:
    figure, plus, off = _cell(nanoseconds, bound).partition(" \u00b1")
    return f"{figure} ms{plus}{off}{' ms' if off and off != '?' else ''}"


def _cell(nanoseconds: int, bound: float) -> str:
    return render.cell(bounded(nanoseconds, bound), "milliseconds")


def _row(number: int, ranked: Ranked) -> tuple[Any, ...]:
    most = ranked.saved_most()
    total = ranked.against.total if ranked.against else None
    return (
        number,
        ranked.cell.name,
        len(ranked.series),
        bounded(ranked.p50, ranked.bound),
        None if math.isinf(ranked.bound) else ranked.interval,
        bounded(total.difference, total.bound) if total else None,
        total.interval if total and not ranked.is_unknown else None,
        None if ranked.is_unknown or math.isinf(ranked.bound) else f"{ranked.times_faster:.2f}",
        ranked.verdict,
        f"{segment_name(most.segment)} {render.cell(bounded(-most.difference, most.bound), 'milliseconds')}"
        if most
        else None,
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
        base = next(bounded(one.p50_a, one.bound_a) for one in of_cells if one is not None)
        figures = (None if one is None else bounded(one.difference, one.bound) for one in of_cells)
        rows.append((segment_name(stretch), base, *figures))
    columns = [Column("Segment", "text"), Column("baseline", "milliseconds")]
    columns += [Column(f"#{number}", "milliseconds") for number, _ in others]
    notes = (
        f"baseline: p50 by {baseline.cell.name}; #: by how much longer (or, with -, shorter) it takes by that cell",
        "each is a difference of medians, so that a column adds up to its total only roughly; -: neither has the "
        "segment",
    )
    return Table(f"{where}: segments, milliseconds", tuple(columns), tuple(rows), notes)


def _widest(one: Saturation) -> float:
    """Return how far off any of the totals may be, ns."""
    return max(one.series.bounds(TOTAL), default=0) if one.series is not None else 0


def _saturation_row(one: Saturation) -> tuple[Any, ...]:
    figures = summary(one.series.totals()) if one.series is not None else None
    widest = _widest(one)
    return (
        f"{one.cell.rate:g}",
        None if one.offered is None else f"{one.offered:.2f}",
        None if one.achieved is None else f"{one.achieved:.2f}",
        figures.n if figures else 0,
        *(bounded(figure, widest) for figure in ((figures.p50, figures.p95, figures.max) if figures else (None,) * 3)),
        one.backlog,
        one.failed,
        one.unsent,
        "keeps up" if one.sustained else "does not keep up",
    )
