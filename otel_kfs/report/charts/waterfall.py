"""One image's spans as a trace viewer draws them, below its stamps and its segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from xml.etree.ElementTree import Element

from otel_kfs import semconv
from otel_kfs.analysis.paths.path_builder import Section
from otel_kfs.analysis.paths.segment import DELIVER, ENCODE, Place, Segment
from otel_kfs.report.charts import palette, svg
from otel_kfs.report.charts.axis import MS, Axis, axis, labelled, milliseconds
from otel_kfs.report.contents import MedianPath
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.span import Key, Kind, Span, SpanGraph

MOST = 150  # spans drawn of one trace
_SHORTEST = 1.2  # pixels
_TOP = 44  # pixels above the spans: for the stamps' numbers and the segments


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand, pixels. `beside`: names stand beside the bars, else above each.

    `names` and `trace`: where names begin, and where a line stands beside the spans of a linked trace.
    """

    width: int
    left: int
    right: int
    row: int
    names: int
    trace: float
    indent: int
    deepest: int
    ticks: int
    beside: bool = True


WIDE = Layout(width=960, left=350, right=62, row=19, names=136, trace=131.5, indent=9, deepest=14, ticks=6)
NARROW = Layout(width=358, left=0, right=18, row=29, names=8, trace=2.5, indent=5, deepest=10, ticks=3, beside=False)


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A span and how deep it lies below the image's root."""

    depth: int
    span: Span
    links_to: Span | None = None  # the span above it, where it begins a trace of its own

    def height(self, layout: Layout) -> int:
        """Return how many pixels it takes; a line above the span says that another trace begins."""
        return layout.row if self.links_to is None else 2 * layout.row


@dataclass(frozen=True, slots=True)
class _TimeAxis:
    """Where moments lie, pixels; its ticks are in ms since the `first`."""

    axis: Axis
    first: int  # ns since the epoch

    def __call__(self, moment: int) -> float:
        return self.axis((moment - self.first) / MS)


def span_rows(graph: SpanGraph, root: Span) -> list[SpanRow]:
    """Return the root and all below it, each below its parent, by their starts."""
    found: list[SpanRow] = []
    seen: set[Key] = set()
    waiting = [SpanRow(0, root)]
    while waiting:
        row = waiting.pop()
        if row.span.key in seen:  # parents in a circle
            continue
        seen.add(row.span.key)
        found.append(row)
        waiting += [
            SpanRow(row.depth + 1, child, row.span if child.trace_id != row.span.trace_id else None)
            for child in reversed(graph.children(row.span))
        ]
    return found


def waterfall(drawn: MedianPath, layout: Layout = WIDE) -> Element:
    """Draw the chart."""
    rows = span_rows(drawn.graph, drawn.root)
    shown = rows[:MOST]
    scale = _time_axis(drawn, shown, layout)
    ends = list(accumulate((row.height(layout) for row in shown), initial=_TOP))[1:]
    bottom = ends[-1] + 4
    left_out = len(rows) - len(shown)
    chart = svg.drawing(
        layout.width,
        bottom + 20 + (16 if left_out else 0),
        f"Spans of the median image: {drawn.of.title}",
        f"Trace {' and linked trace '.join(trace.trace_id for trace in drawn.of.median.whole)}: "
        f"{len(rows)} spans over {milliseconds(drawn.path.stamps[3] - drawn.root.start)} ms.",
    )
    _grid(chart, scale.axis, bottom)
    if layout.beside:
        svg.add(chart, "text", "segments", x=0, y=31, font_size=11, class_="muted")
    _segments(chart, drawn.path.sections, scale)
    _stamps(chart, [None if stamp is None else scale(stamp) for stamp in drawn.path.stamps], bottom)
    hosts = {row.span.host for row in rows}
    colours = _service_classes(rows)
    above = ""
    for row, end in zip(shown, ends, strict=True):
        at = f"{row.span.service} @{row.span.host}" if len(hosts) > 1 else row.span.service
        if row.span.host in drawn.unknown:
            at += " \u00b1?"
        y = end - layout.row
        if row.links_to is not None:
            _beginning(chart, row.span, row.links_to, y - layout.row, layout)
        if row.span.trace_id != drawn.root.trace_id:
            begin = end - row.height(layout)
            svg.add(chart, "line", x1=layout.trace, x2=layout.trace, y1=begin, y2=end, class_="ink")
        if at != above and layout.beside:
            svg.add(chart, "text", svg.fitted(at, 128, 11), x=0, y=y + 13, font_size=11, class_="muted")
        _span(chart, row, y, at, colours[row.span.service], scale, layout, names_service=at != above)
        above = at
    if left_out:
        svg.add(chart, "text", f"and {left_out} more spans", x=0, y=bottom + 32, font_size=11, class_="muted")
    return chart


def _time_axis(drawn: MedianPath, shown: Sequence[SpanRow], layout: Layout) -> _TimeAxis:
    """Make an axis that holds the spans that are drawn, and the image's last stamp."""
    first = drawn.root.start
    moments = [moment for row in shown for moment in (row.span.start, row.span.end)] + [drawn.path.stamps[3]]
    values = [(moment - first) / MS for moment in moments]
    return _TimeAxis(axis(values, layout.left, layout.width - layout.right, about=layout.ticks), first)


