"""The stacked bars: the mean image of each series, its segments in the order of the path, over one axis in ms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree.ElementTree import Element

from otel_kfs.analysis.paths.segment import Stretch
from otel_kfs.report.charts import palette, svg
from otel_kfs.report.charts.axis import MS, Axis, axis, labelled, milliseconds, within
from otel_kfs.report.charts.legend import draw_legend, legend_height, letters
from otel_kfs.report.contents import Contents, Row, SeriesReport
from otel_kfs.report.segment_names import segment_name, step_name

_RARE = "0.35"  # opacity of what fewer than half of the images have
_UNKNOWN = "0.15"  # of what nothing bounds, which has a dashed edge besides
_THINNEST = 0.4  # pixels; what is shorter is not drawn
_LEAST = 9  # pixels of a bar that has room for a segment's letter
_BAR, _HEADING = 24, 34


class Part(NamedTuple):
    """A segment in a bar: its mean, ns, and its tooltip."""

    segment: Stretch
    mean: float
    words: str
    is_rare: bool = False  # fewer than half of the images have it
    is_unknown: bool = False  # nothing bounds the clocks that it was read on


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand, pixels. `beside`: sizes and totals stand beside the bars, else above each."""

    width: int
    left: int
    right: int
    step: int
    ticks: int
    beside: bool = True


_HOLLOW = {"fill_opacity": _UNKNOWN, "stroke": "currentColor", "stroke_dasharray": "4 3"}
WIDE = Layout(width=880, left=70, right=175, step=36, ticks=6)
NARROW = Layout(width=358, left=0, right=18, step=56, ticks=3, beside=False)
WIDTH = WIDE.width


def stacked_bars(contents: Contents, layout: Layout = WIDE) -> Element:
    """Draw the chart, without a legend."""
    drawing = svg.drawing(
        layout.width,
        _plot_height(contents, layout) + 22,
        "Segments of each series",
        "Stacked bars: each segment's mean over all images, in milliseconds. The table of segments has every figure.",
    )
    _draw_bars(drawing, contents, layout)
    return drawing


def body_height(contents: Contents) -> float:
    """Return how high the chart is, legend and all, pixels."""
    return _plot_height(contents, WIDE) + 34 + legend_height(contents.segments)


def draw(parent: Element, contents: Contents) -> None:
    """Draw the chart from the top left corner of `parent`, and its legend below."""
    _draw_bars(parent, contents, WIDE)
    draw_legend(parent, contents.segments, WIDTH, _plot_height(contents, WIDE) + 34)


def _draw_bars(parent: Element, contents: Contents, layout: Layout) -> None:
    bottom = _plot_height(contents, layout)
    tails = [max(_stack(report), _tail(report.total), report.total.summary.p50) / MS for report in contents.series]
    scale = axis(tails, layout.left, layout.width - layout.right, about=layout.ticks)
    milliseconds_axis(parent, scale, 22, bottom)
    letter = letters(contents.segments)
    y = 0.0
    for group in contents.by_labels:
        y += _HEADING
        svg.add(
            parent,
            "text",
            svg.fitted(group.labels.label, 0.72 * layout.width, 13),
            x=0,
            y=y - 11,
            font_size=13,
            font_weight=600,
        )
        for report in group.series:
            _bar(parent, report, scale, y, layout, letter)
            y += layout.step


def milliseconds_axis(parent: Element, scale: Axis, top: float, bottom: float) -> None:
    """Draw the lines of an axis of milliseconds, and its labels below them."""
    for value, label in labelled(scale.ticks(), "ms"):
        x = scale(value)
        svg.add(parent, "line", x1=x, x2=x, y1=top, y2=bottom, class_="axis" if value == 0 else "grid")
        anchor = "start" if x < svg.text_width(label, 11) / 2 else "middle"
        svg.add(parent, "text", label, x=x, y=bottom + 15, font_size=11, text_anchor=anchor, class_="muted")


