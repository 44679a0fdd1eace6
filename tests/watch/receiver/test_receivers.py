"""What is sent to a watch by gRPC and HTTP: OTLP is acknowledged and measured, all else answered in its own terms."""

import gzip
import json
import re
import socket
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import pytest
import requests
from support import LIMIT, wait_until
from traces_builder import HTTP, KAFKA, otlp_line, spans
from watch_support import JSON, PROTOBUF, as_json, as_protobuf, begun, export, post, refusal, said

from otel_kfs.watch.display.losses import losses
from otel_kfs.watch.receiver import grpc_receiver, http_connection, http_receiver, otlp_messages
from otel_kfs.watch.receiver.intake import Intake
from otel_kfs.watch.receiver.receiver_security import ReceiverSecurity

pytestmark = pytest.mark.sketch

IMAGE = spans(HTTP)


def read_until(connection, text):
    """What comes, until there is this in it."""
    found = b""
    while text not in found:
        chunk = connection.recv(10_000)
        assert chunk, found
        found += chunk
    return found


def measured(snapshot):
    return snapshot.since_start.coverage.measured


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
@pytest.mark.parametrize(
    ("encoding", "compress"), [("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_over_http_an_image_is_acknowledged_and_measured(watching, kind, encoding, compress):
    watch = watching()
    body = compress(as_json(IMAGE) if kind == JSON else as_protobuf(IMAGE))
    answer = post(watch.url, body, kind, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.headers["Content-Type"], answer.content) == (
        200,
        kind,
        b"{}" if kind == JSON else b"",
    )
    snapshot = watch.close()
    assert (measured(snapshot), snapshot.counts.spans) == (1, len(IMAGE))


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_over_grpc_an_image_is_acknowledged_and_measured(watching, compression):
    watch = watching()
    assert export(watch.grpc, as_protobuf(IMAGE), compression=compression) == b""
    snapshot = watch.close()
    assert (measured(snapshot), snapshot.counts.spans) == (1, len(IMAGE))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_opentelemetry_s_own_exporters_are_understood(watching, protocol):
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as ByGrpc
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as ByHttp
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    watch = watching()
    exporter = ByGrpc(f"http://{watch.grpc}", insecure=True) if protocol == "grpc" else ByHttp(f"{watch.url}/v1/traces")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("send image"), tracer.start_as_current_span("encode"):
        pass
    provider.shutdown()
    snapshot = watch.close()
    assert (snapshot.counts.spans, dict(snapshot.since_start.coverage.left_out)) == (2, {"no request span": 1})


def test_spans_in_several_requests_and_twice_are_one_image(watching):
    watch = watching()
    for part in (IMAGE[9:], IMAGE[:9], IMAGE[5:12]):
        export(watch.grpc, as_protobuf(part))
    snapshot = watch.close()
    assert (measured(snapshot), snapshot.counts.duplicates) == (1, 7)


def test_spans_under_their_name_of_2021_are_measured_too(watching):
    watch = watching()
    body = otlp_line(IMAGE).replace("scopeSpans", "instrumentationLibrarySpans")
    assert post(watch.url, body, JSON).status_code == 200
    assert measured(watch.close()) == 1


# --- what can't be taken ---


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xff\xff no protobuf", PROTOBUF),
        (b'{"resourceSpans": [', JSON),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7}]}]}]}', JSON),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "no hex"}]}]}]}', JSON),
        (b'[{"resourceSpans": []}]', JSON),
        (b'{"resourceSpans": {"scopeSpans": 1}}', JSON),
        (b"[" * 100_000, JSON),
    ],
)
def test_what_is_no_otlp_is_a_bad_request_in_the_request_s_encoding(watching, body, kind):
    watch = watching()
    answer = post(watch.url, body, kind)
    status, message = said(answer)
    assert (status, answer.headers["Content-Type"]) == (400, kind)
    assert message.startswith("not an OTLP export of traces: ")
    assert watch.service.intake.counts.malformed == 1


