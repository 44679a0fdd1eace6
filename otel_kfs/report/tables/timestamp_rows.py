"""The table of a block of stamps beside traced images."""

from __future__ import annotations

from otel_kfs.analysis.manual_timestamps import Beside
from otel_kfs.report.segment_names import TOTAL_NAME
from otel_kfs.report.tables.table import Column, Table, bounded
from otel_kfs.report.tables.table_notes import STAMPS, stamp_notes

_COLUMNS = (
    Column("Size", "text"),
    *(
        Column(heading, "seconds", joined=heading == "traced")
        for pair in ("2-1", "3-2", "4-3", TOTAL_NAME)
        for heading in (f"{pair} by hand", "traced")
    ),
    Column("n", "count"),
)


def beside_table(of: Beside) -> Table:
    """Return the table of one block: what its stamps say, and the same of the median image of each row's size."""
    notes = [
        "by hand: the difference of the stamps themselves, whatever the columns say; traced: the median image of n",
        STAMPS,
    ]
    if of.transport is None:
        notes.append("nothing says whether this is HTTP or Kafka: the traced images may be either")
    if unmatched := [row.label for row in of.rows if row.n is None]:
        notes.append(f"no traced image has this size: {', '.join(unmatched)}")
    notes += stamp_notes(of.two_clocks)
    rows = tuple(
        (
            row.label,
            *(
                figure
                for one in row.durations
                for figure in (one.by_hand, None if one.traced is None else bounded(one.traced, one.bound))
            ),
            row.n,
        )
        for row in of.rows
    )
    return Table(f"{of.section or 'Stamps'}: seconds, by hand and traced", _COLUMNS, rows, tuple(notes))
