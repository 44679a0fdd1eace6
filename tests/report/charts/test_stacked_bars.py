"""The stacked bars."""

from string import ascii_uppercase
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace
from report_support import ORIGIN, contents_of, image, measurement_of_both_transports, texts, tips
from traces_builder import HTTP, critical_path_of, segment

from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import measured
from otel_kfs.report.charts import palette
from otel_kfs.report.charts import stacked_bars as stacked_bars_room
from otel_kfs.report.charts.legend import letters
from otel_kfs.report.charts.stacked_bars import stacked_bars
from otel_kfs.report.contents import contents
from otel_kfs.report.segment_names import segment_name, step_name


def rects(chart, name):
    """The bars of a segment, without the legend."""
    found = [r for r in chart.iter("rect") if r.get("class", "").split()[0] == palette.segment_class(segment(name))]
    return [r for r in found if r.find("title") is not None]


def test_a_segment_is_as_wide_as_its_mean_is_long():
    chart = stacked_bars(contents_of([image("a"), image("b"), image("c", factor=2)]))
    widths = {name: float(rects(chart, name)[0].get("width")) for name in ("encode", "transformer preprocess")}
    # 100 and 150 ms; a hairline is left between neighbours.
    assert widths["transformer preprocess"] / widths["encode"] == pytest.approx(1.5, rel=0.02)


def test_segments_follow_one_another_from_zero():
    chart = stacked_bars(contents_of([image("a")]))
    found = [r for r in chart.iter("rect") if r.find("title") is not None]
    lefts = [float(r.get("x")) for r in found]
    assert lefts == sorted(lefts)
    assert (lefts[0], len(lefts)) == (stacked_bars_room.WIDE.left, 18)


def test_every_series_has_a_bar_and_its_figures():
    shown = texts(stacked_bars(contents_of(measurement_of_both_transports())))
    assert [t for t in shown if t in {"HTTP", "Kafka"}] == ["HTTP", "Kafka"]
    assert [t for t in shown if t.endswith("MB")] == ["1.1MB", "3.3MB", "10.2MB"] * 2


def test_a_segment_says_its_figures_when_pointed_at():
    found = tips(stacked_bars(contents_of([image("a"), image("b"), image("c", factor=2)])))
    assert "encode \u00b7 HTTP, 1.1MB: mean 133 ms, p50 100 ms, max 200 ms, n 3, 10.0% of the time" in found


def test_the_whole_says_its_figures_too():
    assert (
        tips(stacked_bars(contents_of([image("a")])))[18]
        == "total (4-1) \u00b7 HTTP, 1.1MB: mean 1000 ms, p50 1000 ms, max 1000 ms, n 1, 100.0% of the time"
    )


def rare():
    """What a report says of twenty images, of which one was retried for 5 s."""
    paths = [critical_path_of("client 250")] * 19 + [critical_path_of("client 250, retries 5000")]
    return contents(corrected(measured(paths)), ORIGIN)


def test_bars_show_what_adds_up_and_what_is_rare_as_rare():
    chart = stacked_bars(rare())
    client, retries = (float(rects(chart, name)[0].get("width")) for name in ("client", "retries"))
    assert client == pytest.approx(retries, abs=1.0)  # 250 ms in each of twenty images, and 5000 ms in one
    pale = [rects(chart, name)[0].get("fill-opacity") for name in ("client", "retries")]
    assert pale == [None, "0.35"]
    assert tips(chart)[:3] == [
        "client \u00b7 HTTP, 1.1MB: mean 250 ms, p50 250 ms, p95 250 ms, n 20, 50.0% of the time",
        "retries \u00b7 HTTP, 1.1MB: mean 250 ms of all images, p50 5000 ms, max 5000 ms, in 1 of 20 images, "
        "50.0% of the time",
        "total (4-1) \u00b7 HTTP, 1.1MB: mean 500 ms, p50 250 ms, p95 500 ms, n 20, 100.0% of the time",
    ]


def test_the_means_of_segments_add_up_to_the_mean_of_the_whole():
    for report in (*rare().series, *contents_of(measurement_of_both_transports()).series):
        assert sum(row.mean for row in report.rows) == pytest.approx(report.total.mean)


