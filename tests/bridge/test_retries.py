"""Requests that were not answered are repeated, each in a span of its own, within limits, and not sooner than asked."""

import email.utils
import logging
import threading
import time
from types import SimpleNamespace

import pytest
import requests
from bridge_support import run_until, spans_of

from otel_kfs.bridge import retries
from otel_kfs.bridge.retries import Retrier, RetryPolicy, is_refusal, retry_after_seconds, wait_for_any
from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import SendError

pytestmark = pytest.mark.kafka


def failing(times: int, status: int = 503, **headers: str):
    """Answers so the first times, then well."""
    left = iter(range(times))

    def answer(_, handler):
        if next(left, None) is None:
            return 200, b"{}"
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return None

    return answer


def test_each_retry_is_a_client_span_below_the_one_process_span(spans, bridge, server, send, topic):
    server.answer = failing(2)
    send(b"1")
    (answer,) = run_until(bridge(server.url), 1)
    assert (answer.outcome, answer.requests, answer.attempt) == ("answered", 3, 1)
    (done,) = spans_of(spans, f"process {topic}")
    posts = spans_of(spans, "POST")
    assert [post.parent.span_id for post in posts] == [done.context.span_id] * 3
    assert [post.attributes.get("http.request.resend_count") for post in posts] == [None, 1, 2]
    assert [post.status.is_ok for post in posts] == [False, False, True]
    assert done.status.is_ok


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_asks_for_another_try_gets_one(bridge, server, send, status):
    server.answer = failing(1, status)
    send(b"1")
    assert [(one.outcome, one.requests) for one in run_until(bridge(server.url), 1)] == [("answered", 2)]


def test_a_connection_that_is_closed_in_the_midst_of_the_answer_is_tried_again(bridge, server, send):
    broken = []

    def answer(_, handler):
        if broken:
            return 200, b"{}"
        broken.append(True)
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True
        return None

    server.answer = answer
    send(b"1")
    assert [(one.outcome, one.requests) for one in run_until(bridge(server.url), 1)] == [("answered", 2)]


def test_a_server_that_does_not_answer_in_time_is_asked_again(bridge, server, send):
    server.hangs()
    hang = server.answer
    server.answer = lambda request, handler: hang(request, handler) if len(server.requests) == 1 else (200, b"{}")
    send(b"1")
    (one,) = run_until(bridge(server.url, timeout=0.5), 1)
    assert (one.outcome, one.requests > 1) == ("answered", True)  # on a busy machine a second one may be late, too


def test_no_more_requests_than_the_limit(bridge, server, send):
    server.answers(503)
    send(b"1")
    with pytest.raises(SendError):
        run_until(bridge(server.url, retries=2), 1)
    assert len(server.requests) == 3


def test_no_retry_beyond_the_time_limit(bridge, server, send):
    server.answer = failing(1, Retry_After="100")
    send(b"1")
    with pytest.raises(SendError):
        run_until(bridge(server.url, retry_for=10), 1)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("first_took", "requests_made"), [(10.0, 2), (3601.0, 1)])
def test_what_the_first_request_took_counts_for_the_limit(monkeypatch, first_took, requests_made):
    moments = iter([0.0, first_took])
    monkeypatch.setattr(retries, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    monkeypatch.setattr(retries._Wait, "__call__", lambda *_: 0.0)
    retrier = Retrier(requests.Session(), OutageLog(logging.getLogger(__name__), "no model"))

    def request():
        raise SendError("it failed", 503)

    with pytest.raises(SendError, match="it failed"):
        retrier.call(request, RetryPolicy(retries=1, seconds=3600.0), lambda _: False)
    assert retrier.requests == requests_made


def test_a_retry_does_not_come_before_the_server_s_retry_after(bridge, server, send):
    at = []
    answer = failing(1, Retry_After="1")
    server.answer = lambda *of: at.append(time.monotonic()) or answer(*of)
    send(b"1")
    run_until(bridge(server.url), 1)
    assert at[1] - at[0] >= 1  # the server's own demand, not how long anything takes


def test_a_user_s_session_is_used_with_its_own_transports(bridge, server, send):
    import requests

    class Session(requests.Session):
        def __init__(self):
            super().__init__()
            self.headers["Authorization"] = "Bearer of good news"

    server.answer = failing(1)
    send(b"1")
    run_until(bridge(server.url, session=Session), 1)
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer of good news"] * 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("3", 3),
        (" 3 ", 3),
        ("-3", 0),
        ("soon", 0),
        ("٣", 0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("Fri, 99 Dec 1999 23:59:59 GMT", 0),
    ],
)
def test_retry_after_is_a_number_of_seconds(text, seconds):
    assert retry_after_seconds(text) == seconds


def test_retry_after_is_a_date(monkeypatch):
    monkeypatch.setattr(retries, "time", SimpleNamespace(time=lambda: 1_800_000_000.5))
    assert retry_after_seconds(email.utils.formatdate(1_800_000_060, usegmt=True)) == 59.5


@pytest.mark.parametrize(("status", "refused"), [(None, False), (200, True), (400, True), (413, True), (429, False)])
def test_a_refusal_is_an_answer_that_would_be_the_same_again(status, refused):
    assert is_refusal(SendError("", status)) is refused


def test_waiting_ends_with_the_first_event():
    events = threading.Event(), threading.Event()
    events[1].set()
    assert wait_for_any(*events)(60) is True
    assert wait_for_any(threading.Event())(0) is False
