"""Handing spans on: as they came, in their order, and without anybody waiting for a target that is slow or gone."""

import socket

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
