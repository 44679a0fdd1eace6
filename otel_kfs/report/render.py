"""Writes tables as text for a terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Literal

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from otel_kfs.analysis.statistics import Interval
from otel_kfs.report.tables.table import Bounded, Column, Table, Unit, bounded
from otel_kfs.report.terminal_bars import Chart, run_lengths
from otel_kfs.traces.printable import printable

Format = Literal["text", "md", "csv", "json"]
FORMATS: tuple[Format, ...] = ("text", "md", "csv", "json")

_ANY_WIDTH = 2**30  # whatever a table needs
_LEAST_WIDTH = 60  # in a narrower terminal lines are too long
_WIDTH_IN_FILES = 80
_APART = 2  # blanks between columns
_AT_ONCE = 1000  # records that are in memory while others are written
# Control characters that JSON does not escape by itself, and those that turn the direction of text.
_OBEYED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")  # neighbours differ

# How many nanoseconds one of the unit is, and how many digits are printed.
_SCALES: dict[Unit, tuple[Decimal, Decimal]] = {
    "unix": (Decimal(10**9), Decimal("0.001")),
    "seconds": (Decimal(10**9), Decimal("0.001")),
    "milliseconds": (Decimal(10**6), Decimal("0.1")),
}


def cell(value: Any, unit: Unit) -> str:
    """Return one cell as it is printed; None is a dash."""
    if value is None:
        return "-"
    if isinstance(value, Interval):
        return f"{cell(value.low, unit)} to {cell(value.high, unit)}"
    if isinstance(value, Bounded):
        return f"{cell(value.duration, unit)} \u00b1{_bound(value, unit)}"
    return _scaled(value, unit, ROUND_HALF_EVEN) if unit in _SCALES else str(value)


def _bound(of: Bounded, unit: Unit) -> str:
    """Write a bound so that it encloses what it bounds, though the duration beside it is rounded."""
    if math.isinf(of.bound):
        return "?"
    scale, digit = _SCALES[unit]
    rounded = abs(Decimal(of.duration) - (Decimal(of.duration) / scale).quantize(digit, ROUND_HALF_EVEN) * scale)
    return _scaled(Decimal(of.bound) + rounded, unit, ROUND_CEILING)


def _scaled(value: int | Decimal, unit: Unit, rounding: str) -> str:
    scale, digit = _SCALES[unit]
    return str((Decimal(value) / scale).quantize(digit, rounding) + 0)  # + 0: never -0.0


class _Terminal(Console):
    """A console that raises BrokenPipeError where Rich would exit."""

    def on_broken_pipe(self) -> None:
        """Raise the error again: the caller decides what it means."""
        raise  # noqa: PLE0704


def terminal(blocks: Sequence[Table | Chart], console: Console | None = None, *, wide: bool = False) -> None:
    """Print tables and bars on the terminal.

    Of a table that is too wide, columns stand below one another, unless it is asked for as `wide` as it is.
    """
    console = console or _Terminal(highlight=False)
    show = _shown(console.encoding)
    console.width = max(console.width, _LEAST_WIDTH)
    for block in blocks:
        if block.title:
            _print_text(show(block.title), "bold", console)
        if isinstance(block, Chart):
            _draw(block, console, show)
        elif block.columns:
            _print_table(block.columns, _texts(block), console, show, _ANY_WIDTH if wide else console.width)
        for note in block.notes:
            style = "dim" if isinstance(block, Chart) or block.columns else ""
            _print_text(show(note), style, console)
        console.print()


def text(blocks: Sequence[Table | Chart], *, wide: bool = False) -> str:
    """Write tables and bars as on a terminal, without its control sequences or trailing blanks."""
    out = io.StringIO()
    terminal(blocks, Console(file=out, highlight=False, width=_WIDTH_IN_FILES), wide=wide)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def markdown(tables: Sequence[Table | Chart]) -> str:
    """Write tables in GitHub's Markdown, a heading each; bars as preformatted text."""
    blocks = []
    for table in tables:
        lines = [f"### {_escaped(table.title)}", ""] if table.title else []
        if isinstance(table, Chart) or not table.columns:
            if isinstance(table, Chart):
                # Indented rather than fenced: no name can end that.
                lines += [f"    {line}".rstrip() for line in text([table]).strip("\n").split("\n")[1:]]
            else:
                lines.append("\n\n".join(map(_escaped, table.notes)))
            blocks.append("\n".join(lines))
            continue
        lines.append(_markdown_row(column.heading for column in table.columns))
        lines.append("|" + "|".join(":--" if column.unit == "text" else "--:" for column in table.columns) + "|")
        lines += [_markdown_row(row) for row in _texts(table)]
        for note in table.notes:
            lines += ["", _escaped(note)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def comma_separated(records: Iterable[Mapping[str, Any]]) -> str:
    """Write records as CSV: see `csv_pieces`."""
    return "".join(csv_pieces(records))


def csv_pieces(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield records as CSV with a heading line, some at a time; RFC 4180's quoting, but line feeds alone as line ends.

    Text that a spreadsheet would run as a formula has an apostrophe before it, as OWASP's "CSV Injection" advises; line
    ends and control sequences are blanks, as everywhere, for CSV is looked at on terminals, too.
    """
    rest = iter(records)
    first = next(rest, None)
    if first is None:
        return
    head: list[Iterable[Any]] = [first.keys()]
    rows = chain(head, (map(_inert, record.values()) for record in chain([first], rest)))
    while some := list(islice(rows, _AT_ONCE)):
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(some)
        yield out.getvalue()


def json(document: Any) -> str:
    """Write a document as indented JSON; what a terminal would obey is escaped, which means the same."""
    return f"{_indented(document)}\n"


def json_pieces(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the same of a document of which some values are iterators of records, some records at a time."""
    before = "{\n"
    for key, value in document.items():
        yield f"{before}  {_indented(key)}: "
        before = ",\n"
        if isinstance(value, Iterator):
            between = "[\n"
            while some := list(islice(value, _AT_ONCE)):
                # The list's own brackets are those of all pieces together.
                yield between + _within(_indented(some).removeprefix("[\n").removesuffix("\n]"))
                between = ",\n"
            yield "[]" if between == "[\n" else "\n  ]"
        else:
            yield _within(_indented(value)).removeprefix("  ")
    yield "\n}\n" if document else "{}\n"


def _indented(value: Any) -> str:
    text = orjson.dumps(value, default=_named, option=orjson.OPT_INDENT_2).decode()
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _within(text: str) -> str:
    """Return JSON as a part of a document, indented once more."""
    return "  " + text.replace("\n", "\n  ")


def _named(value: Any) -> dict[str, Any]:
    """Return the JSON of a duration with its bound."""
    if not isinstance(value, Bounded):
        raise TypeError(type(value))
    return {"length": value.duration, "bound": value.bound}


def _inert(value: Any) -> Any:
    return _inert_text(value) if isinstance(value, str) else value


@lru_cache  # most texts are names, which come again and again
def _inert_text(value: str) -> str:
    text = printable(value)
    if text.lstrip().startswith(("=", "+", "-", "@")):
        try:
            Decimal(text)  # a negative number is one
        except InvalidOperation:
            return f"'{text}"
    return text


def _shown(encoding: str) -> Callable[[str], str]:
    """Return a function that replaces what a terminal's encoding can't show by question marks."""
    if encoding.startswith("utf"):
        return printable
    return lambda text: printable(text).replace("\u00b1", "+/-").encode(encoding, "replace").decode(encoding)


def _print_text(text: str, style: str, console: Console) -> None:
    """Print a text, wrapped at words, without a blank at a line's end."""
    for line in Text(text, style=style).wrap(console, console.width):
        line.rstrip()
        console.print(line)


def _print_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    console: Console,
    show: Callable[[str], str],
    width: int,
) -> None:
    """Print a table, in parts below one another where it is wider than that."""
    shown = [[show(column.heading) for column in columns], *([show(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    screen = console.width
    # Cut to a terminal's width a column would lose figures; a line that is too long is only ugly.
    console.width = _ANY_WIDTH
    for number, part in enumerate(_side_by_side(columns, widths, width)):
        drawn = RichTable(box=None, pad_edge=False, padding=(0, _APART, 0, 0))
        for column in part:
            drawn.add_column(Text(shown[0][column]), justify=_justify(columns[column]), no_wrap=True)
        for row in shown[1:]:
            drawn.add_row(*(Text(row[column]) for column in part))
        if number:
            console.print()
        console.print(drawn)
    console.width = screen


def _side_by_side(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[list[int]]:
    """Share the columns out among parts of at most that width, by their numbers; each has one at least."""
    repeated = [number for number, column in enumerate(columns) if column.repeats or not number]
    groups: list[list[int]] = []
    for number, column in enumerate(columns):
        if number in repeated:
            continue
        if column.joined and groups:
            groups[-1].append(number)
        else:
            groups.append([number])
    parts, room = [[*repeated]], 0
    for group in groups:
        needed = sum(widths[number] + _APART for number in group)
        if len(parts[-1]) > len(repeated) and needed > room:
            parts.append([*repeated])
        if len(parts[-1]) == len(repeated):
            room = width - sum(widths[number] + _APART for number in repeated) + _APART
        parts[-1] += group
        room -= needed
    return parts


def _draw(chart: Chart, console: Console, show: Callable[[str], str]) -> None:
    """Draw bars of letters, on coloured backgrounds where there are colours, and say what the letters mean."""
    labels = [show(bar.label) for bar in chart.bars]
    totals = [f"{cell(bounded(bar.total, bar.bound), 'milliseconds')} ms" for bar in chart.bars]
    room = max(10, console.width - max(map(cell_len, labels)) - max(map(len, totals)) - 2)
    for bar, label, total in zip(chart.bars, labels, totals, strict=True):
        line = Text(label + " " * (max(map(cell_len, labels)) - cell_len(label)) + " ")
        length = round(room * sum(bar.parts) / chart.longest) if chart.longest else 0
        for number, ((letter, _), run) in enumerate(zip(chart.segments, run_lengths(bar.parts, length), strict=True)):
            last = number == len(chart.segments) - 1
            line.append(letter * run, style="dim" if last else f"black on {_COLOURS[number % len(_COLOURS)]}")
        line.append(f" {total}")
        console.print(line)
    console.print()
    shares = [bar.shares() for bar in chart.bars]
    # The bars have each size's n.
    sizes = [Column(label.rpartition(" (n=")[0] or label, "count") for label in labels]
    columns = [Column("", "text"), Column("Segment", "text", repeats=True), *sizes]
    rows = [
        [letter, name, *(of_bar[number] for of_bar in shares)]
        for number, (letter, name) in enumerate(chart.segments)
        if any(bar.parts[number] for bar in chart.bars)
    ]
    _print_table(columns, rows, console, show, console.width)


def _texts(table: Table) -> list[list[str]]:
    return [[cell(value, column.unit) for value, column in zip(row, table.columns, strict=True)] for row in table.rows]


def _justify(column: Column) -> Literal["left", "right"]:
    return "left" if column.unit == "text" else "right"


def _markdown_row(cells: Any) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    """Escape text, so that it can't end its cell or become markup."""
    escaped = printable(text)
    for character in "\\|<>`*_[]&~$":
        escaped = escaped.replace(character, "\\" + character)
    return escaped
