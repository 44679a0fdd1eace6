"""Two measurements side by side: the segment that was shifted is the one that is named, and equals raise no alarm."""

import random
import re
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_builder import MS, at, journey, segments

from otel_kfs.analysis import comparison as room
from otel_kfs.analysis.critical_path import Segment
from otel_kfs.analysis.measurement import Labels, measured
from otel_kfs.errors import ConfigError, MissingExtra

pytestmark = pytest.mark.analysis

MB = 1_000_000
SEGMENTS = {"client": 3, "encode": 40, "transformer preprocess": 200, "predictor predict": 20}  # ms


def image(lengths, **more):
    """A journey with segments of these lengths, ns."""
    way, start = [], at(0)
    for name, length in lengths.items():
        way.append(Segment(name, start, start + length))
        start += length
    stamps = (at(0), at(0), at(0), start)
    return replace(journey(0, 0, 0, 0, segments=tuple(way), **more), stamps=stamps)


def images(n, seed, shift=None, **more):
    """Images whose segments scatter by a tenth of their lengths; `shift` adds milliseconds to some."""
    scatter = random.Random(seed)
    return [
        image(
            {
                name: round(MS * (scatter.gauss(1, 0.1) * length + (shift or {}).get(name, 0)))
                for name, length in SEGMENTS.items()
            },
            **more,
        )
        for _ in range(n)
    ]


def drawn(way, **more):
    """A journey with these segments."""
    found = segments(way)
    return replace(journey(0, 0, 0, 0, segments=found, **more), stamps=(at(0), at(0), at(0), found[-1].end))


def cells(*journeys):
    return measured(journeys).cells()


def compared(a, b):
    """The comparison of two cells, of one size and way each."""
    (found,) = room.compare(cells(*a), cells(*b)).of_sizes
    return found


# --- where the time went ---


@settings(max_examples=25)
@given(st.sampled_from(sorted(SEGMENTS)), st.integers(12, 40), st.integers(0, 1000))
def test_the_segment_that_was_shifted_is_the_one_that_is_named(name, n, seed):
    of = compared(images(n, seed), images(n, seed + 5000, {name: 200}))
    first = re.search("`(.*?)`", room.verdict(of).partition("): ")[2])
    assert (of.total.differs, first and first[1]) == (True, name)


def test_a_difference_is_told_with_its_interval_numbers_and_share():
    a = [drawn(f"client {n}, encode {100 + n}") for n in range(1, 21)]
    b = [drawn(f"client {n}, encode {600 + n}") for n in range(1, 21)]
    of = compared(a, b)
    assert (of.total.difference, room.verdict(of)) == (
        500 * MS,
        f"HTTP, 1.1MB: B is 500.0 ms slower than A ({of.total.interval.low / MS:.1f} to "
        f"{of.total.interval.high / MS:.1f}, n = 20 and 20): 100% of it is `encode`",
    )


def test_faster_is_told_with_the_interval_in_the_sense_of_the_word():
    of = compared([drawn("client 600")] * 15, [drawn("client 100")] * 15)
    assert room.verdict(of) == (
        "HTTP, 1.1MB: B is 500.0 ms faster than A (500.0 to 500.0, n = 15 and 15): 100% of it is `client`"
    )


def test_several_segments_are_named_until_most_is_explained():
    a, b = [drawn("client 10, encode 10, deliver 10")] * 15, [drawn("client 60, encode 40, deliver 30")] * 15
    assert room.verdict(compared(a, b)).endswith(": 50% of it is `client`, 30% `encode`")


def test_segments_that_went_either_way_are_told_in_milliseconds():
    a, b = [drawn("client 100, encode 100")] * 15, [drawn("client 300, encode 50")] * 15
    assert room.verdict(compared(a, b)).endswith(": `client` is 200.0 ms slower, `encode` is 50.0 ms faster")


def test_a_segment_that_one_side_lacks_took_no_time_there():
    of = compared([drawn("client 10")] * 15, [drawn("client 10, broker 30")] * 15)
    broker = next(one for one in of.segments if one.segment == "broker")
    assert (broker.images_a, broker.images_b, broker.p50_a, broker.p50_b, broker.difference, broker.differs) == (
        0,
        15,
        0,
        30 * MS,
        30 * MS,
        True,
    )


def test_equals_do_not_differ_beyond_noise():
    same = [drawn(f"client {n}, encode 100") for n in range(1, 21)]
    of = compared(same, same)
    assert (
        room.verdict(of).startswith("HTTP, 1.1MB: B and A do not differ beyond noise: 4-1 by +0.0 ms ("),
        of.slower_by(),
    ) == (
        True,
        None,
    )


def test_segments_that_cancel_out_are_told_beside_an_equal_whole():
    a, b = [drawn("client 10, encode 50")] * 15, [drawn("client 50, encode 10")] * 15
    assert room.verdict(compared(a, b)) == (
        "HTTP, 1.1MB: B and A do not differ beyond noise: 4-1 by +0.0 ms (0.0 to 0.0, n = 15 and 15), "
        "though `client` is 40.0 ms slower, `encode` is 40.0 ms faster"
    )


def test_too_few_images_are_said_to_be_too_few_and_how_many_would_do():
    of = compared([drawn("client 10")] * 3, [drawn("client 500")] * 3)
    assert (of.enough, room.verdict(of)) == (
        False,
        "HTTP, 1.1MB: too few images (n = 3 and 3) to tell a difference from noise, 5 each would do; "
        "4-1 differs by +490.0 ms",
    )


def test_as_many_images_as_are_asked_for_do():
    needed = compared([drawn("client 10")] * 3, [drawn("client 500")] * 3).needed
    a, b = [[drawn(f"client {base + n}") for n in range(needed)] for base in (10, 500)]
    assert (compared(a, b).enough, compared(a, b).total.differs) == (True, True)


