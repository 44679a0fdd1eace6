"""The charts as one figure for a document: SVG, with its colours in itself, or PNG."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from importlib.resources import as_file, files
from importlib.util import find_spec
from xml.etree.ElementTree import Element

from otel_kfs.errors import ConfigError, MissingExtra
from otel_kfs.report.charts import palette, sizes, stacked_bars, svg
from otel_kfs.report.contents import Contents
from otel_kfs.report.coverage_lines import coverage_line

CHARTS = ("segments", "sizes")
_MARGIN, _GAP, _HEADING = 24, 34, 30
_ZOOM = 2.0  # PNG pixels a pixel of the drawing
_FONT, _FONT_PACKAGE = "Source Sans Pro", "font_source_sans_pro"


def figure(contents: Contents, charts: Sequence[str] = CHARTS) -> str:
    """Draw the charts below each other, as SVG.

    Raises:
        ConfigError: `sizes` alone is asked for, and there is only one size.
    """
    parts = [name for name in charts if name == "segments" or sizes.has_sizes(contents)]
    if not parts:
        raise ConfigError("the images are all of one size: latency against size can't be drawn")
    heights = {"segments": stacked_bars.body_height(contents), "sizes": float(sizes.HEIGHT)}
    titles = {
        "segments": "Where the time goes: mean of each segment (pale: in under half the images); triangle: p50",
        "sizes": "Total (4-1) against the image's size, and least squares",
    }
    height = 2 * _MARGIN + sum(heights[part] + _HEADING for part in parts) + _GAP * (len(parts) - 1) + 22
    width = stacked_bars.WIDTH + 2 * _MARGIN
    drawing = svg.drawing(width, height, "Where the time goes", coverage_line(contents.measurement.coverage))
    drawing.set("xmlns", "http://www.w3.org/2000/svg")
    drawing.set("width", str(width))
    drawing.set("height", f"{height:.0f}")
    drawing.set("font-family", svg.FONT)
    svg.add(drawing, "style").text = palette.style(0)
    svg.add(drawing, "rect", width=width, height=height, class_="page")
    y = float(_MARGIN)
    for part in parts:
        svg.add(drawing, "text", titles[part], x=_MARGIN, y=y + 14, font_size=14, font_weight=600)
        y += _HEADING
        group = svg.add(drawing, "g", transform=f"translate({_MARGIN} {y:.1f})")
        (stacked_bars.draw if part == "segments" else sizes.draw)(group, contents)
        y += heights[part] + _GAP
    _foot(drawing, contents, height)
    return svg.markup(drawing) + "\n"


def need_png() -> None:
    """Raise MissingExtra where what makes PNG, or its font, is not installed."""
    for module, package in (("resvg_py", "resvg-py"), (_FONT_PACKAGE, "font-source-sans-pro")):
        if find_spec(module) is None:
            raise MissingExtra(package, "report")


def png(drawing: str) -> bytes:
    """Turn a figure into PNG, with 2 x 2 pixels for each of its own.

    Raises:
        MissingExtra: resvg or the font is not installed.
    """
    need_png()
    import resvg_py

    # The font comes with us, so that a figure looks the same on a server that has none; others serve for what it lacks.
    fonts = files(_FONT_PACKAGE) / "files"
    with ExitStack() as stack:
        weights = [
            str(stack.enter_context(as_file(fonts / f"SourceSansPro-{weight}.ttf")))
            for weight in ("Regular", "Semibold")
        ]
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=drawing.replace(svg.FONT, _FONT), font_files=weights, font_family=_FONT, zoom=_ZOOM
            )
        )


def _foot(drawing: Element, contents: Contents, height: float) -> None:
    start, end = contents.time_range
    sent = f"{start:%Y-%m-%d %H:%M} to {end:%H:%M} UTC"
    words = f"{coverage_line(contents.measurement.coverage)} · {sent} · otel-kfs {contents.origin.version}"
    svg.add(
        drawing,
        "text",
        svg.fitted(words, stacked_bars.WIDTH, 10.5),
        x=_MARGIN,
        y=height - 12,
        font_size=10.5,
        class_="muted",
    )
