"""One HTML file of a template: its style and script within, every name escaped, nothing asked of anybody."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import otel_kfs
from otel_kfs.analysis.paths.segment import TOTAL, Segment
from otel_kfs.report import render
from otel_kfs.report.charts import palette, svg
from otel_kfs.report.charts.axis import MS, milliseconds
from otel_kfs.report.charts.legend import legend_name, letters
from otel_kfs.report.contents import Row
from otel_kfs.report.enclosing import off, percent
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.printable import printable

_HERE = Path(__file__).parent
_LINKS = ("#1b5faa", "#82b7f2")
_CODE = re.compile("`([^`]+)`")
_SENTENCE_ENDS = re.compile(r"(?<=[\w)%`])\. (?=[A-Z`])")


def html_file(template: str, segments: Iterable[Segment], **values: Any) -> str:
    """Return the file's text. `segments`: those that have a letter in its legend."""
    segments = [*segments]
    found = environment(_HERE)
    found.filters["coded"] = lambda text: coded(text, segments)
    css, script = style(), (_HERE / "page.js").read_text(encoding="utf-8")
    found.globals |= {
        **shared_values(segments),
        # Our own files, without a figure or a name in them.
        "style": Markup(css),  # noqa: S704
        "script": Markup(script),  # noqa: S704
        "style_hash": _hash(css),
        "script_hash": _hash(script),
    }
    return found.get_template(template).render(**values)


def environment(*folders: Path) -> Environment:
    """Return what makes text of the templates in some folders; those of this one can be imported in them."""
    found = Environment(
        loader=FileSystemLoader([*folders, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {
        "plain": lambda text: printable(str(text)),
        "segment_name": segment_name,
        "legend_name": legend_name,
    }
    return found


def shared_values(segments: Sequence[Segment]) -> dict[str, Any]:
    """Return what macros.html needs, for segments that have a letter in the legend."""
    return {
        "version": otel_kfs.__version__,
        "total": TOTAL,
        "segment_class": palette.segment_class,
        "on": palette.on,
        "letters": letters(segments),
        "places": palette.by_place(segments),
        "cell": render.cell,
        "ms": milliseconds,
        "figure": _figure,
        "off": _off,
        "share": _share,
    }


def drawn(chart: Element) -> Markup:
    """Return a chart as markup."""
    return Markup(svg.markup(chart))  # noqa: S704 - ElementTree has escaped it


def sentences(text: str) -> list[str]:
    """Split a text into its sentences."""
    found = _SENTENCE_ENDS.split(text)
    return [f"{one}." for one in found[:-1]] + found[-1:]


def coded(text: str, segments: Iterable[Segment]) -> Markup:
    """Escape a text, and mark what stands between backquotes as code, or as the segment that it names."""
    by_name = {segment_name(one): one for one in segments}

    def marked(match: re.Match[str]) -> str:
        name = match[1]
        segment = by_name.get(name)
        if segment is None:
            return f"<code>{escape(printable(name))}</code>"
        first, space, rest = printable(name).partition(" ")
        chip = f'<rect width="10" height="10" rx="1.5" class="{palette.segment_class(segment)}"/>'
        return (
            f'<bdi class="named"><span><svg class="chip" viewBox="0 0 10 10" aria-hidden="true">{chip}</svg>'
            f"{escape(first)}</span>{space}{escape(rest)}</bdi>"
        )

    parts, at = [], 0
    for match in _CODE.finditer(text):
        parts += [str(escape(printable(text[at : match.start()]))), marked(match)]
        at = match.end()
    return Markup("".join([*parts, str(escape(printable(text[at:])))]))  # noqa: S704 - escaped above


def style() -> str:
    """Return the rules of every page and of its charts, light and dark."""

    def theme(number: int) -> str:
        variables = "".join(f"--{name}:{colours[number]};" for name, colours in palette.INK.items())
        return f":root{{{variables}--link:{_LINKS[number]}}}\n{palette.style(number)}"

    # Paper is light, whatever the screen is.
    dark = f"@media screen and (prefers-color-scheme: dark) {{\n{theme(1)}\n}}"
    return f"{theme(0)}\n{dark}\n{(_HERE / 'page.css').read_text(encoding='utf-8')}"


def _figure(nanoseconds: float | None, digits: int = 1) -> str:
    """Write milliseconds for a table's cell; an empty text for None."""
    if nanoseconds is None:
        return ""
    value = (Decimal(nanoseconds) / Decimal(MS)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)
    return str(abs(value) if value.is_zero() else value).replace("-", "\N{MINUS SIGN}")


def _share(row: Row, digits: int) -> str:
    """Write a row's share of the time, with what the clocks leave open of it; a question mark where that is all."""
    return percent(row.share, row.share_bound, digits).replace("-", "\N{MINUS SIGN}")


def _off(nanoseconds: float, bound: float, digits: int = 1) -> str:
    """Write how many milliseconds a figure may be off as `_figure` writes it; nothing if it is exact."""
    return off(nanoseconds, bound, MS, digits) if bound else ""


def _hash(text: str) -> str:
    """Return the hash by which a content security policy names what may run."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
