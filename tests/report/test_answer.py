"""Whole sentences on drawn measurements, and that no drawn measurement makes one say what is not so."""

import json
import math
import re
from array import array

import pytest
from comparison_support import MB, drawn, image, images
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_builder import MS, segment

from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement, corrected
from otel_kfs.analysis.duration_sketch import Sketches
from otel_kfs.analysis.measurement import Measurement, measured
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.segment import TOTAL
from otel_kfs.report.answer import answer

PREPROCESS = "encode 10, transformer preprocess 60, predictor predict 30"
TOO_FEW = "There are too few images to tell differences from noise (it takes 7 of each)"


def sentence(*paths):
    return answer(corrected(measured(paths))).sentence


def of_both_transports(sizes=(MB, 5 * MB, 10 * MB), kafka_longer=60, per_megabyte=30, n=20, **more):
    """Images that scatter; through Kafka they take longer in `encode`, and `transformer preprocess` grows with size."""
    return [
        one
        for transport, longer in (("http", 0), ("kafka", kafka_longer))
        for seed, size in enumerate(sizes)
        for one in images(
            n,
            seed,
            {"transformer preprocess": per_megabyte * size / MB, "encode": longer},
            transport=transport,
            image_size=size,
            **more,
        )
    ]


def in_doubt(path, bounds, total=0.0):
    """The measurement of one image, with how far off its segments may be, ns."""
    found = corrected(measured([path]))
    (series,) = found.series
    for name, bound in bounds.items():
        series.segments[segment(name)].bounds = array("d", [bound])
    if total:
        series.stamp_bounds[TOTAL] = array("d", [total])
    known = {(series.labels, series.size, segment(name)): bound for name, bound in bounds.items()}
    return CorrectedMeasurement(
        [series], known | ({(series.labels, series.size, TOTAL): total} if total else {}), {}, Coverage(measured=1)
    )


# --- whole sentences ---


def test_one_image():
    assert sentence(drawn(PREPROCESS)) == (
        "An image of 1.1MB takes 100.0 ms over HTTP (one image): 60% of the time is `transformer preprocess`, "
        "30% `predictor predict`. Most could be saved in `transformer preprocess`: up to 60.0 ms."
    )


def test_no_image():
    left_out = Measurement(Coverage(left_out={"warm-up": 2}))
    assert sentence() == "No image was measured: 0 images measured."
    assert answer(corrected(left_out)).sentence == "No image was measured: 0 images measured; 2 left out: warm-up."


def test_several_images_of_one_size():
    assert sentence(*[drawn(f"encode 10, predictor predict {length}") for length in (30, 90, 50)]) == (
        "An image of 1.1MB takes 60.0 ms over HTTP (p50 of 3 images): 85% of the time is `predictor predict`. "
        "Most could be saved in `predictor predict`: up to 56.7 ms."
    )


def test_several_sizes():
    sizes = [(MB, 20), (3 * MB, 60), (10 * MB, 200)]
    paths = [
        drawn(f"encode {10 + n}, transformer preprocess {length}", image_size=size)
        for size, length in sizes
        for n in range(7)
    ]
    assert sentence(*paths) == (
        "An image takes 33.0 ms at 1.0MB and 213.0 ms at 10.0MB over HTTP (p50 of 7 images each): 94% of the time at "
        "10.0MB is `transformer preprocess`. 100% of the extra time of 10.0MB over 1.0MB is `transformer preprocess`; "
        "most could be saved in `transformer preprocess`: up to 200.0 ms at 10.0MB."
    )


def test_what_is_largest_at_the_smallest_size_is_said_where_it_is_another_segment():
    small = drawn("encode 10, transformer serialise 30, transformer preprocess 8", image_size=MB)
    large = drawn("encode 10, transformer serialise 30, transformer preprocess 80", image_size=10 * MB)
    assert sentence(small, large) == (
        "An image takes 48.0 ms at 1.0MB and 120.0 ms at 10.0MB over HTTP (one image each): 67% of the time at 10.0MB "
        "is `transformer preprocess`, 25% `transformer serialise`; 62% of the time at 1.0MB is `transformer "
        f"serialise`. {TOO_FEW}; most could be saved in `transformer preprocess`: up to 80.0 ms at 10.0MB."
    )


