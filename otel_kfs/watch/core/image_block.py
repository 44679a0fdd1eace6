"""The images that were measured within a few seconds, as sketches; single ones are exchanged when late spans come."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from otel_kfs.analysis.clock_skew import Clocks
from otel_kfs.analysis.duration_sketch import Sketches
from otel_kfs.analysis.measurement import Measurement
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import CriticalPath

if TYPE_CHECKING:
    from otel_kfs.watch.core.open_traces import OpenTrace

BLOCK_SECONDS = 5.0
BLOCK_IMAGES = 1000


class Found(NamedTuple):
    """What a trace holds: its images' paths, what became of the others, and hosts that can't be one clock's."""

    paths: tuple[CriticalPath, ...]
    coverage: Coverage
    contradicted: frozenset[str]

    @property
    def any(self) -> bool:
        """Whether there is an image, measured or left out."""
        return bool(self.coverage.measured or self.coverage.left_out)


class ImageBlock:
    """Images that were measured between two moments.

    Those of traces that are remembered may still change. Of the others the durations are kept, as columns of numbers,
    because those between two hosts can only be told when the clocks are known.
    """

    def __init__(self, began: float) -> None:
        self.began = began
        self.images = 0  # that were measured
        self._changing: dict[OpenTrace, Found] = {}
        self._fixed = Measurement()
        self._sketches: Sketches | None = None  # of all, by the clocks as they were known then

    @property
    def traces(self) -> list[OpenTrace]:
        """Those that are remembered, whose images may still change."""
        return [*self._changing]

    def put(self, trace: OpenTrace, found: Found) -> None:
        """Count a trace's images, in place of those counted for it before."""
        before = self._changing.get(trace)
        self.images += len(found.paths) - (len(before.paths) if before else 0)
        self._changing[trace] = found
        self._sketches = None

    def withdraw(self, trace: OpenTrace) -> None:
        """Count a trace's images out."""
        self.images -= len(self._changing.pop(trace).paths)
        self._sketches = None

    def fix(self, trace: OpenTrace) -> None:
        """Keep what the images of a trace took that is forgotten now."""
        _add(self._fixed, self._changing.pop(trace))

    def release(self) -> None:
        """Keep nothing but the sketches, which were made before."""
        self._fixed = Measurement()

    def sketches(self, clocks: Clocks, *, again: bool = False) -> Sketches:
        """Return all of its images, corrected by some clocks, or by those of before unless it is to be done `again`.

        They are not to be changed.
        """
        if self._sketches is None or (again and self._sketches.pairs):
            measurement = Measurement()
            measurement.merge(self._fixed)
            for found in self._changing.values():
                _add(measurement, found)
            self._sketches = Sketches()
            self._sketches.take(measurement, clocks)
            self._sketches.close(measurement)
        return self._sketches


def _add(measurement: Measurement, found: Found) -> None:
    measurement.coverage.merge(found.coverage)
    measurement.contradicted |= found.contradicted
    for path in found.paths:
        measurement.add(path)
