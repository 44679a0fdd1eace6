"""What deploy/services/record_traces.py makes of the spans that it receives, and how it says what is wrong."""

from __future__ import annotations

import json
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "services"))

import record_traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from recorders import recording
from recorders.span_receiver import receiving
from service_process import ServiceError

HERE = {"host.name": socket.gethostname(), "process.pid": "7", "process.command_line": "/usr/bin/java -jar x"}


def export(service: str, name: str, trace: bytes, start: int, **resource: str) -> ExportTraceServiceRequest:
    """A request that brings one span."""
    request = ExportTraceServiceRequest()
    of = request.resource_spans.add()
    for key, value in {"service.name": service, **resource}.items():
        of.resource.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
    of.scope_spans.add().spans.append(
        Span(trace_id=trace * 16, span_id=b"\1" * 8, name=name, start_time_unix_nano=start, kind=Span.SPAN_KIND_CLIENT)
    )
    return request


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_KFS_CACHE", str(tmp_path / "cache"))


def recorded(tmp_path, *requests, expected):
    """The documents in the file of a recording whose program sends these."""

    def program(made):
        for request in requests:
            body, at = request.SerializeToString(), f"{made.otlp_url}/v1/traces"
            urllib.request.urlopen(urllib.request.Request(at, data=body), timeout=10).close()
        return expected

    file = recording.record("one", program, tmp_path)
    return [json.loads(line)["resourceSpans"][0] for line in file.read_text().splitlines()]


def test_a_service_is_a_line_its_spans_by_their_start_and_nothing_tells_of_the_machine(tmp_path, cache):
    ids = {"service.instance.id": "b2d6", **HERE}
    client, server = recorded(
        tmp_path,
        export("server", "serve", b"\1", 20),
        export("client", "second", b"\2", 30, **ids),
        export("client", "first", b"\1", 10, **ids),
        expected=recording.expected(1, "client", "server"),
    )
    assert client["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "client"}},
        {"key": "service.instance.id", "value": {"stringValue": "00000000-0000-0000-0000-000000000001"}},
        {"key": "host.name", "value": {"stringValue": "host-a"}},
    ]
    assert [span["name"] for span in client["scopeSpans"][0]["spans"]] == ["first", "second"]
    (span,) = server["scopeSpans"][0]["spans"]
    assert (span["traceId"], span["spanId"], span["kind"]) == ("01" * 16, "01" * 8, 3)


def test_a_recording_that_lacks_a_service_s_spans_is_an_error_that_says_what_there_is(tmp_path, cache):
    with pytest.raises(ServiceError, match=r"one: server has spans in 0 traces, not in 2; there are client \(1\)"):
        recorded(tmp_path, export("client", "a", b"\1", 1), expected=recording.expected(2, "server"))
    assert not (tmp_path / "one.jsonl").exists()


def test_a_body_in_chunks_is_read_as_one(tmp_path):
    body = export("envoy", "ingress", b"\1", 1).SerializeToString()
    with receiving() as receiver, socket.create_connection(("127.0.0.1", receiver.http_port), timeout=10) as connection:
        head = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:]))
        connection.sendall(head + parts + b"0\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert receiver.traces_of("envoy") == {b"\1" * 16}


@pytest.mark.parametrize(
    ("names", "found"),
    [(["envoy-retry"], 1), (["envoy"], 6), (["node", "node-fetch"], 3), ([], len(record_traces.RECORDINGS))],
)
def test_a_program_s_name_stands_for_its_recordings(names, found):
    assert len(record_traces._chosen(names)) == found


def test_an_unknown_name_is_told_with_those_that_there_are(capsys):
    assert record_traces.main(["envoi"]) == 1
    assert capsys.readouterr().err.startswith("record_traces: there is no recording envoi; there are envoy-before-")


def test_every_recording_that_can_be_made_is_there():
    there = {file.stem for file in record_traces.TARGET.glob("*.jsonl")}
    assert there == {*record_traces.RECORDINGS}
