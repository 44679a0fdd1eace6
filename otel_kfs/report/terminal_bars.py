"""From the ways of many images to stacked bars: what share of the mean image's 4-1 each segment has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters

from otel_kfs.analysis.measurement import ways
from otel_kfs.analysis.paths.segment import TOTAL, Stretch, path_order
from otel_kfs.analysis.sketch import AnySeries, Sketch
from otel_kfs.analysis.skew_correction import NO_BOUNDS, Bounds
from otel_kfs.report.segment_names import segment_name

REST = "."
_NAMED = 0.02  # of a bar; a segment below that in every bar is part of the rest


@dataclass(frozen=True, slots=True)
class Bar:
    """The mean image of one cell; `parts` belong to the chart's segments, the rest last; ns."""

    label: str
    total: int
    parts: tuple[int, ...]

    def shares(self) -> list[float]:
        """Of the drawn length, 0 to 1."""
        whole = sum(self.parts)
        return [part / whole if whole else 0.0 for part in self.parts]


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars of one way, a letter each segment; `longest` is the longest bar of all charts, so that they compare."""

    title: str
    segments: tuple[tuple[str, str], ...]  # letter and name, in the order of the way, the rest last
    bars: tuple[Bar, ...]
    longest: int  # ns
    notes: tuple[str, ...] = ()


def charts(cells: Sequence[AnySeries], bounds: Bounds = NO_BOUNDS) -> list[Chart]:
    """A chart for each way, a bar for each size; a letter means the same segment in all of them."""
    means = [_means(cell) for cell in cells]
    totals = [of_cell.pop(TOTAL) for of_cell in means]
    named = {
        name
        for of_cell, total in zip(means, totals, strict=True)
        for name, mean in of_cell.items()
        if mean > _NAMED * total
    }
    shown = sorted(named, key=path_order)[: len(ascii_letters)]
    letters = ascii_letters[26:] + ascii_letters[:26]
    segments = (*zip(letters, map(segment_name, shown), strict=False), (REST, "the rest"))
    bars = {}
    for cell, of_cell, total in zip(cells, means, totals, strict=True):
        parts = [of_cell.pop(name, 0.0) for name in shown]
        parts.append(sum(length for length in of_cell.values() if length > 0))
        bars[cell.way, cell.size] = Bar(
            f"{cell.size} (n={len(cell)})", round(total), tuple(max(0, round(part)) for part in parts)
        )
    longest = max((sum(bar.parts) for bar in bars.values()), default=0)
    found = []
    for way in ways(cells):
        of_way = [cell for cell in cells if cell.way == way]
        notes = [f"a bar is the mean image; {REST} is all segments below {_NAMED:.0%} together"]
        if any(mean < 0 for cell in of_way for name, mean in _means(cell).items() if name != TOTAL):
            notes.append("a segment that is negative by the difference of two hosts' clocks is not drawn")
        if crossing := _crossing(of_way, bounds):
            notes.append(f"between two hosts, and off by as much as their clocks leave open: {', '.join(crossing)}")
        of_bars = tuple(bars[way, cell.size] for cell in of_way)
        found.append(Chart(f"{way.label}: where the time goes", segments, of_bars, longest, tuple(notes)))
    return found


def run_lengths(parts: Sequence[int], width: int) -> list[int]:
    """As many characters as each part has, `width` together: by largest remainders, so that rounding loses none."""
    whole = sum(parts)
    if not whole:
        return [0] * len(parts)
    exact = [part * width / whole for part in parts]
    lengths = [int(length) for length in exact]
    by_remainder = sorted(range(len(parts)), key=lambda number: lengths[number] - exact[number])
    for number in by_remainder[: width - sum(lengths)]:
        lengths[number] += 1
    return lengths


def _crossing(cells: Sequence[AnySeries], bounds: Bounds) -> list[str]:
    """The segments that lie between two hosts, and by how much they may be off at whichever size that is most."""
    found: dict[Stretch, list[int | None]] = {}
    for cell in cells:
        for name in cell.between_hosts():
            found.setdefault(name, []).append(bounds.get((cell.way, cell.size, name)))
    return [f"{segment_name(one)} {_bound(found[one])}" for one in sorted(found, key=path_order)]


def _bound(widths: Sequence[int | None]) -> str:
    known = [width for width in widths if width is not None]
    # Rounded up, as in tables: it must not promise more than it holds.
    if len(known) < len(widths):
        return "(nothing says how much)"
    return f"\u00b1{math.ceil(max(known) / 1e5) / 10:.1f} ms"


def _means(cell: AnySeries) -> dict[Stretch, float]:
    """Of all images of the cell: one that lacks a segment spent no time in it, so that the means add up to 4-1's."""
    return {
        name: (lengths.total if isinstance(lengths, Sketch) else sum(lengths)) / len(cell)
        for name, lengths in cell.columns().items()
    }
