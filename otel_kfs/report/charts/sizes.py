"""Latency against size: the images of the same labels, and the line through them; the same for larger segments."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from xml.etree.ElementTree import Element

from otel_kfs.analysis.paths.segment import TOTAL, Segment
from otel_kfs.analysis.size_fit import MEGABYTE, Line
from otel_kfs.report.charts import palette, svg
from otel_kfs.report.charts.axis import MS, Axis, apart, axis, labelled, milliseconds, tick, within
from otel_kfs.report.contents import Contents, LabelsReport, SeriesReport
from otel_kfs.report.segment_names import segment_name

WIDTH, HEIGHT = 880, 400
NARROW, NARROW_HEIGHT = 358, 320  # where there is no room beside the lines, their labels stand above
SMALL, SMALL_HEIGHT = 226, 180
_POINTS = 120  # of a series, at most, in the large chart
_FEW = 30  # points that may be larger
_TICKS, _FEW_TICKS = 6, 3
_ABOVE = 18  # pixels of a label above the chart
_GOLDEN = 0.6180339887


def has_sizes(contents: Contents) -> bool:
    """Return whether some labels have two sizes: without those there is no line to draw."""
    return any(group.fits.total is not None for group in contents.by_labels)


def sizes(contents: Contents, *, narrow: bool = False) -> Element:
    """Draw 4-1 against the image's size."""
    above = _ABOVE * sum(group.fits.total is not None for group in contents.by_labels)
    drawing = svg.drawing(
        NARROW if narrow else WIDTH,
        NARROW_HEIGHT + above if narrow else HEIGHT,
        "Total (4-1) against the image's size",
        "Points: images. Lines: least squares. The table of costs has every figure.",
    )
    if narrow:
        _draw(drawing, contents, (46, NARROW - 18), (24 + above, NARROW_HEIGHT + above - 40), beside=False)
    else:
        draw(drawing, contents)
    return drawing


def draw(parent: Element, contents: Contents) -> None:
    """Draw the large chart from the top left corner of `parent`."""
    _draw(parent, contents, (52, WIDTH - 190), (24, HEIGHT - 40), beside=True)


def _draw(
    parent: Element, contents: Contents, across: tuple[float, float], down: tuple[float, float], *, beside: bool
) -> None:
    """Draw the chart between these pixels, the lines' labels beside it or above it."""
    (left, right), (top, bottom) = across, down
    about = _TICKS if beside else 4
    sized = [report for report in contents.series if report.series.image_sizes]
    x = axis(_ends(sized), left, right, about=about)
    lines = [group.fits.total for group in contents.by_labels if group.fits.total is not None]
    ends = [line.at(size * MEGABYTE) for line in lines for size in (0, x.high)]
    durations = [value for report in sized for value in (min(report.series.totals()), report.total.summary.max)]
    y = axis([value / MS for value in ends + durations], bottom, top, about=about)
    _grid(parent, x, y)
    svg.add(parent, "text", f"{TOTAL}, ms", x=0, y=top - 10, font_size=11, class_="muted")
    svg.add(
        parent, "text", "size of the image, MB", x=right, y=bottom + 36, font_size=11, text_anchor="end", class_="muted"
    )
    _points(parent, contents, x, y)
    labels = []
    for group in contents.by_labels:
        line = group.fits.total
        if line is None:
            continue
        _line(parent, group, line, x, y)
        labels.append((y(line.at(x.high * MEGABYTE) / MS), group, line))
    if beside:
        for at, group, line in _apart(labels, 34):
            _label_beside(parent, group, line, right + 10, at)
    else:
        for number, (_, group, line) in enumerate(labels):
            _label_above(parent, group, line, 12 + number * _ABOVE)


def _points(parent: Element, contents: Contents, x: Axis, y: Axis) -> None:
    """Draw the images; labels stand side by side, so that none hides another, and images of one size apart."""
    count = len(contents.by_labels)
    for group in contents.by_labels:
        aside = (group.number - (count - 1) / 2) * min(11.0, 34 / count)
        for report in group.series:
            sizes, totals = report.series.image_sizes, report.series.totals()
            if not sizes:
                continue
            by_total = sorted(range(len(totals)), key=totals.__getitem__)
            for number, image in enumerate(by_total[rank] for rank in _thinned(len(totals))):
                spread = ((number * _GOLDEN) % 1 - 0.5) * min(8.0, 24 / count)
                svg.add(
                    parent,
                    "circle",
                    cx=x(sizes[image] / MEGABYTE) + aside + spread,
                    cy=y(totals[image] / MS),
                    r=2.1 if len(totals) > _FEW else 2.8,
                    class_=palette.labels_class(group.number),
                    opacity="0.45" if len(totals) > _FEW else "0.7",
                )


def _label_beside(parent: Element, group: LabelsReport, line: Line, x: float, y: float) -> None:
    colour = palette.labels_class(group.number)
    label = svg.fitted(group.labels.label, 178, 13.5)
    svg.add(parent, "text", label, x=x, y=y, font_size=12, font_weight=600, class_=colour)
    svg.add(parent, "text", cost(line), x=x, y=y + 15, font_size=11, class_=colour)


def _label_above(parent: Element, group: LabelsReport, line: Line, y: float) -> None:
    colour = palette.labels_class(group.number)
    svg.add(parent, "line", x1=0, x2=16, y1=y - 4, y2=y - 4, class_=palette.line_class(group.number), stroke_width=2)
    text = svg.add(parent, "text", x=22, y=y, font_size=11.5, class_=colour)
    svg.add(text, "tspan", svg.fitted(group.labels.label, 130), font_weight=600)
    svg.add(text, "tspan", cost(line), dx=8, font_size=11)


