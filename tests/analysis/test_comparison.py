"""Two measurements side by side: how much every segment differs, and equals raise no alarm."""

import math
import sys
from dataclasses import replace

import pytest
from comparison_support import MB, all_series, compared, drawn, images
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_builder import KAFKA, MS, critical_path, segment, spans

from otel_kfs.analysis import comparison as room
from otel_kfs.analysis.measurement import Labels, measured
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.analysis.paths.segment import BROKER, DELIVER
from otel_kfs.analysis.skew_correction import correct_skew
from otel_kfs.errors import ConfigError, MissingExtra
from otel_kfs.traces.span import SpanGraph

pytestmark = pytest.mark.analysis


def test_a_segment_that_one_side_lacks_took_no_time_there():
    of = compared([drawn("client 10")] * 15, [drawn("client 10, broker 30")] * 15)
    broker = next(one for one in of.segments if one.segment == BROKER)
    assert (broker.images_a, broker.images_b, broker.p50_a, broker.p50_b, broker.difference, broker.differs) == (
        0,
        15,
        0,
        30 * MS,
        30 * MS,
        True,
    )


def test_as_many_images_as_are_asked_for_do():
    needed = compared([drawn("client 10")] * 3, [drawn("client 500")] * 3).needed
    a, b = [[drawn(f"client {base + n}") for n in range(needed)] for base in (10, 500)]
    assert (compared(a, b).enough, compared(a, b).total.differs) == (True, True)


def test_a_difference_within_the_doubt_about_clocks_is_none():
    a, b = (measured([drawn(f"transformer request {length}!")] * 15).all_series() for length in (10, 30))
    key = (Labels("http"), "1.1MB", segment("transformer request"))
    found = [room.compare(a, b, {key: 6 * MS}, {key: doubt}).of_sizes[0].segments[0] for doubt in (13 * MS, 14 * MS)]
    assert [(one.bound, one.differs) for one in found] == [(19 * MS, True), (20 * MS, False)]


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


def ways_of(a, b):
    return [(of.labels_a, of.labels_b, of.size) for of in room.compare(all_series(*a), all_series(*b)).of_sizes]


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
    assert room.compare(all_series(*a), all_series(*b)).unmatched == (
        "only A has HTTP, 3.0MB (n = 1)",
        "only B has Kafka, 1.1MB (n = 1)",
    )


def test_sides_without_a_common_size_are_an_error_that_lists_both():
    with pytest.raises(ConfigError) as raised:
        room.compare(all_series(drawn("client 1")), all_series(drawn("client 1", image_size=2 * MB)))
    assert str(raised.value) == (
        "A and B have no image size in common: A has HTTP, 1.1MB (n = 1); B has HTTP, 2.0MB (n = 1)"
    )


def test_sides_that_share_a_size_but_no_labels_say_which_labels():
    a = [drawn("client 1"), drawn("client 1", transport="kafka", image_size=2 * MB)]
    b = [drawn("client 1", image_size=2 * MB), drawn("client 1", transport="kafka")]
    with pytest.raises(ConfigError) as raised:
        room.compare(all_series(*a), all_series(*b))
    assert str(raised.value) == (
        "A and B have no images of the same size in common that were sent with the same transport: "
        "A has HTTP, 1.1MB (n = 1); Kafka, 2.0MB (n = 1); B has HTTP, 2.0MB (n = 1); Kafka, 1.1MB (n = 1)"
    )


def test_a_demo_is_compared_with_every_cell_of_an_experiment_that_sends_as_it_does():
    demo = [drawn("client 1", transport=transport) for transport in ("http", "kafka")]
    cells = [
        drawn("client 1", transport="http", cell="json seed"),
        drawn("client 1", transport="http", cell="json fast"),
        drawn("client 1", transport="kafka", cell="json fast"),
        drawn("client 1", transport="http", cell="cloudevent fast", encoding="cloudevent"),
    ]
    found = room.compare(all_series(*demo), all_series(*cells))
    assert [(of.labels_a.label, of.labels_b.label) for of in found.of_sizes] == [
        ("HTTP", "HTTP, json fast"),
        ("HTTP", "HTTP, json seed"),
        ("Kafka", "Kafka, json fast"),
    ]
    assert found.unmatched == ("only B has HTTP, cloudevent fast, 1.1MB (n = 1)",)
    # From the other side it is the same.
    assert [
        (of.labels_b.label, of.labels_a.label) for of in room.compare(all_series(*cells), all_series(*demo)).of_sizes
    ]


def test_several_cells_are_not_compared_with_several_of_other_names():
    a, b = (
        [drawn("client 1", transport=t, cell=cell) for t, cell in (("http", one), ("http", other), ("kafka", one))]
        for one, other in (("json", "raw"), ("seed", "fast"))
    )
    found = room.compare(all_series(*a), all_series(*b))
    assert [(of.labels_a.label, of.labels_b.label) for of in found.of_sizes] == [("Kafka, json", "Kafka, seed")]
    unclear = "choose which of A's cells (HTTP, json, HTTP, raw) to compare with which of B's (HTTP, fast, HTTP, seed)"
    assert found.unmatched == (unclear,)
    with pytest.raises(ConfigError) as raised:
        room.compare(all_series(*a[:2]), all_series(*b[:2]))
    assert str(raised.value).startswith(f"{unclear}: A has HTTP, json, 1.1MB (n = 1); HTTP, raw, 1.1MB (n = 1); B has ")


_LABELS = st.builds(
    lambda transport, encoding, cell: {"transport": transport, "encoding": encoding, "cell": cell},
    st.sampled_from(["http", "kafka"]),
    st.sampled_from(["", "raw"]),
    st.sampled_from(["", "x", "y"]),
)