def _grid(chart: Element, scale: Axis, bottom: float) -> None:
    for value, label in labelled(scale.ticks(), "ms"):
        x = scale(value)
        anchor = "start" if x < svg.text_width(label, 10.5) / 2 else "middle"
        svg.add(chart, "line", x1=x, x2=x, y1=_TOP - 2, y2=bottom, class_="grid")
        svg.add(chart, "text", label, x=x, y=bottom + 14, font_size=10.5, text_anchor=anchor, class_="muted")


def _segments(chart: Element, sections: Iterable[Section], scale: _TimeAxis) -> None:
    """Draw the path's segments in a row above the spans."""
    for section in sections:
        x, end = scale(section.start), scale(section.end)
        if end - x >= 0.2:
            name = segment_name(section.segment)
            svg.mark(
                chart,
                "rect",
                f"{name}: {milliseconds(section.duration)} ms",
                x=x,
                y=20,
                width=round(end - x, 2),
                height=15,
                class_=palette.segment_class(section.segment),
                data_segment=name,
            )


def _beginning(chart: Element, span: Span, links_to: Span, y: float, layout: Layout) -> None:
    """Draw the line that says which trace begins here."""
    tip = (
        f"Here begins the linked trace {span.trace_id}: {span.name} is no child of {links_to.name}, "
        f"but links to it, in the trace {links_to.trace_id}"
    )
    svg.add(chart, "line", x1=layout.trace, x2=layout.width - layout.right, y1=y, y2=y, class_="axis")
    label = svg.mark(chart, "text", tip, x=layout.names, y=y + 14, font_size=11, font_weight=600)
    label.text = svg.fitted(f"linked trace {span.trace_id[:8]}", 206, 11)


def _span(
    chart: Element,
    row: SpanRow,
    y: float,
    at: str,
    colour: str,
    scale: _TimeAxis,
    layout: Layout,
    *,
    names_service: bool,
) -> None:
    span = row.span
    duration = span.end - span.start
    tip = (
        f"{span.name} · {at} · {span.kind.name}: starts at {milliseconds(span.start - scale.first)} ms, "
        f"takes {milliseconds(duration)} ms{', failed' if span.failed else ''}"
    )
    base = y + 13
    label = milliseconds(duration)
    indent = layout.names + min(row.depth, layout.deepest) * layout.indent
    room = (layout.left - 14 if layout.beside else layout.width - 60) - indent
    name = svg.fitted(("✕ " if span.failed else "") + span.name, room, 11.5)
    svg.add(chart, "text", name, x=indent, y=base, font_size=11.5)
    x, end = scale(span.start), scale(span.end)
    bar = {"x": x, "y": y + 4, "height": 11} if layout.beside else {"x": x, "y": y + 17, "height": 8}
    svg.mark(chart, "rect", tip, width=round(max(end - x, _SHORTEST), 2), rx=1, class_=colour, **bar)
    if not layout.beside:
        svg.add(chart, "text", label, x=layout.width, y=base, font_size=10.5, text_anchor="end", class_="muted")
        left = room - svg.text_width(name, 11.5) - 12
        if names_service and left > 30:
            beside = indent + svg.text_width(name, 11.5) + 10
            svg.add(chart, "text", svg.fitted(at, left, 10), x=beside, y=base, font_size=10, class_="muted")
    elif end + svg.text_width(label, 10.5) + 6 < layout.width:
        svg.add(chart, "text", label, x=max(end, x + _SHORTEST) + 5, y=base, font_size=10.5, class_="muted")
    else:
        svg.add(chart, "text", label, x=x - 5, y=base, font_size=10.5, text_anchor="end", class_="muted")


def _stamps(chart: Element, places: list[float | None], bottom: float) -> None:
    """Draw the stamps as numbered lines; those that fall together share a place."""
    last = -100.0
    for number, x in enumerate(places, 1):
        if x is None:  # no span says when it was
            continue
        svg.add(chart, "line", x1=x, x2=x, y1=15, y2=bottom, class_="ink", stroke_width=0.7, stroke_dasharray="2 3")
        shown = max(x, last + 10)
        svg.add(chart, "text", str(number), x=shown, y=11, font_size=11, font_weight=600, text_anchor="middle")
        last = shown


def _service_classes(rows: list[SpanRow]) -> dict[str, str]:
    """Choose a colour for each service, that of its place on the path."""
    found: dict[str, str] = {}
    for row in rows:
        span = row.span
        role = span.attributes.get(semconv.ROLE)
        if role == semconv.TRANSFORMER:
            found[span.service] = palette.segment_class(Segment(Place(semconv.TRANSFORMER), semconv.DECODE))
        elif role == semconv.PREDICTOR:
            found[span.service] = palette.segment_class(Segment(Place(semconv.PREDICTOR), semconv.DECODE))
        elif span.kind is Kind.CONSUMER:
            found.setdefault(span.service, palette.segment_class(DELIVER))
        elif span.name == semconv.SEND_IMAGE:
            found.setdefault(span.service, palette.segment_class(ENCODE))
    for row in rows:
        found.setdefault(row.span.service, palette.segment_class(Segment(Place(""))))
    return found
