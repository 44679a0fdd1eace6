"""From tables to text: terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

import orjson
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from otel_kfs.tables import Column, Table, Unit

Format = Literal["text", "md", "csv", "json"]
FORMATS: tuple[Format, ...] = ("text", "md", "csv", "json")

_WIDTH = 160  # of a terminal's line, at least

# How many nanoseconds one of the unit is, and how many digits are printed.
_SCALES: dict[Unit, tuple[Decimal, Decimal]] = {
    "unix": (Decimal(10**9), Decimal("0.001")),
    "seconds": (Decimal(10**9), Decimal("0.001")),
    "milliseconds": (Decimal(10**6), Decimal("0.1")),
}


def cell(value: Any, unit: Unit) -> str:
    """One cell as it is printed; nothing is a dash."""
    if value is None:
        return "-"
    if unit in _SCALES:
        scale, digit = _SCALES[unit]
        return str((Decimal(value) / scale).quantize(digit, ROUND_HALF_EVEN))
    return str(value)


def printable(text: str) -> str:
    """Text without line ends and control sequences, whatever a span was named."""
    return "".join(character if character.isprintable() else " " for character in text)


def terminal(tables: Sequence[Table], console: Console | None = None) -> None:
    """Print tables on the terminal."""
    # Cut to a narrow terminal's width a table would lose figures; a line that is too long is only ugly.
    console = console or Console(highlight=False)
    console.width = max(console.width, _WIDTH)
    for table in tables:
        drawn = RichTable(title=Text(table.title), title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in table.columns:
            drawn.add_column(Text(column.heading), justify=_justify(column), no_wrap=True)
        for row in _texts(table):
            drawn.add_row(*(Text(printable(text)) for text in row))
        console.print(drawn)
        for note in table.notes:
            console.print(Text(note, style="dim"))
        console.print()


def text(tables: Sequence[Table]) -> str:
    """Tables as on a terminal, without its control sequences or trailing blanks."""
    out = io.StringIO()
    terminal(tables, Console(file=out, highlight=False))
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def markdown(tables: Sequence[Table]) -> str:
    """Tables in GitHub's Markdown, a heading each."""
    blocks = []
    for table in tables:
        lines = [f"### {_escaped(table.title)}", ""]
        lines.append(_markdown_row(column.heading for column in table.columns))
        lines.append("|" + "|".join(":--" if column.unit == "text" else "--:" for column in table.columns) + "|")
        lines += [_markdown_row(row) for row in _texts(table)]
        for note in table.notes:
            lines += ["", _escaped(note)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def comma_separated(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV with a heading line; RFC 4180's quoting, but line feeds alone as line ends."""
    out = io.StringIO()
    if records:
        writer = csv.DictWriter(out, fieldnames=list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return out.getvalue()


def json(document: Any) -> str:
    """A document as indented JSON."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"


def _texts(table: Table) -> list[list[str]]:
    return [[cell(value, column.unit) for value, column in zip(row, table.columns, strict=True)] for row in table.rows]


def _justify(column: Column) -> Literal["left", "right"]:
    return "left" if column.unit == "text" else "right"


def _markdown_row(cells: Any) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    """Text that can't end its cell, or become markup."""
    escaped = printable(text)
    for character in "\\|<>`*_[]":
        escaped = escaped.replace(character, "\\" + character)
    return escaped
