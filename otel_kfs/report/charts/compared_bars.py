"""Two measurements side by side: the bars of both below each other, and each difference with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from otel_kfs.analysis.comparison import Comparison, Difference
from otel_kfs.analysis.paths.segment import Segment, Stretch
from otel_kfs.report.charts import palette, svg
from otel_kfs.report.charts.axis import MS, Axis, axis, milliseconds, within
from otel_kfs.report.charts.legend import letters
from otel_kfs.report.charts.stacked_bars import Part, milliseconds_axis, stack
from otel_kfs.report.segment_names import segment_name
from otel_kfs.report.tables.comparison_rows import mark, share_of_a

_BAR, _STEP, _HEADING = 24, 29, 30
_ROW = 24


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand, pixels. `names`: where the plot begins in a chart of differences, 0 if names stand above."""

    width: int
    right: int
    names: int
    ticks: int


WIDE = Layout(width=880, right=150, names=220, ticks=6)
NARROW = Layout(width=358, right=92, names=0, ticks=3)


def segments_of(compared: Sequence[Comparison]) -> list[Segment]:
    """Return every segment of either side, in the order of the path."""
    found = {one.segment: None for of in compared for one in of.segments if isinstance(one.segment, Segment)}
    return list(found)


def compared_bars(compared: Sequence[Comparison], segments: Sequence[Segment], layout: Layout = WIDE) -> Element:
    """Draw the mean image of both sides at each size, A above B, over one axis."""
    bottom = sum(_HEADING + 2 * _STEP for _ in compared) + 6
    chart = svg.drawing(
        layout.width,
        bottom + 22,
        "Segments of A and B",
        "Stacked bars, A above B: each segment's mean over all images, in milliseconds. The tables have every figure.",
    )
    whole = [max(_stack(of, of_a=True), _stack(of, of_a=False)) / MS for of in compared]
    scale = axis(whole, 22, layout.width - layout.right, about=layout.ticks)
    milliseconds_axis(chart, scale, 22, bottom)
    letter = letters(segments)
    y = 0.0
    for of in compared:
        heading = svg.add(chart, "text", x=0, y=y + 19, font_size=13, font_weight=600)
        heading.text = svg.fitted(_heading(of), 0.72 * layout.width, 13)
        y += _HEADING
        for side in "AB":
            _bar(chart, of, side, scale, y, letter)
            y += _STEP
    return chart


def differences(of: Comparison, shown: Sequence[Difference], layout: Layout = WIDE) -> Element:
    """Draw B - A of these segments and of the whole, each with its interval; what is beyond noise is filled."""
    rows = [*shown, of.total]
    height = _ROW if layout.names else 2 * _ROW - 8
    bottom = 22 + height * len(rows) + 4
    words = "; ".join(f"{segment_name(one.segment)} {_amount(one)} ms" for one in rows)
    chart = svg.drawing(layout.width, bottom + 20, f"Differences, {_heading(of)}", words)
    ends = [one.difference for one in rows]
    ends += [end for one in rows if one.interval and not math.isinf(one.bound) for end in one.interval]
    left = layout.names + 10 if layout.names else 8
    scale = axis([end / MS for end in ends], left, layout.width - layout.right, about=layout.ticks)
    milliseconds_axis(chart, scale, 20, bottom)
    zero = scale(0)
    svg.add(chart, "line", x1=zero, x2=zero, y1=20, y2=bottom, class_="ink", stroke_width=1)
    toward = 14 if scale.high > 0 else -14
    svg.add(
        chart,
        "text",
        "B slower \u2192" if scale.high > 0 else "\u2190 B faster",
        x=zero + toward / 2,
        y=11,
        font_size=11,
        text_anchor="start" if toward > 0 else "end",
        class_="muted",
    )
    if scale.low < 0 < scale.high and zero - left > 70:
        svg.add(chart, "text", "\u2190 B faster", x=zero - 7, y=11, font_size=11, text_anchor="end", class_="muted")
    for number, one in enumerate(rows):
        _difference(chart, of, one, scale, 22 + number * height, layout)
    return chart


