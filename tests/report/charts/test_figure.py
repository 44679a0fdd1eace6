"""Charts as figures for documents."""

import struct
from xml.etree import ElementTree

import pytest
from report_support import HOSTILE, contents_of, image, measurement_of_both_transports, texts

from otel_kfs import semconv
from otel_kfs.errors import ConfigError, MissingExtra
from otel_kfs.report.charts import figure

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def found():
    return contents_of(measurement_of_both_transports())


def read(drawing):
    """The drawing without its namespace."""
    root = ElementTree.fromstring(drawing)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
    return root


def test_a_figure_has_both_charts(found):
    shown = texts(read(figure.figure(found)))
    assert {"Where the time goes: mean of each segment (pale: in under half the images); triangle: p50"} < set(shown)
    assert {"Total (4-1) against the image's size, and least squares"} < set(shown)


@pytest.mark.parametrize(("chart", "there"), [("segments", (True, False)), ("sizes", (False, True))])
def test_a_figure_may_have_one_chart(found, chart, there):
    shown = " ".join(texts(read(figure.figure(found, (chart,)))))
    assert ("Where the time goes" in shown, "against the image's size" in shown) == there


def test_a_figure_tells_what_was_measured_at_its_foot(found):
    assert texts(read(figure.figure(found)))[-1] == (
        "18 images measured \u00b7 2020-09-13 12:26 to 12:26 UTC \u00b7 otel-kfs 1.2.3"
    )


def test_a_figure_bears_its_colours_and_names_no_other_file(found):
    drawing = figure.figure(found)
    assert read(drawing).tag == "svg"
    assert "url(" not in drawing
    assert "href" not in drawing
    assert "var(" not in drawing


def test_images_of_one_size_have_a_figure_of_segments():
    assert "against the image" not in figure.figure(contents_of([image("a")]))


def test_images_of_one_size_have_none_of_sizes():
    with pytest.raises(ConfigError, match="the images are all of one size: latency against size can't be drawn"):
        figure.figure(contents_of([image("a")]), ("sizes",))


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_stay_names(name):
    plain = contents_of([image("a", **{semconv.CELL: "plain"})])
    drawing = read(figure.figure(contents_of([image("a", **{semconv.CELL: name})])))
    assert [element.tag for element in drawing.iter()] == [e.tag for e in read(figure.figure(plain)).iter()]


def test_a_figure_as_png_is_twice_as_fine(found):
    drawing = figure.figure(found)
    data = figure.png(drawing)
    root = ElementTree.fromstring(drawing)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (2 * int(root.get("width")), 2 * int(root.get("height")))


def test_text_is_drawn_where_the_machine_has_no_font(found):
    import resvg_py

    drawing = figure.figure(found)
    assert figure.png(drawing) != bytes(resvg_py.svg_to_bytes(svg_string=drawing, skip_system_fonts=True, zoom=2.0))
    assert figure.png(drawing) == figure.png(drawing)


@pytest.mark.parametrize(
    ("module", "library"), [("resvg_py", "resvg-py"), ("font_source_sans_pro", "font-source-sans-pro")]
)
def test_what_png_lacks_is_named_with_its_extra(monkeypatch, module, library):
    monkeypatch.setattr(figure, "find_spec", lambda name: None if name == module else object())
    with pytest.raises(
        MissingExtra, match=rf"^{library} is not installed; in a clone of otel-kfs, run: pip install '\.\[report\]'$"
    ):
        figure.need_png()
