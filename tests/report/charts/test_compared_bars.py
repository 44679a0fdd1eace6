"""Both sides' bars, and the differences between them."""

import pytest
from comparison_support import all_series, compared, drawn, images
from report_support import texts, tips

from otel_kfs.analysis.comparison import compare
from otel_kfs.report.charts.compared_bars import NARROW, WIDE, compared_bars, differences, segments_of
from otel_kfs.report.tables.comparison_rows import folded

pytestmark = pytest.mark.analysis


def test_both_sides_stand_over_one_axis():
    of = compared([drawn("client 100, encode 100")] * 8, [drawn("client 100, encode 300, broker 100")] * 8)
    for layout in (WIDE, NARROW):
        chart = compared_bars([of], segments_of([of]), layout)
        widths = [float(rect.get("width")) for rect in chart.iter("rect") if rect.get("class") == "edge"]
        assert widths[1] == pytest.approx(2.5 * widths[0], abs=0.5)
        assert [text for text in texts(chart) if text in {"A", "B", "200 ms n 8", "500 ms n 8", "200 msn 8"}]
        assert max(float(rect.get("x")) + float(rect.get("width")) for rect in chart.iter("rect")) <= layout.width


def test_a_difference_says_its_figures_and_what_is_beyond_noise_is_filled():
    of = compared(images(20, 1), images(20, 2, {"encode": 100}))
    shown, left = folded(of)
    assert (len(shown), len(left)) == (1, 3)
    chart = differences(of, of.segments)
    filled = [circle.get("class").split()[1] for circle in chart.iter("circle")]
    assert filled == ["page", "inkfill", "page", "page", "inkfill"]
    encode = of.segments[1]
    assert tips(chart)[1].startswith(
        f"encode \u00b7 HTTP, 1.1MB: {encode.p50_a / 1e6:.1f} ms in A, {encode.p50_b / 1e6:.0f} ms in B, +"
    )
    assert tips(chart)[1].endswith("), slower")


def test_an_interval_reaches_from_end_to_end_around_its_difference():
    of = compared(images(20, 1), images(20, 2, {"encode": 100}))
    for layout in (WIDE, NARROW):
        chart = differences(of, [], layout)
        (point,) = chart.iter("circle")
        line = max(
            (line for line in chart.iter("line") if line.get("y1") == line.get("y2") == point.get("cy")),
            key=lambda line: float(line.get("x2")) - float(line.get("x1")),
        )
        assert 0 <= float(line.get("x1")) < float(point.get("cx")) < float(line.get("x2")) <= layout.width


def test_the_segments_of_both_sides_have_letters():
    found = compare(all_series(*[drawn("client 1")] * 6), all_series(*[drawn("client 1, broker 2")] * 6)).of_sizes
    assert [one.step or one.place.name for one in segments_of(found)] == ["client", "broker"]
