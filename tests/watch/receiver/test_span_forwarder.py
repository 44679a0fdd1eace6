"""Handing spans on: as they came, in their order, and without anybody waiting for a target that is slow or gone."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from collector_support import collecting, collecting_by_grpc
from support import closing_server, wait_until
from traces_builder import HTTP, KAFKA, spans
from watch_support import as_protobuf, export

from otel_kfs.errors import ConfigError
from otel_kfs.watch.receiver import span_forwarder
from otel_kfs.watch.receiver.span_forwarder import SpanForwarder

IMAGES = [spans(drawing, trace) for drawing, trace in ((HTTP, "a"), (KAFKA, "b"), (HTTP, "c"))]
REQUESTS = [as_protobuf(image) for image in IMAGES]
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(span_forwarder, "_PAUSES", (0.01,))


def forwarded(url):
    forwarder = SpanForwarder(url)
    for request, image in zip(REQUESTS, IMAGES, strict=True):
        forwarder(request, len(image))
    return forwarder


def test_over_http_every_byte_of_every_span_arrives_in_order():
    with collecting() as collector:
        forwarder = forwarded(collector.url)
        forwarder.close(30)
    assert b"".join(request.body for request in collector.requests) == b"".join(REQUESTS)
    assert {request.path for request in collector.requests} == {"/v1/traces"}
    assert (forwarder.counts.sent, forwarder.counts.dropped) == (sum(map(len, IMAGES)), 0)


def test_over_grpc_too():
    with collecting_by_grpc() as collector:
        forwarder = forwarded(collector.url.replace("http:", "grpc:"))
        forwarder.close(30)
    assert b"".join(request.SerializeToString() for request in collector.requests) == b"".join(REQUESTS)
    assert (forwarder.counts.sent, forwarder.counts.dropped) == (sum(map(len, IMAGES)), 0)


def test_a_target_that_is_busy_is_asked_again_until_it_takes_them():
    with collecting() as collector:
        collector.answers(503)
        forwarder = forwarded(collector.url)
        wait_until("two tries", lambda: len(collector.requests) > 1)
        collector.accept()
        forwarder.close(30)
    assert (forwarder.counts.sent, forwarder.counts.dropped) == (sum(map(len, IMAGES)), 0)
    assert forwarder.counts.failures > 1


def test_what_a_target_does_not_want_is_dropped_and_counted_and_the_reason_known():
    with collecting() as collector:
        collector.answers(400)
        forwarder = forwarded(collector.url)
        forwarder.close(30)
    assert (forwarder.counts.sent, forwarder.counts.dropped) == (0, sum(map(len, IMAGES)))
    assert forwarder.counts.reason == "HTTP 400"


@pytest.mark.parametrize("url", [NOBODY, "grpc://127.0.0.1:9"])
def test_what_a_target_that_is_gone_never_took_is_counted_at_the_end(url):
    forwarder = forwarded(url)
    wait_until("a failure", lambda: forwarder.counts.failures)
    forwarder.close(0.1)
    assert (forwarder.counts.sent, forwarder.counts.dropped) == (0, sum(map(len, IMAGES)))
    assert forwarder.counts.reason


def test_one_that_closes_every_connection_is_one_that_is_gone():
    with closing_server() as url:
        forwarder = forwarded(url)
        wait_until("a failure", lambda: forwarder.counts.failures)
        forwarder.close(0.1)
    assert forwarder.counts.dropped == sum(map(len, IMAGES))


def test_no_more_waits_than_there_is_room_for_and_what_comes_then_is_dropped_and_counted(monkeypatch):
    monkeypatch.setattr(span_forwarder, "_MOST_BYTES", len(REQUESTS[0]) + len(REQUESTS[1]))
    forwarder = forwarded(NOBODY)
    assert forwarder.counts.dropped == len(IMAGES[2])
    forwarder.close(0.1)


def test_senders_are_answered_and_images_measured_while_the_target_hangs(watching):
    with collecting() as collector:
        collector.hangs()
        watch = watching(forward=collector.url)
        for request in REQUESTS:
            assert export(watch.grpc, request) == b""
        wait_until("measuring", lambda: watch.service.latest().since_start.coverage.measured == len(IMAGES))
        collector.stopping.set()
    snapshot = watch.close()
    assert snapshot.since_start.coverage.measured == len(IMAGES)


def test_a_port_of_which_nothing_can_be_known_is_asked_nothing_before_there_are_spans():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        SpanForwarder(f"http://127.0.0.1:{listener.getsockname()[1]}").close(0.1)
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("url", ["localhost:4317", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_url_is_said_at_once(url):
    with pytest.raises(ConfigError, match=f"--forward {url}"):
        SpanForwarder(url)


# --- access ---


def secured(certificates):
    """A Collector over gRPC that wants TLS with one of its clients' certificates, and what metadata it was sent."""
    seen = []

    def export(request, context):
        seen.append(dict(context.invocation_metadata()))
        return b""

    server = grpc.server(ThreadPoolExecutor(1))
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    methods = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    pem = certificates.server.read_bytes()
    credentials = grpc.ssl_server_credentials([(pem, pem)], certificates.ca.read_bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server, f"grpcs://127.0.0.1:{port}", seen


@pytest.fixture
def access(monkeypatch, certificates):
    """OpenTelemetry's variables with a token, the tests' authority and a client's certificate."""
    for name, value in {
        "HEADERS": "authorization=Bearer%20secret,x-tenant=a",
        "CERTIFICATE": certificates.ca,
        "CLIENT_CERTIFICATE": certificates.client,
        "CLIENT_KEY": certificates.client,
    }.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", str(value))


@pytest.mark.usefixtures("access")
def test_a_target_over_https_gets_headers_and_a_certificate_whatever_netrc_says(
    https, certificates, monkeypatch, tmp_path
):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    collector = https(certificates.server_context(mutual=True))
    forwarder = forwarded(collector.url)
    forwarder.close(30)
    assert (forwarder.counts.sent, forwarder.counts.reason) == (sum(map(len, IMAGES)), "")
    headers = collector.requests[0].headers
    assert (headers["authorization"], headers["x-tenant"]) == ("Bearer secret", "a")


@pytest.mark.usefixtures("access")
def test_a_target_over_grpc_gets_them_too(certificates):
    server, url, seen = secured(certificates)
    forwarder = forwarded(url)
    forwarder.close(30)
    server.stop(None).wait()
    assert (forwarder.counts.sent, forwarder.counts.reason) == (sum(map(len, IMAGES)), "")
    assert (seen[0]["authorization"], seen[0]["x-tenant"]) == ("Bearer secret", "a")


def test_a_target_whose_authority_is_not_trusted_gets_nothing(https, certificates):
    collector = https(certificates.server_context())
    forwarder = forwarded(collector.url)
    wait_until("a failure", lambda: forwarder.counts.failures)
    forwarder.close(0.1)
    assert (collector.requests, forwarder.counts.dropped) == ([], sum(map(len, IMAGES)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HEADERS", "Bearer secret", "OTEL_EXPORTER_OTLP_HEADERS is not of the form key=value,key=value"),
        ("HEADERS", "a key=1", "OTEL_EXPORTER_OTLP_HEADERS is not of the form key=value,key=value"),
        ("HEADERS", "key=%C3%A4", "OTEL_EXPORTER_OTLP_HEADERS is not of the form key=value,key=value"),
        ("HEADERS", "key-bin=1", "OTEL_EXPORTER_OTLP_HEADERS: key-bin would be binary, which gRPC wants as bytes"),
        (
            "CERTIFICATE",
            "nowhere.pem",
            "there is no file nowhere.pem, which OTEL_EXPORTER_OTLP_... names as certificate or key",
        ),
    ],
)
def test_what_can_t_be_used_is_said_before_anything_is_sent(monkeypatch, name, value, message):
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    with pytest.raises(ConfigError, match=re.escape(message)):
        SpanForwarder("grpc://127.0.0.1:9")
