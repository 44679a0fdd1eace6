"""The page of a comparison as a parser sees it: the sentence first, every figure, and names that stay names."""

from collections import Counter
from dataclasses import replace

import pytest
from comparison_support import drawn, images
from html_support import Parsed
from report_support import HOSTILE, ORIGIN, compared
from traces_builder import critical_path_of

from otel_kfs.analysis.comparison import compare
from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import measured
from otel_kfs.report.html.comparison_page import Side, comparison_page
from otel_kfs.report.tables import comparison_rows

pytestmark = pytest.mark.analysis

SIDES = (Side("a/", "20 images measured"), Side("b/", "20 images measured"))


def page_of(a, b):
    found = compare(*(corrected(measured(side)).series for side in (a, b)))
    return found, comparison_page(found, *SIDES, ORIGIN)


def test_the_sentence_of_the_largest_difference_comes_first_and_the_others_below():
    a = [drawn(f"client {n}, encode 100", image_size=size) for n in range(1, 21) for size in (1_000_000, 2_000_000)]
    b = [
        drawn(f"client {n}, encode {100 * factor}", image_size=size)
        for n in range(1, 21)
        for size, factor in ((1_000_000, 2), (2_000_000, 4))
    ]
    found, text = page_of(a, b)
    small, large = map(comparison_rows.verdict, found.of_sizes)
    parsed = Parsed(text)
    words = parsed.text.replace("`", "")
    assert words.index(large.replace("`", "")) < words.index("B is slower in 2 of 2 comparisons.")
    assert words.index("B is slower in 2 of 2 comparisons.") < words.index(small.replace("`", ""))


def test_every_segment_has_its_row_with_p_and_what_is_beyond_noise_its_mark():
    _, text = page_of(images(20, 1), images(20, 2, {"encode": 100}))
    head, *rows = Parsed(text).tables["all"]
    found = {row[1]: dict(zip(head, row, strict=True)) for row in rows}
    assert list(found) == ["client", "encode", "transformer preprocess", "predictor predict", "total (4-1)"]
    encode = found["encode"]
    assert (encode["p"], encode["beyond noise"], encode["of A"][0], encode["B \u2212 A"] > "90") == (
        "<0.001",
        "slower",
        "+",
        True,
    )
    assert (found["client"]["beyond noise"], float(found["client"]["p"]) > 0.05) == ("", True)


def test_what_nothing_bounds_has_neither_interval_nor_share():
    a, b = ([drawn(f"client 10, broker {length}!")] * 15 for length in (5, 255))
    _, text = page_of(a, b)
    head, *rows = Parsed(text).tables["all"]
    broker = dict(zip(head, next(row for row in rows if row[1] == "broker"), strict=True))
    assert (broker["B \u2212 A"], broker["95% interval"], broker["of A"], broker["beyond noise"]) == (
        "250.00 \u00b1?",
        "",
        "",
        "",
    )


def test_what_was_not_compared_is_named():
    a = [drawn("client 1")] * 6
    _, text = page_of(a, [*a, drawn("client 1", transport="kafka")])
    assert "Not compared. only B has Kafka, 1.1MB (n = 1)." in Parsed(text).text


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_stay_names(name):
    def of(name):
        return Parsed(comparison_page(*compared(name, n=6), replace(ORIGIN, command=name)))

    found, plain = of(name), of("plain")
    assert found.tags - plain.tags == Counter()
    assert {(tag, key) for tag, key, _ in found.attributes} == {(tag, key) for tag, key, _ in plain.attributes}
    assert found.raw == plain.raw


def test_nothing_is_asked_for_anywhere():
    found = Parsed(comparison_page(*compared(), ORIGIN))
    assert found.tags.keys() & {"link", "img", "iframe", "object", "embed", "base", "form"} == set()
    assert all(link.startswith("#") for link in found.values("href"))
    ids = found.values("id")
    assert {link.removeprefix("#") for link in found.values("href")} <= set(ids)
    assert len(ids) == len(set(ids))


def test_what_nothing_bounds_is_no_largest_difference():
    """At the smaller size a consumer's clock, of which nothing is known, is 5 s further on in B."""
    a, b = (
        [
            replace(critical_path_of(path), image_size=size)
            for path, size in ((f"client 10, broker {broker}!", 1_000_000), (f"client {client}", 2_000_000))
            for _ in range(15)
        ]
        for broker, client in ((50, 100), (5050, 200))
    )
    words = Parsed(page_of(a, b)[1]).text
    assert words.index("2.0MB: B is 100.0 ms (100%) slower") < words.index(
        "B is slower in 1 of 2 comparisons; nothing bounds the clocks in 1 of 2 comparisons."
    )
    assert words.index("Of all, the sentence above is the largest difference.") < words.index("1.0MB: B and A can't")
    assert "Nothing bounds the clocks of broker: whether it differs is unknown." in words.replace("`", "")
