"""The stacked bars: the mean image of each series, its segments in the order of the path, over one axis in ms."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from otel_kfs.report.charts import palette, svg
from otel_kfs.report.charts.axis import MS, Axis, axis, milliseconds, tick
from otel_kfs.report.contents import Contents, Row, SeriesReport
from otel_kfs.report.segment_names import segment_name, step_name

WIDTH = 960
_LEFT, _RIGHT = 84, 150  # pixels beside the bars: sizes, and the figures of 4-1
_BAR, _STEP, _HEADING = 22, 30, 34
_RARE = "0.35"  # opacity of what fewer than half of the images have
_THINNEST = 0.4  # pixels; what is shorter is not drawn


def stacked_bars(contents: Contents) -> Element:
    """Draw the chart."""
    height = body_height(contents)
    drawing = svg.drawing(
        WIDTH,
        height,
        "Segments of each series",
        "Stacked bars: each segment's mean over all images, in milliseconds. The table of segments has every figure.",
    )
    draw(drawing, contents)
    return drawing


def body_height(contents: Contents) -> float:
    """Return how high the chart is, legend and all, pixels."""
    return _plot_height(contents) + 34 + _legend_height(contents)


def draw(parent: Element, contents: Contents) -> None:
    """Draw the chart from the top left corner of `parent`."""
    bottom = _plot_height(contents)
    tails = [max(_stack(report), _tail(report.total), report.total.summary.p50) / MS for report in contents.series]
    scale = axis(tails, _LEFT, WIDTH - _RIGHT)
    for value in scale.ticks(6):
        x = scale(value)
        svg.add(parent, "line", x1=x, x2=x, y1=22, y2=bottom, class_="grid")
        svg.add(parent, "text", tick(value), x=x, y=bottom + 15, font_size=11, text_anchor="middle", class_="muted")
    svg.add(parent, "text", "ms", x=WIDTH - _RIGHT + 8, y=bottom + 15, font_size=11, class_="muted")
    y = 0.0
    for group in contents.by_labels:
        y += _HEADING
        svg.add(
            parent, "text", svg.fitted(group.labels.label, WIDTH - _LEFT), x=0, y=y - 11, font_size=13, font_weight=600
        )
        for report in group.series:
            _bar(parent, report, scale, y)
            y += _STEP
    _legend(parent, contents, bottom + 34)


def _bar(parent: Element, report: SeriesReport, scale: Axis, y: float) -> None:
    middle = y + _BAR / 2 + 4
    svg.add(
        parent,
        "text",
        svg.fitted(report.series.size, _LEFT - 16),
        x=_LEFT - 10,
        y=middle,
        font_size=12,
        text_anchor="end",
    )
    at = 0.0
    for row in report.rows:
        duration = row.mean / MS
        if duration <= 0:
            continue
        left, right = scale(at), scale(at + duration)
        at += duration
        if right - left < _THINNEST:
            continue
        # A hairline of the page's colour parts two neighbours, where there is room for it.
        gap = 0.8 if right - left > 3 else 0
        svg.mark(
            parent,
            "rect",
            tip(report, row),
            x=left,
            y=y,
            width=round(right - left - gap, 2),
            height=_BAR,
            class_=palette.segment_class(row.segment),
            **({"fill_opacity": _RARE} if row.is_rare else {}),
        )
        label = step_name(row.segment)
        if svg.text_width(label, 11) + 8 < right - left:
            svg.add(
                parent,
                "text",
                label,
                x=left + 5,
                y=middle,
                font_size=11,
                class_="" if row.is_rare else palette.on(row.segment),
                pointer_events="none",
            )
    total = report.total.summary
    below = y + _BAR + 2  # the bar, whose words a line would strike through
    p50, tail = scale(total.p50 / MS), scale(_tail(report.total) / MS)
    svg.add(parent, "line", x1=p50, x2=p50, y1=y - 3, y2=y + _BAR + 3, class_="ink", stroke_width=1.6)
    svg.add(parent, "line", x1=p50, x2=tail, y1=below, y2=below, class_="ink", stroke_width=1)
    x = max(scale(at), tail, p50) + 8
    figures = svg.mark(parent, "text", tip(report, report.total), x=x, y=middle, font_size=12)
    svg.add(figures, "tspan", milliseconds(total.p50), font_weight=600)
    svg.add(
        figures,
        "tspan",
        f"{_tail_name(report.total)} {milliseconds(_tail(report.total))}",
        dx=6,
        class_="muted",
        font_size=11,
    )


def tip(report: SeriesReport, row: Row) -> str:
    """Return the tooltip of a mark."""
    found = row.summary
    tail = f"p95 {milliseconds(found.p95)}" if found.p95 is not None else f"max {milliseconds(found.max)}"
    # Of a segment that few images have, its figures alone would say that it takes much of every image.
    n = f"n {found.n}" if not row.rarity else row.rarity
    mean = f"mean {milliseconds(row.mean)} ms{' of all images' if row.rarity else ''}"
    figures = f"{mean}, p50 {milliseconds(found.p50)} ms, {tail} ms, {n}, {row.share:.1%} of the time"
    return f"{row.name} · {report.title}: {figures}"


def _legend(parent: Element, contents: Contents, y: float) -> None:
    groups = palette.by_place(contents.segments)
    width = WIDTH / len(groups)
    for column, (place, segments) in enumerate(groups.items()):
        x = column * width
        svg.add(parent, "text", place, x=x, y=y + 12, font_size=11, font_weight=600, class_="muted")
        for number, segment in enumerate(segments):
            top = y + 22 + number * 17
            svg.add(parent, "rect", x=x, y=top, width=11, height=11, rx=1.5, class_=palette.segment_class(segment))
            # At its place a segment needs no more than its step; proxies stand before different servers.
            name = segment_name(segment)
            shown = name.removeprefix(f"{place.lower()} ")
            shown = palette.NO_SPAN if palette.place_and_step(segment)[1] == palette.NO_SPAN else shown
            label = svg.mark(parent, "text", name, x=x + 17, y=top + 9.5, font_size=11.5)
            label.text = svg.fitted(shown, width - 26, 11.5)


def _legend_height(contents: Contents) -> float:
    return 28 + 17 * max(len(segments) for segments in palette.by_place(contents.segments).values())


def _plot_height(contents: Contents) -> float:
    return sum(_HEADING + _STEP * len(group.series) for group in contents.by_labels) + 4


def _stack(report: SeriesReport) -> float:
    return sum(max(0.0, row.mean) for row in report.rows)


def _tail(row: Row) -> int:
    return row.summary.max if row.summary.p95 is None else row.summary.p95


def _tail_name(row: Row) -> str:
    return "max" if row.summary.p95 is None else "p95"
