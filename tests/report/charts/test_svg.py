"""Names in drawings stay names."""

from xml.etree import ElementTree

import pytest
from report_support import HOSTILE

from otel_kfs.report.charts import svg


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_name_is_text_wherever_it_stands(name):
    drawing = svg.drawing(10, 10, name, name)
    svg.mark(drawing, "rect", name, data_name=name)
    read = ElementTree.fromstring(svg.markup(drawing))
    assert [element.tag for element in read.iter()] == ["svg", "title", "desc", "rect", "title"]


def test_numbers_are_written_short():
    drawing = svg.drawing(10, 20.04, "t")
    svg.add(drawing, "line", x1=1.26, x2=-3, stroke_width=0.5, class_="grid")
    assert svg.markup(drawing) == (
        '<svg viewBox="0 0 10 20" role="img" class="chart"><title>t</title>'
        '<line x1="1.3" x2="-3" stroke-width="0.5" class="grid" /></svg>'
    )


def test_a_text_that_fits_stays_whole():
    assert svg.fitted("transformer", 100) == "transformer"


@pytest.mark.parametrize("width", [0, 5, 20, 60])
def test_a_text_that_does_not_fit_ends_in_an_ellipsis(width):
    text = svg.fitted("transformer preprocess", width)
    assert text.endswith("\u2026")
    assert text == "\u2026" or svg.text_width(text) <= width
