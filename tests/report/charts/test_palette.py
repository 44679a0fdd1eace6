"""Colours: one for each segment, told apart from the page, and text on them that can be read (WCAG 2)."""

import re

import pytest
from traces_builder import segment

from otel_kfs.analysis.paths.segment import ORDER
from otel_kfs.report.charts import palette


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def fills(theme):
    """Class -> colour."""
    return dict(re.findall(r"(?:^|,)(?:svg text)?\.(\w+)\{fill:(#\w+)\}", palette.style(theme), re.MULTILINE))


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("found", [*ORDER, segment("somewhere else")])
def test_text_on_a_segment_can_be_read(found, theme):
    colours = fills(theme)
    assert contrast(colours[palette.segment_class(found)], colours[palette.on(found)]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("number", range(8))
def test_what_is_written_in_the_colour_of_labels_can_be_read(number, theme):
    assert contrast(fills(theme)[palette.labels_class(number)], palette.INK["page"][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("ink", ["text", "muted"])
def test_text_can_be_read(ink, theme):
    assert contrast(palette.INK[ink][theme], palette.INK["page"][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1])
def test_no_two_steps_have_one_colour(theme):
    steps = {palette.place_and_step(one): one for one in ORDER}
    assert len({fills(theme)[palette.segment_class(one)] for one in steps.values()}) == len(steps)


def test_a_segment_that_swallowed_another_keeps_its_colour():
    assert palette.segment_class(segment("transformer (no transformer decode span)")) == palette.segment_class(
        segment("transformer")
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encode", ("Sender", "encode")),
        ("broker", ("Kafka", "broker")),
        ("transformer", ("Transformer", "no span")),
        ("transformer decode", ("Transformer", "decode")),
        ("predictor 2 decode", ("Predictor", "decode")),
        ("predictor 2", ("Predictor", "no span")),
        ("ingress request", ("Proxies", "ingress request")),
        ("queue-proxy", ("Proxies", "queue-proxy")),
        ("somewhere new", ("Elsewhere", "somewhere new")),
    ],
)
def test_a_segment_has_its_place(name, expected):
    assert palette.place_and_step(segment(name)) == expected


def test_every_segment_has_a_colour_of_its_own_place():
    assert [one for one in ORDER if palette.place_and_step(one)[0] == palette.ELSEWHERE] == []


def test_segments_are_listed_by_place():
    assert palette.by_place([segment("encode"), segment("broker"), segment("x")]) == {
        "Sender": [segment("encode")],
        "Kafka": [segment("broker")],
        "Elsewhere": [segment("x")],
    }
