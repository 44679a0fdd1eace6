"""From journeys to rows: statistics, cells, the two tables of 2020, the named segments, records."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces_builder import MS, at, journey, segments

from otel_kfs import render, tables
from otel_kfs.segments import Account
from otel_kfs.tables import Cell, Column, Statistics, Table

MB = 1_000_000
FEW = "fewer than 20 images can't support a p95: the largest value stands there"
CLOCKS = "some segments lie between two hosts, and hold the difference of their clocks"


def long(milliseconds, **more):
    """A journey of that length."""
    return journey(0, 1, 2, milliseconds, **more)


def lengths(names_and_lengths):
    """A journey with these segments, stamps 2 and 3 anywhere."""
    way = segments(names_and_lengths)
    return replace(journey(0, 0, 0, 0, segments=way), stamps=(at(0), at(1), at(2), way[-1].end))


# --- statistics ---


def test_of_one_value_everything_is_that_value():
    assert tables.statistics_of([7]) == Statistics(n=1, p50=7, p95=None, max=7)


def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle():
    assert tables.statistics_of([4, 1, 3, 20]) == Statistics(n=4, p50=round(3.5), p95=None, max=20)


def test_nineteen_values_have_no_p95():
    assert tables.statistics_of(range(1, 20)) == Statistics(n=19, p50=10, p95=None, max=19)


def test_twenty_values_have_a_p95_between_ranks_19_and_20():
    # Rank 1 + 0.95 * 19 = 19.05: the value 1900 and 0.05 of the way to 2000.
    assert tables.statistics_of(range(100, 2001, 100)) == Statistics(n=20, p50=1050, p95=1905, max=2000)


def test_a_hundred_and_one_values_have_their_p95_at_the_95th_step():
    assert tables.statistics_of(range(101)) == Statistics(n=101, p50=50, p95=95, max=100)


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=60))
def test_the_order_of_values_does_not_matter_and_p95_lies_below_the_maximum(values):
    found = tables.statistics_of(values)
    assert found == tables.statistics_of(sorted(values))
    assert min(values) <= found.p50 <= (found.p95 if found.p95 is not None else found.max) <= found.max


# --- cells ---


def test_cells_are_http_first_then_small_first():
    drawn = [
        journey(0, 1, 2, 3, transport=transport, image_size=size)
        for transport in ("kafka", "http")
        for size in (10_200_000, 1_100_000, 3_300_000)
    ]
    assert [(cell.transport, cell.size) for cell in tables.cells(drawn)] == [
        (transport, size) for transport in ("http", "kafka") for size in ("1.1MB", "3.3MB", "10.2MB")
    ]


def test_images_that_round_to_one_size_share_a_cell_in_their_order():
    one, two = long(5, image_size=1_112_057), long(6, image_size=1_130_000)
    assert tables.cells([one, two]) == [Cell("http", "1.1MB", (one, two))]


def test_no_journeys_are_no_cells():
    assert tables.cells([]) == []


@pytest.mark.parametrize(
    ("image_size", "payload_size", "label"),
    [
        (1_112_057, 1_482_786, "1.1MB"),
        (10_200_000, None, "10.2MB"),
        (49_999, None, "50.0kB"),
        (810, None, "0.8kB"),
        (0, None, "0.0kB"),
        (None, 13_900_000, "13.9MB JSON"),
        (None, None, "?"),
    ],
)
def test_a_size_s_label(image_size, payload_size, label):
    assert tables.size_label(journey(0, 1, 2, 3, image_size=image_size, payload_size=payload_size)) == label


# --- the median image ---


@pytest.mark.parametrize(("totals", "median"), [([9], 9), ([30, 10, 20], 20), ([40, 10, 30, 20], 20)])
def test_the_median_is_a_real_image(totals, median):
    drawn = tuple(map(long, totals))
    assert Cell("http", "1.1MB", drawn).median is drawn[totals.index(median)]


# --- segments of a cell ---


def test_segments_come_in_the_order_of_the_way_with_unknown_ones_last():
    cell = Cell("http", "1.1MB", (lengths("other 1, predictor predict 2, client 3, encode (no client span) 4"),))
    assert list(cell.segments()) == ["client", "encode (no client span)", "predictor predict", "other"]


def test_a_name_that_occurs_twice_in_a_way_adds_up_there():
    cell = Cell("http", "1.1MB", (lengths("client 10, encode 5, client 30"), lengths("client 20, encode 7, client 40")))
    assert cell.segments() == {
        "client": Statistics(2, 50 * MS, None, 60 * MS),
        "encode": Statistics(2, 6 * MS, None, 7 * MS),
    }


def test_an_empty_segment_counts_as_nothing_rather_than_not_at_all():
    cell = Cell("kafka", "1.1MB", (lengths("broker 0"), lengths("broker 0"), lengths("broker 5")))
    assert cell.segments() == {"broker": Statistics(3, 0, None, 5 * MS)}


# --- the two tables of 2020 ---


def test_the_two_tables_of_each_transport():
    drawn = [
        journey(0, 45, 190, 423),
        journey(1000, 1046, 1191, 1425),
        journey(2000, 2044, 2189, 2422),
        journey(0, 134, 423, 653, image_size=3 * MB),
        journey(0, 1548, 1680, 1988, transport="kafka"),
    ]
    size = Column("Size", "text")
    stamps = (size, *(Column(number, "unix") for number in "1234"))
    differences = (size, *(Column(heading, "seconds") for heading in ("2-1", "3-2", "4-3", "4-1")))
    assert tables.seed_tables(tables.cells(drawn)) == [
        Table(
            "HTTP: unix time",
            stamps,
            (("1.1MB", at(0), at(45), at(190), at(423)), ("3.0MB", at(0), at(134), at(423), at(653))),
        ),
        Table(
            "HTTP: seconds",
            differences,
            (
                ("1.1MB", 45 * MS, 145 * MS, 233 * MS, 423 * MS),
                ("3.0MB", 134 * MS, 289 * MS, 230 * MS, 653 * MS),
            ),
            ("a row is one image, the one with the median 4-1 of n = 1 to 3; each figure is rounded by itself",),
        ),
        Table("Kafka: unix time", stamps, (("1.1MB", at(0), at(1548), at(1680), at(1988)),)),
        Table(
            "Kafka: seconds",
            differences,
            (("1.1MB", 1548 * MS, 132 * MS, 308 * MS, 1988 * MS),),
            ("a row is one image, the one with the median 4-1 of n = 1; each figure is rounded by itself",),
        ),
    ]


@given(st.tuples(*[st.integers(0, 10**13)] * 4), st.integers(0, 2 * 10**18))
def test_the_differences_add_up_exactly_and_as_printed_to_the_last_digit_s_rounding(gaps, first):
    stamps = (first, first + gaps[0], first + sum(gaps[:2]), first + sum(gaps[:3]))
    cell = Cell("http", "1.1MB", (replace(journey(0, 0, 0, 0), stamps=stamps),))
    _, *row = tables.seed_tables([cell])[1].rows[0]
    assert sum(row[:3]) == row[3]
    printed = [Decimal(render.cell(value, "seconds")) for value in row]
    # Four numbers, each at most half of the last digit off.
    assert abs(sum(printed[:3]) - printed[3]) <= 4 * Decimal("0.0005")


def test_records_of_the_two_tables_are_exact_and_name_their_image():
    drawn = [journey(0, 45, 190, 423), replace(journey(0, 45, 191, 424), trace_id="b")]
    assert tables.seed_records(tables.cells(drawn)) == [
        {
            "transport": "http",
            "size": "1.1MB",
            "n": 2,
            "trace_id": "a",
            "1": "1600000000.000000000",
            "2": "1600000000.045000000",
            "3": "1600000000.190000000",
            "4": "1600000000.423000000",
            "2-1": "0.045000000",
            "3-2": "0.145000000",
            "4-3": "0.233000000",
            "4-1": "0.423000000",
        }
    ]


# --- the named segments ---


def test_segments_are_rows_and_sizes_are_columns():
    drawn = [
        lengths("client 10, encode 20"),
        lengths("client 30, encode 40"),
        replace(lengths("client 5, retries 6"), image_size=3 * MB),
    ]
    assert tables.segment_tables(tables.cells(drawn)) == [
        Table(
            "HTTP: segments, milliseconds",
            (
                Column("Segment", "text"),
                Column("1.1MB p50", "milliseconds"),
                Column("max (n=2)", "milliseconds"),
                Column("3.0MB p50", "milliseconds"),
                Column("max (n=1)", "milliseconds"),
            ),
            (
                ("client", 20 * MS, 30 * MS, 5 * MS, 5 * MS),
                ("encode", 30 * MS, 40 * MS, None, None),
                ("retries", None, None, 6 * MS, 6 * MS),
                ("4-1", 50 * MS, 70 * MS, 11 * MS, 11 * MS),
            ),
            (FEW,),
        )
    ]


def test_from_twenty_images_on_the_second_column_is_a_p95():
    drawn = [lengths(f"client {100 * number}") for number in range(1, 21)]
    (table,) = tables.segment_tables(tables.cells(drawn))
    assert (table.columns[2], table.rows, table.notes) == (
        Column("p95 (n=20)", "milliseconds"),
        (("client", 1050 * MS, 1905 * MS), ("4-1", 1050 * MS, 1905 * MS)),
        (),
    )


def test_a_segment_that_few_of_many_images_have_has_no_p95():
    drawn = [lengths("client 10")] * 19 + [lengths("client 10, retries 5")]
    (table,) = tables.segment_tables(tables.cells(drawn))
    assert table.rows[1] == ("retries", 5 * MS, None)


def test_a_note_says_where_two_clocks_are_in_a_segment():
    (table,) = tables.segment_tables(tables.cells([lengths("client 10, transformer request -5!")]))
    assert table.notes == (FEW, CLOCKS)


def test_records_of_segments_end_with_the_whole():
    cells = tables.cells([lengths("client 10, encode 20"), lengths("client 30, encode 40")])
    first = {"transport": "http", "size": "1.1MB"}
    assert tables.segment_records(cells) == [
        first | {"segment": "client", "n": 2, "p50_ns": 20 * MS, "p95_ns": None, "max_ns": 30 * MS},
        first | {"segment": "encode", "n": 2, "p50_ns": 30 * MS, "p95_ns": None, "max_ns": 40 * MS},
        first | {"segment": "4-1", "n": 2, "p50_ns": 50 * MS, "p95_ns": None, "max_ns": 70 * MS},
    ]


# --- the account, and seconds ---


def test_the_account_says_everything_in_one_line():
    account = Account(measured=8, left_out=Counter({"warm-up": 4, "no server span": 1}), retried=2, redelivered=1)
    assert tables.account_line(account) == (
        "8 images measured; 1 left out: no server span; 4 left out: warm-up; 2 with retries; 1 redelivered"
    )


def test_the_account_says_nothing_of_what_did_not_happen():
    assert tables.account_line(Account(measured=8)) == "8 images measured"


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.000000000"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.500000000"),
        (1_593_068_399_853_000_001, "1593068399.853000001"),
    ],
)
def test_seconds_are_exact(nanoseconds, text):
    assert tables.seconds(nanoseconds) == text
