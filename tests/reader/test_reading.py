"""What a reading gives: its words, its choice of images, its report, and how it shows itself."""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace
from report_support import HOSTILE
from support import printed_json
from traces_builder import HTTP, spans

import otel_kfs
from otel_kfs import semconv
from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.errors import ConfigError
from otel_kfs.report.answer import answer
from otel_kfs.traces.span import SpanGraph

TRACES = Path(__file__).parents[1] / "data" / "traces"


def hostile_reading(name: str) -> otel_kfs.Reading:
    """An image of a cell, and read from a place, with that name."""
    root, *others = spans(HTTP)
    graph = SpanGraph([replace(root, attributes={**root.attributes, semconv.CELL: name}), *others])
    return otel_kfs.Reading(name, corrected(measured(*critical_paths(graph))))


def test_it_says_in_one_line_what_it_is(of_this_project, run_of):
    run = run_of(3)
    assert re.sub("from .*/data", "from data", repr(of_this_project)) == (
        "<Reading of 2 images in 2 series (1 left out) from data/traces>"
    )
    assert repr(otel_kfs.read(run).where(transport="http")) == f"<Reading of 3 images in 1 series from {run}>"


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_adds_no_line_and_no_control_sequence(name):
    assert repr(hostile_reading(name)).isprintable()


def test_the_answer_is_that_of_the_report_as_words_and_data(of_this_project):
    assert of_this_project.answer == answer(of_this_project._measurement)
    assert of_this_project.answer.sentence.startswith("An image of 1.1MB takes 410.2 ms over HTTP")


def test_the_page_on_the_python_api_shows_the_answer_as_it_is(of_this_project):
    page = (TRACES.parents[2] / "docs" / "python-api.md").read_text(encoding="utf-8")
    assert f"\n{of_this_project.answer.sentence}\n" in page


def test_images_are_chosen_by_their_labels(run_of):
    reading = otel_kfs.read(run_of(3))
    kafka = reading.where(transport="kafka", size="1.1MB")
    assert [(row["transport"], row["n"]) for row in kafka.summary()] == [("kafka", 3)]
    assert {row["transport"] for row in kafka.images()} == {"kafka"}
    assert (len(reading), len(kafka)) == (6, 3)


@pytest.mark.analysis
def test_a_chart_of_some_images_tells_their_number(run_of):
    drawing = drawing_in(otel_kfs.read(run_of(3)).where(transport="kafka")._repr_html_())
    assert drawing.findtext("{http://www.w3.org/2000/svg}desc") == "3 images measured"


def test_a_choice_that_no_image_fits_says_which_there_are(run_of):
    with pytest.raises(ConfigError, match=r"^no image has transport=grpc: transport is http or kafka$"):
        otel_kfs.read(run_of(1)).where(transport="grpc")


# --- in a notebook ---


def drawing_in(html: str) -> ElementTree.Element:
    """The chart in what a notebook is given; all else must be a paragraph of words."""
    picture = r'<img src="data:image/svg\+xml;base64,(?P<drawing>\S+)" alt="[^"<>]*" style="max-width: 100%">'
    match = re.fullmatch(rf"(<p>[^<>]*</p>)+{picture}", html)
    assert match
    return ElementTree.fromstring(base64.b64decode(match["drawing"]))


@pytest.mark.analysis
def test_a_notebook_shows_the_answer_and_the_chart_of_the_segments(run_of):
    reading = otel_kfs.read(run_of(3))
    html = reading._repr_html_()
    assert html.startswith(f"<p>{reading.answer.sentence}</p>")
    words = ["".join(text.itertext()) for text in drawing_in(html).iter("{http://www.w3.org/2000/svg}text")]
    assert {"HTTP", "Kafka"} <= set(words)


@pytest.mark.analysis
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_stays_text_in_a_notebook(name):
    drawing = drawing_in(hostile_reading(name)._repr_html_())
    assert {element.tag.rpartition("}")[2] for element in drawing.iter()} <= {
        *("svg", "style", "rect", "text", "tspan", "title", "desc", "line", "g", "path", "polygon", "circle", "defs"),
        *("pattern", "marker", "polyline"),
    }
    assert not any(key.startswith("on") or "href" in key for element in drawing.iter() for key in element.attrib)


def test_without_the_chart_s_libraries_a_notebook_shows_the_answer_and_a_report_is_an_error():
    script = f"""
import sys; sys.modules["numpy"] = None
import json, otel_kfs
reading = otel_kfs.read({str(TRACES)!r})
try: reading.report("report.html")
except ImportError as error: print(json.dumps([reading._repr_html_(), str(error)]))
"""
    html, error = printed_json(script)
    missing = "numpy is not installed; in a clone of otel-kfs, run: pip install '.[report]'"
    assert (html.partition("</p>")[2], error) == (
        f"<p><small>no chart: {escape(missing)}</small></p>",
        missing,
    )


# --- a file ---


@pytest.mark.analysis
@pytest.mark.parametrize(("ending", "beginning"), [("html", b"<!doctype html>"), ("svg", b"<svg"), ("png", b"\x89PNG")])
def test_a_report_is_a_page_or_charts_by_the_file_s_ending(tmp_path, run_of, ending, beginning):
    otel_kfs.read(run_of(2)).report(tmp_path / f"report.{ending}")
    content = (tmp_path / f"report.{ending}").read_bytes()
    assert content[: len(beginning)].lower() == beginning.lower()


@pytest.mark.analysis
def test_a_report_names_what_it_was_read_from_and_draws_the_median_image(tmp_path, run_of):
    run = run_of(3)
    otel_kfs.read(run).report(str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"otel_kfs.read(&#39;{run}&#39;).report(&#39;{tmp_path}/report.html&#39;)" in text
    assert "waterfall" in text or "send image" in text


def test_a_report_of_another_ending_is_an_error(tmp_path, of_this_project):
    with pytest.raises(ConfigError, match=r"report\.pdf: let its name end with \.html, \.svg or \.png$"):
        of_this_project.report(tmp_path / "report.pdf")


def test_a_file_that_can_t_be_written_is_an_error(tmp_path, of_this_project):
    with pytest.raises(ConfigError, match=r"there is no folder .*$"):
        of_this_project.report(tmp_path / "nowhere" / "report.svg")
