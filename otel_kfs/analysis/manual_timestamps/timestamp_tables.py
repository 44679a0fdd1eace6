"""Reads stamps and durations from the tables in a text: Markdown, CSV, or columns with blanks between them."""

from __future__ import annotations

import csv
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from itertools import combinations, pairwise, product
from operator import itemgetter

from otel_kfs.errors import InputError


@dataclass(frozen=True, slots=True)
class Grid:
    """A table found in a text: its heading, the line above it, its columns' headings and its cells."""

    section: str
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class Block:
    """The stamps of some images, a row each, and the durations that are said to follow from them; all in seconds."""

    section: str
    headings: tuple[str, ...]  # of the stamps
    labels: tuple[str, ...]
    stamps: list[list[Decimal | None]]
    digit: Decimal  # the stamps' last, as a number: 0.001
    durations: dict[str, list[Decimal | None]] = field(default_factory=dict)
    duration_digit: dict[str, Decimal] = field(default_factory=dict)
    duration_labels: tuple[str, ...] = ()

    def between(self, row: int, later: int, earlier: int) -> Decimal | None:
        """Return the difference of two stamps."""
        one, other = self.stamps[row][earlier], self.stamps[row][later]
        return None if one is None or other is None else other - one

    def name(self, row: int) -> str:
        """Name a row for people: `Curl, 4.6MB`."""
        label = self.labels[row] or (self.duration_labels[row] if self.duration_labels else "")
        return ", ".join(filter(None, (self.section, label or f"row {row + 1}")))


_SECONDS_OF = {"s": 0, "ms": 3, "us": 6, "ns": 9}  # how many digits the decimal point moves
_UNIT_WORDS = {
    "s": ("s", "sec", "secs", "second", "seconds", "\ucd08"),
    "ms": ("ms", "msec", "millis", "millisecond", "milliseconds"),
    "us": ("us", "\u00b5s", "\u03bcs", "usec", "micros", "microsecond", "microseconds"),
    "ns": ("ns", "nsec", "nanos", "nanosecond", "nanoseconds"),
}
_UNITS = {word: unit for unit, words in _UNIT_WORDS.items() for word in words}
# No two quantifiers of a pattern that stand side by side take the same characters: each reads a text once.
_NUMBER = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?:\s*([^\W\d]+))?")
_DOUBT = re.compile(r"(?:\?|[\d.]+)\s*([^\W\d]*)")
_LONGEST_NUMBER = 60  # characters; a unix time in ns has 19 digits
_LONGEST_CELL = 1000  # characters of a number and its unit
_LARGEST_EXPONENT = 30  # beyond it nothing is a time or a size
_MOST_COLUMNS = 40  # of a table that somebody stamped by hand
_QUOTED = re.compile(r"[ \t]{0,3}>[> \t]*")
_RULE = re.compile(r"[\s|:+-]+")
_WORD = re.compile(r"[(\[]?[^\W\d_]+(?:['\u2019][^\W\d_]+)*[)\]]?")
_AMBIGUOUS = {"s", "sec", "second"}
_EPOCH = (Decimal(6) * 10**8, Decimal(6) * 10**9)  # seconds: the years 1989 to 2160
_DIFFERENCE = re.compile(r"(\D*)\d+\s*(?:-|\u2212|\u2013|minus)\s*\1\d+", re.IGNORECASE)  # 4-1, t4 - t1
_NOTHING = {"", "-", "n/a", "na", "none", "null"}
_OF_OTHERS = {"n", "count", "runs", "repeat", "mean", "median", "sd", "std", "stdev", "min", "max"}  # images
_PERCENTILE = re.compile(r"p\d+(?:\.\d+)?", re.IGNORECASE)
# What `tables --format csv` has beside stamps and durations.
_NO_DURATION = re.compile(r"(?:\w+[_ ])?(?:id|bytes)|clock_bound\w*[\d-]*", re.IGNORECASE)
_TRANSPORT = "transport"
_SIZE = "size"