def small(contents: Contents, segments: Sequence[Segment]) -> list[Element]:
    """Draw a small chart of each segment, on its own scale from 0: the means and lines of all labels.

    Points and lines are of all images, those that lack the segment among them, so that the two agree.
    """
    return [_small(contents, segment) for segment in segments]


def that_matter(contents: Contents, share: float = 0.02) -> list[Segment]:
    """Return the segments that take at least that share of some series' time, in the order of the path."""
    return [
        segment
        for segment in contents.segments
        if any(row.segment == segment and row.share >= share for report in contents.series for row in report.rows)
    ]


def cost(line: Line) -> str:
    """Describe a line in words."""
    fixed, per_megabyte = within(line.fixed, line.fixed_bound), within(line.per_megabyte, line.per_megabyte_bound)
    unit = "/MB" if line.fixed_bound else " ms per MB"  # where there is less room for it
    return f"{fixed} ms + {per_megabyte}{unit}"


def _small(contents: Contents, segment: Segment) -> Element:
    name = segment_name(segment)
    left, right, top, bottom = 34, SMALL - 16, 38, SMALL_HEIGHT - 24
    costs = "; ".join(
        f"{group.labels.label}: {cost(line)}"
        for group in contents.by_labels
        if (line := group.fits.segments.get(segment)) is not None
    )
    chart = svg.drawing(SMALL, SMALL_HEIGHT, f"{name} against the image's size", costs)
    svg.add(
        chart,
        "rect",
        x=0,
        y=2,
        width=10,
        height=10,
        rx=1.5,
        class_=palette.segment_class(segment),
        data_segment=name,
    )
    svg.add(chart, "text", svg.fitted(name, SMALL - 20), x=16, y=11.5, font_size=12, font_weight=600)
    sized = [report for report in contents.series if report.series.image_sizes]
    x = axis(_ends(sized), left, right, about=4)
    means = [row.mean / MS for report in contents.series for row in report.rows if row.segment == segment]
    lines = [line for group in contents.by_labels if (line := group.fits.segments.get(segment)) is not None]
    y = axis(
        means + [line.at(size * MEGABYTE) / MS for line in lines for size in (0, x.high)], bottom, top, about=_FEW_TICKS
    )
    _grid(chart, x, y, 10)
    svg.add(chart, "text", "ms", x=left - 6, y=top - 8, font_size=10, text_anchor="end", class_="muted")
    for group in contents.by_labels:
        line = group.fits.segments.get(segment)
        if line is not None:
            _line(chart, group, line, x, y, 1.4)
        for report in group.series:
            for row in report.rows:
                if row.segment == segment and report.series.image_sizes:
                    svg.mark(
                        chart,
                        "circle",
                        f"{name} · {report.title}: mean {milliseconds(row.mean)} ms of {row.images} images"
                        + (f", {row.rarity}" if row.rarity else ""),
                        cx=x(fmean(report.series.image_sizes) / MEGABYTE),
                        cy=y(row.mean / MS),
                        r=3,
                        class_=palette.labels_class(group.number),
                    )
    return chart


def _grid(parent: Element, x: Axis, y: Axis, font: float = 11) -> None:
    for value in y.ticks():
        at = y(value)
        svg.add(parent, "line", x1=x.start, x2=x.end, y1=at, y2=at, class_="axis" if value == 0 else "grid")
        svg.add(
            parent, "text", tick(value), x=x.start - 6, y=at + 3.5, font_size=font, text_anchor="end", class_="muted"
        )
    for value in x.ticks():
        at = x(value)
        svg.add(parent, "line", x1=at, x2=at, y1=y.start, y2=y.start + 4, class_="axis")
    for at, label, anchor in apart(labelled(x.ticks(), "MB"), x, font, x.end + 14):
        svg.add(parent, "text", label, x=at, y=y.start + 16, font_size=font, text_anchor=anchor, class_="muted")


def _line(parent: Element, group: LabelsReport, line: Line, x: Axis, y: Axis, width: float = 1.6) -> None:
    # Drawn from 0 MB, where it meets the fixed cost: dashed there, as no image was that small.
    smallest, _ = _ends([report for report in group.series if report.series.image_sizes])
    for start, end, dashes in ((0.0, smallest, "3 3"), (smallest, x.high, "none")):
        svg.add(
            parent,
            "line",
            x1=x(start),
            x2=x(end),
            y1=y(line.at(start * MEGABYTE) / MS),
            y2=y(line.at(end * MEGABYTE) / MS),
            class_=palette.line_class(group.number),
            stroke_width=width,
            stroke_dasharray=dashes,
        )


def _apart(labels: list[tuple[float, LabelsReport, Line]], distance: float) -> list[tuple[float, LabelsReport, Line]]:
    """Move labels down where they would overlap, from top to bottom; the lowest stays on the chart."""
    placed: list[tuple[float, LabelsReport, Line]] = []
    for at, group, line in sorted(labels, key=lambda label: label[0]):
        low = placed[-1][0] + distance if placed else 12.0
        placed.append((max(at, low), group, line))
    over = placed[-1][0] + 18 - HEIGHT if placed else 0.0
    return [(at - max(0.0, over), group, line) for at, group, line in placed]


def _thinned(n: int) -> list[int]:
    """Return ranks evenly spaced from the smallest to the largest."""
    if n <= _POINTS:
        return list(range(n))
    return sorted({round(number * (n - 1) / (_POINTS - 1)) for number in range(_POINTS)})


def _ends(reports: Sequence[SeriesReport]) -> tuple[float, float]:
    """Return the sizes of the smallest and the largest image, MB."""
    sizes = [report.series.image_sizes for report in reports]
    return min(map(min, sizes)) / MEGABYTE, max(map(max, sizes)) / MEGABYTE
