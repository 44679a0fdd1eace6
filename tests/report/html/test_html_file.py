"""Sentences in HTML: split, with the segments that they name beside their colours, and all else escaped."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces_builder import segment

from otel_kfs.report.charts import palette
from otel_kfs.report.html.html_file import coded, sentences, shared_values

SEGMENTS = [segment("transformer decode")]


def test_a_segment_is_shown_with_its_colour_and_other_code_as_code():
    assert str(coded("57% is `transformer decode`, `x<y` & more", SEGMENTS)) == (
        '57% is <bdi class="named"><span><svg class="chip" viewBox="0 0 10 10" aria-hidden="true">'
        '<rect width="10" height="10" rx="1.5" class="{}"/></svg>transformer</span> decode</bdi>, '
        "<code>x&lt;y</code> &amp; more".format(palette.segment_class(segment("transformer decode")))
    )


@given(st.text("`<>&\"' \x00ab"))
def test_no_text_becomes_markup(text):
    shown = str(coded(text, [])).replace("<code>", "").replace("</code>", "")
    assert not set("<>\x00") & set(shown)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two.", ["One.", "Two."]),
        ("An image of 1.1MB takes 5 ms (p50 of 20): 3% is `x`. HTTP is faster.", [..., "HTTP is faster."]),
        ("No image was measured: 0 images.", ["No image was measured: 0 images."]),
    ],
)
def test_a_text_is_split_into_its_sentences(text, found):
    assert [one if kept is not ... else ... for one, kept in zip(sentences(text), found, strict=True)] == found
    assert " ".join(sentences(text)) == text


@pytest.mark.parametrize(
    ("figure", "bound", "shown"),
    [
        (12_340_000, 0, ("12.3", "")),
        (12_340_000, math.inf, ("12.3", "?")),
        (12_300_000, 400_000, ("12.3", "0.4")),
        (12_340_000, 400_000, ("12.3", "0.5")),  # what was rounded off may be missing, too
        (-40_000, 1, ("0.0", "0.1")),
        (-12_300_000, 0, ("\N{MINUS SIGN}12.3", "")),
    ],
)
def test_a_bound_holds_for_the_figure_as_it_is_written(figure, bound, shown):
    write = shared_values([])
    assert (write["figure"](figure), write["off"](figure, bound)) == shown