def test_over_grpc_it_is_an_invalid_argument_which_no_exporter_retries(watching):
    error = refusal(watching().grpc, b"\xff\xff\xff no protobuf")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith("not an OTLP export of traces: ")


def test_a_gzip_body_that_is_cut_short_is_a_bad_request(watching):
    body = gzip.compress(as_protobuf(IMAGE))[:-9]
    answer = post(watching().url, body, headers={"Content-Encoding": "gzip"})
    assert said(answer) == (400, "the gzip body is cut short")


def test_what_is_no_gzip_is_a_bad_request(watching):
    status, message = said(post(watching().url, b"plain", headers={"Content-Encoding": "gzip"}))
    assert (status, message.partition(":")[0]) == (400, "the body is not gzip")


def test_a_decompression_bomb_is_refused_at_the_limit(watching):
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 60_000
    answer = post(watching(largest_request=1_000_000).url, bomb, headers={"Content-Encoding": "gzip"})
    assert said(answer) == (413, "a request may have 1000000 bytes after decompression")


@pytest.mark.parametrize("body", [bytes(2000), iter([bytes(900)] * 3)], ids=["of known length", "in pieces"])
def test_a_body_beyond_the_limit_is_refused(watching, body):
    assert said(post(watching(largest_request=1000).url, body)) == (413, "a request may have 1000 bytes")


def test_over_grpc_it_is_told_that_it_is_too_large(watching):
    error = refusal(watching(largest_request=1000).grpc, bytes(2000))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max (2000 vs. 1000)" in error.details()


def test_a_body_that_does_not_arrive_is_not_waited_for_forever(watching, monkeypatch):
    monkeypatch.setattr(http_receiver, "_BODY_SECONDS", 0.05)
    watch = watching()
    with socket.create_connection(("127.0.0.1", watch.service.http_port), 10) as connection:
        head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b"half")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b"POST /v1/tr", b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nA", None], ids=repr)
def test_a_connection_on_which_no_request_is_finished_is_closed(watching, monkeypatch, sent):
    monkeypatch.setattr(http_connection, "REQUEST_SECONDS", 0.05)
    watch = watching()
    with socket.create_connection(("127.0.0.1", watch.service.http_port), 10) as connection:
        if sent is None:  # the second request of a connection, which is refused before its body is there
            connection.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            read_until(connection, b"otel-kfs watch takes traces")
            sent = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
        connection.sendall(sent)
        while connection.recv(1000):
            pass
    assert post(watch.url, as_protobuf(IMAGE)).status_code == 200


def test_connections_beyond_the_bound_are_closed_and_the_others_served(watching, monkeypatch):
    monkeypatch.setattr(http_connection, "MOST", 2)
    watch = watching()
    address = ("127.0.0.1", watch.service.http_port)
    with ExitStack() as stack:
        one, _, third = (stack.enter_context(socket.create_connection(address, 10)) for _ in range(3))
        assert third.recv(1000) == b""
        one.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert one.recv(1000).startswith(b"HTTP/1.1 404 ")


def test_over_grpc_requests_that_are_not_finished_keep_nobody_out_and_are_cancelled(watching, monkeypatch):
    watch = watching()
    with begun(watch.service.grpc_port, 20) as connection:
        wait_until("they wait", lambda: len(watch.service._unfinished._since) == 20)
        assert export(watch.grpc, as_protobuf(IMAGE)) == b""
        monkeypatch.setattr(grpc_receiver, "_MESSAGE_SECONDS", 0.0)
        wait_until("none waits", lambda: not watch.service._unfinished._since)
        connection.close()
    assert measured(watch.close()) == 1


def test_over_grpc_who_has_no_token_is_told_so_before_there_is_a_message(watching):
    watch = watching(security=ReceiverSecurity(token="secret"))
    with begun(watch.service.grpc_port, 1) as connection:
        assert b"a bearer token is needed" in read_until(connection, b"token is needed")


