"""From cells to rows: the two tables of 2020, the named segments, their statistics."""

import math
import sys
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces_builder import MS, at, critical_path, critical_path_of, segment

from otel_kfs.analysis.measurement import Labels, measured
from otel_kfs.analysis.skew_correction import correct_skew
from otel_kfs.analysis.statistics import Interval
from otel_kfs.report import render
from otel_kfs.report.records import segment_records
from otel_kfs.report.tables import rows, table_notes
from otel_kfs.report.tables.table import Bounded, Column, Table

MB = 1_000_000
FEW = "fewer than 20 images can't support a p95: the maximum is shown instead"
WAY = {"transport": "http", "encoding": "", "compression": "", "cell": ""}
CLOCKS = "\u00b1?: between two hosts, and nothing bounds how far their clocks are apart; the figure holds that, too"


def long(milliseconds, **more):
    """A path of that length."""
    return critical_path(0, 1, 2, milliseconds, **more)


def cells(paths):
    """Their cells."""
    return correct_skew(measured(paths))[0]


# --- the two tables of 2020 ---


def test_the_two_tables_of_each_transport():
    drawn = [
        critical_path(0, 45, 190, 423),
        critical_path(1000, 1046, 1191, 1425),
        critical_path(2000, 2044, 2189, 2422),
        critical_path(0, 134, 423, 653, image_size=3 * MB),
        critical_path(0, 1548, 1680, 1988, transport="kafka"),
    ]
    size = Column("Size", "text")
    stamps = (size, *(Column(number, "unix") for number in "1234"))
    differences = (size, *(Column(heading, "seconds") for heading in ("2-1", "3-2", "4-3", "total (4-1)")))
    assert rows.seed_tables(cells(drawn)) == [
        Table(
            "HTTP: seconds",
            differences,
            (
                ("1.1MB", 45 * MS, 145 * MS, 233 * MS, 423 * MS),
                ("3.0MB", 134 * MS, 289 * MS, 230 * MS, 653 * MS),
            ),
            (
                "a row is one image, that of the median total (4-1) of n = 1 to 3; each figure is rounded separately",
                table_notes.STAMPS,
            ),
        ),
        Table(
            "Kafka: seconds",
            differences,
            (("1.1MB", 1548 * MS, 132 * MS, 308 * MS, 1988 * MS),),
            (
                "a row is one image, that of the median total (4-1) of n = 1; each figure is rounded separately",
                table_notes.STAMPS,
            ),
        ),
        Table(
            "HTTP: unix time",
            stamps,
            (("1.1MB", at(0), at(45), at(190), at(423)), ("3.0MB", at(0), at(134), at(423), at(653))),
        ),
        Table("Kafka: unix time", stamps, (("1.1MB", at(0), at(1548), at(1680), at(1988)),)),
    ]


@given(st.tuples(*[st.integers(0, 10**13)] * 4), st.integers(0, 2 * 10**18))
def test_the_differences_add_up_exactly_and_as_printed_to_the_last_digit_s_rounding(gaps, first):
    stamps = (first, first + gaps[0], first + sum(gaps[:2]), first + sum(gaps[:3]))
    _, *row = rows.seed_tables(cells([replace(critical_path(0, 0, 0, 0), stamps=stamps)]))[0].rows[0]
    assert sum(row[:3]) == row[3]
    printed = [Decimal(render.cell(value, "seconds")) for value in row]
    # Four numbers, each at most half of the last digit off.
    assert abs(sum(printed[:3]) - printed[3]) <= 4 * Decimal("0.0005")


# --- the named segments ---


def test_segments_are_rows_and_sizes_are_columns():
    drawn = [
        critical_path_of("client 10, encode 20"),
        critical_path_of("client 30, encode 40"),
        replace(critical_path_of("client 5, retries 6"), image_size=3 * MB),
    ]
    assert rows.segment_tables(cells(drawn)) == [
        Table(
            "HTTP: segments, milliseconds",
            (
                Column("Segment", "text"),
                Column("1.1MB p50", "milliseconds"),
                Column("max (n=2)", "milliseconds", joined=True),
                Column("3.0MB p50", "milliseconds"),
                Column("max (n=1)", "milliseconds", joined=True),
            ),
            (
                ("client", 20 * MS, 30 * MS, 5 * MS, 5 * MS),
                ("encode", 30 * MS, 40 * MS, None, None),
                ("retries", None, None, 6 * MS, 6 * MS),
                ("total (4-1)", 50 * MS, 70 * MS, 11 * MS, 11 * MS),
            ),
            (FEW,),
        )
    ]


def test_from_twenty_images_on_the_second_column_is_a_p95():
    drawn = [critical_path_of(f"client {100 * number}") for number in range(1, 21)]
    (table,) = rows.segment_tables(cells(drawn))
    assert (table.columns[2], table.rows, table.notes) == (
        Column("p95 (n=20)", "milliseconds", joined=True),
        (("client", 1050 * MS, 1905 * MS), ("total (4-1)", 1050 * MS, 1905 * MS)),
        (),
    )


