"""Colours: one for each segment, told apart from the page, and text on them that can be read (WCAG 2)."""

import re
from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
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


# --- for every kind of sight ---

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009): the
# matrices of complete deficiency, for linear RGB.
SIGHT = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    "grey": [[0.2126, 0.7152, 0.0722]] * 3,
}
# Ottosson, "A perceptual color space for image processing" (2020): from linear RGB to OKLab; 0.02 can just be seen.
TO_CONES = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
TO_CONES += [[0.0883024619, 0.2817188376, 0.6299787005]]
TO_LAB = [[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099]]
TO_LAB += [[0.0259040371, 0.7827717662, -0.808675766]]

RARE = {"late start", "program start", "retries", "queue", "explain", "first token", "generate", "queue and input"}
RARE |= {"input", "prefill", "compute", "output", "object store", "hand over", "deliver + broker", "redeliveries"}
RARE |= {"event source", "upload"}
SMALL = {"client", "bridge", "request", "no span", "postprocess"}  # often too short to be seen


def as_seen(colour, sight):
    """A colour in OKLab, as that sight sees it."""
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return TO_LAB @ np.cbrt(TO_CONES @ np.clip(SIGHT[sight] @ linear, 0, 1))


def apart(one, other):
    """How far apart two colours are at least, whoever looks."""
    return min(float(np.linalg.norm(as_seen(one, sight) - as_seen(other, sight))) for sight in SIGHT)


def bars() -> Iterator[list[tuple[str, str]]]:
    """What bars consist of: every segment in the order of the path, and the usual ones, without what is too short."""
    whole = [palette.place_and_step(one) for one in ORDER]
    direct = [one for one in whole if one[0] != palette.PROXIES]
    usual = [one for one in direct if one[1] not in RARE]
    yield from (whole, direct, usual, [one for one in whole if one[1] not in RARE])
    yield [one for one in usual if one[0] != palette.KAFKA]
    yield [one for one in usual if one[1] not in SMALL]
    yield [one for one in usual if one[1] not in SMALL and one[0] != palette.KAFKA]


def colours(theme):
    return {palette.place_and_step(one): fills(theme)[palette.segment_class(one)] for one in ORDER}


@pytest.mark.parametrize("theme", [0, 1])
def test_neighbours_in_a_bar_stay_apart_for_every_sight_and_in_grey(theme):
    of = colours(theme)
    close = {
        (one, other): distance
        for bar in bars()
        for one, other in pairwise(bar)
        if one != other and (distance := apart(of[one], of[other])) < 0.09
    }
    assert close == {}


@pytest.mark.parametrize("theme", [0, 1])
def test_every_segment_can_be_told_from_the_page_and_the_edge_of_a_bar_from_both(theme):
    page = palette.INK["page"][theme]
    assert min(contrast(colour, page) for colour in colours(theme).values()) >= 1.45
    assert contrast(palette.INK["muted"][theme], page) >= 3


@pytest.mark.parametrize("theme", [0, 1])
def test_the_first_lines_stay_apart_for_every_sight_and_have_dashes_of_their_own(theme):
    lines = [fills(theme)[palette.labels_class(number)] for number in range(4)]
    assert min(apart(one, other) for one, other in combinations(lines, 2)) >= 0.07
    assert len({palette.dashes(number) for number in range(4)}) == 4
