"""OTLP-JSON lines: whole spans out of good ones, and one line that says what is wrong with a bad one."""

import gzip
import json

import pytest

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import otlp
from otel_kfs.traces.span import Kind, Span

SPAN = {
    "traceId": "5B8EFFF798038103D269B633813FC60C",
    "spanId": "EEE19B7EC3C1B174",
    "parentSpanId": "EEE19B7EC3C1B173",
    "name": "send image",
    "kind": 4,
    "startTimeUnixNano": "1600000000000000001",
    "endTimeUnixNano": "1600000000000000009",
    "attributes": [
        {"key": "text", "value": {"stringValue": "cat"}},
        {"key": "large", "value": {"intValue": "9007199254740993"}},
        {"key": "small", "value": {"intValue": 7}},
        {"key": "flag", "value": {"boolValue": False}},
        {"key": "share", "value": {"doubleValue": 0.5}},
        {"key": "bytes", "value": {"bytesValue": "aGk="}},
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "b"}]}}},
        {"key": "empty list", "value": {"arrayValue": {}}},
        {"key": "nothing", "value": {}},
        {"key": "no value"},
    ],
    "links": [{"traceId": "5B8EFFF798038103D269B633813FC60D", "spanId": "AAE19B7EC3C1B170"}],
    "status": {"code": 2, "message": "it broke"},
}
RESOURCE = {
    "attributes": [
        {"key": "service.name", "value": {"stringValue": "image-sender"}},
        {"key": "host.name", "value": {"stringValue": "one"}},
    ]
}
WHOLE = Span(
    trace_id="5b8efff798038103d269b633813fc60c",
    span_id="eee19b7ec3c1b174",
    parent_id="eee19b7ec3c1b173",
    name="send image",
    kind=Kind.PRODUCER,
    start=1600000000000000001,
    end=1600000000000000009,
    service="image-sender",
    host="one",
    failed=True,
    attributes={
        "text": "cat",
        "large": 9007199254740993,
        "small": 7,
        "flag": False,
        "share": 0.5,
        "bytes": "aGk=",
        "list": [1, "b"],
        "empty list": [],
        "nothing": None,
        "no value": None,
    },
    links=("aae19b7ec3c1b170",),
)
LEAST = {"traceId": "a" * 32, "spanId": "b" * 16, "name": "n", "startTimeUnixNano": 1, "endTimeUnixNano": 2}


def export(*spans, resource=RESOURCE):
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]}


def read(path, *lines):
    path.write_text("".join(line + "\n" for line in lines))
    return list(otlp.read_file(path))


def refusal(path, *lines):
    with pytest.raises(TraceQueryError) as raised:
        read(path, *lines)
    return str(raised.value)


def test_a_line_with_everything_becomes_the_whole_span(tmp_path):
    assert read(tmp_path / "t.jsonl", json.dumps(export(SPAN))) == [WHOLE]


def test_a_span_with_only_what_it_must_have_gets_defaults():
    assert list(otlp.read_export({"resourceSpans": [{"scopeSpans": [{"spans": [LEAST]}]}]})) == [
        Span("a" * 32, "b" * 16, None, "n", Kind.UNSPECIFIED, 1, 2, service="", host="", failed=False, attributes={})
    ]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_is_read_by_number(kind):
    (span,) = otlp.read_export(export(LEAST | {"kind": int(kind)}))
    assert span.kind is kind


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_is_read_by_name(kind):
    (span,) = otlp.read_export(export(LEAST | {"kind": f"SPAN_KIND_{kind.name}"}))
    assert span.kind is kind


@pytest.mark.parametrize(
    ("status", "failed"),
    [
        ({}, False),
        ({"code": 0}, False),
        ({"code": 1}, False),
        ({"code": 2}, True),
        ({"code": "STATUS_CODE_OK"}, False),
        ({"code": "STATUS_CODE_ERROR"}, True),
    ],
)
def test_only_an_error_status_is_a_failure(status, failed):
    (span,) = otlp.read_export(export(LEAST | {"status": status}))
    assert span.failed is failed


@pytest.mark.parametrize("parent", [{}, {"parentSpanId": ""}])
def test_a_root_has_no_parent_however_that_is_written(parent):
    (span,) = otlp.read_export(export(LEAST | parent))
    assert span.parent_id is None