def test_a_difference_within_the_doubt_about_clocks_is_none():
    a, b = cells(*[drawn("transformer request 10!")] * 15), cells(*[drawn("transformer request 30!")] * 15)
    key = (Labels("http"), "1.1MB", "transformer request")
    found = [room.compare(a, b, {key: 6 * MS}, {key: doubt}).of_sizes[0].segments[0] for doubt in (13 * MS, 14 * MS)]
    assert [(one.bound, one.differs) for one in found] == [(19 * MS, True), (20 * MS, False)]


# --- no more false alarms than are promised ---


def test_equals_raise_an_alarm_in_at_most_5_of_100_comparisons():
    alarms = 0
    for seed in range(200):
        of = compared(images(10, seed), images(10, seed + 10_000))
        alarms += any(one.differs for one in (*of.segments, of.total))
    # 5 % of 200 is 10; in 99 of 100 such simulations it would be 18 at most.
    assert alarms <= 18


def test_holm_corrects_for_the_number_of_tests():
    assert room.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_corrects_nothing_above_one():
    assert room.holm([0.9, 0.6]) == [1.0, 1.0]


def test_the_rank_test_of_values_that_are_all_the_same_is_one():
    assert room.rank_test([5, 5], [5, 5, 5]) == 1.0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_the_rank_test_is_a_probability_and_the_same_from_either_side(a, b):
    assert 0 <= room.rank_test(a, b) <= 1
    assert room.rank_test(a, b) == pytest.approx(room.rank_test(b, a))


# --- what is compared with what ---


def ways_of(a, b):
    return [(of.way_a, of.way_b, of.size) for of in room.compare(cells(*a), cells(*b)).of_sizes]


def test_sizes_and_ways_are_matched():
    both = [drawn("client 1", transport=t, image_size=s) for t in ("http", "kafka") for s in (MB, 2 * MB)]
    assert ways_of(both, both) == [
        (Labels(transport), Labels(transport), size) for transport in ("http", "kafka") for size in ("1.0MB", "2.0MB")
    ]


def test_what_all_of_a_side_have_in_common_is_not_matched():
    assert ways_of([drawn("client 1", encoding="raw")], [drawn("client 1", transport="kafka", cell="big batches")]) == [
        (Labels("http", "raw"), Labels("kafka", cell="big batches"), "1.1MB")
    ]


def test_what_only_one_side_has_is_told():
    a = [drawn("client 1"), drawn("client 1", image_size=3 * MB)]
    b = [drawn("client 1"), drawn("client 1", transport="kafka")]
    assert room.compare(cells(*a), cells(*b)).unmatched == (
        "only A has HTTP, 3.0MB (n = 1)",
        "only B has Kafka, 1.1MB (n = 1)",
    )


def test_sides_without_a_common_size_are_an_error_that_lists_both():
    with pytest.raises(ConfigError) as raised:
        room.compare(cells(drawn("client 1")), cells(drawn("client 1", image_size=2 * MB)))
    assert str(raised.value) == (
        "A and B have no size and way in common: A has HTTP, 1.1MB (n = 1); B has HTTP, 2.0MB (n = 1)"
    )


def test_cells_are_chosen_by_all_that_is_wanted():
    drawn_ = cells(*[drawn("client 1", transport=t, image_size=s) for t in ("http", "kafka") for s in (MB, 2 * MB)])
    assert room.select(drawn_, {"transport": "kafka", "size": "2.0MB"}) == [drawn_[3]]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"topic": "a"}, "images can't be chosen by 'topic', only by transport, encoding, compression, cell, size"),
        ({"transport": "htp"}, "no image has transport=htp: transport is http or kafka"),
        ({"encoding": "raw"}, "no image has encoding=raw: encoding is empty"),
    ],
)
def test_a_choice_that_leaves_nothing_says_what_there_is(where, message):
    with pytest.raises(ConfigError) as raised:
        room.select(cells(drawn("client 1"), drawn("client 1", transport="kafka")), where)
    assert str(raised.value) == message


def test_without_scipy_comparing_is_answered_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtra, match=r"scipy is not installed; run: pip install 'otel-kfs\[analysis\]'"):
        room.compare(cells(drawn("client 1")), cells(drawn("client 1")))


# --- tables and records ---


def test_rows_are_segments_and_the_sentences_come_last():
    found = room.compare(cells(*[drawn("client 10, encode 50")] * 15), cells(*[drawn("client 10, encode 90")] * 15))
    table, words = room.comparison_tables(found)
    same = room.Interval(0, 0)
    more = room.Interval(40 * MS, 40 * MS)
    assert (table.title, table.rows) == (
        "HTTP, 1.1MB (n = 15 and 15): milliseconds",
        (
            ("client", 10 * MS, 10 * MS, 0, same, None, "1.000", ""),
            ("encode", 50 * MS, 90 * MS, 40 * MS, more, "100%", "<0.001", "different"),
            ("4-1", 60 * MS, 100 * MS, 40 * MS, more, None, "<0.001", "different"),
        ),
    )
    assert words.notes[0] == room.verdict(found.of_sizes[0])


def test_records_have_both_sides():
    found = room.compare(
        cells(*[drawn("client 10")] * 15), cells(*[drawn("client 10, broker 5", transport="kafka")] * 15)
    )
    records = room.comparison_records(found)
    assert [(r["transport_a"], r["transport_b"], r["size"], r["segment"], r["images_a"]) for r in records] == [
        ("http", "kafka", "1.1MB", "client", 15),
        ("http", "kafka", "1.1MB", "broker", 0),
        ("http", "kafka", "1.1MB", "4-1", 15),
    ]
