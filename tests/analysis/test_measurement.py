"""Images by labels and size, as columns of numbers: the order of series, labels, the median image, segments."""

import pytest
from traces_builder import MS, at, critical_path, critical_path_of, segment

from otel_kfs.analysis.measurement import MOST_RUNS, Crossing, Labels, Route, Runs, by_labels, measured
from otel_kfs.report.segment_names import segment_name

HTTP, KAFKA = Labels("http"), Labels("kafka")


def long(milliseconds, **more):
    """A path of that length."""
    return critical_path(0, 1, 2, milliseconds, **more)


def series(*paths):
    """The one series that they are in."""
    (found,) = measured(paths).all_series()
    return found


# --- all_series ---


def test_series_are_http_first_then_small_first():
    drawn = [
        critical_path(0, 1, 2, 3, transport=transport, image_size=size)
        for transport in ("kafka", "http")
        for size in (10_200_000, 1_100_000, 3_300_000)
    ]
    assert [(series.labels, series.size) for series in measured(drawn).all_series()] == [
        (labels, size) for labels in (HTTP, KAFKA) for size in ("1.1MB", "3.3MB", "10.2MB")
    ]


def test_images_of_about_one_size_share_a_series_in_their_order():
    found = series(long(5, image_size=1_112_057, trace_id="one"), long(6, image_size=1_119_000, trace_id="two"))
    assert (found.labels, found.size, found.trace_ids, found.totals(), [*found.image_sizes]) == (
        HTTP,
        "1.1MB",
        ["one", "two"],
        [5 * MS, 6 * MS],
        [1_112_057, 1_119_000],
    )