def test_each_resource_gives_its_own_spans_their_service_and_host():
    two = {"attributes": [{"key": "service.name", "value": {"stringValue": "bridge"}}]}
    both = {"resourceSpans": export(LEAST)["resourceSpans"] + export(LEAST, resource=two)["resourceSpans"]}
    assert [(span.service, span.host) for span in otlp.read_export(both)] == [("image-sender", "one"), ("bridge", "")]


def test_the_spans_of_all_lines_come_in_order(tmp_path):
    lines = [json.dumps(export(LEAST | {"name": name}, LEAST | {"name": name.upper()})) for name in ("a", "b")]
    assert [span.name for span in read(tmp_path / "t.jsonl", *lines)] == ["a", "A", "b", "B"]


def test_empty_lines_are_passed_over(tmp_path):
    assert read(tmp_path / "t.jsonl", "", json.dumps(export(SPAN)), "   ", "") == [WHOLE]


def test_an_empty_file_has_no_spans(tmp_path):
    assert read(tmp_path / "t.jsonl") == []


def test_the_last_line_needs_no_line_end(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps(export(SPAN)))
    assert list(otlp.read_file(file)) == [WHOLE]


def test_a_gz_file_is_read_as_what_it_holds(tmp_path):
    file = tmp_path / "t.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(export(SPAN)).encode()))
    assert list(otlp.read_file(file)) == [WHOLE]


def test_a_gz_file_cut_short_is_an_error_that_names_it(tmp_path):
    file = tmp_path / "t.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(export(SPAN)).encode())[:-12])
    with pytest.raises(TraceQueryError, match=r"can't read .*t\.jsonl\.gz: "):
        list(otlp.read_file(file))


def test_a_gz_file_that_is_not_compressed_is_an_error_that_names_it(tmp_path):
    file = tmp_path / "t.jsonl.gz"
    file.write_text(json.dumps(export(SPAN)))
    with pytest.raises(TraceQueryError, match=r"can't read .*t\.jsonl\.gz: "):
        list(otlp.read_file(file))


def test_half_a_line_is_an_error_that_names_file_and_line(tmp_path):
    file = tmp_path / "t.jsonl"
    line = json.dumps(export(SPAN))
    message = refusal(file, line, "", line[: len(line) // 2])
    assert message.startswith(f"{file}, line 3: not JSON (")
    assert message.endswith("; if its writer was stopped in mid-line, remove that line")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{}", "KeyError: 'resourceSpans'"),
        ('{"resourceMetrics": []}', "KeyError: 'resourceSpans'"),
        ("[1]", "TypeError: list indices must be integers or slices, not str"),
        ("3", "TypeError: 'int' object is not subscriptable"),
        (json.dumps(export({"name": "n"})), "KeyError: 'traceId'"),
        (
            json.dumps(export(LEAST | {"startTimeUnixNano": "soon"})),
            "ValueError: invalid literal for int() with base 10: 'soon'",
        ),
        (json.dumps(export(LEAST | {"kind": 9})), "ValueError: 9 is not a valid Kind"),
        (json.dumps(export(LEAST | {"kind": "SPAN_KIND_SLOW"})), "KeyError: 'SLOW'"),
        (json.dumps(export(LEAST | {"spanId": 5})), "TypeError: object of type 'int' has no len()"),
    ],
)
def test_json_that_is_not_spans_is_an_error_that_names_file_line_and_reason(tmp_path, line, reason):
    file = tmp_path / "t.jsonl"
    assert refusal(file, line) == f"{file}, line 1: JSON, but not OTLP spans ({reason})"


def test_bytes_that_are_not_text_are_an_error_that_names_file_and_line(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(TraceQueryError, match=r"t\.jsonl, line 1: not JSON \("):
        list(otlp.read_file(file))


def test_a_file_that_can_not_be_opened_is_an_error_that_names_it(tmp_path):
    folder = tmp_path / "t.jsonl"
    folder.mkdir()
    with pytest.raises(TraceQueryError, match=r"can't read .*t\.jsonl: .*Is a directory"):
        list(otlp.read_file(folder))