def blocks(text: str) -> list[Block]:
    """Find the stamps in a text, and the durations that belong to them.

    Tables may be Markdown's, CSV (with comma, semicolon or tab), or columns with two blanks between them. Stamps are
    columns of unix times in s, ms, us or ns. Durations stand beside them or in a table of as many rows, before or
    after: in the nearest, or in that whose title begins the same (`HTTP: unix time`, `HTTP: seconds`).

    Raises:
        InputError: there is no table, no stamps, or a cell that is no number; or a table has more columns or longer
            cells than anybody stamps by hand.
    """
    grids = [part for grid in _grids(text) for part in _by_transport(grid)]
    if not grids:
        raise InputError("there is no table: neither Markdown, nor CSV, nor columns separated by two spaces")
    found: list[tuple[int, Block]] = []
    for number, grid in enumerate(grids):
        if (block := _stamps(grid)) is not None:
            found.append((number, block))
    if not found:
        raise InputError("no table has two columns of stamps: unix times in s, ms, us or ns")
    own = dict(found)
    by_rows: dict[tuple[int, str], list[tuple[int, Block]]] = {}
    for number, block in found:
        rows = len(block.stamps)
        for subject in {_subject(grids[number]), ""}:
            by_rows.setdefault((rows, subject), []).append((number, block))
    for number, grid in enumerate(grids):
        rows = len(grid.rows)
        alike = by_rows.get((rows, _subject(grid))) or by_rows.get((rows, ""), [])
        nearest = own.get(number) or _nearest(alike, number)
        if nearest is not None:
            _add_durations(nearest, grid)
    return [block for _, block in found]


def _joined(grids: Iterable[Grid]) -> list[Grid]:
    """Put together what a terminal's width has parted: columns below others, behind the same first one again."""
    found: list[Grid] = []
    for grid in grids:
        before = found[-1] if found else None
        if before is None or grid.caption or grid.section != before.section or not _goes_on(before, grid):
            found.append(grid)
        else:
            rows = tuple((*row, *more[1:]) for row, more in zip(before.rows, grid.rows, strict=True))
            found[-1] = replace(before, headings=(*before.headings, *grid.headings[1:]), rows=rows)
    return found


def _goes_on(before: Grid, grid: Grid) -> bool:
    """Return whether a table has the same first column as the one before, and otherwise none of its columns."""
    firsts = [[one.headings[0], *(row[0] for row in one.rows)] for one in (before, grid)]
    return firsts[0] == firsts[1] and not {*before.headings} & {*grid.headings[1:]}


def _by_transport(grid: Grid) -> Iterator[Grid]:
    """Yield a table whose rows say by which transport an image was sent as one of each, which it is the section of."""
    column = next(
        (number for number, heading in enumerate(grid.headings) if _bare(heading).lower() == _TRANSPORT), None
    )
    if column is None:
        yield grid
        return
    for transport in dict.fromkeys(row[column] for row in grid.rows):
        yield replace(grid, section=transport, rows=tuple(row for row in grid.rows if row[column] == transport))


def _column(grid: Grid, name: str) -> int | None:
    """Return the number of the column of that name."""
    return next((number for number, heading in enumerate(grid.headings) if _bare(heading).lower() == name), None)


def _nearest(found: Sequence[tuple[int, Block]], number: int) -> Block | None:
    """Return the block whose table is nearest to a table, one before it first; `found` is in their order."""
    behind = bisect_left(found, number, key=itemgetter(0))
    beside = found[max(behind - 1, 0) : behind + 1]
    return min(beside, key=lambda one: (abs(one[0] - number), one[0] > number))[1] if beside else None


def _subject(grid: Grid) -> str:
    """Return what a table is about, where its title says that before a colon."""
    subject, colon, _ = (grid.caption or grid.section).partition(":")
    return subject.strip() if colon else ""


def _grids(text: str) -> Sequence[Grid]:
    """Find the tables in a text."""
    lines = [_QUOTED.sub("", line) for line in text.splitlines()]
    markdown = any(map(_is_rule, lines))
    found = [*_grids_of(lines, markdown)]
    return found if markdown else _joined(found)


def _grids_of(lines: Sequence[str], markdown: bool) -> Iterator[Grid]:
    section, caption = "", ""
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if paragraph and (("|" not in line) if markdown else not line.strip()):
            if not markdown:
                above, paragraph = _without_words(paragraph)
                section, caption = _above(above, section, caption)
            rows = _rows(paragraph, markdown)
            if rows is not None:
                yield Grid(section, caption, rows[0], tuple(rows[1:]))
                caption = ""  # it is this table's
            else:
                section, caption = _above(paragraph, section, caption)
            paragraph = []
        if line.strip():
            if markdown and "|" not in line:
                section, caption = _above([line], section, caption)
            else:
                paragraph.append(line)


