"""The front door of the read side: from a trace query to measured images, with the hosts' clocks corrected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from otel_kfs.analysis import pipeline
from otel_kfs.analysis.clock_skew import ClockOffset, Clocks
from otel_kfs.analysis.duration_sketch import AnySeries, SketchedSeries, Sketches
from otel_kfs.analysis.measurement import Measurement, Runs, Series
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.reading.wait_for_images import WaitForImages
from otel_kfs.analysis.skew_correction import Bounds, correct_skew, offsets
from otel_kfs.traces.query import open_store
from otel_kfs.traces.query_url import run_of
from otel_kfs.traces.span import Key
from otel_kfs.traces.store import TraceStore

SomeSeries_co = TypeVar("SomeSeries_co", bound=AnySeries, covariant=True)


@dataclass(frozen=True, slots=True)
class CorrectedMeasurement(Generic[SomeSeries_co]):
    """Every image that was measured, in series, and what became of the others; all that is printed comes from here.

    `bounds`: how far off the medians of what lies between two hosts may be, ns, `math.inf` where nothing bounds them;
    what is exact is not in it. `offsets`: how the clocks of every two hosts stood to each other between which something
    was measured.
    """

    series: Sequence[SomeSeries_co]
    bounds: Bounds
    offsets: Mapping[tuple[str, str], ClockOffset | None]
    coverage: Coverage
    runs: Runs = field(default_factory=Runs)
    linked: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)  # by image, the other traces that it went on in
    store: TraceStore | None = None  # where it was read from, and single traces can be read again
    clocks: Clocks = field(default_factory=Clocks)  # what was seen of the hosts' clocks
    apart: frozenset[str] = frozenset()  # hosts that turned out to be several, so that each of their services is one

    @property
    def hosts(self) -> list[str]:
        """Those on whose clocks something was read; none where it was one clock."""
        return sorted({host for pair in self.offsets for host in pair})


def read(
    query: str, *, processes: int | None = None, progress: Callable[[str], None] | None = None
) -> CorrectedMeasurement[Series]:
    """Measure all images that a trace query finds.

    At most `processes` read side by side (default: one for each core that this one may use); `progress` is told in a
    few words what is done. New processes import the main module, as ever in Python: a script that calls this does so
    under `if __name__ == "__main__"`.

    Raises:
        TraceQueryError: the query can't be understood or answered.
        OtelKfsError: there is no room for temporary files, or a process was killed.
    """
    store = _opened(query, progress)
    return corrected(pipeline.read(store, run_of(query), processes=processes, progress=progress), store)


def read_sketches(
    query: str, *, processes: int | None = None, progress: Callable[[str], None] | None = None
) -> CorrectedMeasurement[SketchedSeries]:
    """Measure the same as sketches, so that memory does not grow with the number of images.

    Raises:
        MissingExtra: ddsketch is not installed.
        TraceQueryError: the query can't be understood or answered.
        OtelKfsError: there is no room for temporary files, or a process was killed.
    """
    store = _opened(query, progress)
    sketches: Sketches = pipeline.read_sketches(store, run_of(query), processes=processes, progress=progress)
    series, bounds = sketches.correct_skew()
    return CorrectedMeasurement(
        series, bounds, offsets(sketches), sketches.coverage, store=store, clocks=sketches.clocks, apart=sketches.apart
    )


def _opened(query: str, progress: Callable[[str], None] | None) -> TraceStore:
    return open_store(query, progress, waiting=partial(WaitForImages, run=run_of(query)))


def corrected(measurement: Measurement, store: TraceStore | None = None) -> CorrectedMeasurement[Series]:
    """Correct the clocks of a measurement."""
    series, bounds = correct_skew(measurement)
    return CorrectedMeasurement(
        series,
        bounds,
        offsets(measurement),
        measurement.coverage,
        measurement.runs,
        measurement.linked,
        store,
        measurement.clocks,
        measurement.apart,
    )
