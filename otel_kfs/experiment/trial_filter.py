"""Which of the measured images count: those of turns that the journal has."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from otel_kfs.analysis.measurement import Series
from otel_kfs.experiment.trial_log import TrialResult


def of_turns(cells: Iterable[Series], turns: Sequence[TrialResult]) -> list[Series]:
    """The cells without the images that were due in no turn.

    Ctrl-C cuts a turn off, which is then taken again as a whole; what it had sent till then is in the traces too. One
    turn follows another, on the sender's clock, which is that of stamp 1.
    """
    ordered = sorted(turns, key=lambda turn: turn.start)
    starts = [turn.start for turn in ordered]

    def counts(due: int) -> bool:
        before = bisect_right(starts, due)
        return before > 0 and due <= ordered[before - 1].end

    found = (cell.only([number for number, due in enumerate(cell.stamps[0]) if counts(due)]) for cell in cells)
    return [cell for cell in found if len(cell)]