def moved(span, seconds):
    return replace(span, start=span.start + seconds * 10**9, end=span.end + seconds * 10**9)


def test_a_segment_below_zero_has_no_bar():
    early = HTTP.replace(
        "receive                   INTERNAL  150  200", "receive                   INTERNAL  100  200  @elsewhere"
    ).replace(
        "POST /v1/models             SERVER    200  970", "POST /v1/models             SERVER    200  970  @elsewhere"
    )
    # A clock that was set meanwhile has no bound, and what lies between two hosts stays as it was read.
    images = [
        [moved(span, 10 * number - (number == 1 and span.host == "elsewhere")) for span in image(trace, drawing=early)]
        for number, trace in enumerate("abc")
    ]
    found = contents_of(images)
    assert {row.name for row in found.series[0].rows if row.mean < 0} == {"transformer request"}
    assert rects(stacked_bars(found), "transformer request") == []


def test_the_legend_of_a_figure_has_every_segment_once_with_its_letter():
    found = contents_of(measurement_of_both_transports())
    drawing = ElementTree.Element("g")
    stacked_bars_room.draw(drawing, found)
    legend = [tip for tip in tips(drawing) if ": " not in tip]
    assert sorted(legend) == sorted(map(segment_name, found.segments))
    assert {text for text in texts(drawing)[-2 * len(legend) :] if len(text) == 1} == set(
        ascii_uppercase[: len(legend)]
    )


def test_a_segment_bears_its_name_or_its_letter_where_either_has_room():
    found = contents_of([image("a")])
    letter = letters(found.segments)
    for layout in (stacked_bars_room.WIDE, stacked_bars_room.NARROW):
        chart = stacked_bars(found, layout)
        words = {(float(t.get("x")), t.text) for t in chart.iter("text") if t.get("pointer-events") == "none"}
        for row in found.series[0].rows:
            (bar,) = rects(chart, row.name)
            left, width = float(bar.get("x")), float(bar.get("width"))
            inside = [text for x, text in words if left <= x < left + width]
            assert inside in ([step_name(row.segment)], [letter[row.segment]], [])
            assert inside or width < 9


def test_on_a_phone_nothing_is_drawn_beyond_the_chart():
    found = contents_of(measurement_of_both_transports())
    chart = stacked_bars(found, stacked_bars_room.NARROW)
    width = stacked_bars_room.NARROW.width
    assert max(float(r.get("x")) + float(r.get("width")) for r in chart.iter("rect")) <= width
    assert max(float(line.get("x2")) for line in chart.iter("line")) <= width


def test_an_axis_ends_at_a_round_value_beyond_the_data_and_names_its_unit():
    shown = texts(stacked_bars(contents_of([image("a", factor=0.93)])))
    assert [text for text in shown if text.replace(" ms", "").isdecimal()] == [
        "0",
        "200",
        "400",
        "600",
        "800",
        "1000 ms",
    ]


def test_what_nothing_bounds_is_drawn_hollow_and_has_no_share():
    """A record that went to a host of whose clock, 5 s ahead, nothing is known."""
    path = critical_path_of("client 10, broker 5000!, bridge 5")
    chart = stacked_bars(contents(corrected(measured([path] * 20)), ORIGIN))
    looks = [rects(chart, name)[0] for name in ("client", "broker", "bridge")]
    assert [one.get("stroke-dasharray") for one in looks] == [None, "4 3", None]
    written = [one.text for one in (*chart.iter("text"), *chart.iter("tspan")) if "?" in (one.text or "")]
    assert written == ["broker ?", "5015 \u00b1? ms"]
    assert tips(chart)[:3] == [
        "client \u00b7 HTTP, 1.1MB: mean 10.0 ms, p50 10.0 ms, p95 10.0 ms, n 20",
        "broker \u00b7 HTTP, 1.1MB: mean 5000 ms, p50 5000 \u00b1? ms, p95 5000 ms, n 20",
        "bridge \u00b7 HTTP, 1.1MB: mean 5.0 ms, p50 5.0 ms, p95 5.0 ms, n 20",
    ]
