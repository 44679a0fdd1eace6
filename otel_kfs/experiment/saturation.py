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
from otel_kfs.experiment.config import PlannedCell
from otel_kfs.experiment.trial_log import TrialResult

SUSTAINED = 0.95
FEW = 3  # images under way, which are no backlog


@dataclass(frozen=True)
class Load:
    """What the servers did of one rate; rates are images a second."""

    planned: PlannedCell
    cell: Series | None  # None: no image was measured
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


def load(planned: PlannedCell, cell: Series | None, stages: Iterable[TrialResult]) -> Load:
    """Of one cell and image, from its stages."""
    stages = list(stages)
    images = 0
    due_for = answered_for = 0  # ns
    backlog = 0
    for stage in stages:
        due, answered = _within(cell, stage)
        if len(due) > 1:
            images += len(due) - 1
            due_for += max(due) - min(due)
            answered_for += max(answered) - min(answered)
            backlog = max(backlog, sum(moment > max(due) for moment in answered) + stage.unsent)
    return Load(
        planned,
        cell,
        images / due_for * 1e9 if due_for else None,
        images / answered_for * 1e9 if answered_for else None,
        backlog,
        sum(stage.failed for stage in stages),
        sum(stage.unsent for stage in stages),
    )


def knee(loads: Sequence[Load]) -> str:
    """Up to which rate the servers keep up, in a sentence; `loads` are those of one cell and image."""
    ordered = sorted(loads, key=lambda of: of.planned.rate or 0.0)
    number = next((number for number, of in enumerate(ordered) if not of.sustained), None)
    if number is None:
        return f"no knee up to {ordered[-1].planned.rate:g}/s: the servers keep up with every rate"
    beyond = ordered[number]
    if beyond.unsent:
        why = f"{beyond.unsent} images were not even begun"
    elif beyond.failed:
        why = f"{beyond.failed} images failed"
    elif beyond.offered is None or beyond.achieved is None:
        why = "too few images were answered"
    else:
        why = f"{beyond.achieved / beyond.offered:.0%} of the rate is achieved, and {beyond.backlog} images pile up"
    at = f"{beyond.planned.rate:g}/s"
    if number == 0:
        return f"the knee lies below {at}: {why}"
    return f"the knee lies between {ordered[number - 1].planned.rate:g}/s and {at}: {why}"


def _within(cell: Series | None, stage: TrialResult) -> tuple[list[int], list[int]]:
    """When the stage's images were due, and when they were answered, ns since the epoch."""
    if cell is None:
        return [], []
    found = [
        (first, last)
        for first, last in zip(cell.stamps[0], cell.stamps[3], strict=True)
        if stage.start <= first <= stage.end
    ]
    return [first for first, _ in found], [last for _, last in found]
