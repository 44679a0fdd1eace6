"""A comparison as it is printed: a table for each size, sentences that say where the time went."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from otel_kfs.analysis.comparison import Comparison, Comparisons, Difference
from otel_kfs.analysis.findings import share_bound
from otel_kfs.report.enclosing import off
from otel_kfs.report.enclosing import percent as percent_within
from otel_kfs.report.segment_names import TOTAL_NAME, segment_name
from otel_kfs.report.tables.table import Column, Table, bounded
from otel_kfs.report.tables.table_notes import INTERVAL, clock_notes, milliseconds_off, size_notes

_UNKNOWN = "unknown"
_ENOUGH_EXPLAINED = 0.8  # of a difference: no further segment is named then
_MORE_THAN_ALL = 1.1
_NAMED_AT_MOST = 3
_NAMED_FROM = 0.1  # of a difference; after the first segment

_ONLY = ("only A has ", "only B has ")  # as what was not compared begins

_COLUMNS = (
    Column("Segment", "text"),
    Column("A p50", "milliseconds"),
    Column("B p50", "milliseconds"),
    Column("B - A", "milliseconds"),
    Column("95 % interval", "milliseconds"),
    Column("of A", "count"),
    Column("", "text"),
)
_NOTES = (
    "slower, faster: beyond noise; if A and B were equal, at most 5 of 100 comparisons would mark any row "
    "(Mann-Whitney, corrected by Holm)",
    INTERVAL,
)


_OVERLAP = (
    "images were under way at the same time and waited for each other, so that they are not independent: equal sides "
    "are called different more often than that (otel-kfs experiment tests by block)"
)


def comparison_tables(found: Comparisons, *, whole: bool = False) -> list[Table]:
    """Return the sentences, then a table for each size with the segments that differ as rows, and the total.

    `whole`: with those that do not differ, too, which are one note otherwise.
    """
    tables = []
    for of in found.of_sizes:
        shown, left = (of.segments, ()) if whole else folded(of)
        is_bounded = any(one.bound for one in (*shown, of.total))
        tables.append(
            Table(
                f"{title(of)}: milliseconds",
                _COLUMNS,
                tuple(map(_row, (*shown, of.total))),
                (*folded_line(left), *size_notes([of]), *(clock_notes(of.two_clocks) if is_bounded else ())),
            )
        )
    first = Table("Where the time went", (), (), tuple(sentences(found)))
    return [first, *tables, Table("Notes", (), (), tuple(notes(found)))]


def title(of: Comparison) -> str:
    """Return what is compared: `HTTP, 1.1MB (n = 20 and 20)`."""
    a, b = of.labels_a.label, of.labels_b.label
    sides = a if of.labels_a == of.labels_b else f"A: {a}, B: {b}"
    return f"{sides}, {of.size} (n = {of.n_a} and {of.n_b})"


def folded(of: Comparison) -> tuple[Sequence[Difference], Sequence[Difference]]:
    """Return the segments that differ, and those that do not, which one line may stand for."""
    return [one for one in of.segments if one.differs], [one for one in of.segments if not one.differs]


def counted(compared: Sequence[Comparison]) -> str:
    """Say in how many comparisons B is slower, faster, neither, or undecided."""
    marks = [_UNKNOWN if math.isinf(of.total.bound) else mark(of.total) for of in compared]
    told = [
        f"{words} in {marks.count(marked)} of {len(marks)} comparisons"
        for words, marked in (
            ("B is slower", "slower"),
            ("B is faster", "faster"),
            ("there is no difference beyond noise", ""),
            ("nothing bounds the clocks", _UNKNOWN),
        )
        if marked in marks
    ]
    text = "; ".join(told)
    return f"{text[0].upper()}{text[1:]}."


def notes(found: Comparisons) -> list[str]:
    """Say how it was decided, and what weakens that here."""
    if not found.overlapping:
        return [*_NOTES]
    return [*_NOTES, f"{' and '.join(found.overlapping)}: {_OVERLAP}"]


def sentences(found: Comparisons) -> list[str]:
    """Return what a comparison found, a sentence for each size, and what was not compared."""
    return [*(verdict(of) for of in found.of_sizes), *unmatched_lines(found)]


def unmatched_lines(found: Comparisons) -> list[str]:
    """Return what was not compared, a line for each side."""
    alone: dict[str, list[str]] = {}
    for text in found.unmatched:
        beginning = next((one for one in _ONLY if text.startswith(one)), "")
        alone.setdefault(beginning, []).append(text.removeprefix(beginning))
    return [one + "; ".join(texts) for one, texts in alone.items()]


def folded_line(left: Sequence[Difference]) -> list[str]:
    """Return the line that stands for rows that do not differ, and one for those that the clocks leave undecided."""
    known = [abs(one.difference) + one.bound for one in left if not math.isinf(one.bound)]
    lines = []
    if known:
        count = "1 more segment does" if len(known) == 1 else f"{len(known)} more segments do"
        shows = f"--all shows {'it' if len(known) == 1 else 'them'}"
        lines.append(
            f"{count} not differ beyond noise, each by at most {math.ceil(max(known) / 1e5) / 10:.1f} ms: {shows}"
        )
    return [*lines, *unknown_line(left)]


def unknown_line(differences: Sequence[Difference]) -> list[str]:
    """Name the segments that are undecided because nothing bounds their clocks."""
    names = [f"`{segment_name(one.segment)}`" for one in differences if math.isinf(one.bound)]
    differ = "it differs" if len(names) == 1 else "they differ"
    return [f"nothing bounds the clocks of {', '.join(names)}: whether {differ} is unknown"] if names else []


def percent(share: float | None) -> str | None:
    """Write a difference as a share of A: `+12%`, `-0.4%`."""
    if share is None:
        return None
    sign = "-" if share < 0 else "+"
    text = _unsigned(share)
    return text if text == "0%" else sign + text


def share_of_a(of: Difference, *, signed: bool = True) -> str | None:
    """Write a difference as a share of A's p50, with what the clocks leave open: `+12% ±3%`; `?` where that is all."""
    share = of.relative(of.difference)
    if share is None or not of.bound:
        return percent(share) if signed or share is None else _unsigned(share)
    of_share = share_bound(abs(of.difference), of.bound, of.p50_a, of.bound_a)
    if math.isinf(of_share):
        return "?"
    text = percent(share) if signed else _unsigned(share)
    return f"{text} \u00b1{off(100 * abs(share), 100 * of_share, 1, _digits(share))}%"