def _without_words(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split off the lines above a table whose columns are separated by blanks; drop the notes below it."""
    wide = [number for number, line in enumerate(lines) if len(_by_blanks(line)) > 1]
    if not wide:
        return [], [*lines]  # CSV, or words alone
    return [*lines[: wide[0]]], [*lines[wide[0] : wide[-1] + 1]]


def _by_blanks(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def _above(lines: Iterable[str], section: str, caption: str) -> tuple[str, str]:
    for line in lines:
        words = line.strip().strip("#*-=_: ")
        if line.lstrip().startswith("#"):
            section, caption = words, ""
        elif words:
            caption = words
    return section, caption


def _is_rule(line: str) -> bool:
    return "|" in line and "-" in line and _RULE.fullmatch(line) is not None


def _rows(lines: Sequence[str], markdown: bool) -> list[tuple[str, ...]] | None:
    """Split a table's lines into cells, its heading first; None where they are no table."""
    if markdown:
        rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if not _is_rule(line)]
    else:
        delimiter = next((one for one in ("\t", ";", ",") if one in lines[0]), None)
        if delimiter is None:
            rows = [_by_blanks(line) for line in lines if not re.fullmatch(r"[\s=-]+", line)]
        else:
            try:
                rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
            except csv.Error as error:
                raise InputError(f"its CSV can't be read: {error}") from error
            if delimiter == ";":
                rows = [[re.sub(r"^(-?\d+),(\d+)", r"\1.\2", cell) for cell in row] for row in rows]
    if len(rows) < 2 or len(rows[0]) < 2:
        return None
    width = len(rows[0])
    if width > _MOST_COLUMNS:
        raise InputError(f"a table has {width} columns: more than {_MOST_COLUMNS} are not stamped by hand")
    return [tuple([*row, *[""] * width][:width]) for row in rows]


def _stamps(grid: Grid) -> Block | None:
    columns, unit = _stamp_columns(grid)
    if not columns:
        return None
    stamps = []
    for row in grid.rows:
        numbers = [_number(row[column]) for column in columns]
        stamps.append([None if number is None else number[0].scaleb(-_SECONDS_OF[unit]) for number in numbers])
    return Block(
        section=grid.section,
        headings=tuple(_bare(grid.headings[column]) for column in columns),
        labels=_labels(grid, set(columns)),
        stamps=stamps,
        digit=_digit(stamp for of_row in stamps for stamp in of_row),
    )


def _stamp_columns(grid: Grid) -> tuple[list[int], str]:
    """Find the columns of unix times and their unit: the finest, since ten digits beside times in ns are a duration."""
    for unit, digits in reversed(_SECONDS_OF.items()):
        columns = []
        for column, heading in enumerate(grid.headings):
            values = [number[0] for row in grid.rows if (number := _number(row[column])) is not None]
            if values and _all_epoch(values, digits) and not _DIFFERENCE.fullmatch(_bare(heading)):
                columns.append(column)
        if len(columns) > 1:
            return columns, unit
    return [], ""


def _add_durations(block: Block, grid: Grid) -> None:
    stamps, _ = _stamp_columns(grid)
    durations: dict[str, tuple[str | None, list[Decimal | None]]] = {}
    for number, heading in enumerate(grid.headings):
        cells = [_number(row[number]) for row in grid.rows]
        present = [cell for cell in cells if cell is not None]
        # A heading such as 4-1 says that all cells are durations; else a few numbers make no column of them.
        is_said = _DIFFERENCE.fullmatch(_bare(heading)) is not None
        if number in stamps or (not is_said and (2 * len(present) < len(cells) or _is_no_duration(heading))):
            continue
        if present and _repeats_a_stamp(block, cells):
            continue
        if any(word and word.lower() not in _UNITS for _, word in present):
            continue  # sizes
        for row, cell in zip(grid.rows, cells, strict=True):
            if cell is None and row[number].lower() not in _NOTHING:
                raise InputError(f"{_shown(row[number])} in the column {_shown(heading)} is no number")
        if not present:
            continue
        said = next((_UNITS[word.lower()] for _, word in present if word), None)
        unit = said or unit_of(heading) or unit_of(grid.caption)
        durations[_bare(heading)] = unit, [None if cell is None else cell[0] for cell in cells]
    if not durations:
        return
    unnamed = [values for unit, values in durations.values() if unit is None]
    inferred = max(_SECONDS_OF, key=lambda unit: (_fits(block, unnamed, unit), unit == "s"))
    for heading, (unit, values) in durations.items():
        block.durations[heading] = [None if v is None else v.scaleb(-_SECONDS_OF[unit or inferred]) for v in values]
        block.duration_digit[heading] = _digit(block.durations[heading])
    block.duration_labels = _labels(grid, set())


def _is_no_duration(heading: str) -> bool:
    """Return whether a column tells of something else than a row's own time."""
    text = _bare(heading)
    return text.lower() in _OF_OTHERS or any(one.fullmatch(text) for one in (_PERCENTILE, _NO_DURATION))


