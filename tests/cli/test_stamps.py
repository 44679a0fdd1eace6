"""`--stamps` on the commands that read traces: the example of docs/reading-traces.md as it is printed there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import LIMIT

from otel_kfs.analysis.corrected_measurement import read
from otel_kfs.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "orders"
DOCUMENT = (ROOT / "docs" / "reading-traces.md").read_text("utf-8")


def run(*arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, arguments)


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def blocks(section):
    """The indented and fenced blocks of a section of the document, as text."""
    text = DOCUMENT.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)


def test_the_document_shows_the_example_s_stamps_file():
    assert (EXAMPLE / "stamps.toml").read_text() in blocks("Your own stamps")


def test_the_document_s_commands_print_what_it_says():
    shown = [block for block in blocks("Your own stamps") if block.startswith("$ otel-kfs")]
    assert shown
    for block in shown:
        command, _, printed = block.partition("\n")
        result = run(*shlex.split(command)[2:])
        assert [line.rstrip() for line in result.output.splitlines()] == printed.splitlines()


def test_the_example_s_program_writes_traces_that_its_stamps_measure(tmp_path):

    file = tmp_path / "orders.jsonl"
    subprocess.run([sys.executable, str(EXAMPLE / "shop.py"), str(file)], check=True, timeout=LIMIT)
    result = run("tables", "--trace-query", str(file), "--stamps", str(EXAMPLE / "stamps.toml"))
    assert result.output.splitlines()[-1] == "8 paths measured"


@pytest.mark.parametrize("processes", [1, 2])
def test_a_query_can_name_the_file(processes):
    query = f"{EXAMPLE / 'orders.jsonl'}?stamps={EXAMPLE / 'stamps.toml'}"
    found = read(query, processes=processes)
    assert [(series.size, len(series)) for series in found.series] == [("2 items", 4), ("9 items", 4)]


@pytest.mark.parametrize("layout", ["statistics", "bars", "segments"])
def test_every_layout_has_the_file_s_segments(layout):
    stamps = str(EXAMPLE / "stamps.toml")
    result = run("tables", "--trace-query", str(EXAMPLE), "--stamps", stamps, "--layout", layout)
    assert result.exit_code == 0
    assert "wait for a packer" in result.output
    assert "image" not in result.output


def test_a_report_draws_them(tmp_path):
    stamps, page = str(EXAMPLE / "stamps.toml"), tmp_path / "report.html"
    result = run("report", "--trace-query", str(EXAMPLE), "--stamps", stamps, "-o", str(page))
    assert result.output.splitlines()[1:] == [f"{page}: 8 paths measured"]
    text = page.read_text()
    assert text.count("wait for a packer") > 3
    assert "send image" not in text


def test_two_measurements_are_compared_by_them():
    stamps = str(EXAMPLE / "stamps.toml")
    result = run("compare", str(EXAMPLE), str(EXAMPLE), "--stamps", stamps, "--where", "size=9 items", "--all")
    assert result.exit_code == 0
    assert "wait for a packer" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run", "monday"], "run is for images that otel-kfs sent: leave it out where there is a stamps file"),
        (["--expect", "3"], "expect is for images: leave it out where there is a stamps file"),
    ],
)
def test_what_counts_images_does_not_go_with_stamps(options, message):
    result = run("tables", "--trace-query", str(EXAMPLE), "--stamps", str(EXAMPLE / "stamps.toml"), *options)
    assert (result.exit_code, result.output) == (1, f"Error: {message}\n")


def test_where_nothing_is_measured_the_first_stamp_is_named(tmp_path):
    stamps = tmp_path / "stamps.toml"
    stamps.write_text((EXAMPLE / "stamps.toml").read_text().replace("POST /*", "GET /*"))
    result = run("tables", "--trace-query", str(EXAMPLE / "orders.jsonl"), "--stamps", str(stamps))
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: no path was measured in {EXAMPLE / 'orders.jsonl'}?stamps={stamps}: ")
    assert f"no span fits stamp 1 of {stamps}; it has 48 spans of 8 traces; services: shop, packers; " in result.output
    assert result.output.endswith(
        "traces begin with `POST /orders` (shop) 8 times. Compare the names, services, kinds and attributes that the "
        "file asks for with a span's (docs/no-images.md)\n"
    )


def test_a_mistake_in_the_file_is_told_before_anything_is_read(tmp_path):
    stamps = tmp_path / "stamps.toml"
    stamps.write_text((EXAMPLE / "stamps.toml").read_text().replace('edge = "start"', 'edge = "begin"', 1))
    result = run("tables", "--trace-query", "/no/such/file", "--stamps", str(stamps))
    assert result.output == f"Error: {stamps}: stamp 1.edge: 'begin' is not allowed; choose start or end\n"
