"""Sentences in HTML: split, with the segments that they name beside their colours, and all else escaped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces_builder import segment

from otel_kfs.report.charts import palette
from otel_kfs.report.html.html_file import coded, sentences

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
