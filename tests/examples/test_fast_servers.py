"""The fast servers on the real SDK: every form that they take, and what they answer to a broken one."""

import base64
import json
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from mobilenet import MobileNet, fast_tensor, to_tensor
from opentelemetry.trace import SpanKind
from support import CAT, LIMIT, PHOTO, read_traces, start, wait_until

from otel_kfs import GrpcSender, HttpSender, KafkaSender
from otel_kfs.client.encodings.resizing import resize
from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS
from otel_kfs.errors import PayloadTooLargeError, SendError

pytestmark = pytest.mark.model

COFFEE = 967
BROKEN = PHOTO.read_bytes()[:2000]  # begins as a JPG does

FORMS = [
    {},
    {"encoding": "cloudevent"},
    {"encoding": "raw"},
    {"encoding": "v2"},
    {"compression": "gzip"},
    {"compression": "zstd"},
    {"compression": "lz4"},
    {"encoding": "cloudevent", "resize": 256},
    {"encoding": "raw", "compression": "gzip"},
]
NOT_ON_KFSERVING = ("raw", "v2")


def names(form):
    return "-".join(map(str, form.values())) or "json"


def best(answer):
    """The class in a V1 or a V2 answer."""
    if "predictions" in answer:
        (prediction,) = answer["predictions"]
        return prediction["class"]
    (found,) = {output["name"]: output["data"] for output in answer["outputs"]}["class"]
    return found


@pytest.fixture(params=FORMS, ids=names)
def form(request, serving):
    if serving == "kfserving" and request.param.get("encoding") in NOT_ON_KFSERVING:
        pytest.skip("KFServing does not take it")
    return request.param


@pytest.fixture
def kserve_alone(serving):
    if serving != "kserve":
        pytest.skip("KServe alone has it")


def test_each_form_gets_the_picture_to_the_model(fast, form, photos):
    sender = HttpSender(fast.url, model="mobilenet", **form)
    assert [best(sender.send(photos / name)) for name in ("chelsea.jpg", "coffee.jpg")] == [CAT, COFFEE]


def test_a_broken_jpg_in_each_form_is_the_client_s_mistake(fast, form):
    if "resize" in form:
        pytest.skip("the sender finds it first")
    with pytest.raises(SendError, match="the picture is a broken JPG image") as raised:
        HttpSender(fast.url, model="mobilenet", **form).send(BROKEN)
    assert raised.value.status == 400


@pytest.mark.parametrize("coding", ["gzip", "zstd", "lz4", "br"])
def test_a_body_that_is_not_compressed_as_it_says_is_the_client_s_mistake(fast, coding):
    url = f"{fast.url}/v1/models/mobilenet:predict"
    answer = requests.post(url, data=b"some text", headers={"Content-Encoding": coding}, timeout=30)
    assert answer.status_code == 400
    assert re.search(rf"the body is not {coding}|{coding} is not known", answer.text + answer.reason)


@pytest.mark.parametrize("encoding", NOT_ON_KFSERVING)
def test_kfserving_s_refusal_is_answered_with_what_it_takes(fast, serving, encoding):
    if serving != "kfserving":
        pytest.skip("KServe takes it")
    with pytest.raises(
        SendError, match=rf"KFServing.* does not take the encoding {encoding}.*: choose json or cloudevent"
    ):
        HttpSender(fast.url, model="mobilenet", encoding=encoding).send(PHOTO)


def test_kserve_s_own_reader_of_v2_refuses_a_jpg(kserve_alone, mobilenet):
    with pytest.raises(SendError, match=r"Failed to encode.*; KFServing does not take .* KServe 0\.21's own reader"):
        HttpSender(mobilenet, model="mobilenet", encoding="v2").send(PHOTO)


@pytest.mark.parametrize("content", [b"not floats", b"\0" * 12, b""])
def test_a_predictor_refuses_what_are_no_tensors(fast, serving, content):
    if serving == "kserve":
        path, headers = "v2/models/mobilenet/infer", {"inference-header-content-length": "2"}
    else:
        path, headers = (
            "v1/models/mobilenet:predict",
            {f"ce-{key}": "1" for key in ("id", "source", "type")} | {"ce-specversion": "1.0"},
        )
    headers["content-type"] = "application/octet-stream"
    answer = requests.post(
        f"{fast.predictor}/{path}", data=b"{}" * (serving == "kserve") + content, headers=headers, timeout=30
    )
    assert answer.status_code == 400


def test_the_time_to_inflate_belongs_to_decode(fast, spans):
    HttpSender(fast.url, model="mobilenet", compression="gzip").send(PHOTO)
    (root,) = [span for span in spans.get_finished_spans() if span.name == "send image"]
    trace_id = f"{root.context.trace_id:032x}"

    def found():
        return [span for span in read_traces(fast.traces) if span.trace_id == trace_id and span.name == "decode"]

    wait_until("the servers' spans", lambda: len(found()) == 2)
    here = {
        span.name: span for span in read_traces(fast.traces) if span.trace_id == trace_id and "tran" in span.service
    }
    assert here["receive"].end + 1_000 == here["decode"].start
    assert here["receive"].attributes["http.request.body.size"] == str(root.attributes["otel_kfs.payload.size"])