def _repeats_a_stamp(block: Block, cells: Sequence[tuple[Decimal, str] | None]) -> bool:
    """Return whether a column has the moments of a column of stamps, in a unit of its own."""
    own = _digit(cell and cell[0] for cell in cells)
    for number, digits in product(range(len(block.headings)), _SECONDS_OF.values()):
        digit = max(block.digit, own.scaleb(-digits))
        near = (
            abs(cell[0].scaleb(-digits) - stamp) <= digit
            for cell, stamps in zip(cells, block.stamps, strict=True)
            if cell is not None and (stamp := stamps[number]) is not None
        )
        if next(near, False) and all(near):
            return True
    return False


def _fits(block: Block, columns: Sequence[Sequence[Decimal | None]], unit: str) -> int:
    """Count the durations that, read in that unit, are the difference of some two stamps."""
    count = 0
    for values in columns:
        scaled = [None if value is None else value.scaleb(-_SECONDS_OF[unit]) for value in values]
        tolerance = block.digit + _digit(scaled) / 2
        for row, value in enumerate(scaled):
            pairs = combinations(range(len(block.headings)), 2)
            differences = [block.between(row, later, earlier) for earlier, later in pairs]
            count += value is not None and any(d is not None and abs(d - value) <= tolerance for d in differences)
    return count


def _number(cell: str) -> tuple[Decimal, str] | None:
    """Return a number and the word behind it; what `12.3 \u00b10.4 ms` leaves open does not count."""
    if len(cell) > _LONGEST_CELL:
        return None
    for sign in ("\u00b1", "+/-"):
        before, _, behind = cell.partition(sign)
        if (doubt := _DOUBT.fullmatch(behind.strip())) is not None:
            cell = f"{before} {doubt[1]}"
    match = _NUMBER.fullmatch(cell.strip().strip("*`"))
    if match is None or len(match[1]) > _LONGEST_NUMBER:
        return None
    try:
        number = Decimal(match[1])
    except InvalidOperation:  # digits beyond what Decimal can hold
        return None
    return (number, match[2] or "") if number.is_zero() or abs(number.adjusted()) <= _LARGEST_EXPONENT else None


def _shown(text: str) -> str:
    """Return a cell as a message shows it."""
    return repr(text if len(text) <= _LONGEST_NUMBER else f"{text[:_LONGEST_NUMBER]}...")


def _all_epoch(values: Sequence[Decimal], digits: int) -> bool:
    return all(_EPOCH[0] <= value.scaleb(-digits) <= _EPOCH[1] for value in values)


def _digit(values: Iterable[Decimal | None]) -> Decimal:
    """Return a column's last printed digit: where zeros at the end were dropped, that of its longest number."""
    exponents = [int(value.as_tuple().exponent) for value in values if value is not None]
    return Decimal(1).scaleb(min(exponents, default=0))


def _labels(grid: Grid, but: set[int]) -> tuple[str, ...]:
    """Return the column of sizes, else the first one, if it is neither stamps nor a plain number."""
    column = _column(grid, _SIZE) or 0
    cells = [row[column] for row in grid.rows]
    plain = all((number := _number(cell)) is not None and not number[1] for cell in cells)
    return ("",) * len(cells) if column in but or plain else tuple(cells)


def _bare(heading: str) -> str:
    """Return a heading without its unit in brackets; of `total (4-1)`, what it is the difference of."""
    text = heading.strip()
    if text.endswith((")", "]")):
        closed = max(text.rfind(")", 0, -1), text.rfind("]", 0, -1))  # the bracket before the last one
        opened = min((at for at in (text.find("(", closed + 1), text.find("[", closed + 1)) if at >= 0), default=-1)
        if opened >= 0:
            inner = text[opened + 1 : -1].strip()
            text = inner if _DIFFERENCE.fullmatch(inner) else text[:opened].rstrip()
    return text.strip("*`").strip()


def words_of(text: str) -> list[str]:
    """Return the words of a heading, in small letters."""
    return re.findall(r"[^\W\d_]+", text.lower())


def unit_of(text: str) -> str | None:
    """Return the unit of time that a heading or a caption names, by what is plainest: `(ms)`, `in s`, `seconds`.

    `s` and `second` alone have other meanings (`each image's`, `the second run`): they count in brackets, after `in`,
    and at the end.
    """
    words = _WORD.findall(text.lower())
    bare = [word.strip("()[]") for word in words]
    in_brackets = [inner for word, inner in zip(words, bare, strict=True) if word != inner]
    after_in = [word for before, word in pairwise(bare) if before == "in"]
    plain = [word for word in bare if word not in _AMBIGUOUS]
    return next((_UNITS[word] for word in (*in_brackets, *after_in, *plain, *bare[-1:]) if word in _UNITS), None)
