"""--trace-query with a path: which files a path, a folder or a pattern means, and what is said where it means none."""

import gzip
import json

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query
from otel_kfs.traces.query_url import without_credentials


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


@pytest.mark.parametrize("name", ["a.ndjson", "a.log", "a.jsonl.1", "a.jsonl.2.gz", "a.txt", "a.pb"])
@pytest.mark.parametrize(
    "content",
    [
        line("a").encode(),
        b"\xef\xbb\xbf" + line("a").encode(),
        json.dumps(json.loads(line("a")), indent=2).encode(),
        gzip.compress(b"[" + line("a").encode() + b"]"),
    ],
)
def test_of_a_folder_a_file_of_another_name_is_read_if_it_begins_with_traces(tmp_path, caplog, name, content):
    (tmp_path / name).write_bytes(content)
    assert names_of(tmp_path) == ["a"]
    assert caplog.messages == []


def test_of_a_folder_the_collectors_protobuf_is_read(tmp_path):
    span = Span(trace_id=b"\xaa" * 16, span_id=b"\xbb" * 8, name="a")
    message = TracesData(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])]).SerializeToString()
    (tmp_path / "a.pb").write_bytes(len(message).to_bytes(4, "big") + message)
    (tmp_path / "b.bin").write_bytes(len(message).to_bytes(4, "big") + message[:-1] + b"\xff")
    assert names_of(tmp_path) == ["a"]


def test_of_a_folder_files_that_are_passed_over_are_counted(traces, caplog):
    (traces / "run" / "page.html").write_text("<html>")
    (traces / ".hidden").write_text("hidden")
    (traces / "empty.log").touch()
    assert names_of(traces) == ["a", "b", "c", "d"]
    endings = ".json, .jsonl, .json.gz, .jsonl.gz, .json.zst, .jsonl.zst"
    assert caplog.messages == [
        f"files passed over that are not traces by name ({endings}) or content: 2, the first: {traces / 'bridge.log'}; "
        "to read one, name it"
    ]


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
        f"no file or folder {tmp_path / 'gone'}; give a file, a folder or a pattern"
    )


def test_a_folder_without_trace_files_is_an_error_that_names_the_endings(tmp_path):
    (tmp_path / "bridge.log").write_text("no spans here")
    endings = ".json, .jsonl, .json.gz, .jsonl.gz, .json.zst, .jsonl.zst"
    assert refusal(tmp_path) == (
        f"no trace files ({endings}) in the folder {tmp_path}; {tmp_path / 'bridge.log'} is there: name a file to have "
        "it read"
    )


def test_a_pattern_that_nothing_matches_is_an_error_that_hints_at_quotes(traces):
    assert refusal(traces / "*.zip") == (
        f"no file matches {traces / '*.zip'}; quote the pattern so that the shell leaves it alone"
    )


def test_a_path_that_the_system_refuses_is_an_error_that_names_it():
    assert "x" * 300 in refusal("x" * 300)


def test_a_bad_file_among_good_ones_is_named(traces):
    (traces / "z.jsonl").write_text("{\n")
    assert refusal(f"{traces}?strict=1").startswith(f"{traces / 'z.jsonl'}, line 1: not JSON (")


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("jaeger:http://user:secret@host:16686?service=a", "jaeger:http://host:16686?service=a"),
        (
            "otel-kfs report --trace-query 'tempo:https://u@h/x?q=a@b'",
            "otel-kfs report --trace-query 'tempo:https://h/x?q=a@b'",
        ),
        ("traces/me@home", "traces/me@home"),
    ],
)
def test_credentials_in_a_query_are_not_repeated(text, without):
    assert without_credentials(text) == without
