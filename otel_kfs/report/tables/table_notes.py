"""The notes below tables: what stamps and intervals are, which sizes are one, how far off clocks may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from otel_kfs.analysis.duration_sketch import ACCURACY, AnySeries, SketchedSeries
from otel_kfs.analysis.image_size import TOLERANCE, SizeRange
from otel_kfs.analysis.paths.segment import OWN_STAMPS, Segment, Stretch
from otel_kfs.analysis.skew_correction import TwoClocks
from otel_kfs.analysis.statistics import Summary
from otel_kfs.report.segment_names import segment_name

CLOCKS = "\u00b1?: between two hosts, and nothing bounds how far their clocks are apart; the figure holds that, too"
_NARROWER = "more images, above all small ones, narrow it: it is as wide as the shortest round trip"
BOUND = (
    "\u00b1: the uncertainty of the two hosts' clocks; the row's other figures are off by at most that much, too; "
    f"{_NARROWER}"
)
WIDER = (
    "\u00b1: the uncertainty of the two hosts' clocks at the median; it is wider where fewer images are near, as at a "
    f"run's ends; {_NARROWER}; in single images, and so in a row's other figures, it is up to "
)
ONE_CLOCK = "all stamps are by the clock of stamp 1's host; \u00b1 is the uncertainty of the other clocks"
_FEW = 4  # segments that are named one by one
STAMPS = "1 sent, 2 arrived, 3 preprocessed, 4 answered; 2-1 is the time from 1 to 2"
SPANS_START = (
    "where no span says when a server had the whole request, stamp 2 is the start of the server's span; "
    "-: no span says when it was"
)
INSIDE = "server (untraced): the model's server wrote no spans; docs/serving.md says how to see inside"
INTERVAL = (
    "95 % interval: in 95 of 100 such measurements it contains the median that unlimited images would show; "
    "it covers the noise between these images, not what changes when servers are restarted"
)
SKETCHED = f"percentiles within {100 * ACCURACY:g} %, from sketches"
NO_INTERVAL = "intervals of the medians need scipy; in a clone of otel-kfs: pip install '.[analysis]'"


class Sized(Protocol):
    """Some images under one label of their size."""

    @property
    def size(self) -> str:
        """The label."""
        ...

    @property
    def size_range(self) -> SizeRange | None:
        """Their sizes, bytes, where they are known."""
        ...


def worded(notes: Iterable[str], all_series: Iterable[AnySeries]) -> tuple[str, ...]:
    """Return notes about images, or, where a stamps file says what was measured, about paths."""
    own = has_own_stamps(all_series)
    return tuple(note.replace("image", "path") if own else note for note in notes)


def has_own_stamps(all_series: Iterable[AnySeries]) -> bool:
    """Return whether a stamps file says what the stamps are."""
    stretches = (stretch for series in all_series for stretch in series.columns())
    return any(isinstance(one, Segment) and one.place.name == OWN_STAMPS for one in stretches)


def size_notes(all_series: Iterable[Sized]) -> list[str]:
    """Name the rows that hold images of different sizes, with the range of each."""
    ranges: dict[str, SizeRange] = {}
    for series in all_series:
        if series.size_range is not None:
            ranges[series.size] = series.size_range.widen(ranges.get(series.size))
    found = [f"{size} is {low:,} to {high:,} bytes" for size, (low, high) in ranges.items() if low < high]
    return [f"sizes within {TOLERANCE:.0%} of each other are one: {'; '.join(found)}"] if found else []


def rarity_notes(all_series: Sequence[AnySeries], by_size: Sequence[Mapping[Stretch, Summary]]) -> list[str]:
    """Name the segments that only some of the images have, with their numbers."""
    found = [
        f"{segment_name(stretch)} in {of.n} of {len(series)} at {series.size}"
        for series, segments in zip(all_series, by_size, strict=True)
        for stretch, of in segments.items()
        if of.n < len(series)
    ]
    if not found:
        return []
    return [f"not every image has each segment; the figures are of the images that do: {', '.join(found)}"]


def stamp_notes(clocks: TwoClocks) -> list[str]:
    """Return the note on stamps that are by two hosts' clocks."""
    return [ONE_CLOCK] * (TwoClocks.BOUNDED in clocks) + [CLOCKS] * (TwoClocks.UNBOUNDED in clocks)


def clock_notes(clocks: TwoClocks, summaries: Iterable[tuple[str, Summary]] = ()) -> list[str]:
    """Return the notes on segments that lie between two hosts; `summaries`: theirs, each with its name."""
    wider = [
        f"{milliseconds_off(of.widest)} for {name}"
        for name, of in sorted(summaries, key=lambda one: -one[1].widest)
        if of.bound < of.widest < math.inf and milliseconds_off(of.bound) != milliseconds_off(of.widest)
    ]
    others = [f"less for {len(wider) - _FEW} more"] if len(wider) > _FEW else []
    told = WIDER + ", ".join([*wider[:_FEW], *others]) if wider else BOUND
    return [told] * (TwoClocks.BOUNDED in clocks) + [CLOCKS] * (TwoClocks.UNBOUNDED in clocks)


def milliseconds_off(bound: float) -> str:
    """Write a bound, ns; rounded up, because it must not promise more than it holds."""
    return "\u00b1?" if math.isinf(bound) else f"\u00b1{math.ceil(bound / 1e5) / 10:.1f} ms"


def sketch_notes(all_series: Sequence[AnySeries]) -> list[str]:
    """Return how exact percentiles from sketches are."""
    return [SKETCHED] * any(isinstance(series, SketchedSeries) for series in all_series)
