"""SVG, written by ElementTree, which escapes every name."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from otel_kfs.traces.printable import printable

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Source Sans Pro', Arial, sans-serif"
_NARROW = frozenset("iljtfr.,:;'|!()[] -1I")
_WIDE = frozenset("mwMW@%")


def drawing(width: float, height: float, title: str, description: str = "") -> Element:
    """Make an empty drawing with its accessible name; sizes are pixels."""
    return titled(
        Element("svg", {"viewBox": f"0 0 {_number(width)} {_number(height)}", "role": "img", "class": "chart"}),
        title,
        description,
    )


def titled(element: Element, title: str, description: str = "") -> Element:
    """Give an element its accessible name, which browsers also show as a tooltip."""
    add(element, "title", title)
    if description:
        add(element, "desc", description)
    return element


def add(parent: Element, tag: str, text: str | None = None, /, **attributes: Any) -> Element:
    """Add a new element at the end of `parent`; `stroke_width=1` is `stroke-width="1"`, and `class_` is `class`."""
    made = SubElement(parent, tag, {key.rstrip("_").replace("_", "-"): _text(v) for key, v in attributes.items()})
    if text is not None:
        made.text = printable(text)
    return made


def mark(parent: Element, tag: str, tip: str, **attributes: Any) -> Element:
    """Add an element that says what it stands for when pointed at."""
    made = add(parent, tag, **attributes)
    made.set("class", f"{made.get('class', '')} mark".strip())
    add(made, "title", tip)
    return made


def markup(element: Element) -> str:
    """Return the drawing as text, for HTML or a file."""
    return tostring(element, encoding="unicode")


def fitted(text: str, width: float, size: float = 12) -> str:
    """Return the text, or as much of it as fits into `width` pixels and an ellipsis."""
    text = printable(text)
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[: min(len(text) - 1, int(width / size * 4))]
    return text.rstrip() + "…"


def text_width(text: str, size: float = 12) -> float:
    """Estimate how wide a text is drawn, pixels."""
    return size * sum(0.33 if c in _NARROW else 0.92 if c in _WIDE else 1.0 if ord(c) > 0x2E80 else 0.57 for c in text)


def _text(value: Any) -> str:
    return _number(value) if isinstance(value, int | float) else printable(str(value))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
