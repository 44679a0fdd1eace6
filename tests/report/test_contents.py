"""What the report says, before it is drawn."""

import pytest
from msgspec.structs import replace
from report_support import SIZES, contents_of, image, measurement_of_both_transports
from traces_builder import HTTP, KAFKA, MS, spans, with_options

from otel_kfs import semconv
from otel_kfs.report.contents import Trace


@pytest.fixture(scope="module")
def found():
    return contents_of(measurement_of_both_transports())


def test_labels_have_their_sizes_in_order(found):
    assert [[series.title for series in group.series] for group in found.by_labels] == [
        ["HTTP, 1.1MB", "HTTP, 3.3MB", "HTTP, 10.2MB"],
        ["Kafka, 1.1MB", "Kafka, 3.3MB", "Kafka, 10.2MB"],
    ]


def test_a_row_names_the_traces_of_its_median_and_of_its_longest(found):
    row = next(row for row in found.by_labels[0].series[0].rows if row.name == "encode")
    assert (row.median, row.slowest) == (Trace("h1100000n001"), Trace("h1100000n002"))


def test_a_row_sums_its_lengths_up(found):
    row = next(row for row in found.by_labels[0].series[0].rows if row.name == "encode")
    # 100 ms as drawn, in images of 0.22, 0.32 and 0.42 times that.
    assert (row.summary.n, row.summary.p50, row.summary.max) == (3, 32 * MS, 42 * MS)


def test_the_shares_of_a_series_add_up_to_the_whole(found):
    assert [round(sum(row.share for row in series.rows), 12) for series in found.series] == [1.0] * 6


def test_the_largest_segments_come_first(found):
    assert [row.name for row in found.by_labels[0].series[0].largest] == [
        "predictor predict",
        "transformer preprocess",
        "encode",
    ]


def test_the_largest_segments_come_first_though_a_clock_that_nothing_bounds_makes_the_total_negative():
    drawn = spans(KAFKA.replace("330 1000", "330 1000 @other"), "a")
    back = [
        replace(one, start=one.start - 5000 * MS, end=one.end - 5000 * MS) if one.host == "other" else one
        for one in drawn
    ]
    (series,) = contents_of([back]).series
    assert series.total.mean < 0
    assert [row.name for row in series.largest] == ["deliver", "transformer preprocess", "encode"]


def test_every_series_has_the_spans_of_its_median_image(found):
    assert [drawn.root.trace_id for drawn in found.median_paths] == [
        f"{prefix}{size}n001" for prefix in "hk" for size in SIZES
    ]


def test_only_the_median_images_are_asked_for():
    asked = []
    contents_of(measurement_of_both_transports(), spans=lambda ids: asked.extend(ids) or ())
    assert asked == [f"{prefix}{size}n001" for prefix in "hk" for size in SIZES]


def test_a_trace_leads_to_the_page_of_its_store():
    found = contents_of([image("a")], link=lambda trace_id: f"https://jaeger.example/trace/{trace_id}")
    assert found.series[0].median == Trace("a", "https://jaeger.example/trace/a")


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//host/x"])
def test_a_link_that_is_no_web_page_is_left_out(link):
    assert contents_of([image("a")], link=lambda _: link).series[0].median == Trace("a")


def test_the_runs_are_those_of_all_images():
    images = [image(f"a{n}", factor=n + 1, **{semconv.RUN_ID: f"run {n}"}) for n in range(3)]
    assert contents_of([*images, image("b")]).runs == ["run 0", "run 1", "run 2"]


def linked_images(n=3):
    """`n` images whose consumer goes on in a trace of its own; the later, the longer."""
    return [image(f"k{number}", consumer=f"c{number}", factor=1 + number) for number in range(n)]


def test_an_image_s_trace_comes_with_the_linked_one_in_which_it_went_on():
    series = contents_of(linked_images(), link=lambda trace_id: f"https://jaeger.example/{trace_id}").series[0]
    page = "https://jaeger.example/"
    assert series.median == Trace("k1", f"{page}k1", (Trace("c1", f"{page}c1"),))
    assert series.rows[0].slowest == Trace("k2", f"{page}k2", (Trace("c2", f"{page}c2"),))


def test_a_median_image_in_two_traces_has_its_path_through_both():
    images, asked = linked_images(), []

    def spans(ids):
        asked.extend(ids)
        return [span for spans in images for span in spans if span.trace_id in ids]

    found = contents_of(images, spans=spans)
    (drawn,) = found.median_paths
    assert asked == ["k1", "c1"]
    assert drawn.path.stamps[3] - drawn.path.stamps[0] == found.series[0].total.summary.p50
    assert {section.segment for section in drawn.path.sections} == {row.segment for row in found.series[0].rows}


@pytest.mark.parametrize("gone", ["k1", "c1"])
def test_a_way_of_which_a_trace_is_gone_is_not_drawn_and_that_trace_is_named(gone):
    images = linked_images()
    found = contents_of(images, spans=lambda _: [s for spans in images for s in spans if s.trace_id != gone])
    (undrawn,) = found.undrawn
    assert (found.median_paths, undrawn.of, undrawn.missing) == ((), found.series[0], (Trace(gone, linked=WITH[gone]),))


WITH = {"k1": (Trace("c1"),), "c1": ()}  # a trace, and those that are linked to it


def test_a_segment_between_two_hosts_bears_what_their_clocks_leave_open():
    crossing = with_options(HTTP, "POST /v1/models", "@elsewhere")
    series = contents_of([image("a", drawing=crossing)]).series[0]
    # The request takes 20 ms and its answer 30: the clocks may be 50 ms apart, or a little more, for they may drift:
    # the host is moved as is right half-prefix through its time.
    bounds = {row.name: row.summary.bound for row in series.rows if row.summary.bound}
    assert {name: round(bound / 1e6) for name, bound in bounds.items()} == {
        "transformer request": 26,
        "transformer response": 26,
    }


def in_one_trace(*images):
    """Images that were sent within one trace."""
    return [[replace(span, trace_id="album") for span in spans] for spans in images]


def test_of_several_images_in_one_trace_the_median_one_is_drawn():
    images = in_one_trace(*(image(f"n{number}", factor=factor) for number, factor in enumerate((1.0, 1.1, 10.0))))
    (drawn,) = contents_of(images).median_paths
    assert (drawn.root.span_id, drawn.path.stamps[3] - drawn.path.stamps[0]) == ("n10", 1100 * MS)


def test_an_image_of_a_trace_with_several_comes_with_its_own_linked_trace():
    images = [
        [replace(span, trace_id="album") if span.trace_id.startswith("k") else span for span in spans]
        for spans in linked_images()
    ]
    relinked = [
        [replace(span, linked_traces=("album",)) if span.linked_traces else span for span in spans] for spans in images
    ]
    series = contents_of(relinked).series[0]
    assert (series.median, series.rows[0].slowest) == (
        Trace("album", linked=(Trace("c1"),)),
        Trace("album", linked=(Trace("c2"),)),
    )
