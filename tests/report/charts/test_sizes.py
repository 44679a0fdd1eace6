"""Latency against size."""

from dataclasses import replace
from itertools import pairwise

import pytest
from report_support import ORIGIN, SIZES, contents_of, image, measurement_of_both_transports, texts, tips
from traces_builder import MS, critical_path_of

from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.segment import RETRIES
from otel_kfs.report.charts.sizes import has_sizes, sizes, small, that_matter
from otel_kfs.report.contents import contents
from otel_kfs.report.segment_names import segment_name

MB = 1_000_000


def test_every_image_of_a_small_sample_is_a_point():
    chart = sizes(contents_of(measurement_of_both_transports()))
    assert len(list(chart.iter("circle"))) == 18


def test_a_large_sample_is_thinned():
    chart = sizes(contents_of([image(f"{size}n{n:03}", size=size) for size in SIZES for n in range(130)]))
    assert len(list(chart.iter("circle"))) == 3 * 120


def test_a_line_bears_its_way_and_costs():
    # 1000 ms at 1 MB, 3000 ms at 3 MB.
    images = [image(f"a{n}", size=n * 1_000_000, factor=n) for n in (1, 2, 3)]
    assert texts(sizes(contents_of(images)))[-2:] == ["HTTP", "0 ms + 1000 ms per MB"]


def test_labels_do_not_cover_each_other():
    images = [
        image(f"{encoding}{n}", size=n * 1_000_000, factor=n, **{"otel_kfs.encoding": encoding})
        for encoding in "abcdef"
        for n in (1, 2)
    ]
    labels = [t for t in sizes(contents_of(images)).iter("text") if (t.text or "").startswith("HTTP, ")]
    heights = [float(label.get("y")) for label in labels]
    assert min(low - high for high, low in pairwise(heights)) >= 34
    assert max(heights) < 400


def test_one_size_says_nothing_of_sizes():
    assert not has_sizes(contents_of([image("a"), image("b")]))


def test_segments_that_take_a_share_of_the_time_have_small_charts():
    found = contents_of(measurement_of_both_transports())
    segments = that_matter(found)
    names = [segment_name(one) for one in segments]
    assert "transformer preprocess" in names
    assert "predictor preprocess" not in names
    charts = small(found, segments)
    assert [texts(chart)[0] for chart in charts] == names
    assert len(tips(charts[names.index("encode")])) == 6


def sized(size, text):
    return replace(critical_path_of(text), image_size=size)


def test_the_points_of_a_segment_that_few_images_have_lie_on_its_line():
    few = [sized(MB, "client 250, retries 5000"), *[sized(MB, "client 250")] * 19]
    many = [sized(2 * MB, "client 500, retries 5000"), *[sized(2 * MB, "client 500")] * 9]
    found = contents(corrected(measured([*few, *many])), ORIGIN)
    line = found.by_labels[0].fits.segments[RETRIES]
    (chart,) = small(found, [RETRIES])
    assert [line.at(MB) / MS, line.at(2 * MB) / MS] == [pytest.approx(250), pytest.approx(500)]
    assert tips(chart) == [
        "retries \u00b7 HTTP, 1.0MB: mean 250 ms of 20 images, in 1 of 20 images",
        "retries \u00b7 HTTP, 2.0MB: mean 500 ms of 10 images, in 1 of 10 images",
    ]


def test_each_point_stands_at_its_own_image_s_size():
    images = [sized(size, f"client {size // 1000}") for size in (50_000, 50_400, 149_000)]
    chart = sizes(contents(corrected(measured(images)), ORIGIN))
    xs = [float(point.get("cx")) for point in chart.iter("circle")]
    assert len(set(xs)) == 3
