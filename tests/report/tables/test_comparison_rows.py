"""What is printed of a comparison: the segment that was shifted is the one that is named."""

import re
from dataclasses import replace

import pytest
from comparison_support import SEGMENTS, all_series, compared, drawn, images
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_builder import MS, critical_path_of

from otel_kfs.analysis import comparison as room
from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import Labels, measured
from otel_kfs.analysis.paths.segment import TOTAL
from otel_kfs.analysis.skew_correction import correct_skew
from otel_kfs.report.records import comparison_records
from otel_kfs.report.tables import comparison_rows

pytestmark = pytest.mark.analysis


@settings(max_examples=25)
@given(st.sampled_from(sorted(SEGMENTS)), st.integers(12, 40), st.integers(0, 1000))
def test_the_segment_that_was_shifted_is_the_one_that_is_named(name, n, seed):
    of = compared(images(n, seed), images(n, seed + 5000, {name: 200}))
    first = re.search("`(.*?)`", comparison_rows.verdict(of).partition("): ")[2])
    assert (of.total.differs, first and first[1]) == (True, name)


def test_a_difference_is_told_with_its_interval_numbers_and_share():
    a = [drawn(f"client {n}, encode {100 + n}") for n in range(1, 21)]
    b = [drawn(f"client {n}, encode {600 + n}") for n in range(1, 21)]
    of = compared(a, b)
    assert (of.total.difference, comparison_rows.verdict(of)) == (
        500 * MS,
        f"HTTP, 1.1MB: B is 500.0 ms (413%) slower than A ({of.total.interval.low / MS:.1f} to "
        f"{of.total.interval.high / MS:.1f}, n = 20 and 20): 100% of it is `encode`",
    )


def test_faster_is_told_with_the_interval_in_the_sense_of_the_word():
    of = compared([drawn("client 600")] * 15, [drawn("client 100")] * 15)
    assert comparison_rows.verdict(of) == (
        "HTTP, 1.1MB: B is 500.0 ms (83%) faster than A (500.0 to 500.0, n = 15 and 15): 100% of it is `client`"
    )


def test_several_segments_are_named_until_most_is_explained():
    a, b = [drawn("client 10, encode 10, deliver 10")] * 15, [drawn("client 60, encode 40, deliver 30")] * 15
    assert comparison_rows.verdict(compared(a, b)).endswith(": 50% of it is `client`, 30% `encode`")


def test_segments_that_went_either_way_are_told_in_milliseconds():
    a, b = [drawn("client 100, encode 100")] * 15, [drawn("client 300, encode 50")] * 15
    assert comparison_rows.verdict(compared(a, b)).endswith(": `client` is 200.0 ms slower, `encode` is 50.0 ms faster")


def test_equals_do_not_differ_beyond_noise():
    same = [drawn(f"client {n}, encode 100") for n in range(1, 21)]
    of = compared(same, same)
    assert (
        comparison_rows.verdict(of).startswith(
            "HTTP, 1.1MB: B and A do not differ beyond noise: total (4-1) by +0.0 ms ("
        ),
        of.slower_by(),
    ) == (
        True,
        None,
    )


def test_what_clocks_leave_open_of_a_share_is_told_and_only_what_they_do_not_is_slower():
    a, b = (measured([drawn(f"client {length}")] * 15).all_series() for length in (100, 150))
    key = (Labels("http"), "1.1MB", TOTAL)
    found = room.compare(a, b, {key: 10 * MS}, {key: 10 * MS})
    (of,) = found.of_sizes
    # 30 to 70 ms more than 90 to 110.
    assert comparison_rows.verdict(of).startswith(
        "HTTP, 1.1MB: B is 50.0 ms \u00b120.0 ms (50% \u00b128%) slower than A ("
    )
    assert comparison_rows.share_of_a(of.total) == "+50% \u00b128%"
    assert (found.slower(0.27), found.slower(0.28)) == ([of], [])


