"""What the tests of the report start from: contents made of drawn traces, and SVG read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from itertools import chain
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

from msgspec.structs import replace
from traces_builder import EPOCH, HTTP, KAFKA, linked, spans

from otel_kfs import semconv
from otel_kfs.analysis.comparison import Comparisons, compare
from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.report.contents import Contents, Origin, contents
from otel_kfs.report.html.comparison_page import Side
from otel_kfs.traces.span import Span, SpanGraph

ORIGIN = Origin(
    "traces/", "otel-kfs report --trace-query traces/", "1.2.3", datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
)
SIZES = (1_100_000, 3_300_000, 10_200_000)

HOSTILE = {
    "a script": "<script>window.ran = 1</script>",
    "the end of our script": "</script><script>window.ran = 1</script>",
    "the end of a title": "</title><img src=x onerror='window.ran = 1'>",
    "the end of an attribute": "\"><img src=x onerror='window.ran = 1'>",
    "the end of a drawing": "</text></svg><iframe srcdoc='<script>top.ran = 1</script>'>",
    "a template": "{{ 7 * 7 }}{% raw %}",
    "a style": "</style><style>body { display: none }",
    "lines": "one\ntwo\r\nthree\u2028four",
    "control characters": "nul\x00 bell\x07 escape\x1b[31m",
    "a right-to-left override": "evil\u202egpj.exe",
    "right to left": "\u05ea\u05de\u05d5\u05e0\u05d4",
    "half a character": "\ud800",
    "a huge name": "W" * 5000,
    "not a number": "NaN",
    "an entity": "&lt;b&gt;&amp;#x3c;",
}


def image(
    trace: str,
    *,
    drawing: str = HTTP,
    consumer: str | None = None,
    size: int = SIZES[0],
    factor: float = 1.0,
    **attributes: Any,
) -> list[Span]:
    """The spans of one image, all `factor` times as long as drawn; the attributes are its root's.

    With `consumer`, the image goes through Kafka, and on in a trace of that name, linked to its own.
    """
    root, *others = spans(drawing, trace) if consumer is None else linked(trace, consumer)
    root = replace(root, attributes={**root.attributes, semconv.IMAGE_SIZE: size, **attributes})

    def stretched(moment: int) -> int:
        return EPOCH + round((moment - EPOCH) * factor)

    return [replace(span, start=stretched(span.start), end=stretched(span.end)) for span in (root, *others)]


def measurement_of_both_transports(n: int = 3) -> list[list[Span]]:
    """`n` images of each of the three sizes over HTTP and Kafka; the larger, and the later, the longer."""
    return [
        image(f"{prefix}{size}n{number:03}", drawing=drawing, size=size, factor=size / 5_000_000 + number / 10)
        for prefix, drawing in (("h", HTTP), ("k", KAFKA))
        for size in SIZES
        for number in range(n)
    ]


def contents_of(
    images: Iterable[list[Span]],
    link: Callable[[str], str | None] = lambda _: None,
    spans: Callable[[Sequence[str]], Iterable[Span]] | None = None,
) -> Contents:
    """What a report says of some images; `link` and `spans` are what their store answers."""
    graph = SpanGraph(chain.from_iterable(images))
    store: Any = SimpleNamespace(link=link, traces=spans or (lambda _: graph))
    return contents(corrected(measured(*critical_paths(graph)), store), ORIGIN)


def compared(name: str = "", n: int = 12) -> tuple[Comparisons, Side, Side]:
    """Two sizes on both sides, of which B takes longer; `name`: the label of B's images, and B's query."""
    sides = []
    for side, factor, labels in (("a", 1.0, {}), ("b", 1.3, {semconv.CELL: name} if name else {})):
        sent = [(size, number) for size in SIZES[:2] for number in range(n)]
        images = [image(f"{side}{size}n{i}", size=size, factor=factor + i / 100, **labels) for size, i in sent]
        sides.append(contents_of(images).measurement.series)
    line = f"{2 * n} images measured"
    return compare(*sides), Side("a/", line), Side(name or "b/", line)


def tips(chart: ElementTree.Element) -> list[str]:
    """What the marks of a chart say when pointed at."""
    return [mark.findtext("title") or "" for mark in chart.iter() if "mark" in (mark.get("class") or "").split()]


def texts(chart: ElementTree.Element) -> list[str]:
    """Every text that is drawn."""
    return ["".join(text.itertext()) for text in chart.iter("text") if text.find("title") is None]
