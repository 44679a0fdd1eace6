"""Curves that rise a step an image, at n = 5 as at n = 5000."""

import random
import re

import pytest
from report_support import contents_of, image, measurement_of_both_transports, texts, tips
from traces_builder import critical_path

from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.segment import BROKER, RETRIES
from otel_kfs.report.charts.distributions import distributions
from otel_kfs.report.contents import contents


def steps(path):
    """The points to which a curve rises."""
    return [tuple(map(float, point)) for point in re.findall(r"H([-\d.]+)V([-\d.]+)", path.get("d"))]


def of_lengths(lengths):
    """Contents of images of one size, of which only 4-1 is known, in ms."""
    from report_support import ORIGIN

    found = [critical_path(0, 0, 0, length, trace_id=str(n)) for n, length in enumerate(lengths)]
    return contents(corrected(measured(found)), ORIGIN)


def test_five_images_are_five_steps_of_a_fifth():
    (chart,) = distributions(of_lengths([10, 20, 30, 40, 110]))
    (curve,) = chart.iter("path")
    points = steps(curve)
    bottom = float(re.match(r"M\S+ (\S+?)H", curve.get("d"))[1])
    assert [round((bottom - y) / 130, 3) for _, y in points] == [0.2, 0.4, 0.6, 0.8, 1.0]
    first, last = points[0][0], points[-1][0]
    assert [round((x - first) / (last - first), 2) for x, _ in points] == [0.0, 0.1, 0.2, 0.3, 1.0]


def test_of_five_images_each_can_be_pointed_at():
    (chart,) = distributions(of_lengths([10, 20, 30, 40, 110]))
    assert tips(chart)[-1] == "HTTP, 1.1MB: 5 of 5 took at most 110 ms"


@pytest.mark.parametrize("n", [121, 5000])
def test_a_thinned_curve_keeps_each_of_its_points_where_it_was(n):
    lengths = sorted(int(random.Random(1).lognormvariate(4, 1) * 10) + 10 * k for k in range(n))
    (chart,) = distributions(of_lengths(lengths))
    (curve,) = chart.iter("path")
    points = steps(curve)
    bottom = float(re.match(r"M\S+ (\S+?)H", curve.get("d"))[1])
    assert len(points) < 150
    left, right = points[0][0], points[-1][0]
    for x, y in points:
        share = (bottom - y) / 130
        rank = round(share * n) - 1
        # The length that the curve shows, give or take what a tenth of a pixel is.
        shown = lengths[0] + (x - left) / (right - left) * (lengths[-1] - lengths[0])
        slack = n * 0.06 / 130 + 1
        low, high = lengths[max(0, int(rank - slack))], lengths[min(n - 1, int(rank + slack) + 1)]
        pixel = (lengths[-1] - lengths[0]) / (right - left)
        assert low - pixel <= shown <= high + pixel


def test_the_tail_is_never_thinned():
    lengths = [100] * 4990 + list(range(1000, 2000, 100))
    (chart,) = distributions(of_lengths(lengths))
    (curve,) = chart.iter("path")
    assert len({x for x, _ in steps(curve)}) == 11


def test_each_size_has_a_chart_with_a_curve_for_each_series():
    charts = distributions(contents_of(measurement_of_both_transports()))
    assert [(texts(chart)[0], len(list(chart.iter("path")))) for chart in charts] == [
        ("1.1MB", 2),
        ("3.3MB", 2),
        ("10.2MB", 2),
    ]


def test_a_segment_is_drawn_where_it_occurs():
    found = contents_of(measurement_of_both_transports())
    assert [len(list(chart.iter("path"))) for chart in distributions(found, BROKER)] == [1, 1, 1]
    assert distributions(found, RETRIES) == []


def test_images_of_one_length_are_a_curve_too():
    (chart,) = distributions(contents_of([image("a"), image("b")]))
    assert len(list(chart.iter("path"))) == 1