def test_several_sizes_over_http_and_through_kafka():
    assert sentence(*of_both_transports()) == (
        "An image takes 297.1 ms at 1.0MB and 547.7 ms at 10.0MB over HTTP; 357.1 ms and 607.7 ms through Kafka "
        "(p50 of 20 images each): 84% of the time at 10.0MB is `transformer preprocess`. HTTP is 60.0 ms faster than "
        "Kafka at 10.0MB; what grows most from 1.0MB to 10.0MB is `transformer preprocess`, by 257.4 ms; most could be "
        "saved in `transformer preprocess`: up to 487.3 ms at 10.0MB."
    )


def test_ways_of_sending_that_are_equal():
    assert sentence(*of_both_transports(sizes=[MB], kafka_longer=0, per_megabyte=0)) == (
        "An image of 1.0MB takes 267.1 ms over HTTP and 267.1 ms through Kafka (p50 of 20 images each): 76% of the "
        "time is `transformer preprocess`, 15% `encode`. HTTP and Kafka do not differ beyond noise; most could be "
        "saved in `transformer preprocess`: up to 199.9 ms."
    )


def test_sizes_that_are_equal_do_not_grow():
    assert sentence(*of_both_transports(sizes=[MB, 2 * MB], kafka_longer=0, per_megabyte=0)).split(". ")[1] == (
        "HTTP and Kafka do not differ beyond noise at 2.0MB; 2.0MB does not take longer than 1.0MB beyond noise; most "
        "could be saved in `transformer preprocess`: up to 195.8 ms at 2.0MB."
    )


def test_too_few_images_are_said_to_be_too_few():
    paths = of_both_transports(sizes=[MB], n=6)
    assert sentence(*paths).split(". ")[1].startswith(TOO_FEW)
    more = of_both_transports(sizes=[MB], n=7)
    assert sentence(*more).split(". ")[1].startswith("HTTP is 60.0 ms faster than Kafka; ")


def test_the_fast_way_of_sending_is_what_saves_most_if_it_saves_more_than_any_segment_takes():
    slow = [drawn(f"encode {30 + n}, transformer serialise 40, predictor decode 39") for n in range(7)]
    fast = [drawn(f"encode {3 + n}, predictor predict 20", encoding="raw") for n in range(7)]
    assert sentence(*slow, *fast) == (
        "An image of 1.1MB takes 112.0 ms over HTTP and 26.0 ms over HTTP (raw) (p50 of 7 images each): 36% of the "
        "time over HTTP is `transformer serialise`, 35% `predictor decode`, 29% `encode`. HTTP (raw) is 86.0 ms faster "
        "than HTTP; most could be saved by sending over HTTP (raw)."
    )


def test_more_than_three_ways_of_sending_are_told_by_the_fastest_and_the_slowest():
    paths = [
        drawn(f"encode {10 * number}, predictor predict 20", cell=f"cell {number}", transport=transport)
        for number in range(1, 4)
        for transport in ("http", "kafka")
    ]
    assert sentence(*paths) == (
        "In 6 ways of sending, an image of 1.1MB takes 30.0 ms over HTTP (cell 1) to 50.0 ms over HTTP (cell 3) "
        "(one image each): 60% of the time over HTTP (cell 3) is `encode`, 40% `predictor predict`. There are too few "
        "images to tell differences from noise (it takes 8 of each); most could be saved in `encode`: up to 30.0 ms."
    )


