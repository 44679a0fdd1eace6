"""Stamps beside traced images as a table."""

from traces_builder import MS

from otel_kfs.analysis.manual_timestamps.traced_comparison import Beside, BesideRow, Duration
from otel_kfs.analysis.skew_correction import TwoClocks
from otel_kfs.report.tables.table import Bounded
from otel_kfs.report.tables.table_notes import ONE_CLOCK
from otel_kfs.report.tables.timestamp_rows import beside_table

ROW = BesideRow("1.1MB", (Duration(1, 2), Duration(3, 4), Duration(5, 6), Duration(7, 8)), 9)


def test_each_length_stands_beside_the_traced_one():
    table = beside_table(Beside("Kafka", "kafka", (ROW,), TwoClocks.NOTHING))
    assert (table.title, table.rows) == (
        "Kafka: seconds, by hand and traced",
        (("1.1MB", 1, 2, 3, 4, 5, 6, 7, 8, 9),),
    )


def test_a_row_without_a_traced_image_is_named_below():
    row = BesideRow("9MB", (Duration(0, None),) * 4, None)
    table = beside_table(Beside("Kafka", "kafka", (ROW, row), TwoClocks.NOTHING))
    assert (table.rows[1], table.notes[2:]) == (
        ("9MB", 0, None, 0, None, 0, None, 0, None, None),
        ("no traced image has this size: 9MB",),
    )


def test_what_the_clocks_of_two_hosts_leave_open_stands_behind_a_length():
    row = BesideRow("1.1MB", (Duration(1 * MS, 2 * MS, 3 * MS), *ROW.durations[1:]), 9)
    table = beside_table(Beside("", None, (row,), TwoClocks.BOUNDED))
    assert (table.title, table.rows[0][2], table.notes[2:]) == (
        "Stamps: seconds, by hand and traced",
        Bounded(2 * MS, 3 * MS),
        ("nothing says whether this is HTTP or Kafka: the traced images may be either", ONE_CLOCK),
    )