def test_a_segment_that_few_of_many_images_have_has_no_p95():
    drawn = [critical_path_of("client 10")] * 19 + [critical_path_of("client 10, retries 5")]
    (table,) = rows.segment_tables(cells(drawn))
    assert table.rows[1] == ("retries", 5 * MS, None)


def test_the_segments_table_says_which_segments_few_images_have():
    drawn = [critical_path_of("client 10")] * 19 + [critical_path_of("client 10, retries 5")]
    (table,) = rows.segment_tables(cells(drawn))
    assert table.notes == (
        "not every image has each segment; the figures are of the images that do: retries in 1 of 20 at 1.1MB",
    )


def test_rows_of_images_that_count_as_equal_say_so():
    paths = [critical_path(0, 1, 2, 3, image_size=size) for size in (1_100_000, 1_104_500, 3 * MB)]
    note = "sizes within 1% of each other are one: 1.1MB is 1,100,000 to 1,104,500 bytes"
    for tables in (rows.seed_tables, rows.segment_tables, rows.statistics_tables):
        assert note in tables(cells(paths))[0].notes


def test_a_note_says_where_two_clocks_are_in_a_segment():
    all_series, bounds = correct_skew(measured([critical_path_of("client 10, transformer request -5!")]))
    (table,) = rows.segment_tables(all_series, bounds)
    assert (table.rows[1], table.notes) == (
        ("transformer request", Bounded(-5 * MS, math.inf), Bounded(-5 * MS, math.inf)),
        (FEW, CLOCKS),
    )


def test_a_known_doubt_about_clocks_is_said_to_hold_for_every_statistic():
    drawn = cells([critical_path_of("client 10, transformer request 5!")])
    (table,) = rows.statistics_tables(drawn, {(Labels("http"), "1.1MB", segment("transformer request")): 2 * MS})
    assert table.notes[-1] == (
        "\u00b1: the uncertainty of the two hosts' clocks; the row's other figures are off by at most that much, too; "
        "more images, above all small ones, narrow it: it is as wide as the shortest round trip"
    )


def test_a_known_doubt_about_clocks_stands_beside_the_figure():
    drawn = cells([critical_path_of("client 10, transformer request 5!")])
    (table,) = rows.segment_tables(drawn, {(Labels("http"), "1.1MB", segment("transformer request")): 2 * MS})
    assert (table.rows[1], table.notes) == (
        ("transformer request", Bounded(5 * MS, 2 * MS), 5 * MS),
        (FEW, table_notes.BOUND),
    )


# --- statistics ---


def test_statistics_have_a_row_for_each_size_of_each_segment():
    drawn = [
        critical_path_of("client 10"),
        critical_path_of("client 30"),
        replace(critical_path_of("client 5, retries 6"), image_size=3 * MB),
    ]
    (table,) = rows.statistics_tables(cells(drawn))
    assert (table.title, [column.heading for column in table.columns], table.rows) == (
        "HTTP: statistics, milliseconds",
        ["Segment", "Size", "n", "mean", "sd", "p50", "95 % interval", "p90", "p95", "p99", "max"],
        (
            ("client", "1.1MB", 2, 20 * MS, 14142136, 20 * MS, None, None, None, None, 30 * MS),
            ("client", "3.0MB", 1, 5 * MS, None, 5 * MS, None, None, None, None, 5 * MS),
            ("retries", "3.0MB", 1, 6 * MS, None, 6 * MS, None, None, None, None, 6 * MS),
            ("total (4-1)", "1.1MB", 2, 20 * MS, 14142136, 20 * MS, None, None, None, None, 30 * MS),
            ("total (4-1)", "3.0MB", 1, 11 * MS, None, 11 * MS, None, None, None, None, 11 * MS),
        ),
    )


@pytest.mark.analysis
def test_the_median_s_interval_stands_beside_it_in_rows_and_records():
    drawn = cells([critical_path_of("client 10")] * 20)
    (table,) = rows.statistics_tables(drawn)
    (record, _) = segment_records.segment_records(drawn)
    same = Interval(10 * MS, 10 * MS)
    assert (table.rows[0][6], (record["p50_low_ns"], record["p50_high_ns"])) == (same, same)


@pytest.mark.analysis
def test_a_note_says_what_an_interval_is_and_what_the_dashes_mean():
    (table,) = rows.statistics_tables(cells([critical_path_of("client 10")]))
    assert table.notes == (
        table_notes.INTERVAL,
        "-: too few images; the interval needs 6, p90 10, p95 20, p99 100",
    )


def test_without_scipy_one_note_says_how_to_get_intervals(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    drawn = cells([critical_path_of("client 10")] * 100)
    (table,) = rows.statistics_tables(drawn)
    assert (table.rows[0][6], table.notes, segment_records.segment_records(drawn)[0]["p50_low_ns"]) == (
        None,
        ("intervals of the medians need scipy; in a clone of otel-kfs: pip install '.[analysis]'",),
        None,
    )