def test_over_grpc_a_request_without_a_message_is_an_invalid_argument(watching):
    with grpc.insecure_channel(watching().grpc) as channel:
        method = channel.stream_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        with pytest.raises(grpc.RpcError) as error:
            method(iter(()), timeout=30)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("kind", "encoding", "message"),
    [
        ("text/plain", "identity", "Content-Type must be application/x-protobuf or application/json"),
        (PROTOBUF, "br", "Content-Encoding must be gzip or deflate, if there is any"),
    ],
)
def test_other_types_and_encodings_are_not_supported(watching, kind, encoding, message):
    answer = post(watching().url, b"", kind, headers={"Content-Encoding": encoding})
    assert (said(answer), answer.headers["Accept-Encoding"]) == ((415, message), "gzip, deflate")


def test_over_grpc_another_compression_is_an_error_that_no_exporter_retries(watching):
    watch = watching()
    with begun(watch.service.grpc_port, 1, "snappy", b"\1\0\0\0\5hello") as connection:
        answer = read_until(connection, b"grpc-message")
    status = re.search(rb"grpc-status.(\d+)", answer)
    assert int(status[1]) == grpc.StatusCode.INTERNAL.value[0]
    assert b"grpc-encoding" in answer
    assert export(watch.grpc, as_protobuf(IMAGE)) == b""


@pytest.mark.parametrize("signal", ["metrics", "logs"])
def test_other_signals_are_told_so_and_cost_the_sender_nothing_more(watching, signal):
    watch = watching()
    message = f"otel-kfs watch takes traces, no {signal}"
    assert said(post(watch.url, b"", path=f"/v1/{signal}")) == (404, message)
    error = refusal(watch.grpc, b"", f"{signal}.v1.{signal.capitalize()}")
    assert (error.code(), error.details()) == (grpc.StatusCode.UNIMPLEMENTED, message)


def test_spans_that_can_t_be_read_are_a_partial_success_and_the_others_are_measured(watching):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )

    request = ExportTraceServiceRequest.FromString(as_protobuf(IMAGE))
    bad = request.resource_spans[0].scope_spans[0].spans.add(name="bad", trace_id=b"short", span_id=b"12345678")
    bad.kind = 1
    watch = watching()
    answer = ExportTraceServiceResponse.FromString(export(watch.grpc, request.SerializeToString()))
    assert answer.partial_success.rejected_spans == 1
    assert answer.partial_success.error_message == "1 with an invalid id"
    assert json.loads(post(watch.url, as_json([]), JSON).content) == {}
    assert measured(watch.close()) == 1


def test_a_span_with_a_million_attributes_is_measured_like_any_other(watching):
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

    request = as_protobuf(IMAGE)
    attribute = Message()
    attribute.attributes.add(key="a").value.int_value = 1
    of_span = attribute.SerializeToString() * 1_000_000
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    whole = ExportTraceServiceRequest.FromString(request)
    whole.resource_spans[0].scope_spans[0].spans[1].MergeFromString(of_span)
    watch = watching()
    assert export(watch.grpc, whole.SerializeToString()) == b""
    assert measured(watch.close()) == 1


def test_a_large_request_that_takes_long_to_read_keeps_no_other_waiting(watching, monkeypatch):
    read, reading, others = otlp_messages.protobuf_of_json, threading.Event(), threading.Event()

    def slowly(content):
        reading.set()
        assert others.wait(LIMIT)
        return read(content)

    monkeypatch.setattr(otlp_messages, "protobuf_of_json", slowly)
    watch = watching()
    image, size = as_protobuf(IMAGE), http_receiver._AT_ONCE
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(post, watch.url, as_json(IMAGE) + b" " * size, JSON)
        assert reading.wait(LIMIT)
        assert post(watch.url, image).status_code == 200
        others.set()
        assert large.result().status_code == 200
    snapshot = watch.close()
    assert (measured(snapshot), snapshot.counts.duplicates) == (1, len(IMAGE))


# --- too much ---


@pytest.fixture
def full(watching, monkeypatch):
    """A watch in which too many spans wait, and that waits for nobody."""
    watch = watching()
    monkeypatch.setattr(watch.service.intake, "_most_waiting", -1)
    monkeypatch.setattr(watch.service.intake, "patience", 0.0)
    return watch