def _bar(chart: Element, of: Comparison, side: str, scale: Axis, y: float, letter: Mapping[Stretch, str]) -> None:
    of_a = side == "A"
    n, total = (of.n_a, of.total.p50_a) if of_a else (of.n_b, of.total.p50_b)
    svg.add(chart, "text", side, x=0, y=y + _BAR / 2 + 4, font_size=12, font_weight=600)
    parts: list[Part] = []
    for one in of.segments:
        mean, p50, images = (one.mean_a, one.p50_a, one.images_a) if of_a else (one.mean_b, one.p50_b, one.images_b)
        bound = one.bound_a if of_a else one.bound_b
        figures = f"mean {milliseconds(mean)} ms, p50 {within(p50, bound)} ms, in {images} of {n} images"
        tip = f"{segment_name(one.segment)} \u00b7 {side}, {of.size}: {figures}"
        parts.append(Part(one.segment, mean, tip, 0 < 2 * images < n, math.isinf(bound)))
    stack(chart, parts, scale, y, letter)
    beside = svg.add(chart, "text", x=scale(_stack(of, of_a=of_a) / MS) + 8, y=y + _BAR / 2 + 4, font_size=12)
    bound = of.total.bound_a if of_a else of.total.bound_b
    svg.add(beside, "tspan", f"{within(total, bound)} ms", font_weight=600)
    svg.add(beside, "tspan", f"n {n}", dx=6, class_="muted", font_size=11)


def _difference(chart: Element, of: Comparison, one: Difference, scale: Axis, y: float, layout: Layout) -> None:
    is_total = one is of.total
    name = segment_name(one.segment)
    base = y + 15
    beyond = mark(one)
    figures = f"{_amount(one)} ms"
    share = share_of_a(one)
    interval = one.interval if one.interval and not math.isinf(one.bound) else None
    sides = f"{within(one.p50_a, one.bound_a)} ms in A, {within(one.p50_b, one.bound_b)} ms in B"
    tip = f"{name} \u00b7 {_heading(of)}: {sides}, {figures}"
    if interval:
        tip += f" ({milliseconds(interval.low)} to {milliseconds(interval.high)})"
    tip += f", {beyond or 'not beyond noise'}"
    if not is_total:
        svg.add(
            chart,
            "rect",
            x=0,
            y=base - 10,
            width=11,
            height=11,
            rx=1.5,
            class_=palette.segment_class(one.segment),
            data_segment=name,
        )
    svg.add(
        chart,
        "text",
        svg.fitted(name, (layout.names or layout.width - 130) - 24),
        x=0 if is_total else 17,
        y=base,
        font_size=12,
        font_weight=600 if is_total else 400,
    )
    at = base - 4 if layout.names else base + 12
    if interval:
        low, high = scale(interval.low / MS), scale(interval.high / MS)
        svg.add(chart, "line", x1=low, x2=high, y1=at, y2=at, class_="ink", stroke_width=1.4)
        for end in (low, high):
            svg.add(chart, "line", x1=end, x2=end, y1=at - 3, y2=at + 3, class_="ink", stroke_width=1.4)
    svg.mark(
        chart,
        "circle",
        tip,
        cx=scale(one.difference / MS),
        cy=at,
        r=4.5,
        class_="ink inkfill" if beyond else "ink page",
        stroke_width=1.4,
    )
    text = svg.add(chart, "text", x=layout.width, y=base, font_size=12, text_anchor="end")
    svg.add(text, "tspan", figures, font_weight=600 if beyond else 400)
    if share and not math.isinf(one.bound):
        svg.add(text, "tspan", share, dx=6, class_="muted", font_size=11)


def _heading(of: Comparison) -> str:
    if of.labels_a == of.labels_b:
        return f"{of.labels_a.label}, {of.size}"
    return f"{of.size}: A {of.labels_a.label}, B {of.labels_b.label}"


def _amount(one: Difference) -> str:
    sign = "+" if one.difference > 0 and not math.isinf(one.bound) else ""
    return sign + within(one.difference, one.bound)


def _stack(of: Comparison, *, of_a: bool) -> float:
    return sum(max(0.0, one.mean_a if of_a else one.mean_b) for one in of.segments)