def _bar(
    parent: Element, report: SeriesReport, scale: Axis, y: float, layout: Layout, letter: Mapping[Stretch, str]
) -> None:
    total = report.total.summary
    at = max(0.0, _stack(report) / MS)
    p50, tail = scale(total.p50 / MS), scale(_tail(report.total) / MS)
    tailed = f"{_tail_name(report.total)} {milliseconds(_tail(report.total))}"
    if layout.beside:
        top, base, size = y, y + _BAR / 2 + 4, {"x": layout.left - 10, "text_anchor": "end"}
        x = max(scale(at), tail, p50) + 8
    else:
        top, base, size = y + 20, y + 11, {"x": 0}
        x = svg.text_width(report.series.size, 12) + 12
    svg.add(parent, "text", svg.fitted(report.series.size, 70), y=base, font_size=12, **size)
    stack(
        parent,
        [Part(row.segment, row.mean, tip(report, row), row.is_rare, row.is_unknown) for row in report.rows],
        scale,
        top,
        letter,
    )
    figures = svg.mark(parent, "text", tip(report, report.total), x=x, y=base, font_size=12)
    svg.add(figures, "tspan", "p50", class_="muted", font_size=11)
    svg.add(figures, "tspan", f"{within(total.p50, total.bound)} ms", dx=4, font_weight=600)
    svg.add(figures, "tspan", tailed, dx=6, class_="muted", font_size=11)
    marker = f"M{p50 - 3.5:.1f} {top - 5.5:.1f}h7l-3.5 5z"
    svg.add(parent, "path", d=marker, class_="inkfill")
    below = top + _BAR + 3  # the bar, whose words a line would strike through
    svg.add(parent, "line", x1=p50, x2=tail, y1=below, y2=below, class_="ink", stroke_width=1)
    for end in (p50, tail):
        svg.add(parent, "line", x1=end, x2=end, y1=below - 2, y2=below + 2, class_="ink", stroke_width=1)


def stack(
    parent: Element,
    parts: Sequence[Part],
    scale: Axis,
    top: float,
    letter: Mapping[Stretch, str],
) -> None:
    """Draw one bar of segments.

    A segment has the name of its step where there is room for that, else its letter.
    """
    at = 0.0
    for segment, mean, words, is_rare, is_unknown in parts:
        duration = mean / MS
        if duration <= 0:
            continue
        left, right = scale(at), scale(at + duration)
        at += duration
        if right - left < _THINNEST:
            continue
        # A hairline of the page's colour separates two neighbours, where there is room for it.
        gap = 1.0 if right - left > 3 else 0
        svg.mark(
            parent,
            "rect",
            words,
            x=left,
            y=top,
            width=round(right - left - gap, 2),
            height=_BAR,
            class_=palette.segment_class(segment),
            data_segment=segment_name(segment),
            **(_HOLLOW if is_unknown else {"fill_opacity": _RARE} if is_rare else {}),
        )
        name, unknown = step_name(segment), " ?" if is_unknown else ""
        is_named = svg.text_width(name + unknown, 11) + 8 < right - left
        if is_named or right - left >= _LEAST * len(letter[segment] + unknown):
            svg.add(
                parent,
                "text",
                (name if is_named else letter[segment]) + unknown,
                x=left + 5 if is_named else (left + right - gap) / 2,
                y=top + _BAR / 2 + 4,
                font_size=11 if is_named else 9.5,
                text_anchor="start" if is_named else "middle",
                class_="" if is_rare or is_unknown else palette.on(segment),
                pointer_events="none",
            )
    # However pale a segment is, the bar's own end can be seen.
    edge = {"x": scale(0), "y": top, "width": round(scale(at) - scale(0), 2), "height": _BAR}
    svg.add(parent, "rect", class_="edge", stroke_width=0.7, pointer_events="none", **edge)


def tip(report: SeriesReport, row: Row) -> str:
    """Return the tooltip of a mark."""
    found = row.summary
    tail = f"p95 {milliseconds(found.p95)}" if found.p95 is not None else f"max {milliseconds(found.max)}"
    # Of a segment that few images have, its figures alone would say that it takes much of every image.
    n = f"n {found.n}" if not row.rarity else row.rarity
    mean = f"mean {milliseconds(row.mean)} ms{' of all images' if row.rarity else ''}"
    figures = f"{mean}, p50 {within(found.p50, found.bound)} ms, {tail} ms, {n}"
    figures += f", {row.share:.1%} of the time" if row.share_is_known else ""
    return f"{row.name} · {report.title}: {figures}"


def _plot_height(contents: Contents, layout: Layout) -> float:
    return sum(_HEADING + layout.step * len(group.series) for group in contents.by_labels) + 4


def _stack(report: SeriesReport) -> float:
    return sum(max(0.0, row.mean) for row in report.rows)


def _tail(row: Row) -> int:
    return row.summary.max if row.summary.p95 is None else row.summary.p95


def _tail_name(row: Row) -> str:
    return "max" if row.summary.p95 is None else "p95"
