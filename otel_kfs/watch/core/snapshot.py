"""What displays are given: figures of a moment, and news of single images to those who subscribe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement
from otel_kfs.analysis.duration_sketch import SketchedSeries
from otel_kfs.analysis.paths.critical_path import CriticalPath


@dataclass(slots=True)
class Counts:
    """What became of spans and traces since the start; nothing is lost without being counted here."""

    spans: int = 0  # that came, all the others among them
    duplicates: int = 0  # that were there already: a retried export
    late: int = 0  # that came after their image was measured, and corrected it
    too_late: int = 0  # that came when their trace was forgotten, and changed nothing
    dropped: int = 0  # beyond the bound on the spans of one trace
    given_up: int = 0  # traces that were measured before they were complete, because there were too many
    incomplete: int = 0  # traces that were measured as they were when the linger time was over
    corrected: int = 0  # traces of which late spans changed what had been measured


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All figures of a moment.

    `since_start` and `last_minute` are what `report` takes: `series` and `bounds` for tables, `coverage` for what was
    measured and left out for which reason, `offsets` for the clocks. The last minute is the last 60 s by when images
    were measured, to within `BLOCK_SECONDS`. Rates are per second over that minute.
    """

    seconds: float  # since the start
    since_start: CorrectedMeasurement[SketchedSeries]
    last_minute: CorrectedMeasurement[SketchedSeries]
    counts: Counts
    open_traces: int  # whose images are not complete
    remembered_traces: int  # that were measured, and that late spans still correct
    kept_spans: int  # in memory, of both
    images_per_second: float
    spans_per_second: float


class Observer(Protocol):
    """Is told of each image when it is measured, or of why it can't be; called in the thread that adds spans.

    An image that late spans change is told by `corrected`: `before` is what was told of it, `after` what counts
    instead. If it is no longer measured, `left_out` gives the reason; if it was left out before, that reason comes back
    with -1.
    """

    def measured(self, path: CriticalPath) -> None:
        """Take one image, its clocks corrected as far as they are known by now."""

    def left_out(self, reason: str, count: int) -> None:
        """Count images that can't be measured, by reason; -1: one of them was measured after all."""

    def corrected(self, before: CriticalPath, after: CriticalPath | None) -> None:
        """Take what late spans made of an image that was told; None: it is not measured any more."""