def test_ways_of_sending_without_a_size_in_common():
    paths = [drawn(PREPROCESS), drawn("encode 30, deliver 200", transport="kafka", image_size=9 * MB)]
    assert sentence(*paths) == (
        "An image takes 100.0 ms at 1.1MB over HTTP; 230.0 ms at 9.0MB through Kafka (one image each): 87% of the time "
        "at 9.0MB through Kafka is `deliver`. Most could be saved in `deliver`: up to 200.0 ms at 9.0MB."
    )


def test_images_of_unknown_size():
    assert sentence(drawn(PREPROCESS, image_size=None)).startswith("An image takes 100.0 ms over HTTP (one image): 60%")


def test_sizes_of_payloads_and_of_images_are_not_one_scale():
    paths = [
        *(drawn(f"encode 10, deliver {10 + n}", image_size=None, payload_size=MB) for n in range(8)),
        *(drawn(f"encode 10, deliver {500 + n}", image_size=9 * MB) for n in range(8)),
    ]
    assert "takes longer" not in sentence(*paths)


def test_an_untraced_server():
    assert sentence(drawn("client 2, encode 8, upload 10, server (untraced) 80")) == (
        "An image of 1.1MB takes 100.0 ms over HTTP (one image): 80% of the time is `server (untraced)`. No span says "
        "what the server does; docs/serving.md says how to see inside."
    )


def test_an_answer_in_pieces():
    way = "client 5, predictor receive 5, predictor first token 400, predictor generate 1590"
    assert sentence(drawn(way, encoding="openai")) == (
        "An image of 1.1MB takes 2000.0 ms over HTTP (openai) (one image): 80% of the time is `predictor generate`, "
        "20% `predictor first token`. Most could be saved in `predictor generate`: up to 1590.0 ms."
    )


def test_a_segment_that_few_images_have_says_in_how_many():
    paths = [drawn("encode 10"), drawn("encode 10"), drawn("encode 10, redeliveries 970", transport="http")]
    assert sentence(*paths) == (
        "An image of 1.1MB takes 10.0 ms over HTTP (p50 of 3 images): 97% of the time is `redeliveries` (in 1 of 3). "
        "Most could be saved in `redeliveries`: up to 323.3 ms."
    )


@pytest.mark.parametrize(
    ("nanoseconds", "written"),
    [(0, "0.000 ms"), (1, "0.000 ms"), (12_345, "0.012 ms"), (MS, "1.0 ms"), (86_400 * 10**9, "86400.0 s")],
)
def test_huge_and_tiny_totals_keep_their_digits(nanoseconds, written):
    found = sentence(image({"encode": nanoseconds}))
    assert found.startswith(f"An image of 1.1MB takes {written} over HTTP (one image): ")
    assert found.endswith(f"`encode`: up to {written}." if nanoseconds else "no segment takes any time.")


# --- what the clocks of two hosts leave open ---


def test_a_bound_stands_behind_a_total_and_a_share():
    found = in_doubt(drawn("encode 20, deliver 80", transport="kafka"), {"deliver": 5 * MS}, 5 * MS)
    assert answer(found).sentence == (
        "An image of 1.1MB takes 100.0 ms \u00b15.0 ms through Kafka (one image): 80% \u00b110% of the time is "
        "`deliver`. Most could be saved in `deliver`: up to 85.0 ms."
    )


def test_none_is_called_the_largest_that_may_be_smaller_than_another():
    found = in_doubt(
        drawn("encode 20, transformer request 42, transformer response 38"),
        {"transformer request": 5 * MS, "transformer response": 5 * MS},
    )
    assert answer(found).sentence == (
        "An image of 1.1MB takes 100.0 ms over HTTP (one image): 42% \u00b15% of the time is `transformer request`, "
        "38% \u00b15% `transformer response`."
    )


def test_what_nothing_bounds_is_left_open():
    found = in_doubt(
        drawn("encode 20, transformer request 42, transformer response 38"),
        {"transformer request": math.inf, "transformer response": math.inf},
    )
    assert answer(found).sentence == (
        "An image of 1.1MB takes 100.0 ms over HTTP (one image): 20% of the time is `encode`; the clocks leave open "
        "how large `transformer request` and `transformer response` are."
    )


