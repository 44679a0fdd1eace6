"""Two readings side by side, in a notebook and as a gate of CI."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

import otel_kfs
from otel_kfs.cli import main
from otel_kfs.errors import ConfigError

pytestmark = pytest.mark.analysis


@pytest.fixture(scope="module")
def before_and_after(run_of):
    """Two runs of 8 images each way, of which the later takes a quarter longer."""
    return run_of(8), run_of(8, factor=1.25)


def test_it_says_what_became_slower_and_by_how_much(before_and_after):
    before, after = map(otel_kfs.read, before_and_after)
    found = before.where(transport="http").compare(after.where(transport="http"))
    sentence = (
        "HTTP, 1.1MB: B is 258.8 ms (25%) slower than A (215.0 to 301.2, n = 8 and 8): 26% of it is `predictor "
        "predict`, 15% `transformer preprocess`, 10% `encode`"
    )
    assert (found.sentence, found.slower(), found.slower(0.24), found.slower(0.26)) == (
        sentence,
        [sentence],
        [sentence],
        [],
    )
    assert repr(found) == f"<ReadingComparison: {sentence}>"
    assert found._repr_html_() == f"<p>{sentence}</p>"


def test_the_rows_and_sentences_are_those_of_the_command_line(before_and_after):
    found = otel_kfs.read(before_and_after[0]).compare(otel_kfs.read(before_and_after[1]))
    result = CliRunner().invoke(main, ["-q", "compare", *map(str, before_and_after), "--format", "json"])
    printed = json.loads(result.stdout)
    assert (found.rows(), found.sentence.split("\n")) == (printed["comparison"], printed["verdicts"])


def test_nothing_is_slower_than_itself(before_and_after):
    reading = otel_kfs.read(before_and_after[0])
    assert reading.compare(reading).slower() == []


def test_what_is_faster_is_not_slower(before_and_after):
    before, after = map(otel_kfs.read, before_and_after)
    assert after.compare(before).slower() == []


def test_too_few_images_to_tell_are_an_error_and_not_a_passed_test(run_of):
    before, after = otel_kfs.read(run_of(2)), otel_kfs.read(run_of(2, factor=9))
    with pytest.raises(ConfigError) as caught:
        before.compare(after).slower(0.1)
    assert str(caught.value) == (
        "the comparison can't tell a difference from noise at 1.1MB: there are 2 and 2 images, and it takes 5 on each "
        "side"
    )


def test_readings_with_nothing_in_common_can_t_be_compared(run_of):
    one, other = otel_kfs.read(run_of(1)), otel_kfs.read(run_of(1, **{"otel_kfs.image.size": 9_000_000}))
    with pytest.raises(ConfigError, match=r"^A and B have no image size in common"):
        one.compare(other)


@pytest.mark.notebook
def test_the_rows_are_those_of_a_frame_of_pandas_of_polars_and_of_arrow(before_and_after):
    found = otel_kfs.read(before_and_after[0]).compare(otel_kfs.read(before_and_after[1]))
    frame, rows = found.to_pandas(), [dict(row) for row in found.rows()]
    assert frame.astype(object).where(frame.notna(), None).to_dict("records") == rows
    assert (found.to_polars().to_dicts(), found.to_arrow().to_pylist()) == (rows, rows)
    types = ("transport_a", "segment", "n_a", "difference_ns", "difference_share", "low_ns", "p", "differs")
    assert [str(frame[name].dtype) for name in types] == (
        ["category", "category", "int64", "int64", "float64", "Int64", "float64", "bool"]
    )


def test_the_report_is_the_page_of_the_command_line(tmp_path, before_and_after):
    before, after = before_and_after
    otel_kfs.read(before).compare(otel_kfs.read(after)).report(tmp_path / "python.html")
    command = ["-q", "compare", str(before), str(after), "--format", "html", "-o", str(tmp_path / "command.html")]
    assert CliRunner().invoke(main, command).exit_code == 0
    of_python, of_command = ((tmp_path / f"{name}.html").read_text() for name in ("python", "command"))
    by = re.compile("<li>Made by .*</li>")
    assert by.sub("", of_python) == by.sub("", of_command)


@pytest.mark.parametrize("name", ["comparison.svg", "comparison.png", "comparison"])
def test_a_report_of_another_ending_is_an_error_that_names_the_right_one(tmp_path, before_and_after, name):
    reading = otel_kfs.read(before_and_after[0])
    with pytest.raises(ConfigError) as caught:
        reading.compare(reading).report(tmp_path / name)
    assert str(caught.value) == f"unknown format of {tmp_path / name}: let its name end with .html"
