"""--trace-query with a path: which files a path, a folder or a pattern means, and what is said where it means none."""

import gzip
import json

import pytest

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query


def line(name):
    span = {"traceId": "a" * 32, "spanId": "b" * 16, "name": name, "startTimeUnixNano": 1, "endTimeUnixNano": 2}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})


def names_of(text):
    return [span.name for span in query.spans(str(text))]


def refusal(text):
    with pytest.raises(TraceQueryError) as raised:
        names_of(text)
    return str(raised.value)


@pytest.fixture
def traces(tmp_path):
    folder = tmp_path / "traces"
    (folder / "run" / "deep").mkdir(parents=True)
    (folder / "b.json").write_text(line("b"))
    (folder / "a.jsonl").write_text(line("a"))
    (folder / "run" / "c.json.gz").write_bytes(gzip.compress(line("c").encode()))
    (folder / "run" / "deep" / "d.jsonl.gz").write_bytes(gzip.compress(line("d").encode()))
    (folder / "bridge.log").write_text("no spans here")
    return folder


def test_a_file_is_read_whatever_its_ending(tmp_path):
    (tmp_path / "saved.traces").write_text(line("a"))
    assert names_of(tmp_path / "saved.traces") == ["a"]


def test_a_folder_is_read_at_any_depth_by_its_files_endings(traces):
    assert names_of(traces) == ["a", "b", "c", "d"]


def test_a_folder_inside_that_is_named_like_a_file_is_no_file(traces):
    (traces / "old.jsonl").mkdir()
    assert names_of(traces) == ["a", "b", "c", "d"]


def test_a_pattern_is_read_in_order_of_names(traces):
    assert names_of(traces / "*.json*") == ["a", "b"]


def test_two_stars_go_to_any_depth(traces):
    assert names_of(traces / "**" / "*.gz") == ["c", "d"]


def test_a_pattern_passes_over_folders(traces):
    assert names_of(traces / "[ar]*") == ["a"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    (tmp_path / "run[1].jsonl").write_text(line("a"))
    assert names_of(tmp_path / "run[1].jsonl") == ["a"]


def test_nothing_at_the_path_is_an_error_that_names_it(tmp_path):
    assert refusal(tmp_path / "gone").startswith(
        f"no file or folder {tmp_path / 'gone'}; give a path of OTLP-JSON traces"
    )


def test_a_folder_without_trace_files_is_an_error_that_names_the_endings(tmp_path):
    (tmp_path / "bridge.log").write_text("no spans here")
    endings = ".json, .jsonl, .json.gz, .jsonl.gz, .json.zst, .jsonl.zst"
    assert refusal(tmp_path) == f"no trace files ({endings}) in the folder {tmp_path}"


def test_a_pattern_that_nothing_matches_is_an_error_that_hints_at_quotes(traces):
    assert refusal(traces / "*.zip") == (
        f"no file matches {traces / '*.zip'}; quote the pattern so that the shell leaves it alone"
    )


def test_a_path_that_the_system_refuses_is_an_error_that_names_it():
    assert "x" * 300 in refusal("x" * 300)


def test_a_bad_file_among_good_ones_is_named(traces):
    (traces / "z.jsonl").write_text("{\n")
    assert refusal(traces).startswith(f"{traces / 'z.jsonl'}, line 1: not JSON (")
