"""What tells segments apart besides their colours: a letter for each, the same in bars, legend and tables."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase
from xml.etree.ElementTree import Element

from otel_kfs.analysis.paths.segment import Segment, Stretch
from otel_kfs.report.charts import palette, svg
from otel_kfs.report.segment_names import segment_name

_LETTERS = ascii_uppercase + ascii_lowercase
_CHIP, _ROW = 13, 18


def letters(segments: Sequence[Segment]) -> dict[Stretch, str]:
    """Return the letter of each segment, in their order: `A` to `z`, then `AA`, `AB` ..."""
    return {segment: _letter(number) for number, segment in enumerate(segments)}


def legend_name(segment: Segment) -> str:
    """Return a segment's name below the heading of its place: `decode` for `transformer decode`."""
    place, step = palette.place_and_step(segment)
    return palette.NO_SPAN if step == palette.NO_SPAN else segment_name(segment).removeprefix(f"{place.lower()} ")


def legend_height(segments: Sequence[Segment]) -> float:
    """Return how high the legend is, pixels."""
    return 28 + _ROW * max(map(len, palette.by_place(segments).values()), default=0)


def draw_legend(parent: Element, segments: Sequence[Segment], width: float, y: float) -> None:
    """Draw the legend of a figure, a column for each place."""
    groups = palette.by_place(segments)
    letter = letters(segments)
    room = width / max(1, len(groups))
    for column, (place, of_place) in enumerate(groups.items()):
        x = column * room
        svg.add(parent, "text", place, x=x, y=y + 12, font_size=11, font_weight=600, class_="muted")
        for number, segment in enumerate(of_place):
            top = y + 22 + number * _ROW
            svg.add(
                parent, "rect", x=x, y=top, width=_CHIP, height=_CHIP, rx=1.5, class_=palette.segment_class(segment)
            )
            svg.add(
                parent,
                "text",
                letter[segment],
                x=x + _CHIP / 2,
                y=top + 10,
                font_size=9 if len(letter[segment]) == 1 else 7,
                text_anchor="middle",
                class_=palette.on(segment),
            )
            label = svg.mark(parent, "text", segment_name(segment), x=x + 19, y=top + 10.5, font_size=11.5)
            label.text = svg.fitted(legend_name(segment), room - 26, 11.5)


def _letter(number: int) -> str:
    before, last = divmod(number, len(_LETTERS))
    return (_letter(before - 1) if before else "") + _LETTERS[last]