def test_images_of_different_sizes_do_not_share_one_however_their_labels_round():
    found = measured([long(size // 1000, image_size=size) for size in (50_000, 149_000, 149_999, 1_112_057, 1_130_000)])
    assert [(one.size, len(one)) for one in found.all_series()] == [
        ("50.0kB", 1),
        ("149.0kB", 2),
        ("1.11MB", 1),
        ("1.13MB", 1),
    ]


def test_a_size_has_one_label_for_all_labels():
    drawn = [
        long(1, transport=transport, image_size=size)
        for transport, size in (("http", 1_112_000), ("kafka", 1_113_000), ("kafka", 1_140_000))
    ]
    assert [(one.labels.transport, one.size) for one in measured(drawn).all_series()] == [
        ("http", "1.11MB"),
        ("kafka", "1.11MB"),
        ("kafka", "1.14MB"),
    ]


def test_images_that_tell_their_payloads_size_alone_are_grouped_by_that():
    drawn = [long(1, image_size=None, payload_size=size) for size in (13_900_000, 13_950_000, 20_000_000)]
    found = [(one.size, len(one), one.payload_sizes) for one in measured(drawn).all_series()]
    assert found == [("13.9MB JSON", 2, (13_900_000, 13_950_000)), ("20.0MB JSON", 1, (20_000_000, 20_000_000))]


def test_series_are_grouped_by_labels_in_their_order():
    drawn = [long(1, encoding=encoding, image_size=size) for encoding in ("raw", "") for size in (1_000_000, 2_000_000)]
    assert list(by_labels(measured(drawn).all_series())) == [HTTP, Labels("http", "raw")]


def test_no_paths_are_no_series():
    assert measured([]).all_series() == []


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        (Labels("http"), "HTTP"),
        (Labels("kafka", "raw", "gzip"), "Kafka, raw, gzip"),
        (Labels("kafka", "raw", "gzip", "big batches"), "Kafka, big batches"),
        (Labels("carrier pigeon"), "carrier pigeon"),
    ],
)
def test_the_label_of_labels(labels, label):
    assert labels.label == label


# --- the median image ---


@pytest.mark.parametrize(("totals", "median"), [([9], 9), ([30, 10, 20], 20), ([40, 10, 30, 20], 20)])
def test_the_median_is_a_real_image(totals, median):
    assert series(*map(long, totals)).median() == totals.index(median)


# --- runs and linked traces ---


def test_the_runs_of_all_images_are_known():
    assert measured([long(1, run=run) for run in ("b", "a", "", "b")]).runs == Runs({"", "a", "b"})


def test_of_very_many_runs_no_id_is_kept():
    runs = measured([long(1, run=f"run {number}") for number in range(MOST_RUNS)]).runs
    assert (len(runs.ids), runs.many) == (MOST_RUNS, False)
    for other in (Runs({"one more"}), Runs({"run 1"})):
        runs.merge(other)
        assert runs == Runs(set(), many=True)


def test_many_runs_make_many_of_few():
    runs = Runs({"a"})
    runs.merge(Runs(set(), many=True))
    assert runs == Runs(set(), many=True)


def test_each_image_of_a_trace_has_the_linked_traces_that_it_went_on_in():
    drawn = [long(1, linked=linked, root_id=root) for linked, root in ((("b", "c"), "1"), ((), "2"), (("d",), "3"))]
    assert measured([*drawn, long(1, trace_id="e")]).linked == {("a", "1"): ("b", "c"), ("a", "3"): ("d",)}


def test_images_of_one_trace_are_in_the_order_of_sending_and_each_keeps_its_own_root():
    found = measured([long(7, trace_id="a", root_id=root) for root in ("3", "1", "2")])
    found.merge(measured([critical_path(-1, 1, 2, 4, trace_id="a", root_id="0")]))
    found.sort()
    (one,) = found.all_series()
    assert [one.key(number) for number in range(4)] == [("a", root) for root in "0123"]
    assert [one.only([2, 0]).key(number) for number in range(2)] == [("a", "2"), ("a", "0")]


# --- segments of a series ---


def lengths_in(found):
    """Of each segment, in order: the images that have it, and its length there."""
    return {
        segment_name(one): (list(found.segments[one].images), list(found.segments[one].values))
        for one in found.ordered_segments()
    }


def test_segments_come_in_the_order_of_the_path_with_unknown_ones_last():
    found = series(critical_path_of("other 1, predictor predict 2, client 3, client (no encode span) 4"))
    assert [segment_name(one) for one in found.ordered_segments()] == [
        "client",
        "client (no encode span)",
        "predictor predict",
        "other",
    ]


def test_a_segment_that_occurs_twice_on_a_path_adds_up_there():
    found = series(
        critical_path_of("client 10, encode 5, client 30"), critical_path_of("client 20, encode 7, client 40")
    )
    assert lengths_in(found) == {
        "client": ([0, 1], [40 * MS, 60 * MS]),
        "encode": ([0, 1], [5 * MS, 7 * MS]),
    }


def test_an_empty_segment_counts_as_nothing_rather_than_not_at_all():
    found = series(critical_path_of("broker 0"), critical_path_of("client 1"), critical_path_of("broker 5"))
    assert lengths_in(found)["broker"] == ([0, 2], [0, 5 * MS])


def test_a_segment_between_two_hosts_names_their_pair():
    found = measured([critical_path_of("client 10, transformer request -5!")])
    route = Route(("one", "one", "one", "other"), (Crossing(segment("transformer request"), "one", "other", False),))
    (of,) = found.all_series()
    assert (found.pairs, found.routes) == ({("one", "other")}, {route: 0})
    assert (list(of.routes), list(of.crossings[0])) == ([0], [at(10), at(5)])


def test_an_image_on_one_clock_has_no_route():
    (of,) = measured([critical_path_of("client 10, deliver 5~, broker 3")]).all_series()
    (one,) = measured([critical_path_of("client 10, encode 5")]).all_series()
    assert [list(one.routes), list(one.crossings[0])] == [[-1], []]
    # What gives way may begin and end on one clock, but for how long can only be told from the next.
    assert list(of.crossings[0]) == [at(10), at(15), at(15), at(18)]
