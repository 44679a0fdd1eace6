"""The front door of the read side: from a trace query to measured images, with the hosts' clocks corrected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from otel_kfs.analysis import pipeline
from otel_kfs.analysis.clock_skew import ClockOffset, Clocks
from otel_kfs.analysis.duration_sketch import AnySeries, SketchedSeries, Sketches
from otel_kfs.analysis.measurement import Measurement, Runs, Series
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import PathFinder, critical_paths
from otel_kfs.analysis.reading.wait_for_images import WaitForImages
from otel_kfs.analysis.skew_correction import Bounds, correct_skew, offsets
from otel_kfs.analysis.stamps.stamped_path import stamped_paths
from otel_kfs.analysis.stamps.stamps_file import load
from otel_kfs.errors import ConfigError
from otel_kfs.traces.filters import KeepAttributes
from otel_kfs.traces.query import open_store
from otel_kfs.traces.query_url import options_of, run_of
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
    find: PathFinder = critical_paths  # what its images' paths were found by
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
        ConfigError: its stamps file can't be read or has mistakes, or another option can't go with it.
        OtelKfsError: there is no room for temporary files, or a process was killed.
    """
    store, find = _opened(query, progress)
    return corrected(pipeline.read(store, find, processes=processes, progress=progress), store, find)


def read_sketches(
    query: str, *, processes: int | None = None, progress: Callable[[str], None] | None = None
) -> CorrectedMeasurement[SketchedSeries]:
    """Measure the same as sketches, so that memory does not grow with the number of images.

    Raises:
        MissingExtra: ddsketch is not installed.
        TraceQueryError: the query can't be understood or answered.
        ConfigError: its stamps file can't be read or has mistakes, or another option can't go with it.
        OtelKfsError: there is no room for temporary files, or a process was killed.
    """
    store, find = _opened(query, progress)
    return corrected_sketches(pipeline.read_sketches(store, find, processes=processes, progress=progress), store, find)


_OF_IMAGES = {"run": "images that otel-kfs sent", "expect": "images", "server": "images"}


def _opened(query: str, progress: Callable[[str], None] | None) -> tuple[TraceStore, PathFinder]:
    """Return a query's store, and what finds the paths that it asks for: those of images, or of a stamps file."""
    options = options_of(query)
    if "stamps" not in options:
        paths_in = partial(critical_paths, run=run_of(query), servers=tuple(options.get("server", ())))
        return open_store(query, progress, waiting=partial(WaitForImages, paths_in=paths_in)), paths_in
    for key, of in _OF_IMAGES.items():
        if key in options:
            raise ConfigError(f"{key} is for {of}: leave it out where there is a stamps file")
    stamps_file = load(Path(options["stamps"][0]))
    store = KeepAttributes(open_store(query, progress), stamps_file.keys)
    return store, partial(stamped_paths, stamps_file=stamps_file)


def corrected(
    measurement: Measurement, store: TraceStore | None = None, find: PathFinder = critical_paths
) -> CorrectedMeasurement[Series]:
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
        find,
        measurement.clocks,
        measurement.apart,
    )


def corrected_sketches(
    sketches: Sketches, store: TraceStore | None = None, find: PathFinder = critical_paths
) -> CorrectedMeasurement[SketchedSeries]:
    """Correct the clocks of sketches."""
    series, bounds = sketches.correct_skew()
    return CorrectedMeasurement(
        series,
        bounds,
        offsets(sketches),
        sketches.coverage,
        store=store,
        find=find,
        clocks=sketches.clocks,
        apart=sketches.apart,
    )
