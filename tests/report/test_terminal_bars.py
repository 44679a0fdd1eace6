"""From series to stacked bars: what is named, what is the rest, and that no character and no time is lost."""

import math

from comparison_support import all_series, drawn
from hypothesis import given
from hypothesis import strategies as st
from traces_builder import MS, critical_path_of, segment

from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import measured
from otel_kfs.report.render import text
from otel_kfs.report.terminal_bars import Bar, Chart, bar_charts, run_lengths

MB = 1_000_000
CROSSING = "between two hosts, and off by at most their clocks' uncertainty: "
NOTE = "a bar is the mean image; . is all segments below 2% together"


def test_a_bar_is_the_mean_image_and_small_segments_are_the_rest():
    found = measured([drawn("client 1, encode 40, deliver 59"), drawn("client 1, encode 60, deliver 39")])
    assert bar_charts(found.all_series()) == [
        Chart(
            "HTTP: where the time goes",
            (("A", "encode"), ("B", "deliver"), (".", "the rest")),
            (Bar("1.1MB (n=2)", 100 * MS, (50 * MS, 49 * MS, MS)),),
            100 * MS,
            (NOTE,),
        )
    ]


def test_an_image_that_lacks_a_segment_spent_no_time_in_it():
    (chart,) = bar_charts(measured([drawn("client 10"), drawn("client 10, retries 30")]).all_series())
    assert chart.bars == (Bar("1.1MB (n=2)", 25 * MS, (10 * MS, 15 * MS, 0)),)


def test_what_few_images_have_is_said_to_be_rare():
    (chart,) = bar_charts(measured([drawn("client 10")] * 19 + [drawn("client 10, retries 300")]).all_series())
    assert chart.notes == (NOTE, "in fewer than half of the images: retries (1 of 20 of 1.1MB)")


def test_a_letter_and_a_length_mean_the_same_in_all_charts():
    found = bar_charts(measured([drawn("client 10"), drawn("broker 90, client 10", transport="kafka")]).all_series())
    assert [(chart.segments, chart.longest) for chart in found] == [
        ((("A", "client"), ("B", "broker"), (".", "the rest")), 100 * MS)
    ] * 2


def test_what_is_negative_by_two_clocks_is_not_drawn_and_said_so():
    (chart,) = bar_charts(all_series(drawn("client 30, transformer request -10!")))
    assert (chart.bars[0].parts, chart.notes) == (
        (30 * MS, 0),
        (
            NOTE,
            "segments that are negative because of clock skew are not drawn",
            f"{CROSSING}transformer request \u00b1?, total (4-1) \u00b1?",
        ),
    )


def test_what_two_clocks_leave_open_stands_below():
    found = all_series(drawn("client 30, transformer request 10!"), drawn("transformer request 9!", image_size=3 * MB))
    for one, bound in zip(found, (1_200_001, 300_000), strict=True):
        one.segments[segment("transformer request")].bounds[0] = bound
        one.stamp_bounds["4-1"][0] = MS
    (chart,) = bar_charts(found)
    assert chart.notes[1:] == (f"{CROSSING}transformer request \u00b11.3 ms, total (4-1) \u00b11.0 ms",)


def test_no_series_are_no_charts():
    assert bar_charts([]) == []


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=30), st.integers(0, 300))
def test_runs_fill_the_width_each_within_one_character_of_its_share(parts, width):
    runs = run_lengths(parts, width)
    whole = sum(parts)
    if whole:
        assert sum(runs) == width
        assert all(abs(run - part * width / whole) < 1 + 1e-6 for run, part in zip(runs, parts, strict=True))
    else:
        assert runs == [0] * len(parts)


def test_what_nothing_bounds_has_no_share_and_neither_has_what_it_is_a_part_of():
    def bars(path):
        (chart,) = bar_charts(corrected(measured([critical_path_of(path)])).series)
        return dict(zip((name for _, name in chart.segments), chart.bars[0].shares(), strict=True)), chart.bars[0].bound

    # Out and back, the total is by one clock; one way alone it is not.
    assert bars("client 10, broker 50!, bridge 20, client 20!other>one") == (
        {"client": "?", "broker": "?", "bridge": "20%", "the rest": "0%"},
        0,
    )
    assert bars("client 10, broker 70!, bridge 20") == (
        {"client": "?", "broker": "?", "bridge": "?", "the rest": "?"},
        math.inf,
    )
    drawn_bars = bar_charts(corrected(measured([critical_path_of("client 10, broker 90!")])).series)
    assert text(drawn_bars).splitlines()[1].endswith(" 100.0 \u00b1? ms")


def test_a_bounded_share_says_how_far_off_it_may_be():
    assert Bar("1.1MB (n=1)", 100 * MS, (40 * MS, 60 * MS), 0, (4.5 * MS, 0)).shares() == ["40% \u00b15%", "60%"]
