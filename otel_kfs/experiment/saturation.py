"""Latency against load: what rate was achieved of that offered, and up to which rate the servers keep up.

Both rates are measured between the first and the last image of a stage, so that the chance of a Poisson process does
not count: n images that were due within T seconds, and answered within T' seconds, are n-1 by T and by T'. If the
servers can't keep up, the backlog, and with it T', grows for as long as the stage lasts. They keep up if they achieve
95 % or more, or if no more than a few images are unanswered when the last one is due (of a short stage, a single late
answer is more than 5 %); and if no image failed or was given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from otel_kfs.analysis.measurement import Series
from otel_kfs.experiment.config.experiment_config import Cell
from otel_kfs.experiment.trial_log import TrialResult

SUSTAINED = 0.95
FEW = 3  # images under way, which are no backlog


@dataclass(frozen=True)
class Saturation:
    """How far the servers kept up with one rate; rates are images a second."""

    cell: Cell
    series: Series | None  # None: no image was measured
    offered: float | None  # None: too few images to tell
    achieved: float | None
    backlog: int  # images unanswered when the last one of a stage was due, in the worst stage
    failed: int
    unsent: int

    @property
    def sustained(self) -> bool:
        """Whether the servers kept up."""
        if self.unsent or self.failed or self.offered is None or self.achieved is None:
            return False
        return self.achieved >= SUSTAINED * self.offered or self.backlog <= FEW


def measure_saturation(cell: Cell, series: Series | None, stages: Iterable[TrialResult]) -> Saturation:
    """Measure the saturation by one cell and image, from its stages."""
    stages = list(stages)
    images = 0
    due_for = answered_for = 0  # ns
    backlog = 0
    for stage in stages:
        due, answered = _within(series, stage)
        if len(due) > 1:
            images += len(due) - 1
            due_for += max(due) - min(due)
            answered_for += max(answered) - min(answered)
            last = max(due) if stage.last_due is None else stage.last_due  # a log of an earlier version
            backlog = max(backlog, sum(moment > last for moment in answered) + stage.unsent)
    return Saturation(
        cell,
        series,
        images / due_for * 1e9 if due_for else None,
        images / answered_for * 1e9 if answered_for else None,
        backlog,
        sum(stage.failed for stage in stages),
        sum(stage.unsent for stage in stages),
    )


def knee(rates: Sequence[Saturation]) -> str:
    """Say up to which rate the servers keep up; `rates` are those of one cell and image."""
    ordered = sorted(rates, key=lambda one: one.cell.rate or 0.0)
    number = next((number for number, one in enumerate(ordered) if not one.sustained), None)
    if number is None:
        return f"no knee up to {ordered[-1].cell.rate:g}/s: the servers keep up with every rate"
    beyond = ordered[number]
    if beyond.unsent:
        why = f"{beyond.unsent} images were never sent"
    elif beyond.failed:
        why = f"{beyond.failed} images failed"
    elif beyond.offered is None or beyond.achieved is None:
        why = "too few images were answered"
    else:
        why = f"{beyond.achieved / beyond.offered:.0%} of the rate is achieved, and {beyond.backlog} images pile up"
    at = f"{beyond.cell.rate:g}/s"
    if number == 0:
        return f"the knee lies below {at}: {why}"
    return f"the knee lies between {ordered[number - 1].cell.rate:g}/s and {at}: {why}"


def _within(series: Series | None, stage: TrialResult) -> tuple[list[int], list[int]]:
    """Return when the stage's images were due, and when they were answered, in ns since the epoch."""
    if series is None:
        return [], []
    found = [
        (first, last)
        for first, last in zip(series.stamps[0], series.stamps[3], strict=True)
        if stage.start <= first <= stage.end
    ]
    return [first for first, _ in found], [last for _, last in found]