def test_a_total_that_nothing_bounds_has_no_shares():
    found = in_doubt(drawn("encode 20, deliver 80", transport="kafka"), {"deliver": math.inf}, math.inf)
    assert answer(found).sentence == (
        "An image of 1.1MB takes 100.0 ms \u00b1? through Kafka (one image): the clocks leave open how the time is "
        "spent."
    )


# --- sketches, and data ---


@pytest.mark.sketch
def test_sketches_say_the_same_but_for_their_percentiles():
    paths = of_both_transports()
    sketches = Sketches()
    sketches.take(measured(paths), None)
    sketches.group_sizes()
    found = answer(CorrectedMeasurement(*sketches.correct_skew(), {}, Coverage(measured=len(paths)))).sentence
    exact = sentence(*paths)
    assert re.sub(r"\d+\.\d ms", "", found) == re.sub(r"\d+\.\d ms", "", exact)
    for one, other in zip(re.findall(r"(\d+\.\d) ms", found), re.findall(r"(\d+\.\d) ms", exact), strict=True):
        assert float(one) == pytest.approx(float(other), rel=0.05)


def test_the_data_say_what_the_sentence_does():
    data = answer(corrected(measured(of_both_transports()))).data
    assert data["largest"][-1] == {
        "size": "10.0MB",
        "labels": [
            {"transport": "http", "encoding": "", "compression": "", "cell": ""},
            {"transport": "kafka", "encoding": "", "compression": "", "cell": ""},
        ],
        "segment": "transformer preprocess",
        "share": 0.8425,
    }
    assert (data["difference"]["difference_ns"], data["difference"]["certainty"]) == (60 * MS, "differs")
    assert (data["growth"]["segment"], data["saving"]["segment"]) == ("transformer preprocess",) * 2
    assert (data["images_needed"], len(data["series"])) == (8, 6)


# --- never what is not so ---

SEGMENTS = ("client", "encode", "deliver", "transformer preprocess", "predictor predict")
LENGTHS = st.lists(st.integers(0, 10**11), min_size=5, max_size=5)
IMAGES = st.lists(
    st.tuples(st.sampled_from(["http", "kafka"]), st.sampled_from([MB, 3 * MB, 9 * MB]), LENGTHS),
    min_size=1,
    max_size=40,
)


@settings(max_examples=50)
@given(IMAGES)
def test_what_is_named_is_the_largest_and_what_is_called_faster_is_faster(found):
    paths = [
        image(dict(zip(SEGMENTS, lengths, strict=True)), transport=transport, image_size=size)
        for transport, size, lengths in found
    ]
    said = answer(corrected(measured(paths)))
    assert json.loads(json.dumps(said.data)) == said.data
    assert 1 <= len(re.findall(r"\.(?: |$)", said.sentence)) <= 2
    sizes = {f"{size / MB:.1f}MB": size for size in (MB, 3 * MB, 9 * MB)}
    for largest in filter(lambda one: one["segment"], said.data["largest"]):
        transports = {one["transport"] for one in largest["labels"]}
        sums = [
            sum(
                lengths[number]
                for transport, size, lengths in found
                if size == sizes[largest["size"]] and transport in transports
            )
            for number in range(len(SEGMENTS))
        ]
        assert sums[SEGMENTS.index(largest["segment"])] == max(sums)
    medians = {(one["transport"], one["size"]): one for one in said.data["series"]}
    difference = said.data["difference"]
    if difference and difference["certainty"] == "differs":
        slow = medians[difference["slow"]["transport"], difference["size"]]
        fast = medians[difference["fast"]["transport"], difference["size"]]
        assert fast["p50_ns"] <= fast["p50_high_ns"] < slow["p50_low_ns"] <= slow["p50_ns"]
        assert f"faster than {'HTTP' if slow['transport'] == 'http' else 'Kafka'}" in said.sentence
    else:
        assert " faster than " not in said.sentence
