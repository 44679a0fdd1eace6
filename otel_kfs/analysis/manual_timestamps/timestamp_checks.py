"""Checks which columns of a table follow from its stamps, and what the others seem to be."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from decimal import Decimal
from itertools import combinations, pairwise
from typing import NamedTuple

from otel_kfs.analysis.image_size import labelled_size
from otel_kfs.analysis.manual_timestamps.timestamp_tables import Block


class Finding(NamedTuple):
    """One sentence; `wrong` where the tables say what does not follow."""

    text: str
    wrong: bool


def check(found: Sequence[Block]) -> list[Finding]:
    """Find what follows from the stamps, and what the rest seems to be instead; blocks of one form together."""
    findings = []
    for block in found:
        findings += _in_order(block)
    forms: dict[tuple[tuple[str, ...], ...], list[Block]] = {}
    for block in found:
        forms.setdefault((block.headings, tuple(block.durations)), []).append(block)
    for alike in forms.values():
        findings += _columns(alike)
        findings += _sums(alike)
    for block in found:
        findings += _labels_agree(block)
    if all(len(set(block.labels)) == len(block.labels) for block in found):
        findings.append(Finding("each row is one image (n = 1): nothing shows how much the next would differ", False))
    return findings


def claim(heading: str, stamps: Sequence[str]) -> tuple[int, int] | None:
    """Return which two stamps a heading names, the later first: `4-1`, `t4 - t1`, `arrived minus sent`."""
    for earlier, later in combinations(range(len(stamps)), 2):
        pattern = rf"{re.escape(stamps[later])}\s*(?:-|\u2212|\u2013|minus)\s*{re.escape(stamps[earlier])}"
        if re.fullmatch(pattern, heading, re.IGNORECASE):
            return later, earlier
    return None


class _Is(NamedTuple):
    """Which stamps a column is the difference of, and the rows in which it is not."""

    later: int
    earlier: int
    exceptions: list[tuple[Block, int]]


def _rows_of(alike: Sequence[Block], heading: str) -> list[tuple[Block, int, Decimal]]:
    return [
        (block, row, value)
        for block in alike
        for row, value in enumerate(block.durations[heading])
        if value is not None and None not in block.stamps[row]
    ]


def _exceptions(rows: Sequence[tuple[Block, int, Decimal]], heading: str, pair: tuple[int, int]) -> _Is:
    exceptions = []
    for block, row, value in rows:
        difference = block.between(row, *pair)
        # Two stamps of half a digit's doubt each, and the duration's own half.
        if difference is None or abs(difference - value) > block.digit + block.duration_digit[heading] / 2:
            exceptions.append((block, row))
    return _Is(*pair, exceptions)


def _is(alike: Sequence[Block], heading: str) -> _Is | None:
    """Find what a column is in more than half of its rows; what its heading says, if it is that."""
    rows = _rows_of(alike, heading)
    stamps = alike[0].headings
    said = claim(heading, stamps)
    pairs = [(later, earlier) for earlier, later in combinations(range(len(stamps)), 2)]
    found = [_exceptions(rows, heading, pair) for pair in ([said] if said else []) + pairs]
    possible = [one for one in found if 2 * len(one.exceptions) < len(rows)]
    if said and possible and possible[0][:2] == said:
        return possible[0]
    return min(possible, key=lambda one: len(one.exceptions), default=None)


def _columns(alike: Sequence[Block]) -> list[Finding]:
    stamps = alike[0].headings
    findings, held = [], set()
    for heading in alike[0].durations:
        said, rows = claim(heading, stamps), _rows_of(alike, heading)
        if not rows:
            continue
        found = _is(alike, heading)
        if found is None:
            values = [value for _, _, value in rows]
            findings.append(
                Finding(
                    f"the column '{heading}' does not follow from any two stamps: {_range(values)}{_growth(rows)}; "
                    "some other event must have been stamped",
                    True,
                )
            )
            continue
        held.add((found.later, found.earlier))
        is_ = f"stamp {stamps[found.later]} minus stamp {stamps[found.earlier]}"
        follows = len(rows) - len(found.exceptions)
        where = f"in all {len(rows)} rows" if not found.exceptions else f"in {follows} of {len(rows)} rows"
        other = said is not None and said != (found.later, found.earlier)
        also = "" if not other else ", not what its heading says"
        findings.append(Finding(f"the column '{heading}' is {is_} {where}{also}", other or bool(found.exceptions)))
        for block, row in found.exceptions:
            difference = block.between(row, found.later, found.earlier)
            findings.append(
                Finding(
                    f"{block.name(row)}: '{heading}' says {block.durations[heading][row]} s, "
                    f"the stamps say {difference} s",
                    True,
                )
            )
    if held:
        for earlier, later in pairwise(range(len(stamps))):
            if (later, earlier) not in held:
                values = [
                    d
                    for block in alike
                    for row in range(len(block.stamps))
                    if (d := block.between(row, later, earlier)) is not None
                ]
                findings.append(
                    Finding(
                        f"stamp {stamps[later]} minus stamp {stamps[earlier]} is in no column: {_range(values)}", False
                    )
                )
    return findings


def _sums(alike: Sequence[Block]) -> list[Finding]:
    """Check whether the columns add up, as they are headed."""
    stamps = alike[0].headings
    by_claim = {said: heading for heading in alike[0].durations if (said := claim(heading, stamps))}
    findings = []
    for (later, earlier), whole in by_claim.items():
        parts = [by_claim.get((two, one)) for one, two in pairwise(range(earlier, later + 1))]
        if len(parts) < 2 or None in parts:
            continue
        added = [part for part in parts if part is not None]
        missing, rows = [], 0
        for block in alike:
            for row, total in enumerate(block.durations[whole]):
                values = [block.durations[name][row] for name in added]
                if total is None or None in values:
                    continue
                rows += 1
                rest = total - sum(value for value in values if value is not None)
                tolerance = sum((block.duration_digit[name] for name in [*added, whole]), block.digit) / 2
                if abs(rest) > tolerance:
                    missing.append(rest)
        if missing:
            short = f"{_range(missing)} {'are missing' if min(missing) > 0 else 'differ'}"
            where = f"in all {rows} rows" if len(missing) == rows else f"in {len(missing)} of {rows} rows"
            findings.append(Finding(f"{' + '.join(added)} is not {whole} {where}: {short}", True))
        elif rows:
            findings.append(Finding(f"{' + '.join(added)} is {whole} in all {rows} rows", False))
    return findings


def _in_order(block: Block) -> list[Finding]:
    findings = []
    for row in range(len(block.stamps)):
        for earlier, later in pairwise(range(len(block.headings))):
            duration = block.between(row, later, earlier)
            if duration is not None and duration < 0:
                findings.append(
                    Finding(
                        f"{block.name(row)}: stamp {block.headings[later]} is {-duration} s before stamp "
                        f"{block.headings[earlier]}: the two clocks differ, or the columns are mixed up",
                        True,
                    )
                )
    return findings


def _labels_agree(block: Block) -> list[Finding]:
    return [
        Finding(
            f"{', '.join(filter(None, (block.section, f'row {row + 1}')))}: labelled {one} with the stamps, "
            f"{other} with the durations",
            True,
        )
        for row, (one, other) in enumerate(zip(block.labels, block.duration_labels, strict=False))
        if one and other and one != other
    ]


def _range(values: Sequence[Decimal]) -> str:
    return f"{min(values)} s" if min(values) == max(values) else f"{min(values)} to {max(values)} s"


def _growth(rows: Sequence[tuple[Block, int, Decimal]]) -> str:
    """Tell how a column grows with the images' size, by least squares."""
    points = [
        (size / 1e6, float(value))
        for block, row, value in rows
        if (size := labelled_size(block.labels[row]) or labelled_size((block.duration_labels or block.labels)[row]))
        is not None
    ]
    sizes, values = [size for size, _ in points], [value for _, value in points]
    if len(set(sizes)) < 3 or len(set(values)) < 2:
        return ""
    correlation = statistics.correlation(sizes, values)
    if correlation < 0.9:
        return f", and hardly depends on the size (r = {correlation:.2f})"
    slope = statistics.linear_regression(sizes, values).slope
    return f", about {slope * 1000:.1f} ms a MB (r = {correlation:.3f})"