def test_segments_that_cancel_out_are_told_beside_an_equal_whole():
    a, b = [drawn("client 10, encode 50")] * 15, [drawn("client 50, encode 10")] * 15
    assert comparison_rows.verdict(compared(a, b)) == (
        "HTTP, 1.1MB: B and A do not differ beyond noise: total (4-1) by +0.0 ms (0.0 to 0.0, n = 15 and 15), "
        "though `client` is 40.0 ms slower, `encode` is 40.0 ms faster"
    )


def test_too_few_images_are_said_to_be_too_few_and_how_many_would_do():
    of = compared([drawn("client 10")] * 3, [drawn("client 500")] * 3)
    assert (of.enough, comparison_rows.verdict(of)) == (
        False,
        "HTTP, 1.1MB: too few images (n = 3 and 3) to tell a difference from noise, it takes 5 each; "
        "the total (4-1) differs by +490.0 ms",
    )


def test_sides_whose_images_waited_for_each_other_are_named_last():
    found = room.compare(all_series(*[drawn("client 10")] * 15), all_series(*[drawn("client 10")] * 15))
    for overlapping, beginning in ((("A", "B"), "A and B: images were under way at the same time"), ((), "95 % inter")):
        *_, words = comparison_rows.comparison_tables(replace(found, overlapping=overlapping))
        assert words.notes[-1].startswith(beginning)


def test_the_sentences_come_first_and_rows_are_the_segments_that_differ():
    found = room.compare(
        all_series(*[drawn("client 10, encode 50")] * 15), all_series(*[drawn("client 10, encode 90")] * 15)
    )
    words, table, _ = comparison_rows.comparison_tables(found)
    same = room.Interval(0, 0)
    more = room.Interval(40 * MS, 40 * MS)
    assert (table.title, table.rows) == (
        "HTTP, 1.1MB (n = 15 and 15): milliseconds",
        (
            ("encode", 50 * MS, 90 * MS, 40 * MS, more, "+80%", "slower"),
            ("total (4-1)", 60 * MS, 100 * MS, 40 * MS, more, "+67%", "slower"),
        ),
    )
    assert table.notes == ("1 more segment does not differ beyond noise, each by at most 0.0 ms: --all shows it",)
    assert words.notes == (comparison_rows.verdict(found.of_sizes[0]),)
    _, whole, _ = comparison_rows.comparison_tables(found, whole=True)
    assert (whole.rows[0], whole.rows[1:], whole.notes) == (
        ("client", 10 * MS, 10 * MS, 0, same, "0%", ""),
        table.rows,
        (),
    )


def test_what_nothing_bounds_does_not_count_as_equal():
    """Two runs whose consumers' clocks, of which nothing is known, are 1 s apart."""
    paths = [critical_path_of(f"client 10, broker {broker}!") for broker in (50, 1050)]
    sides = [corrected(measured([path] * 15)) for path in paths]
    found = room.compare(sides[0].series, sides[1].series, sides[0].bounds, sides[1].bounds)
    _, table, _ = comparison_rows.comparison_tables(found)
    assert table.notes[:2] == (
        "1 more segment does not differ beyond noise, each by at most 0.0 ms: --all shows it",
        "nothing bounds the clocks of `broker`: whether it differs is unknown",
    )
    assert comparison_rows.counted(found.of_sizes) == "Nothing bounds the clocks in 1 of 1 comparisons."


def test_words_say_what_the_clocks_leave_open_of_a_difference():
    a, b = ([drawn(f"client 10, broker {length}")] * 15 for length in (50, 100))
    found = room.compare(all_series(*a), all_series(*b))
    (of,) = found.of_sizes
    client, broker = of.segments
    of = replace(of, total=replace(of.total, bound=2_340_000), segments=(client, replace(broker, bound=2_340_000)))
    assert comparison_rows.verdict(of) == (
        "HTTP, 1.1MB: B is 50.0 ms \u00b12.4 ms (83% \u00b15%) slower than A (50.0 to 50.0, n = 15 and 15): "
        "100% \u00b110% of it is `broker`"
    )
    assert comparison_rows.verdict(replace(of, total=replace(of.total, p=1.0))).endswith(
        "total (4-1) by +50.0 ms \u00b12.4 ms (50.0 to 50.0, n = 15 and 15), though `broker` is 50.0 ms \u00b12.4 ms "
        "slower"
    )