def mark(of: Difference) -> str:
    """Return `slower` or `faster` where B differs from A beyond noise; the difference stands beside it."""
    return "" if not of.differs else "slower" if of.difference > 0 else "faster"


def verdict(of: Comparison) -> str:
    """Say in one sentence where the time went."""
    total = of.total
    a, b = ("A", "B") if of.labels_a == of.labels_b else (f"A ({of.labels_a.label})", f"B ({of.labels_b.label})")
    where = f"{of.labels_a.label}, {of.size}" if of.labels_a == of.labels_b else of.size
    more = f"n = {of.n_a} and {of.n_b}"
    if total.interval is not None:
        more = f"{_plain(total.interval.low)} to {_plain(total.interval.high)}, {more}"
    if total.differs:
        # The interval has the sign of the words.
        if total.difference < 0 and total.interval is not None:
            more = f"{_plain(-total.interval.high)} to {_plain(-total.interval.low)}, n = {of.n_a} and {of.n_b}"
        return f"{where}: {b} is {_by_total(total)} than {a} ({more}): {_explained(of)}"
    if math.isinf(total.bound):
        return (
            f"{where}: {b} and {a} can't be compared, because nothing bounds the clocks between which the {TOTAL_NAME} "
            f"lies; it differs by {_amount(total)}, of which their clocks' difference is a part "
            f"(n = {of.n_a} and {of.n_b})"
        )
    if total.bound and abs(total.difference) <= total.bound:
        changed = _largest_first(difference for difference in of.segments if difference.differs)
        though = f", though {_listed(changed[:_NAMED_AT_MOST])}" if changed else ""
        return (
            f"{where}: {b} and {a} do not differ beyond the uncertainty of clocks ({milliseconds_off(total.bound)}): "
            f"{TOTAL_NAME} by {_amount(total)} ({more}){though}"
        )
    if not of.enough:
        return (
            f"{where}: too few images ({more}) to tell a difference from noise, it takes {of.needed} each; "
            f"the {TOTAL_NAME} differs by {_amount(total)}"
        )
    changed = _largest_first(difference for difference in of.segments if difference.differs)
    though = f", though {_listed(changed[:_NAMED_AT_MOST])}" if changed else ""
    return f"{where}: {b} and {a} do not differ beyond noise: {TOTAL_NAME} by {_amount(total)} ({more}){though}"


