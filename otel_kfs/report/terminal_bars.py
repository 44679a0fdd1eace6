"""Stacked bars of letters: each segment's share of the mean image's 4-1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from string import ascii_letters

from otel_kfs.analysis.duration_sketch import AnySeries, Sketch
from otel_kfs.analysis.findings import share_bound, sum_of_bounds
from otel_kfs.analysis.measurement import by_labels
from otel_kfs.analysis.paths.segment import TOTAL, Stretch, path_order
from otel_kfs.report.enclosing import percent
from otel_kfs.report.segment_names import segment_name
from otel_kfs.report.tables.table_notes import milliseconds_off, worded

REST = "."
_NAMED = 0.02  # of a bar; a segment below that in every bar is part of the rest


@dataclass(frozen=True, slots=True)
class Bar:
    """The mean image of one series; `parts` belong to the chart's segments, the rest last; ns."""

    label: str
    total: int
    parts: tuple[int, ...]
    bound: float = 0  # how far off the total may be, ns, because of two hosts' clocks
    bounds: tuple[float, ...] = ()  # and each part; nothing if all are exact

    def shares(self) -> list[str]:
        """Return the shares of the drawn length, with what the clocks leave open; `?` where that is all of it."""
        whole, found = sum(self.parts), []
        for part, bound in zip_longest(self.parts, self.bounds, fillvalue=0):
            of_share = share_bound(part, bound, whole, self.bound) if bound or self.bound else 0
            found.append(percent(part / whole if whole else 0, of_share))
        return found


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars of one set of labels, a letter for each segment; `longest` is the longest bar of all charts."""

    title: str
    segments: tuple[tuple[str, str], ...]  # letter and name, in the order of the path, the rest last
    bars: tuple[Bar, ...]
    longest: int  # ns
    notes: tuple[str, ...] = ()


def bar_charts(all_series: Sequence[AnySeries]) -> list[Chart]:
    """Return a chart for each set of labels, a bar for each size; a letter means the same segment in all of them."""
    means = [_means(series) for series in all_series]
    totals = [of_series.pop(TOTAL) for of_series in means]
    named = {
        name
        for of_series, total in zip(means, totals, strict=True)
        for name, mean in of_series.items()
        if mean > _NAMED * total
    }
    shown = sorted(named, key=path_order)[: len(ascii_letters)]
    letters = ascii_letters[26:] + ascii_letters[:26]
    segments = (*zip(letters, map(segment_name, shown), strict=False), (REST, "the rest"))
    bars = {}
    for series, of_series, total in zip(all_series, means, totals, strict=True):
        doubts = _doubts(series)
        bound, part_bounds = doubts.pop(TOTAL), [doubts.pop(name, 0.0) for name in shown]
        parts = [of_series.pop(name, 0.0) for name in shown]
        parts.append(sum(duration for duration in of_series.values() if duration > 0))
        part_bounds.append(sum(doubts.values()))
        bars[series.labels, series.size] = Bar(
            f"{series.size} (n={len(series)})",
            round(total),
            tuple(max(0, round(part)) for part in parts),
            bound,
            tuple(part_bounds) if any(part_bounds) else (),
        )
    longest = max((sum(bar.parts) for bar in bars.values()), default=0)
    found = []
    for labels, of_labels in by_labels(all_series).items():
        notes = [f"a bar is the mean image; {REST} is all segments below {_NAMED:.0%} together"]
        if rare := _rare(of_labels, shown):
            notes.append(f"in fewer than half of the images: {', '.join(rare)}")
        if any(mean < 0 for series in of_labels for name, mean in _means(series).items() if name != TOTAL):
            notes.append("segments that are negative because of clock skew are not drawn")
        if crossing := _crossing(of_labels):
            notes.append(f"between two hosts, and off by at most their clocks' uncertainty: {', '.join(crossing)}")
        of_bars = tuple(bars[labels, series.size] for series in of_labels)
        found.append(
            Chart(f"{labels.label}: where the time goes", segments, of_bars, longest, worded(notes, of_labels))
        )
    return found


def run_lengths(parts: Sequence[int], width: int) -> list[int]:
    """Share `width` characters out among the parts: by largest remainders, so that rounding loses none."""
    whole = sum(parts)
    if not whole:
        return [0] * len(parts)
    exact = [part * width / whole for part in parts]
    lengths = [int(length) for length in exact]
    by_remainder = sorted(range(len(parts)), key=lambda number: lengths[number] - exact[number])
    for number in by_remainder[: width - sum(lengths)]:
        lengths[number] += 1
    return lengths


def _rare(all_series: Sequence[AnySeries], shown: Sequence[Stretch]) -> list[str]:
    """Name the segments that few images have, with how many of each size do."""
    found = []
    for series in all_series:
        columns = series.columns()
        few = [one for one in shown if one in columns and 2 * len(columns[one]) < len(series)]
        found += [f"{segment_name(one)} ({len(columns[one])} of {len(series)} of {series.size})" for one in few]
    return found


def _crossing(all_series: Sequence[AnySeries]) -> list[str]:
    """Name the segments that lie between two hosts, and how far off they may be at the size where that is most."""
    found: dict[Stretch, float] = {}
    for series in all_series:
        for name in series.columns():
            if widest := max(series.bounds(name), default=0):
                found[name] = max(widest, found.get(name, 0))
    return [f"{segment_name(one)} {milliseconds_off(found[one])}" for one in sorted(found, key=path_order)]


def _doubts(series: AnySeries) -> dict[Stretch, float]:
    """Return how far off the mean of all images may be in each segment, and in all, ns."""
    return {
        name: sum_of_bounds(series.bounds(name), len(durations)) / len(series)
        for name, durations in series.columns().items()
    }


def _means(series: AnySeries) -> dict[Stretch, float]:
    """Return the means of all images: one that lacks a segment spent no time in it, so that they add up to 4-1's."""
    return {
        name: (durations.total if isinstance(durations, Sketch) else sum(durations)) / len(series)
        for name, durations in series.columns().items()
    }
