"""From a query and options to a reading: what the command line takes, by the same names."""

from __future__ import annotations

import inspect
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner
from recorded_support import servers_of
from traces_builder import HTTP, KAFKA, otlp_line, spans, with_options

import otel_kfs
from otel_kfs.analysis import corrected_measurement
from otel_kfs.cli import main
from otel_kfs.cli.trace_options import _PARTS
from otel_kfs.errors import ConfigError, OtelKfsError, TraceQueryError

DATA = Path(__file__).parents[1] / "data"
RECORDED = [
    DATA / "traces",
    *sorted([*DATA.glob("recorded/*.jsonl"), *DATA.glob("cases/*.json*")]),
]
WITHOUT_AN_IMAGE = "recorded/java-console-consumer.jsonl"


def tables(*arguments: object) -> object:
    """What `tables` prints as JSON."""
    result = CliRunner().invoke(main, ["-q", "tables", *map(str, arguments), "--format", "json"])
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    "path", [path for path in RECORDED if not path.match(WITHOUT_AN_IMAGE)], ids=lambda path: path.stem
)
def test_the_rows_are_those_of_the_command_line(path):
    servers = servers_of(path)
    reading = otel_kfs.read(path, servers=servers)
    named = [argument for server in servers for argument in ("--server", server)]
    printed = tables(path, *named, "--layout", "segments", "--layout", "images")
    assert reading.segments() == printed["segments"]
    assert list(reading.images()) == printed["images"]
    assert reading.left_out == printed["account"]["left_out"]
    assert reading.summary() == [row for row in printed["segments"] if row["segment"] == "4-1"]
    assert len(reading) == printed["account"]["measured"] == sum(row["n"] for row in reading.summary())


def test_a_folder_without_an_image_is_an_error_that_says_what_there_is():
    with pytest.raises(OtelKfsError) as caught:
        otel_kfs.read(DATA / WITHOUT_AN_IMAGE)
    result = CliRunner().invoke(main, ["tables", str(DATA / WITHOUT_AN_IMAGE)])
    assert f"Error: {caught.value}\n" == result.stderr


def test_an_empty_store_is_an_error(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(OtelKfsError) as caught:
        otel_kfs.read(tmp_path)
    assert str(caught.value) == (
        f"no image was measured in {tmp_path}: there is no `send image` span, and no request to a model server; it has "
        "no spans: see that they are exported, or look further back"
    )


@pytest.fixture
def two_runs(tmp_path: Path) -> Path:
    """An image of each of two runs."""
    file = tmp_path / "traces.jsonl"
    drawn = [
        spans(with_options(drawing, "send image", f"run={run}"), run)
        for run, drawing in (("monday", HTTP), ("tuesday", KAFKA))
    ]
    file.write_text("".join(map(otlp_line, drawn)))
    return file


def test_a_run_is_chosen_by_its_id(two_runs):
    assert [len(otel_kfs.read(two_runs)), len(otel_kfs.read(two_runs, run="tuesday"))] == [2, 1]


def test_options_may_stand_in_the_query_too_but_not_with_another_value(two_runs):
    assert len(otel_kfs.read(f"{two_runs}?run=monday", run="monday")) == 1
    with pytest.raises(TraceQueryError, match="run is monday in the trace query and tuesday beside it; give it once"):
        otel_kfs.read(f"{two_runs}?run=monday", run="tuesday")


def test_each_option_of_the_command_line_is_a_keyword():
    names = {"server": "servers", "service": "services", "q": "traceql"}
    keywords = [
        name
        for name, parameter in inspect.signature(otel_kfs.read).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    assert sorted(keywords) == sorted([*(names.get(key, key) for key in _PARTS), "sketch", "processes", "progress"])


def test_options_become_those_of_the_trace_query(monkeypatch):
    asked = []

    def read(query: str, **_: object) -> object:
        asked.append(query)
        raise TraceQueryError("enough")

    monkeypatch.setattr(corrected_measurement, "read", read)
    moment = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    for options in (
        {"services": "a", "lookback": timedelta(minutes=90)},
        {"services": ("a", "b c"), "start": moment, "end": "2026-01-31T13:00:00Z", "expect": 0, "strict": False},
        {"traceql": "{ x = 1 }", "wait": timedelta(seconds=0.25), "servers": ["x"], "strict": True},
    ):
        with pytest.raises(TraceQueryError):
            otel_kfs.read("jaeger:http://host:16686", **options)
    assert asked == [
        "jaeger:http://host:16686?lookback=5400000ms&service=a",
        "jaeger:http://host:16686?start=2026-01-31T12:00:00%2B00:00&end=2026-01-31T13:00:00Z&expect=0&service=a"
        "&service=b%20c",
        "jaeger:http://host:16686?server=x&strict=1&wait=250ms&q=%7B%20x%20%3D%201%20%7D",
    ]


def test_a_password_in_a_query_is_in_no_message():
    with pytest.raises(TraceQueryError) as caught:
        otel_kfs.read("jaeger:http://user:secret@127.0.0.1:1")
    assert "secret" not in str(caught.value)


@pytest.mark.sketch
def test_sketches_have_the_same_rows_and_no_single_image(two_runs):
    kept, sketched = otel_kfs.read(two_runs), otel_kfs.read(two_runs, sketch=True)
    assert sketched.segments() == kept.segments()
    assert (len(sketched), sketched.answer.data["sentence"]) == (2, sketched.answer.sentence)
    for ask, what in (
        (sketched.images, "images are"),
        (lambda: sketched.where(transport="http"), "images are"),
        (lambda: kept.compare(sketched), "a comparison needs single images, which are"),
        (lambda: sketched.report("report.html"), "a report draws single images, which are"),
    ):
        with pytest.raises(ConfigError, match=f"^{what} not kept where traces are read with sketch=True$"):
            ask()


def test_progress_is_told(two_runs):
    told: list[str] = []
    otel_kfs.read(two_runs, progress=told.append)
    assert "read 1 of 1 parts" in told