def test_what_does_not_differ_differs_by_no_more_than_is_said():
    found = room.compare(all_series(*[drawn("client 10")] * 15), all_series(*[drawn("client 10")] * 15))
    (client,) = found.of_sizes[0].segments
    (line,) = comparison_rows.folded_line([replace(client, difference=-120_000, bound=20_000.0)])
    assert line.partition(" by ")[2] == "at most 0.2 ms: --all shows it"


@settings(max_examples=25)
@given(st.integers(6, 20), st.integers(0, 1000), st.sampled_from([{}, {"client": 30}, {"encode": -20}]))
def test_no_row_is_marked_without_the_size_of_its_difference(n, seed, shift):
    found = room.compare(all_series(*images(n, seed)), all_series(*images(n, seed + 5000, shift)))
    for table in comparison_rows.comparison_tables(found, whole=True):
        for *_, difference, interval, share, mark in table.rows:
            if mark:
                assert (mark, difference != 0, interval is not None, share.endswith("%")) == (
                    "slower" if difference > 0 else "faster",
                    True,
                    True,
                    True,
                )


@pytest.mark.parametrize(
    ("share", "written"),
    [(None, None), (0, "0%"), (0.0004, "0%"), (-0.004, "-0.4%"), (0.0994, "+9.9%"), (0.0996, "+10%"), (-2.5, "-250%")],
)
def test_a_share_is_written_with_the_digits_that_matter(share, written):
    assert comparison_rows.percent(share) == written


def test_what_only_one_side_has_is_one_line_a_side():
    a = [drawn("client 1", image_size=size * 1_000_000) for size in (1, 2, 3)]
    found = room.compare(all_series(*a), all_series(a[0], drawn("client 1", image_size=9_000_000)))
    assert comparison_rows.sentences(found)[1:] == [
        "only A has HTTP, 2.0MB (n = 1); HTTP, 3.0MB (n = 1)",
        "only B has HTTP, 9.0MB (n = 1)",
    ]


def test_records_have_both_sides():
    found = room.compare(
        all_series(*[drawn("client 10")] * 15), all_series(*[drawn("client 10, broker 5", transport="kafka")] * 15)
    )
    records = comparison_records.comparison_records(found)
    assert [(r["transport_a"], r["transport_b"], r["size"], r["segment"], r["images_a"]) for r in records] == [
        ("http", "kafka", "1.1MB", "client", 15),
        ("http", "kafka", "1.1MB", "broker", 0),
        ("http", "kafka", "1.1MB", "4-1", 15),
    ]


def test_a_doubt_about_clocks_is_explained_where_a_row_with_it_is_shown():
    sides = [correct_skew(measured([drawn(f"client {length}, broker 5!")] * 15)) for length in (10, 20)]
    (a, bounds_a), (b, bounds_b) = sides
    found = room.compare(a, b, bounds_a, bounds_b)
    assert found.of_sizes[0].total.bound  # nothing bounds the clocks that 4-1 lies between
    notes = [comparison_rows.comparison_tables(found, whole=whole)[1].notes for whole in (False, True)]
    assert [any(note.startswith("\u00b1?") for note in of) for of in notes] == [True, True]
    (of,) = found.of_sizes
    exact = replace(found, of_sizes=(replace(of, total=replace(of.total, bound=0)),))
    folded_away = comparison_rows.comparison_tables(exact)[1].notes
    assert [note for note in folded_away if note.startswith("\u00b1")] == []