def _row(of: Difference) -> tuple[Any, ...]:
    return (
        segment_name(of.segment),
        bounded(of.p50_a, of.bound_a),
        bounded(of.p50_b, of.bound_b),
        bounded(of.difference, of.bound),
        None if math.isinf(of.bound) else of.interval,
        None if math.isinf(of.bound) else share_of_a(of),
        mark(of),
    )


def _explained(of: Comparison) -> str:
    """Say which segments a difference consists of."""
    whole = of.total.difference
    changed = _largest_first(difference for difference in of.segments if difference.differs)
    same = [difference for difference in changed if (difference.difference > 0) == (whole > 0)]
    against = sum(difference.difference for difference in changed if difference not in same)
    if not same and not of.enough_for_segments:
        return f"too few images to tell which segment, it takes {of.segments_need} each"
    if not same:
        return "no single segment exceeds the noise"
    named: list[Difference] = []
    explained = 0.0
    for difference in same[:_NAMED_AT_MOST]:
        share = difference.difference / whole
        if named and (explained >= _ENOUGH_EXPLAINED or share < _NAMED_FROM):
            break
        named.append(difference)
        explained += share
    if abs(against) > (1 - _ENOUGH_EXPLAINED) * abs(whole) or explained > _MORE_THAN_ALL:
        # More than the whole of it would only puzzle.
        least = _NAMED_FROM * abs(whole)
        opposite = [one for one in changed if one not in same and abs(one.difference) >= least][:_NAMED_AT_MOST]
        return _listed([*named, *opposite])
    first, *others = [f"`{segment_name(difference.segment)}`" for difference in named]
    shares = [
        percent_within(one.difference / whole, share_bound(abs(one.difference), one.bound, abs(whole), of.total.bound))
        for one in named
    ]
    text = f"{shares[0]} of it is {first}"
    return ", ".join([text, *(f"{share} {other}" for share, other in zip(shares[1:], others, strict=True))])


def _listed(differences: Sequence[Difference]) -> str:
    return ", ".join(f"`{segment_name(difference.segment)}` is {_by(difference)}" for difference in differences)


def _largest_first(differences: Iterable[Difference]) -> list[Difference]:
    return sorted(differences, key=lambda difference: -abs(difference.difference))


def _by_total(of: Difference) -> str:
    """Return `195.2 ms (34%) slower`."""
    share = share_of_a(of, signed=False)
    beside = "" if share is None else f" ({share})"
    return f"{_milliseconds(abs(of.difference), of.bound)}{beside} {'slower' if of.difference >= 0 else 'faster'}"


def _unsigned(share: float) -> str:
    text = f"{abs(share):.{_digits(share)}%}"
    return "0%" if text == "0.0%" else text


def _digits(share: float) -> int:
    return 0 if abs(share) >= 0.0995 else 1


def _by(of: Difference) -> str:
    return f"{_milliseconds(abs(of.difference), of.bound)} {'slower' if of.difference >= 0 else 'faster'}"


def _amount(of: Difference) -> str:
    return f"{'+' if of.difference >= 0 else ''}{_milliseconds(of.difference, of.bound)}"


def _milliseconds(nanoseconds: int, bound: float) -> str:
    """Write a difference with what two hosts' clocks leave open of it: `195.2 ms`, `195.2 ms \u00b10.4 ms`."""
    text = f"{_plain(nanoseconds)} ms"
    if not bound or math.isinf(bound):  # the words around it say so
        return text
    return f"{text} \u00b1{off(nanoseconds, bound, 1e6, 1)} ms"


def _plain(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.1f}"