def test_over_http_too_much_is_429_with_retry_after(full):
    answer = post(full.url, as_protobuf(IMAGE))
    assert (said(answer), answer.headers["Retry-After"]) == ((429, "too many spans wait to be measured"), "1")


def test_over_grpc_too_much_is_resource_exhausted_with_retry_info(full):
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    error = refusal(full.grpc, as_protobuf(IMAGE))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    (details,) = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    info = RetryInfo()
    assert Status.FromString(details).details[0].Unpack(info)
    assert info.retry_delay.seconds == 1


def test_what_was_refused_and_sent_again_is_measured_once(full, monkeypatch):
    assert post(full.url, as_protobuf(IMAGE)).status_code == 429
    monkeypatch.setattr(full.service.intake, "_most_waiting", 1000)
    assert post(full.url, as_protobuf(IMAGE)).status_code == 200
    snapshot = full.close()
    assert (measured(snapshot), snapshot.counts.spans, full.service.intake.counts.refused) == (1, len(IMAGE), 1)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_request_waits_for_room_and_is_taken_when_something_is_measured(full, monkeypatch, protocol):
    intake, looked, room = full.service.intake, threading.Event(), Intake.has_room.fget

    def has_room(intake_):
        found = room(intake_)
        if not found:
            looked.set()
        return found

    monkeypatch.setattr(Intake, "has_room", property(has_room))
    monkeypatch.setattr(intake, "patience", LIMIT)
    with ThreadPoolExecutor() as pool:
        if protocol == "grpc":
            asked = pool.submit(export, full.grpc, as_protobuf(IMAGE))
        else:
            asked = pool.submit(post, full.url, as_protobuf(IMAGE))
        assert looked.wait(LIMIT)
        monkeypatch.setattr(intake, "_most_waiting", 1000)
        export(full.grpc, as_protobuf(IMAGE))
        asked.result(LIMIT)
    snapshot = full.close()
    assert (measured(snapshot), snapshot.counts.duplicates, intake.counts.refused) == (1, len(IMAGE), 0)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_can_t_be_kept_is_not_acknowledged_and_the_watch_says_why(watching, monkeypatch, protocol):
    def no_room(request, spans_):
        raise OSError(28, "No space left on device")

    watch, message = watching(), "the spans can't be kept: No space left on device"
    monkeypatch.setattr(watch.service.intake, "_keep", no_room)
    if protocol == "grpc":
        error = refusal(watch.grpc, as_protobuf(IMAGE))
        assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, message)
    else:
        assert said(post(watch.url, as_protobuf(IMAGE))) == (429, message)
    assert watch.close().counts.spans == 0
    assert losses(watch.service) == ["requests that were told to come again (No space left on device): 1"]


# --- who may send ---


def test_with_a_token_only_those_who_have_it_may_send(watching):
    watch = watching(security=ReceiverSecurity(token="secret"))
    request = as_protobuf(IMAGE)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
        answer = post(watch.url, request, headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        error = refusal(watch.grpc, request, metadata=[(key.lower(), value) for key, value in headers.items()])
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert post(watch.url, request, headers={"Authorization": "bearer secret"}).status_code == 200
    assert export(watch.grpc, request, metadata=[("authorization", "Bearer secret")]) == b""
    assert measured(watch.close()) == 1


def test_by_tls_certificates_are_checked(watching, certificates):
    watch = watching(security=ReceiverSecurity(certificates.server, certificates.server))
    request = as_protobuf(spans(KAFKA))
    assert post(watch.url, request, verify=str(certificates.ca)).status_code == 200
    with pytest.raises(requests.exceptions.SSLError):
        post(watch.url, request, verify=str(certificates.other_ca))
    credentials = grpc.ssl_channel_credentials(certificates.ca.read_bytes())
    with grpc.secure_channel(watch.grpc, credentials) as channel:
        method = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        assert method(request, timeout=30) == b""
    snapshot = watch.close()
    assert (measured(snapshot), snapshot.counts.duplicates) == (1, len(spans(KAFKA)))