# --- gRPC ---


@pytest.mark.parametrize("form", [{}, {"compression": "gzip"}, {"resize": 256}], ids=names)
def test_grpc_gets_the_picture_to_the_model(kserve_alone, fast, photos, form):
    sender = GrpcSender(fast.grpc, "mobilenet", **form)
    assert [best(sender.send(photos / name)) for name in ("chelsea.jpg", "coffee.jpg")] == [CAT, COFFEE]


def test_grpc_is_one_trace_through_both_servers(kserve_alone, fast, spans):
    GrpcSender(fast.grpc, "mobilenet", cell="a label").send(PHOTO)
    found = {span.name: span for span in spans.get_finished_spans()}
    root, call = found["send image"], found["/inference.GRPCInferenceService/ModelInfer"]
    assert (call.kind, call.parent.span_id) == (SpanKind.CLIENT, root.context.span_id)
    assert dict(root.attributes) == {
        "otel_kfs.transport": "grpc",
        "otel_kfs.run.id": root.attributes["otel_kfs.run.id"],
        "otel_kfs.sequence": 0,
        "otel_kfs.encoding": "grpc",
        "otel_kfs.cell": "a label",
        "otel_kfs.image.size": PHOTO.stat().st_size,
        "otel_kfs.payload.size": PHOTO.stat().st_size + 4,
    }
    trace_id, parent = f"{call.context.trace_id:032x}", f"{call.context.span_id:016x}"

    def services():
        return {
            span.service for span in read_traces(fast.traces) if span.trace_id == trace_id and span.name == "predict"
        }

    wait_until("both servers' spans", lambda: len(services()) == 2)
    (server,) = [span for span in read_traces(fast.traces) if span.parent_id == parent]
    assert (server.service, server.trace_id) == ("mobilenet-transformer-fast", trace_id)


def test_grpc_s_broken_jpg_is_the_client_s_mistake(kserve_alone, fast):
    with pytest.raises(SendError, match=r"answered INVALID_ARGUMENT: .*broken JPG") as raised:
        GrpcSender(fast.grpc, "mobilenet").send(BROKEN)
    assert raised.value.status == 400


def test_grpc_s_limit_is_named(kserve_alone, fast, big_pictures):
    with pytest.raises(PayloadTooLargeError, match=r"refused a message of 10\.2 MB: raise the server's limit"):
        GrpcSender(fast.grpc, "mobilenet").send(big_pictures[-1])


# --- through Kafka ---


@pytest.mark.kafka
@pytest.mark.parametrize(
    "form",
    [
        {"encoding": "cloudevent"},
        {"encoding": "raw"},
        {"encoding": "v2"},
        {"encoding": "cloudevent", "compression": "zstd"},
        {"resize": 256},
    ],
    ids=names,
)
def test_a_record_of_each_form_comes_through_the_bridge(fast, serving, broker, topic, form):
    if serving == "kfserving" and form.get("encoding") in NOT_ON_KFSERVING:
        pytest.skip("KFServing does not take it")
    KafkaSender(broker, topic, **form).send(PHOTO)
    Path("consumer.properties").write_text("".join(f"{key}={value}\n" for key, value in CONSUMER_SETTINGS.items()))
    command = [sys.executable, "-m", "otel_kfs.cli", "bridge", "--bootstrap-servers", broker, "--topic", topic]
    if form.get("encoding") == "v2":
        command += ["--url", f"{fast.url}/v2/models/mobilenet/infer"]
    else:
        command += ["--url", fast.url, "--model", "mobilenet"]
    command += ["--consumer-config", "consumer.properties"]
    with start([*command, "--traces-file", "bridge.jsonl"], PYTHONUNBUFFERED="1") as bridge:
        line = json.loads(bridge.stdout.readline())
        bridge.send_signal(signal.SIGINT)
        bridge.communicate(timeout=LIMIT)
    assert best(line["answer"]) == CAT


# --- the two decodes ---


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shrink", [lambda jpg: jpg, lambda jpg: resize(jpg, 256)], ids=["draft decode", "resized"])
def test_the_fast_ways_see_the_same_class_in_every_picture(model, photos, big_pictures, shrink):
    net = MobileNet(model)
    for path in [*big_pictures, photos / "chelsea.jpg", photos / "coffee.jpg"]:
        content = path.read_bytes()
        slow, quick = (net.classify(t) for t in (to_tensor(base64.b64encode(content)), fast_tensor(shrink(content))))
        assert quick["class"] == slow["class"], path
        assert quick["score"] == pytest.approx(slow["score"], abs=0.035), path


def test_the_draft_decode_of_a_small_picture_is_the_whole_decode_but_for_float_s_rounding(photos):
    content = (photos / "chelsea.jpg").read_bytes()
    fast, slow = fast_tensor(content), to_tensor(base64.b64encode(content))
    assert (fast.shape, fast.dtype, fast.flags.c_contiguous) == (slow.shape, slow.dtype, True)
    assert np.allclose(fast, slow, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"some text", "not a JPG"), (BROKEN, "broken JPG"), (b"", "not a JPG")]
)
def test_the_draft_decode_refuses_in_one_line_too(content, reason):
    with pytest.raises(ValueError, match=reason):
        fast_tensor(content)
