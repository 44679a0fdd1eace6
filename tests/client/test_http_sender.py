"""One image, one trace, over HTTP; and what becomes of an image that does not get there."""

import base64
import gzip
import json
import time

import pytest
import requests
from opentelemetry.trace import SpanKind, StatusCode
from sender_support import PAYLOAD, by_name
from support import JPG, HttpServer

from otel_kfs import HttpSender
from otel_kfs.client import encodings
from otel_kfs.errors import ConfigError, InputError, SendError


@pytest.fixture
def server():
    with HttpServer().running() as server:
        yield server


def test_send_returns_the_model_s_answer(server):
    assert HttpSender(server.url, model="mobilenet").send(JPG) == {"predictions": [1]}


def test_the_image_travels_as_base64_in_json_to_the_model_s_url(server, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(JPG)
    HttpSender(server.url, model="mobilenet", host="m.example.com").send(tmp_path / "cat.jpg")
    (request,) = server.requests
    assert (request.path, request.headers["host"]) == ("/v1/models/mobilenet:predict", "m.example.com")
    assert request.body == PAYLOAD


def test_without_a_model_the_url_is_the_whole_one(server):
    HttpSender(f"{server.url}/custom").send(JPG)
    assert server.requests[0].path == "/custom"


def test_one_image_is_one_trace_of_root_encode_and_post(spans, server):
    HttpSender(server.url, run_id="a run").send(JPG)
    found = by_name(spans)
    root = found["send image"].context.span_id
    assert {name: (span.kind, span.parent and span.parent.span_id) for name, span in found.items()} == {
        "send image": (SpanKind.INTERNAL, None),
        "encode": (SpanKind.INTERNAL, root),
        "POST": (SpanKind.CLIENT, root),
        "upload": (SpanKind.INTERNAL, found["POST"].context.span_id),
    }


def test_the_root_span_says_what_was_sent_and_how(spans, server):
    HttpSender(server.url, run_id="a run").send(JPG)
    found = by_name(spans)
    assert dict(found["send image"].attributes) == {
        "otel_kfs.transport": "http",
        "otel_kfs.run.id": "a run",
        "otel_kfs.sequence": 0,
        "otel_kfs.image.size": len(JPG),
        "otel_kfs.payload.size": len(PAYLOAD),
    }
    assert dict(found["encode"].attributes) == {}


def test_encode_is_over_before_the_post_starts(spans, server):
    HttpSender(server.url).send(JPG)
    found = by_name(spans)
    assert found["send image"].start_time <= found["encode"].start_time
    assert found["encode"].end_time <= found["POST"].start_time
    assert found["POST"].end_time <= found["send image"].end_time


def test_the_upload_lies_within_its_request(spans, server):
    HttpSender(server.url).send(JPG)
    post, upload = by_name(spans)["POST"], by_name(spans)["upload"]
    assert post.start_time <= upload.start_time <= upload.end_time <= post.end_time


def test_a_session_of_the_caller_s_brings_its_headers(server):
    session = requests.Session()
    session.headers["Authorization"] = "Bearer secret"
    HttpSender(server.url, session=session).send(JPG)
    assert server.requests[0].headers["authorization"] == "Bearer secret"


def test_the_server_receives_the_post_s_context(spans, server):
    HttpSender(server.url).send(JPG)
    context = by_name(spans)["POST"].context
    version, trace_id, span_id, _ = server.requests[0].headers["traceparent"].split("-")
    assert (version, int(trace_id, 16), int(span_id, 16)) == ("00", context.trace_id, context.span_id)


def test_images_are_numbered_within_their_sender_and_share_its_run(spans, server):
    sender = HttpSender(server.url)
    for _ in range(3):
        sender.send(JPG)
    roots = [span for span in spans.get_finished_spans() if span.name == "send image"]
    assert [span.attributes["otel_kfs.sequence"] for span in roots] == [0, 1, 2]
    assert {span.attributes["otel_kfs.run.id"] for span in roots} == {sender.run_id}
    assert len({span.context.trace_id for span in roots}) == 3


def test_two_senders_are_two_runs_unless_told_otherwise(server):
    assert HttpSender(server.url).run_id != HttpSender(server.url).run_id


def test_a_warmup_is_marked_and_an_image_is_not(spans, server):
    sender = HttpSender(server.url)
    sender.send(JPG, warmup=True)
    sender.send(JPG)
    roots = [span for span in spans.get_finished_spans() if span.name == "send image"]
    assert [span.attributes.get("otel_kfs.warmup") for span in roots] == [True, None]


def test_an_image_that_was_due_begins_then_and_its_trace_says_how_late_it_was(spans, server):
    due = time.time_ns() - 5_000_000
    HttpSender(server.url, run_id="a run").send(JPG, due=due)
    found = by_name(spans)
    root, late = found["send image"], found["late start"]
    assert (root.start_time, late.start_time) == (due, due)
    assert due + 5_000_000 <= late.end_time <= found["encode"].start_time
    assert (late.parent.span_id, dict(late.attributes)) == (root.context.span_id, {})
    assert (root.attributes["otel_kfs.run.id"], root.attributes["otel_kfs.sequence"]) == ("a run", 0)


def test_an_image_that_is_early_is_not_late(spans, server):
    due = time.time_ns() + 60_000_000_000
    HttpSender(server.url).send(JPG, due=due)
    late = by_name(spans)["late start"]
    assert (late.start_time, late.end_time) == (due, due)


def test_a_json_payload_is_sent_unchanged(spans, server, tmp_path):
    payload = b'{ "instances" : [1, 2] }\n'
    (tmp_path / "payload.json").write_bytes(payload)
    HttpSender(server.url, run_id="a run").send_json(tmp_path / "payload.json")
    assert server.requests[0].body == payload
    assert dict(by_name(spans)["send image"].attributes) == {
        "otel_kfs.transport": "http",
        "otel_kfs.run.id": "a run",
        "otel_kfs.sequence": 0,
        "otel_kfs.payload.size": len(payload),
    }


def test_bytes_that_are_no_image_are_refused_before_they_travel(server):
    with pytest.raises(InputError) as raised:
        HttpSender(server.url).send(b"some text")
    assert str(raised.value) == ("these bytes are not an image; give a JPG or PNG file (or a payload with --json)")
    assert server.requests == []


def test_a_file_that_is_no_image_is_named(server, tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"some text")
    with pytest.raises(InputError) as raised:
        HttpSender(server.url).send("notes.txt")
    assert str(raised.value) == "notes.txt is not an image; give a JPG or PNG file (or a payload with --json)"


@pytest.mark.parametrize("method", ["send", "send_json"])
def test_a_missing_file_is_named(server, method):
    with pytest.raises(InputError) as raised:
        getattr(HttpSender(server.url), method)("no-such.jpg")
    assert str(raised.value) == "can't read no-such.jpg: No such file or directory"


@pytest.mark.parametrize("payload", [b"{", b"", b"\xff"])
def test_a_payload_that_is_not_json_is_refused(server, payload):
    with pytest.raises(InputError, match=r"^the payload is not JSON \(.*\); give an image file with --image$"):
        HttpSender(server.url).send_json(payload)
    assert server.requests == []


def test_a_file_that_is_not_json_is_named(server, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(JPG)
    with pytest.raises(InputError, match=r"^cat.jpg is not JSON \(.*\); give an image file with --image$"):
        HttpSender(server.url).send_json("cat.jpg")


def test_a_failure_marks_the_root_span(spans, server):
    server.answers(500, b"no model")
    with pytest.raises(SendError):
        HttpSender(server.url).send(JPG)
    root = by_name(spans)["send image"]
    assert (root.status.status_code, root.status.description) == (
        StatusCode.ERROR,
        f"SendError: {server.url} answered 500 Internal Server Error: no model",
    )


def test_the_timeout_is_the_caller_s(server):
    server.hangs()
    with pytest.raises(SendError, match=r"within 0\.2 s"):
        HttpSender(server.url, timeout=0.2).send(JPG)


def test_nothing_of_the_payload_becomes_an_attribute(spans, server):
    HttpSender(server.url).send(JPG)
    shown = json.dumps([json.loads(span.to_json()) for span in spans.get_finished_spans()])
    assert base64.b64encode(JPG).decode() not in shown


@pytest.mark.parametrize("encoding", ["v2", "raw", "cloudevent"])
def test_an_encoding_is_in_body_headers_url_and_root_span(spans, server, encoding):
    HttpSender(server.url, model="m", encoding=encoding, cell="a label").send(JPG)
    (request,) = server.requests
    expected, headers = encodings.by_name(encoding).encode(JPG, "image/jpeg")
    assert request.body == expected
    assert request.headers["content-type"] == headers["content-type"]
    assert {key for key in headers if key not in request.headers} == set()
    assert request.path == {"v2": "/v2/models/m/infer"}.get(encoding, "/v1/models/m:predict")
    attributes = by_name(spans)["send image"].attributes
    assert {key: attributes.get(key) for key in ("otel_kfs.encoding", "otel_kfs.compression", "otel_kfs.cell")} == {
        "otel_kfs.encoding": encoding,
        "otel_kfs.compression": None,
        "otel_kfs.cell": "a label",
    }
    assert attributes["otel_kfs.payload.size"] == len(expected)


@pytest.mark.parametrize("method", ["send", "send_json"])
def test_a_compressed_body_says_so(spans, server, method):
    getattr(HttpSender(server.url, compression="gzip"), method)(JPG if method == "send" else PAYLOAD)
    (request,) = server.requests
    assert (request.headers["content-encoding"], gzip.decompress(request.body)) == ("gzip", PAYLOAD)
    attributes = by_name(spans)["send image"].attributes
    assert (attributes["otel_kfs.compression"], attributes["otel_kfs.payload.size"]) == ("gzip", len(request.body))


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"encoding": "raw"}, "; if that is KFServing, it does not take the encoding raw: choose json or cloudevent"),
        (
            {"encoding": "v2"},
            "; KFServing does not take the encoding v2, and KServe 0.21's own reader of it refuses a JPG's bytes: "
            "choose json or cloudevent",
        ),
        (
            {"compression": "gzip"},
            "; no model server inflates a request by itself: send without compression, or to one that was taught to "
            "(as examples/mobilenet's fast transformers were)",
        ),
        ({"encoding": "cloudevent"}, ""),
        ({}, ""),
    ],
)
def test_a_server_s_refusal_of_an_encoding_or_compression_names_those_it_may_take(server, options, hint):
    server.answers(500, b"what?")
    with pytest.raises(SendError) as raised:
        HttpSender(server.url, **options).send(JPG)
    assert (str(raised.value), raised.value.status) == (
        f"{server.url} answered 500 Internal Server Error: what?{hint}",
        500,
    )


@pytest.mark.parametrize("options", [{"encoding": "protobuf"}, {"compression": "brotli"}])
def test_an_unknown_encoding_or_compression_is_refused_when_the_sender_is_made(server, options):
    with pytest.raises(ConfigError):
        HttpSender(server.url, **options)
