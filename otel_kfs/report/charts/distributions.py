"""The spread of durations: what share of the images took no longer than a given time, in a small chart for each size.

Such a curve (the empirical distribution) rises by a step per image: there are no bins and no bandwidth to choose.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from otel_kfs.analysis.paths.segment import TOTAL, Stretch
from otel_kfs.report.charts import palette, svg
from otel_kfs.report.charts.axis import MS, apart, axis, labelled, milliseconds, within
from otel_kfs.report.contents import Contents, SeriesReport
from otel_kfs.report.segment_names import segment_name

WIDTH, _PLOT = 226, 130
_LEFT, _RIGHT, _LABEL = 34, 18, 15
_ALL = 120  # up to so many images each is a step; of more, evenly spaced ones and all of the tail
_TAIL = 12
_DOTS = 30  # up to so many images each step has a dot


def distributions(contents: Contents, stretch: Stretch = TOTAL) -> list[Element]:
    """Draw a chart for each size that has 4-1 or the segment, with a curve for each series."""
    sizes = dict.fromkeys(report.series.size for report in contents.series)
    charts = []
    for size in sizes:
        of_size = [(report, _lengths(report, stretch)) for report in contents.series if report.series.size == size]
        of_size = [(report, durations) for report, durations in of_size if durations]
        if of_size:
            bounds = [_bound(report, stretch) for report, _ in of_size]
            charts.append(_chart(size, segment_name(stretch), of_size, bounds))
    return charts


def _bound(report: SeriesReport, stretch: Stretch) -> float:
    """Return how far off p50 may be, because of two hosts' clocks."""
    return next(row.summary.bound for row in report.all_rows if row.segment == stretch)


def _chart(size: str, name: str, of_size: Sequence[tuple[SeriesReport, list[int]]], bounds: Sequence[float]) -> Element:
    top = 24 + _LABEL * len(of_size)
    bottom = top + _PLOT
    words = "; ".join(
        f"{report.series.labels.label}: {milliseconds(durations[0])} to {milliseconds(durations[-1])} ms"
        for report, durations in of_size
    )
    chart = svg.drawing(WIDTH, bottom + 22, f"Distribution of {name}, {size}", words)
    svg.add(chart, "text", svg.fitted(size, WIDTH), x=0, y=13, font_size=12.5, font_weight=600)
    scale = axis(
        [x / MS for _, durations in of_size for x in (durations[0], durations[-1])],
        _LEFT,
        WIDTH - _RIGHT,
        zero=False,
        about=3,
    )
    for share in (0, 25, 50, 75, 100):
        y = bottom - _PLOT * share / 100
        svg.add(chart, "line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="axis" if share in {0, 50} else "grid")
        if share % 50 == 0:
            svg.add(chart, "text", f"{share}%", x=_LEFT - 5, y=y + 3.5, font_size=10, text_anchor="end", class_="muted")
    for value in scale.ticks():
        x = scale(value)
        svg.add(chart, "line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis")
    for x, label, anchor in apart(labelled(scale.ticks(), "ms"), scale, 10.5, WIDTH):
        svg.add(chart, "text", label, x=x, y=bottom + 16, font_size=10.5, text_anchor=anchor, class_="muted")
    for number, (report, durations) in enumerate(of_size):
        n = len(durations)
        p50 = statistics.median(durations)
        colour = palette.labels_class(report.number)
        line = {"class_": palette.line_class(report.number), "stroke_dasharray": palette.dashes(report.number)}
        steps = _steps(n)
        path = [f"M{_n(scale(durations[0] / MS))} {_n(bottom)}"]
        for rank in steps:
            path.append(f"H{_n(scale(durations[rank] / MS))}V{_n(bottom - _PLOT * (rank + 1) / n)}")
        svg.add(chart, "path", d="".join(path), stroke_width=1.7, **line)
        if n <= _DOTS:
            for rank in steps:
                svg.mark(
                    chart,
                    "circle",
                    f"{report.title}: {rank + 1} of {n} took at most {milliseconds(durations[rank])} ms",
                    cx=scale(durations[rank] / MS),
                    cy=bottom - _PLOT * (rank + 1) / n,
                    r=2.6,
                    class_=colour,
                )
        y = 13 + _LABEL * (number + 1)
        figures = f"p50 {within(p50, bounds[number])} ms, n {n}"
        svg.add(chart, "line", x1=0, x2=16, y1=y - 4, y2=y - 4, stroke_width=2, **line)
        svg.add(
            chart,
            "text",
            f"{svg.fitted(report.series.labels.label, 96, 11)}  {figures}",
            x=21,
            y=y,
            font_size=11,
            class_=colour,
        )
    return chart


def _lengths(report: SeriesReport, stretch: Stretch) -> list[int]:
    if isinstance(stretch, str):
        return sorted(report.series.totals())
    found = report.series.segments.get(stretch)
    return sorted(found.values) if found is not None else []


def _steps(n: int) -> list[int]:
    """Return the ranks to draw: each of them stands where it would stand among all."""
    if n <= _ALL:
        return list(range(n))
    spaced = {round(number * (n - 1) / (_ALL - 1)) for number in range(_ALL)}
    return sorted(spaced | set(range(_TAIL)) | set(range(n - _TAIL, n)))


def _n(value: float) -> str:
    return f"{value:.1f}"