@settings(max_examples=40)
@given(*[st.lists(st.tuples(_LABELS, st.sampled_from([MB, 2 * MB])), min_size=1, max_size=5)] * 2)
def test_every_series_is_compared_or_told_and_none_with_another_size(a, b):
    sides = [all_series(*(drawn("client 1", image_size=size, **labels) for labels, size in side)) for side in (a, b)]
    try:
        found = room.compare(*sides)
    except ConfigError:  # nothing in common
        return
    told = " ".join(found.unmatched)
    for side, labels_of in zip(sides, ("labels_a", "labels_b"), strict=True):
        compared_ = {(getattr(of, labels_of), of.size) for of in found.of_sizes}
        for series in side:
            assert (series.labels, series.size) in compared_ or series.labels.label in told
    # With the sides changed over, the same is compared.
    assert {(of.labels_b, of.labels_a, of.size) for of in room.compare(*reversed(sides)).of_sizes} == {
        (of.labels_a, of.labels_b, of.size) for of in found.of_sizes
    }


def test_the_means_of_the_segments_add_up_to_that_of_the_whole():
    of = compared([drawn("client 10"), drawn("client 20, broker 30")], [drawn("broker 5")])
    for side in ("mean_a", "mean_b"):
        assert sum(getattr(one, side) for one in of.segments) == pytest.approx(getattr(of.total, side))


def test_sizes_are_compared_that_count_as_equal_whatever_their_labels():
    a = [drawn("client 1", image_size=size) for size in (50_000, 1_112_000, 2_000_000)]
    b = [drawn("client 1", image_size=size) for size in (149_000, 1_110_000, 1_130_000, 2_040_000)]
    found = room.compare(all_series(*a, *a), all_series(*b, *b))
    assert [(of.size, of.size_range) for of in found.of_sizes] == [("1.11MB", (1_110_000, 1_112_000))]
    assert found.unmatched == (
        "only A has HTTP, 50.0kB (n = 2)",
        "only A has HTTP, 2.00MB (n = 2)",
        "only B has HTTP, 149.0kB (n = 2)",
        "only B has HTTP, 1.13MB (n = 2)",
        "only B has HTTP, 2.04MB (n = 2)",
    )


def test_images_that_were_under_way_at_the_same_time_are_told():
    alone = [critical_path(100 * n, 100 * n, 100 * n, 100 * n + 50 + n) for n in range(20)]
    together = [critical_path(100 * n, 100 * n, 100 * n, 100 * n + 150 + n) for n in range(20)]
    assert room.compare(all_series(*alone), all_series(*alone)).overlapping == ()
    assert room.compare(all_series(*alone), all_series(*together)).overlapping == ("B",)


def test_a_size_is_chosen_by_its_label_or_by_the_shorter_one_that_it_shares():
    there = all_series(*[drawn("client 1", image_size=size) for size in (1_112_000, 1_130_000, 2_000_000)])
    chosen = [[one.size for one in room.select(there, {"size": size})] for size in ("1.11MB", "1.1MB", "2.0MB")]
    assert chosen == [["1.11MB"], ["1.11MB", "1.13MB"], ["2.0MB"]]


def test_series_are_chosen_by_all_that_is_wanted():
    drawn_ = all_series(
        *[drawn("client 1", transport=t, image_size=s) for t in ("http", "kafka") for s in (MB, 2 * MB)]
    )
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
        room.select(all_series(drawn("client 1"), drawn("client 1", transport="kafka")), where)
    assert str(raised.value) == message


def test_without_scipy_comparing_is_answered_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(
        MissingExtra, match=r"scipy is not installed; in a clone of otel-kfs, run: pip install '\.\[analysis\]'"
    ):
        room.compare(all_series(drawn("client 1")), all_series(drawn("client 1")))


def test_what_nothing_bounds_is_never_different():
    a, b = ([drawn("client 10, broker 5!", transport="kafka")] * 15, [drawn("client 10, broker 255!")] * 15)
    b = [replace(one, transport="kafka") for one in b]
    of = compared(a, b)
    assert [(one.difference, one.bound, one.differs) for one in (*of.segments, of.total)] == [
        (0, 0, False),
        (250 * MS, math.inf, False),
        (250 * MS, math.inf, False),
    ]
    assert of.slower_by() is None


def acknowledged_late(host):
    """Images whose record is acknowledged 20 ms after the consumer, on a host, has it."""
    drawing = KAFKA.replace("130  290", "130  350").replace("330 1000", f"330 1000  {host}")
    found, _ = critical_paths(SpanGraph([one for number in range(15) for one in spans(drawing, f"{number:032x}")]))
    return correct_skew(measured(found))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        # Until the consumer has it, and, as nothing bounds the consumer's clock, until it is acknowledged.
        ("", "@other", (20 * MS, math.inf, False)),
        ("@other", "", (-20 * MS, math.inf, False)),
        ("@other", "@other", (0, 0, False)),
        ("", "", (0, 0, False)),
    ],
)
def test_a_delivery_until_the_acknowledgement_is_not_compared_with_one_until_the_consumer(a, b, expected):
    (in_a, bounds_a), (in_b, bounds_b) = acknowledged_late(a), acknowledged_late(b)
    (of,) = room.compare(in_a, in_b, bounds_a, bounds_b).of_sizes
    deliver = next(one for one in of.segments if one.segment == DELIVER)
    assert (deliver.difference, deliver.bound, deliver.differs) == expected


@given(st.lists(st.integers(1, 10**6), min_size=6, max_size=30, unique=True), st.integers(0, 10**6))
def test_noise_that_only_the_clocks_make_a_difference_is_none(values, bound):
    # The same images, all as far off as their clocks leave open.
    off = [value + bound for value in values]
    assert room.cautious_rank_test(values, off, (), [bound] * len(off)) == 1.0
