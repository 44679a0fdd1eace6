"""`tables --layout images`: every image and segment, for other programs."""

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from otel_kfs.analysis.corrected_measurement import read
from otel_kfs.cli import main
from otel_kfs.report import documents

TRACES = Path(__file__).parents[1] / "data" / "traces"


def tables(*arguments):
    """The exit code, standard output in bytes, and standard error."""
    result = CliRunner().invoke(main, ["-q", "tables", "--trace-query", str(TRACES), *map(str, arguments)])
    return result.exit_code, result.stdout_bytes, result.stderr


@pytest.fixture(scope="module")
def records():
    return list(documents.records(read(str(TRACES)), "images"))


def test_csv_is_a_line_an_image_and_segment(records):
    code, out, _ = tables("--layout", "images", "--format", "csv")
    lines = [*csv.DictReader(io.StringIO(out.decode()))]
    assert (code, lines) == (
        0,
        [{field: "" if value is None else str(value) for field, value in one.items()} for one in records],
    )


def test_json_has_the_records_beside_those_of_another_layout(records):
    code, out, _ = tables("--layout", "segments", "--layout", "images", "--format", "json")
    document = json.loads(out)
    assert (code, [*document], document["images"]) == (
        0,
        ["answer", "segments", "images", "account", "size_tolerance", "clocks"],
        records,
    )


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_a_file_s_ending_chooses_the_format(tmp_path, ending):
    _, out, _ = tables("--layout", "images", "--format", ending)
    assert tables("--layout", "images", "-o", tmp_path / f"out.{ending}") == (0, b"", "")
    assert (tmp_path / f"out.{ending}").read_bytes() == out


@pytest.mark.notebook
def test_parquet_is_a_file_or_goes_to_another_program(tmp_path, records):
    from pyarrow import parquet

    assert tables("--layout", "images", "-o", tmp_path / "out.parquet") == (0, b"", "")
    code, out, _ = tables("--layout", "images", "--format", "parquet")
    assert (code, out) == (0, (tmp_path / "out.parquet").read_bytes())
    assert parquet.read_table(io.BytesIO(out)).to_pylist() == records


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layout", "images"), "--layout images is a file for other programs: choose csv, json or parquet"),
        (("--layout", "images", "-o", "a.md"), "--layout images is a file for other programs: choose csv, json or"),
        (("--layout", "images", "--sketch", "--format", "csv"), "--layout images shows single images, which --sketch"),
        (("--format", "parquet"), "a Parquet file holds one table: choose one --layout, such as segments or images"),
        (("--layout", "seed", "--format", "parquet"), "--layout seed is not for parquet; --layout images has the"),
        (("--layout", "bars", "--format", "parquet"), "bars are drawn only as text or md; --layout statistics has"),
    ],
)
def test_what_can_t_go_together_is_an_error_before_anything_is_read(arguments, message):
    code, out, error = tables(*arguments)
    assert (code, out) == (1, b"")
    assert error.startswith(f"Error: {message}")


def test_without_pyarrow_parquet_is_an_error_before_anything_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert tables("--layout", "images", "--format", "parquet") == (
        1,
        b"",
        "Error: pyarrow is not installed; in a clone of otel-kfs, run: pip install '.[arrow]'\n",
    )
