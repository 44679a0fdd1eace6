"""Whole sentences on drawn measurements."""

from comparison_support import MB, drawn, images

from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import Measurement, measured
from otel_kfs.report.answer import answer


def sentence(*paths):
    return answer(corrected(measured(paths))).sentence


def path(way, **more):
    return drawn(way, **more)


def test_one_image():
    assert sentence(path("encode 10, transformer preprocess 60, predictor predict 30")) == (
        "An image of 1.1MB takes 100.0 ms over HTTP (one image): 60% of the time is `transformer preprocess`, "
        "30% `predictor predict`. Most could be saved in `transformer preprocess`: up to 60.0 ms."
    )


def test_no_image():
    assert answer(corrected(Measurement())).sentence == "No image was measured: 0 images measured."


def test_several_sizes_over_http_and_through_kafka():
    found = [
        image
        for transport, longer in (("http", 0), ("kafka", 60))
        for seed, size in enumerate((MB, 5 * MB, 10 * MB))
        for image in images(
            20,
            seed,
            {"transformer preprocess": 30 * size / MB, "encode": longer},
            transport=transport,
            image_size=size,
        )
    ]
    assert sentence(*found) == (
        "An image takes 297.1 ms at 1.0MB and 547.7 ms at 10.0MB over HTTP; 357.1 ms and 607.7 ms through "
        "Kafka (p50 of 20 images each): 84% of the time at 10.0MB is `transformer preprocess`. HTTP is "
        "60.0 ms faster than Kafka at 10.0MB; what grows most from 1.0MB to 10.0MB is `transformer preprocess`, by "
        "257.4 ms; most could be saved in `transformer preprocess`: up to 487.3 ms at 10.0MB."
    )
