"""Trace files of every kind: read as what they hold, cut where they may be, refused in one line where they are bad."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import sys
import tempfile
import threading
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from support import run_python
from traces_builder import spans_in

from otel_kfs import semconv
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import decompression, file_reader, files, query

DATA = Path(__file__).parents[1] / "data"
LINES = [line for file in sorted((DATA / "traces").glob("*.jsonl")) for line in file.read_bytes().splitlines()]
PLAIN = b"".join(line + b"\n" for line in LINES)
CUT = "files that end in the middle of a line or message, as if still being written; read up to there"


def span(name="a", **other):
    return {
        "traceId": "a" * 32,
        "spanId": "b" * 16,
        "name": name,
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
        **other,
    }


def export(*spans):
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def line(*names):
    return json.dumps(export(*(span(name) for name in names))).encode()


def framed(messages, packed=zstd.compress):
    return b"".join(len(message).to_bytes(4, "big") + message for message in map(packed, messages))


def known(spans):
    """Spans with the attributes of the contract alone: a quick reader keeps no others."""
    keys = {value for value in vars(semconv).values() if isinstance(value, str)}
    return [replace(one, attributes={k: v for k, v in one.attributes.items() if k in keys}) for one in spans]


def names_of(path):
    return [span.name for span in query.spans(str(path))]


def refusal(path):
    with pytest.raises(TraceQueryError) as raised:
        names_of(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "t.jsonl"


@pytest.fixture
def few_bytes(monkeypatch):
    """Limits that a small file reaches."""
    monkeypatch.setattr(decompression, "LONGEST", 2000)
    monkeypatch.setattr(files, "PART_SIZE", 5000)


# --- what a file may be ---


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.rstrip(),
        b"\n\n  \n" + PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        b"".join(LINES),
        b"[" + b",".join(LINES) + b"]",
        json.dumps([json.loads(one) for one in LINES], indent=2).encode(),
        b"\n".join(json.dumps(json.loads(one), indent=2).encode() for one in LINES),
        gzip.compress(PLAIN),
        b"".join(gzip.compress(one + b"\n") for one in LINES),
        zstd.compress(PLAIN),
        b"".join(zstd.compress(one + b"\n") for one in LINES),
        framed(LINES),
    ],
    ids=[
        "lines",
        "without the last line end",
        "blank lines first",
        "byte order mark",
        "line ends of Windows",
        "one after the other",
        "array",
        "pretty array",
        "pretty, one after the other",
        "gzip",
        "gzip in members",
        "zstd",
        "zstd in frames",
        "the Collector's zstd",
    ],
)
def test_the_same_spans_come_from_every_form_of_a_file(tmp_path, content):
    (tmp_path / "saved").write_bytes(content)
    assert known(query.spans(str(tmp_path / "saved"))) == known(query.spans(str(DATA / "traces")))


def test_the_collectors_protobuf_is_read(file):
    data = TracesData()
    one = data.resource_spans.add().scope_spans.add().spans.add()
    one.trace_id, one.span_id, one.name = b"\xaa" * 16, b"\xbb" * 8, "a"
    file.write_bytes(framed([data.SerializeToString()] * 2, bytes) + framed([data.SerializeToString()]))
    assert names_of(file) == ["a", "a", "a"]


def test_an_empty_file_has_no_spans(file):
    file.write_bytes(b"")
    assert names_of(file) == []


def test_exports_of_other_signals_are_passed_over_and_counted(file, caplog):
    file.write_bytes(b'{"resourceMetrics":[]}\n' + line("a") + b'\n{"resourceLogs":[]}\n')
    assert names_of(file) == ["a"]
    assert caplog.messages == [
        f"exports of logs, metrics or profiles skipped: 2, the first: {file}, line 1",
    ]


# --- cut short, or bad ---


@pytest.mark.parametrize(
    "cut",
    [
        line("a") + b"\n" + line("b")[:-9],
        line("a") + b'\n{"resourceSpans":[{"\xc3',
        line("a") + line("b")[:-9],
        gzip.compress(line("a") + b"\n" + b" " * 50)[:-8],
        zstd.compress(line("a") + b"\n" + line(os.urandom(200_000).hex()))[:-50_000],
        framed([line("a"), line("b")])[:-3],
        framed([line("a")]) + b"\x00",
    ],
    ids=["in a line", "in a character", "on one line", "gzip", "zstd", "in a message", "in a length"],
)
def test_a_file_that_is_still_being_written_is_read_up_to_there(file, caplog, cut):
    file.write_bytes(cut)
    assert names_of(file) == ["a"]
    assert [message.split(": ")[0] for message in caplog.messages] == [CUT]


BROKEN = "broken lines or messages passed over"
OTHER = "lines or messages passed over that are not traces"


@pytest.mark.parametrize(
    ("content", "number", "read"),
    [
        (line("a") + b"\ngarbage\n" + line("b") + b"\n", 2, "ab"),
        (line("a") + b"\n\n" + line("b")[:50] + b"\n" + line("b") + b"\n", 3, "ab"),
        (line("a") + b"\n" + line("b")[:50] + line("b") + b"\n" + line("c"), 2, "abc"),
        (line("a") + b"\n" + line("b")[:50] + line("b"), 2, "ab"),
        (line("a") + b"\n" + line("b")[:-1] + b",\n" + line("b") + b"\n" + line("c") + b"\n", 2, "abc"),
        (line("a") + b"\n\x00\xff\x1b\n\xfe" + line("b") + b"\n", 2, "ab"),
        (line("a") + b"\n2026-01-01 INFO started\n" + line("b") + b"\n", 2, "ab"),
        (line("a") + b"\ngarbage", 2, "a"),
        (line("a") + b"\n" + line("b") + b" garbage\n", 2, "ab"),
        (b"garbage\n" + line("a"), 1, "a"),
        (b"\n\n" + line("a")[:50] + b"\n" + line("a") + b"\n", 3, "a"),
        (b"[\n" + line("a") + b",\n" + line("b")[:50] + b",\n" + line("c") + b"\n]\n", 1, "ac"),
        (json.dumps(export(span()), indent=1).encode() + b"\n]\n" + line("b"), 20, "ab"),
        (json.dumps(export(span()), indent=1).encode()[:-9] + b"\n" + line("b"), 1, "b"),
    ],
)
def test_a_broken_line_is_passed_over_and_counted_and_all_others_are_read(file, caplog, content, number, read):
    file.write_bytes(content)
    assert names_of(file) == list(read)
    assert [one.split(" (")[0] for one in caplog.messages if one.startswith(BROKEN)] in (
        [f"{BROKEN}: 1, {file}, line {number}"],
        [f"{BROKEN}: 2, the first: {file}, line {number}"],
    )
    with pytest.raises(TraceQueryError, match=f"^{file}, line {number}: not JSON \\("):
        list(query.spans(f"{file}?strict=1"))


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (b"garbage\n", 1),
        (b"\n\ngarbage\nmore\n", 3),
        (line("a")[:50] + b"\n", 1),
        (b"[" * 5000 + b"]" * 5000 + b"\n", 1),
        (b'{"resourceSpans": NaN}\n', 1),
        (line("a").replace(b'"a"', b'"\\ud800"') + b"\n", 1),
        (line("a").replace(b'"a"', b'"\xff"') + b"\n", 1),
        (b"\x00" * 100 + b"\n", 1),
    ],
)
def test_a_file_that_is_no_json_at_all_is_an_error_that_names_file_and_line(file, content, number):
    file.write_bytes(content)
    assert refusal(file).startswith(f"{file}, line {number}: not JSON (")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"PK\x03\x04" + bytes(90), "a zip archive: unpack it first"),
        (b"BZh91AY&SY" + bytes(90), "compressed with bzip2: unpack it first"),
        (bytes(257) + b"ustar" + bytes(90), "a tar archive: unpack it first"),
        (b"\xff\xfe" + line("a").decode().encode("utf-16-le"), "text in UTF-16: convert it to UTF-8 first"),
        (b"2026-01-31 12:00:00,123 INFO started\n", "a log"),
        (b'INFO:     127.0.0.1:5000 - "POST /v1" 200 OK\n', "a log"),
        (b'127.0.0.1 - - [31/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 12\n', "a log"),
        (b"I0131 12:00:00.000000       1 main.go:12] started\n", "a log"),
        (b"level=info ts=2026-01-31T12:00:00Z msg=started\n", "a log"),
        (b"[2026-01-31 12:00:00,123] INFO started (kafka.server.KafkaServer)\n", "a log"),
        (b"Jan 31 12:00:00 host systemd[1]: started\n", "a log"),
        (gzip.compress(gzip.compress(PLAIN)), "compressed twice: unpack it first"),
        (b"<!DOCTYPE html>\n<html>", "a web page or XML"),
        (line("a").decode().encode("utf-16-le"), "text in UTF-16: convert it to UTF-8 first"),
        (line("a").decode().encode("utf-16-be"), "text in UTF-16: convert it to UTF-8 first"),
        (b"Timestamp,trace.trace_id,name\n2026,a,POST\n", "a table of separated values"),
        (b"# HELP up 1\n# TYPE up gauge\nup 1\n", "metrics of Prometheus"),
        (
            b"ResourceSpans #0\nResource SchemaURL: \n",
            "what the Collector's debug exporter prints: use its file exporter",
        ),
        *(
            (printed, "what OpenTelemetry's console exporter prints: use --traces-file, or OTLP")
            for printed in (
                b"{\n  resource: {\n    attributes: {}\n  },\n  traceId: 'a'\n}\n",
                b"Activity.TraceId:            a\nActivity.SpanId: b\n",
                b"Spans\nResource\n\t ->  service.name=String(a)\n",
                b"[otel.javaagent 2026-01-31 12:00:00:000 +0000] INFO a.LoggingSpanExporter - 'POST' : a b CLIENT\n",
            )
        ),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_name(file, content, name):
    file.write_bytes(content)
    assert refusal(file) == f"{file}, line 1: not traces, but {name}"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            b"curl: (7) Failed to connect to localhost port 16686\n",
            "it begins `curl: (7) Failed to connect to localhost`",
        ),
        (("a" + 30 * "\u00df").encode(), "it begins `a" + 19 * "\u00df" + "`"),
        (b"\x80\x04\x95\xff\x00\x01", "binary data"),
    ],
)
def test_of_what_is_no_json_at_all_it_is_said_how_it_begins(file, content, what):
    file.write_bytes(content)
    assert refusal(file) == f"{file}, line 1: not JSON ({what})"


def in_snake_case(export):
    if isinstance(export, list):
        return [in_snake_case(one) for one in export]
    if isinstance(export, dict):
        spelled = {re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), key): key for key in export}
        return {snake: in_snake_case(export[key]) for snake, key in spelled.items()}
    return export


@pytest.mark.parametrize("name", ["traces.json", "traces.out"])
def test_otlp_in_snake_case_is_read_as_in_camel_case(tmp_path, name):
    document = json.loads(LINES[0])
    (tmp_path / name).write_text(json.dumps(in_snake_case(document)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "camel.json").write_text(json.dumps(document))
    assert list(query.spans(str(tmp_path / name))) == list(query.spans(str(tmp_path / "other")))
    assert len(list(query.spans(str(tmp_path)))) == 2 * len(list(query.spans(str(tmp_path / name))))


@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstd.compress])
@pytest.mark.parametrize("name", ["traces.json", "trace.pb"])
def test_one_message_in_protobuf_is_read_whatever_its_file_is_called(tmp_path, name, packed):
    (tmp_path / name).write_bytes(packed(protobuf("a") + protobuf("b")))
    assert names_of(tmp_path / name) == names_of(tmp_path) == ["a", "b"]
    assert [span.name for span in spans_in(query.open_store(str(tmp_path / name)).parts())] == ["a", "b"]


@given(st.binary(max_size=60))
def test_whatever_follows_a_line_s_end_is_refused_or_read(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("x") / "t.jsonl"
    file.write_bytes(b"\n" + content)
    with suppress(TraceQueryError):
        names_of(file)


def test_a_document_after_an_empty_line_is_read(file):
    file.write_bytes(b"\n" + json.dumps(export(span("a")), indent=1).encode())
    assert names_of(file) == ["a"]
    file.write_bytes(b"\n{\n\n\n" + line("b")[1:])
    assert names_of(file) == ["b"]


NOT_TRACES = [
    ({}, "an empty object"),
    ([[1]], "JSON's int"),
    ([3], "JSON's int"),
    (3, "JSON's int"),
    (None, "JSON's null"),
    ({"a": 1, "b": 2}, "an object with the keys a, b"),
    ({"resourceSpans": 3}, "`resourceSpans` is a whole number, not an array"),
    ({"resourceSpans": {"scopeSpans": []}}, "`resourceSpans` is an object, not an array"),
    ({"data": [{"spans": 3}]}, "`spans` is a whole number, not an array"),
    ({"data": [{"spans": []}, 3]}, "it is a whole number, not an object"),
    ({"spans": [], "processes": {"p1": 3}}, "`processes` is a whole number, not an object"),
    ({"trace": None}, "an object with the keys trace"),
    ({"trace": {"id": "abc"}, "span": {"id": "d"}}, "an object with the keys trace, span"),
    ({"object": "list", "data": [{"id": "mobilenet"}]}, "an object with the keys object, data"),
    ({"result": {"rows": []}}, "an object with the keys result"),
    (
        [{"traceId": "a", "id": "b", "annotations": [], "binaryAnnotations": []}],
        "Zipkin's JSON of version 1: save it by /api/v2",
    ),
    ({"@timestamp": "2026", "processor": {"event": "span"}, "trace": {"id": "a"}}, "documents of Elastic's APM"),
    ({"_index": "jaeger-span-2026-01-31", "_source": {"traceID": "a"}}, "documents of Elasticsearch"),
    ({"status": "success", "data": {"resultType": "streams"}}, "an answer of Prometheus or Loki"),
    ({"severity": "INFO", "message": "started"}, "a log"),
    (
        {"name": "a", "context": {"trace_id": "0x1"}, "start_time": "2026"},
        "what OpenTelemetry's console exporter prints: use --traces-file, or OTLP",
    ),
    (
        {"Name": "POST", "SpanContext": {"TraceID": "a"}, "StartTime": "2026"},
        "what OpenTelemetry's console exporter prints: use --traces-file, or OTLP",
    ),
    ({"hits": {"hits": []}, "_shards": {}}, "an answer of Elasticsearch"),
    (
        {"data": ["web"], "total": 1, "limit": 0, "offset": 0, "errors": None},
        "an answer of Jaeger's that has no traces, as its list of services",
    ),
    (
        [{"traceId": "a", "id": "b", "name": "get", "annotations": [{"value": "cs", "endpoint": {}}]}],
        "Zipkin's JSON of version 1: save it by /api/v2",
    ),
    (
        {"traceId": "a", "spanId": "b", "startTimeUnixNano": "1"},
        "single spans of OTLP, without the resource that they are of",
    ),
    ({"traces": [], "metrics": {}}, "the answer of a Tempo's search: save the traces, by /api/v2/traces/ID"),
    ([[{"trace_id": 1, "span_id": 2, "meta": {}}]], "Datadog's JSON"),
    ({"data": [{"type": "spans"}], "meta": {}}, "an answer of Datadog's API, or of one like it"),
    ([{"trace.trace_id": "a", "duration_ms": 3}], "Honeycomb's JSON"),
    ([{"common": {}, "spans": []}], "New Relic's JSON"),
    ({"Traces": [{"Id": "1-2", "Segments": []}]}, "AWS X-Ray's JSON"),
    ({"projectId": "p", "traceId": "a", "spans": []}, "Google Cloud Trace's JSON"),
    ({"tables": [{"rows": []}]}, "an answer of Azure Monitor"),
    ({"event_id": "a", "contexts": {}, "spans": []}, "an event of Sentry's"),
    ({"topic": "otlp_spans", "value": "{}"}, "records of Kafka"),
    ({"level": "info", "msg": "started"}, "a log"),
]


def test_a_document_over_several_lines_that_ends_too_soon_is_cut(file, caplog):
    whole = json.dumps(json.loads(line("a")), indent=1).encode()
    file.write_bytes(line("b") + b"\n" + whole[: len(whole) * 2 // 3])
    assert names_of(file) == ["b"]
    assert caplog.messages == [f"{CUT}: 1, {file}, line 2"]


def test_what_is_in_an_export_is_read_without_what_is_around_it(file):
    (inner,) = json.loads(line("a"))["resourceSpans"]
    file.write_text(json.dumps([inner, inner]) + "\n" + json.dumps(inner))
    assert names_of(file) == ["a", "a", "a"]


@pytest.mark.parametrize(("document", "what"), NOT_TRACES)
def test_json_that_is_no_traces_is_passed_over_and_counted(file, caplog, document, what):
    file.write_bytes(line("a") + b"\n" + json.dumps(document).encode() + b"\n" + line("b") + b"\n")
    assert names_of(file) == ["a", "b"]
    assert caplog.messages == [f"{OTHER}: 1, {file}, line 2 (JSON, but not traces ({what}))"]
    assert refusal(f"{file}?strict=1") == f"{file}, line 2: JSON, but not traces ({what})"


@pytest.mark.parametrize(("document", "what"), NOT_TRACES)
def test_a_file_of_json_that_is_no_traces_is_an_error_that_names_what_it_is(file, document, what):
    file.write_bytes(json.dumps(document, indent=1).encode())
    assert refusal(file) == f"{file}, line 1: JSON, but not traces ({what})"


def test_a_file_of_other_json_among_traces_is_counted_and_the_others_are_read(file, tmp_path, caplog):
    file.write_bytes(line("a"))
    (tmp_path / "package.json").write_text('{"name": "x"}')
    said = f"{OTHER}: 1, {tmp_path}/package.json, line 1 (JSON, but not traces (an object with the keys name))"
    assert names_of(tmp_path) == ["a"]
    assert caplog.messages == [said]
    caplog.clear()
    assert [one.name for one in spans_in(query.open_store(str(tmp_path)).parts())] == ["a"]
    assert caplog.messages == [said]
    assert refusal(f"{tmp_path}?strict=1").endswith("not traces (an object with the keys name)")


def test_a_folder_below_that_cannot_be_read_is_counted_and_the_others_are_read(file, tmp_path, caplog, monkeypatch):
    file.write_bytes(line("a"))
    (tmp_path / "closed").mkdir()
    close(tmp_path / "closed", monkeypatch)
    assert names_of(tmp_path) == ["a"]
    assert caplog.messages == [
        f"folders passed over that can't be read: 1, the first: {tmp_path}/closed (Permission denied)"
    ]
    assert refusal(f"{tmp_path}?strict=1") == f"can't read {tmp_path}/closed: Permission denied"


def test_a_folder_that_cannot_be_read_is_an_error(file, tmp_path, monkeypatch):
    file.write_bytes(line("a"))
    close(tmp_path, monkeypatch)
    assert refusal(tmp_path) == f"can't read {tmp_path}: Permission denied"


def close(folder, monkeypatch):
    """Let nobody list a folder, which permissions do not keep root from."""
    scandir = os.scandir

    def listed(place="."):
        if os.fspath(place) == str(folder):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", listed)


def test_of_an_array_all_documents_are_read_that_are_traces(file, caplog):
    file.write_bytes(b"[" + line("a") + b', {"b": 1}, ' + line("c") + b"]")
    assert names_of(file) == ["a", "c"]
    assert caplog.messages == [
        f"{OTHER}: 1, {file}, line 1 (JSON, but not traces (an object with the keys b))",
    ]


def protobuf(name):
    data = TracesData()
    one = data.resource_spans.add().scope_spans.add().spans.add()
    one.trace_id, one.span_id, one.name = b"\xaa" * 16, b"\xbb" * 8, name
    return data.SerializeToString()


def test_spans_by_library_in_protobuf_are_read_and_any_other_unknown_field_is_counted(file, caplog):
    def fields(number, content):
        tag = number << 3 | 2
        return bytes([tag & 127 | 128, tag >> 7, len(content)]) + content

    scope_spans = TracesData.FromString(protobuf("a")).resource_spans[0].scope_spans[0].SerializeToString()
    resource_spans = fields(1000, scope_spans) + fields(1001, b"other")
    file.write_bytes(framed([b"\x0a" + bytes([len(resource_spans)]) + resource_spans], bytes))
    assert names_of(file) == ["a"]
    assert caplog.messages == [
        f"keys that are not read: 1, {file}, message 1 (field 1001 of ResourceSpans)",
    ]


@pytest.mark.parametrize(
    "kind", ["TracesData", "ResourceSpans", "Resource", "ScopeSpans", "Span", "Status", "KeyValue", "AnyValue", "Link"]
)
def test_an_unknown_field_in_protobuf_is_counted_at_every_level(file, caplog, kind):
    data = TracesData.FromString(protobuf("a"))
    resource_spans = data.resource_spans[0]
    (scope_spans,) = resource_spans.scope_spans
    (one,) = scope_spans.spans
    one.status.code = 2
    link, pair = one.links.add(trace_id=b"\xcc" * 16, span_id=b"\xdd" * 8), one.attributes.add(key="a")
    pair.value.int_value = 1
    resource_spans.resource.dropped_attributes_count = 1
    messages = [data, resource_spans, resource_spans.resource, scope_spans, one, one.status, pair, pair.value, link]
    (message,) = (each for each in messages if each.DESCRIPTOR.name == kind)
    message.MergeFromString(b"\xf8\x3f\x01")  # field 1023, the number 1
    file.write_bytes(framed([data.SerializeToString()], bytes))
    assert names_of(file) == ["a"]
    assert caplog.messages == [f"keys that are not read: 1, {file}, message 1 (field 1023 of {kind})"]


def test_a_broken_message_is_passed_over_and_counted(file, caplog):
    broken = zstd.compress(os.urandom(500))
    packed = [zstd.compress(protobuf("a")), broken[:300] + bytes(9) + broken[309:-3], protobuf("b")[:-3], protobuf("c")]
    file.write_bytes(framed(packed, bytes))
    assert names_of(file) == ["a", "c"]
    assert [one.split(" (")[0] for one in caplog.messages] == [f"{BROKEN}: 2, the first: {file}, message 2"]
    assert refusal(f"{file}?strict=1").startswith(f"{file}, message 2: damaged (")


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_happens_to_some_bytes_each_whole_line_is_read(data):
    lines = [line(f"{number}") for number in range(8)]
    content = bytearray(b"".join(one + b"\n" for one in lines))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(9, len(content)))
        until = data.draw(st.integers(at, min(len(content), at + 300)))
        inserted = data.draw(st.binary(max_size=20) | st.text('{}[]",:\n 1a', max_size=20).map(str.encode))
        content[at:until] = data.draw(st.sampled_from([inserted, b"", bytes(content[at:until][::-1])]))
    whole = {str(number) for number, one in enumerate(lines) if one in bytes(content).split(b"\n")}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "PART_SIZE", 500)
        (Path(folder) / "t.jsonl").write_bytes(content)
        try:
            read = [span.name for span in query.spans(folder)]
        except TraceQueryError:
            read = []
        assert whole <= set(read)
        if read:  # for tables a line is read that is damaged only where nothing of it is needed
            assert set(read) <= {span.name for span in spans_in(query.open_store(folder).parts())}


@pytest.mark.parametrize("at", [100, 700, 1500])
def test_a_compressed_file_that_breaks_off_is_read_as_far_as_it_goes(file, at):
    lines = [line(os.urandom(99).hex()) + b"\n" for _ in range(20)]
    packed = gzip.compress(b"".join(lines))[:at]
    file.write_bytes(packed)
    there = zlib.decompressobj(31).decompress(packed).count(b"\n")
    assert len(names_of(file)) == there


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"traceId": None}, "spans left out that can't be read"),
        ({"spanId": 5}, "spans left out that can't be read"),
        ({"kind": 9}, "spans left out that can't be read"),
        ({"startTimeUnixNano": "soon"}, "spans left out that can't be read"),
        ({"startTimeUnixNano": {"a": "b"}}, "spans left out that can't be read"),
        ({"attributes": [{"key": []}]}, "spans left out that can't be read"),
        ({"traceId": "abc"}, "spans left out for an invalid id"),
        ({"traceId": "abcd"}, "spans left out for an invalid id"),
        ({"spanId": ""}, "spans left out for an invalid id"),
        ({"spanId": "x" * 16}, "spans left out for an invalid id"),
        ({"parentSpanId": "ab" * 6}, "spans left out for an invalid parent id"),
        ({"startTimeUnixNano": "-1"}, "spans left out for an invalid time"),
        ({"endTimeUnixNano": str(2**64)}, "spans left out for an invalid time"),
        ({"endTimeUnixNano": 1e30}, "spans left out for an invalid time"),
        ({"name": {"a": "b"}}, "spans left out for a name that is not text"),
    ],
)
def test_a_span_that_is_none_is_left_out_and_counted(file, caplog, wrong, what):
    bad = export(span("before"), {**span("bad"), **wrong}, span("after"))
    file.write_bytes(line("a") + b"\n" + json.dumps(bad).encode() + b"\n")
    assert names_of(file) == ["a", "before", "after"]
    assert [message.split(" (")[0] for message in caplog.messages] == [f"{what}: 1, {file}, line 2"]


@pytest.mark.parametrize(("digits", "unit"), [(10, "seconds"), (13, "milliseconds"), (16, "microseconds"), (19, None)])
def test_times_in_another_unit_are_counted_and_read_as_they_are(file, caplog, digits, unit):
    now = "1790000000123456789"[:digits]
    file.write_text((json.dumps(export(span(startTimeUnixNano=now, endTimeUnixNano=now))) + "\n") * 2)
    assert [one.start for one in query.spans(f"{file}?strict=1")] == [int(now)] * 2
    what = f"lines or messages with times in {unit} where nanoseconds belong, which become times in 1970"
    assert caplog.messages == ([f"{what}: 2, the first: {file}, line 1"] if unit else [])


def in_a_jaegers(start):
    one = {"traceID": "a", "spanID": "b", "operationName": "a", "startTime": start, "duration": 1}
    return {"data": [{"spans": [one], "processes": {}}]}


def in_zipkins(start):
    return [{"traceId": "a", "id": "b", "name": "a", "timestamp": start, "duration": 1}]


@pytest.mark.parametrize("form", [in_a_jaegers, in_zipkins])
@pytest.mark.parametrize(("digits", "unit"), [(10, "seconds"), (13, "milliseconds"), (16, None)])
def test_times_in_another_unit_than_microseconds_are_counted_by_either_reader(file, caplog, form, digits, unit):
    now = "1790000000123456789"[:digits]
    file.write_text(json.dumps(form(int(now))))
    what = f"lines or messages with times in {unit} where microseconds belong, which become times in 1970"
    for read in (query.open_store(str(file)).spans, lambda: spans_in(query.open_store(str(file)).parts())):
        caplog.clear()
        assert [one.start for one in read()] == [int(now) * 1000]
        assert caplog.messages == ([f"{what}: 1, {file}, line 1"] if unit else [])


@pytest.mark.parametrize("form", [in_a_jaegers, in_zipkins])
def test_nanoseconds_where_microseconds_belong_are_left_out_and_called_so(file, caplog, form):
    file.write_text(json.dumps(form(1790000000123456789)))
    assert names_of(file) == []
    assert caplog.messages == [
        f"spans left out for an invalid time: 1, {file}, line 1 (nanoseconds where microseconds belong?)"
    ]


def test_a_remark_has_no_control_characters(file, caplog):
    file.write_text(json.dumps(export(span(startTimeUnixNano="\x1b[2J\nsoon"))))
    assert names_of(file) == []
    assert [message.isprintable() for message in caplog.messages] == [True]


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_damaged_compressed_data_is_an_error_that_names_the_file(file, pack):
    packed = bytearray(pack(PLAIN))
    packed[len(packed) // 2] ^= 0xFF
    file.write_bytes(packed)
    assert str(file) in refusal(file)


# --- hostile sizes ---


def test_a_line_that_is_too_long_is_refused(file, few_bytes):
    file.write_bytes(line("a") + b"\n" + b"[" * 3000 + b"\n")
    assert refusal(file).startswith(f"{file}, line 2: the line is longer than ")


@pytest.mark.parametrize("limit", ["1", "many", "0", "-1"])
def test_the_environment_sets_another_limit(file, monkeypatch, limit):
    file.write_bytes(line("a") + b"\n" + b" " * 2**20 + line("b"))
    assert names_of(file) == ["a", "b"]
    monkeypatch.setenv("OTEL_KFS_MAX_DOCUMENT_MIB", limit)
    too_long = "the line is longer than 1 MiB; OTEL_KFS_MAX_DOCUMENT_MIB allows more, if there is memory for it"
    no_limit = "OTEL_KFS_MAX_DOCUMENT_MIB is not a number of MiB, as in OTEL_KFS_MAX_DOCUMENT_MIB=1024"
    assert refusal(file) == (f"{file}, line 2: {too_long}" if limit == "1" else no_limit)


def test_a_document_over_many_lines_that_is_too_long_is_refused(file, few_bytes):
    file.write_bytes(b"[\n" + b"1,\n" * 3000)
    assert refusal(file).startswith(f"{file}, line 1: not JSON; if the whole file is one document, it is longer than ")


@pytest.mark.parametrize("length", [2001, 2**32 - 1])
def test_a_message_that_says_it_is_too_long_is_refused(file, few_bytes, length):
    file.write_bytes(framed([line("a")]) + length.to_bytes(4, "big"))
    assert "a message is longer than " in refusal(file)


def test_a_message_that_becomes_too_long_is_refused(file, few_bytes):
    file.write_bytes(framed([b" " * 2001]))
    assert "a message is longer than " in refusal(file)


@pytest.mark.parametrize("pack", [lambda content: gzip.compress(content, 9), zstd.compress], ids=["gzip", "zstd"])
def test_a_bomb_is_refused_before_it_has_grown(file, pack):
    file.write_bytes(pack((b" " * 99_999 + b"\n") * 800))
    script = (
        "import resource, sys\nfrom otel_kfs.traces import query\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: list(query.spans('t.jsonl'))\n"
        "except Exception as error: print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    error, grown = run_python(script).stdout.splitlines()
    assert error == "t.jsonl: it grows to more than 500 times its size, as no traces do"
    assert int(grown) < 20  # MiB


# --- parts ---


def test_the_parts_of_a_file_give_what_the_whole_gives(file, few_bytes):
    content = b"".join(line(f"{number}-{'x' * (number % 700)}") + b"\n" for number in range(200))
    file.write_bytes(content)
    parts = pickle.loads(pickle.dumps(query.open_store(str(file), say=lambda _: None).parts()))
    assert len(parts) > len(content) // 8000
    assert [one.name for one in spans_in(parts)] == names_of(file)


@pytest.mark.parametrize(
    "content",
    [
        b"[" + b",\n".join(line("a") for _ in range(8)) + b"]",
        gzip.compress(b"".join(line(os.urandom(99).hex()) + b"\n" for _ in range(60))),
        framed([line(os.urandom(99).hex()) for _ in range(60)]),
    ],
    ids=["array", "gzip", "frames"],
)
def test_a_file_that_can_not_be_cut_is_one_part(file, monkeypatch, content):
    monkeypatch.setattr(files, "PART_SIZE", 1000)
    file.write_bytes(content)
    parts = query.open_store(str(file)).parts()
    assert ([one.name for one in spans_in(parts)], len(parts)) == (names_of(file), 1)


def test_an_error_in_a_part_names_the_line_of_the_file(file, few_bytes):
    file.write_bytes((line("a") + b"\n") * 100 + b"garbage\n")
    with pytest.raises(TraceQueryError, match="line 101: not JSON"):
        spans_in(query.open_store(f"{file}?strict=1").parts())


# --- single traces ---


@pytest.mark.parametrize(
    "spelling",
    ["0123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789ABCDEF", "ASNFZ4mrze8BI0VniavN7w=="],
)
def test_a_single_trace_is_found_however_its_id_is_spelt(file, spelling):
    file.write_bytes(line("other") + b"\n" + json.dumps(export(span("mine", traceId=spelling))).encode() + b"\n")
    found = query.open_store(str(file)).traces(["0123456789abcdef0123456789abcdef"])
    assert [one.name for one in found] == ["mine"]


def test_the_spans_of_many_traces_are_found(file):
    spans = [span(str(number), traceId=f"{number:032x}") for number in range(1, 60)]
    file.write_bytes(b"".join(json.dumps(export(one)).encode() + b"\n" for one in spans))
    found = query.open_store(str(file)).traces([f"{number:032x}" for number in range(1, 60, 2)])
    assert [one.name for one in found] == [str(number) for number in range(1, 60, 2)]


def test_a_single_trace_has_every_attribute(file):
    other = {"key": "http.request.header.x", "value": {"stringValue": "1"}}
    file.write_bytes(json.dumps(export(span(attributes=[other]))).encode() + b"\n")
    (found,) = query.open_store(str(file)).traces(["a" * 32])
    assert found.attributes == {"http.request.header.x": "1"}


def test_files_have_no_page_to_link_to(file):
    file.write_bytes(line("a"))
    assert query.open_store(str(file)).link("ab") is None


# --- standard input ---


class _Stdin:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("content", [PLAIN, gzip.compress(PLAIN), framed(LINES)], ids=["lines", "gzip", "frames"])
def test_standard_input_can_be_read_again(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", _Stdin(content))
    store = query.open_store("-")
    spans = list(store.spans())
    assert known(spans) == known(query.spans(str(DATA / "traces")))
    one = spans[0].trace_id
    assert known(store.traces([one])) == known(span for span in spans if span.trace_id == one)


def test_the_copy_of_standard_input_goes_with_the_store(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", _Stdin(PLAIN))
    spans = query.spans("-")
    next(spans)
    assert len(list(tmp_path.iterdir())) == 1
    del spans
    assert list(tmp_path.iterdir()) == []


def test_standard_input_is_named_in_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stdin", _Stdin(line("a") + b"\ngarbage\n"))
    assert refusal("-?strict=1").startswith("standard input, line 2: not JSON (")


def test_ctrl_c_takes_the_copy_of_standard_input_along(tmp_path):
    script = (
        "import os, signal, sys, tempfile\nfrom otel_kfs.traces import query\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "read, write = os.pipe()\nos.write(write, b'{}\\n')\n"
        "sys.stdin = open(read)\n"
        "import threading\n"
        f"def stop():\n    while not os.listdir({str(tmp_path)!r}): pass\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=stop, daemon=True).start()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "query.open_store('-')"
    )
    assert "KeyboardInterrupt" in run_python(script).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_named_pipe_is_read_like_standard_input(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(PLAIN,))
    writer.start()
    assert len(names_of(tmp_path / "pipe")) == len(names_of(DATA / "traces"))
    writer.join()


def test_a_device_is_refused():
    assert refusal("/dev/zero") == "/dev/zero is neither a file nor a folder"


# --- options ---


def test_a_path_takes_the_options_of_files_and_no_others(file):
    file.write_bytes(line("a"))
    assert names_of(f"{file}?run=1") == []
    assert refusal(f"{file}?lookback=1h") == "files: does not know 'lookback'; it takes run, server, stamps, strict"
    assert refusal(f"{file}?strict=yes") == "strict=yes is neither 1 nor 0"


def test_a_question_mark_in_a_pattern_is_still_one(file):
    file.write_bytes(line("a"))
    assert names_of(str(file).replace("t.jsonl", "?.jsonl")) == ["a"]


def test_progress_is_said_while_a_large_file_is_read(file, monkeypatch):
    monkeypatch.setattr(file_reader, "_METER", 1000)
    file.write_bytes((line("a") + b"\n") * 100)
    said = []
    assert len(list(query.open_store(str(file), said.append).spans())) == 100
    assert said[0].startswith(f"reading {file}: ")
