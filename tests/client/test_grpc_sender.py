"""The gRPC sender: what it refuses, and what a server that is not there or not a model's becomes."""

import grpc
import pytest
from grpc_support import Servicer
from opentelemetry.trace import StatusCode
from support import JPG, unserved_port

from otel_kfs import GrpcSender
from otel_kfs.errors import ConfigError, InputError, SendError


@pytest.fixture
def servicer():
    return Servicer()


@pytest.fixture
def target(servicer):
    with servicer.running() as target:
        yield target


def test_the_request_is_one_raw_bytes_tensor_and_carries_the_call_s_context(spans, servicer, target):
    GrpcSender(target, "m").send(JPG)
    (request,) = servicer.requests
    (tensor,) = request.inputs
    assert (request.model_name, tensor.name, tensor.datatype, list(tensor.shape)) == ("m", "image", "BYTES", [1])
    assert list(request.raw_input_contents) == [len(JPG).to_bytes(4, "little") + JPG]
    (call,) = [span for span in spans.get_finished_spans() if span.name.endswith("ModelInfer")]
    _, trace_id, span_id, _ = servicer.metadata[0]["traceparent"].split("-")
    assert (int(trace_id, 16), int(span_id, 16)) == (call.context.trace_id, call.context.span_id)


def test_raw_and_plain_outputs_are_lists(servicer, target):
    raw = servicer.answer.outputs.add(name="class", datatype="INT64", shape=[1])
    plain = servicer.answer.outputs.add(name="score", datatype="FP32", shape=[1])
    plain.contents.fp32_contents.append(0.5)
    servicer.answer.raw_output_contents.append((285).to_bytes(8, "little"))
    assert raw.name == "class"
    assert GrpcSender(target, "m").send(JPG) == {
        "model_name": "m",
        "outputs": [
            {"name": "class", "datatype": "INT64", "shape": [1], "data": [285]},
            {"name": "score", "datatype": "FP32", "shape": [1], "data": [0.5]},
        ],
    }


def test_outputs_that_are_not_the_protocol_s_are_one_line(servicer, target):
    servicer.answer.outputs.add(name="class", datatype="COLOUR", shape=[1])
    with pytest.raises(SendError, match="answered with tensors that are not the V2 protocol's"):
        GrpcSender(target, "m").send(JPG)


@pytest.mark.parametrize(
    ("code", "details", "message", "status"),
    [
        ("INVALID_ARGUMENT", "no\n picture", "answered INVALID_ARGUMENT: no picture", 400),
        ("NOT_FOUND", "no model m", "answered NOT_FOUND: no model m", None),
        ("INTERNAL", "", "answered INTERNAL: ", None),
    ],
)
def test_a_refusal_is_one_line_with_the_server_s_words(spans, servicer, target, code, details, message, status):
    servicer.answer = (grpc.StatusCode[code], details)
    with pytest.raises(SendError) as raised:
        GrpcSender(target, "m").send(JPG)
    assert (str(raised.value), raised.value.status) == (f"{target} {message}", status)
    (root,) = [span for span in spans.get_finished_spans() if span.name == "send image"]
    assert root.status.status_code is StatusCode.ERROR


def test_where_nothing_listens_the_message_asks_for_host_and_port():
    target = f"127.0.0.1:{unserved_port()}"
    advice = f"check host, port and that it runs, and if it wants TLS, write https://{target}: "
    with pytest.raises(SendError, match=f"^can't reach {target} by gRPC; {advice}"):
        GrpcSender(target, "m").send(JPG)


@pytest.mark.parametrize(
    "target", ["http://host:1", "host", "", "https://", "https://host:port", "https://host:1/v2", "https://host:1#a"]
)
def test_a_target_is_host_and_port_or_for_tls_a_url_of_these(target):
    with pytest.raises(ConfigError) as raised:
        GrpcSender(target, "m")
    assert str(raised.value) == (
        f"{target!r} is not a gRPC server; write it as host:port, or as https://host:port for TLS"
    )


@pytest.mark.parametrize("target", ["me:word@host:1", "https://me:word@host:1", "https://host:1?token=word"])
def test_a_target_with_what_may_be_a_secret_is_refused_and_not_shown(target):
    with pytest.raises(ConfigError) as raised:
        GrpcSender(target, "m")
    assert str(raised.value) == "a gRPC server's address has neither a user nor a query; write it as host:port"


def test_grpc_compresses_by_gzip_alone():
    with pytest.raises(ConfigError) as raised:
        GrpcSender("host:1", "m", compression="zstd")
    assert str(raised.value) == "gRPC does not compress by zstd; it knows gzip"


def test_grpc_takes_no_json():
    with pytest.raises(ConfigError, match="gRPC takes no JSON payload"):
        GrpcSender("host:1", "m").send_json(b"{}")


def test_bytes_that_are_no_image_are_refused_before_they_travel(servicer, target):
    with pytest.raises(InputError):
        GrpcSender(target, "m").send(b"some text")
    assert servicer.requests == []
