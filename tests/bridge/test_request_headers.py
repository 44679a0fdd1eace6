"""Which headers of a record reach the model, whose trace context is believed, and what hostile ones can do."""

import tracemalloc

import pytest
from bridge_support import SOON_JOINED, run_until, spans_of
from hypothesis import given
from hypothesis import strategies as st

from otel_kfs.bridge import request_headers
from otel_kfs.bridge.dead_letters import Origin, letter_origin
from otel_kfs.errors import SendError
from otel_kfs.kafka import Bridge

pytestmark = pytest.mark.kafka

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{SPAN}-01"


def test_what_describes_the_body_and_a_cloud_event_travels_and_nothing_else(bridge, server, send):
    headers = {
        "content-type": b"application/octet-stream",
        "Content-Encoding": "gzip",
        "inference-header-content-length": "170",
        "ce_specversion": "1.0",
        "ce_type": "org.example.image",
        "ce_subject": 'Schr\u00f6dinger\'s "cat" 100%',
        "authorization": "Bearer secret",
        "x-custom": "1",
        "host": "elsewhere",
        "content-length": "7",
        "transfer-encoding": "chunked",
    }
    send(b"\xff\xd8\xff picture", headers=headers)
    run_until(bridge(server.url), 1)
    (request,) = server.requests
    assert request.body == b"\xff\xd8\xff picture"
    usual = {"user-agent", "accept", "accept-encoding", "connection", "content-length", "host", "traceparent"}
    assert {key: value for key, value in request.headers.items() if key not in usual} == {
        "content-type": "application/octet-stream",
        "content-encoding": "gzip",
        "inference-header-content-length": "170",
        "ce-specversion": "1.0",
        "ce-type": "org.example.image",
        "ce-subject": "Schr%C3%B6dinger's%20%22cat%22%20100%25",
    }
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["host"] == f"127.0.0.1:{server.port}"


def test_without_headers_a_record_is_json(bridge, server, send):
    send(b"{}")
    run_until(bridge(server.url), 1)
    assert server.requests[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "value", [b"", None, b"a\r\nX-Injected: 1", b"a\x00", b"\xff\xfe", " a", "caf\u00e9"], ids=repr
)
def test_a_value_that_http_can_t_carry_is_left_out(value):
    assert request_headers.http_headers([("content-type", value)]) == {}


@pytest.mark.parametrize("key", ["ce_", "ce_Type", "ce_a-b", "ce_a\r\nb", "ce_" + "a" * 101, "CE_type"])
def test_a_name_that_is_no_attribute_of_a_cloud_event_is_left_out(key):
    assert request_headers.http_headers([(key, b"1")]) == {}


def test_more_headers_than_a_server_takes_are_a_refusal(bridge, server, send):
    send(b"{}", headers={f"ce_a{number}": b"x" * 1000 for number in range(50)})
    (answer,) = run_until(bridge(server.url), 1)
    assert (answer.outcome, answer.requests, server.requests) == ("refused", 0, [])
    assert "more than a server takes" in answer.refused


def test_a_header_that_no_server_takes_is_refused_before_it_is_copied():
    huge = b"\xc3\xa9" * 15_000_000
    tracemalloc.start()
    try:
        with pytest.raises(SendError, match="30000011 bytes, more than a server takes"):
            request_headers.http_headers([("ce_type", huge)])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@given(st.lists(st.tuples(st.text(max_size=30), st.none() | st.binary(max_size=50) | st.text(max_size=50))))
def test_any_headers_give_headers_that_http_can_carry(headers):
    for name, value in request_headers.http_headers(headers).items():
        assert name.isascii()
        assert value.isascii()
        assert not {"\r", "\n", "\0"} & set(name + value)


def test_with_a_context_that_is_not_trusted_a_new_trace_begins_and_links(spans, bridge, server, send_raw, topic):
    send_raw(b"{}", {"traceparent": SENT, "tracestate": "a=1", "baggage": "user=mallory"})
    run_until(bridge(server.url, trust_context=False), 1)
    (done,) = spans_of(spans, f"process {topic}")
    assert done.parent is None
    assert f"{done.context.trace_id:032x}" != TRACE
    assert [(f"{link.context.span_id:016x}", dict(link.attributes)) for link in done.links] == [
        (SPAN, {"otel_kfs.context.trusted": False})
    ]
    assert done.attributes["otel_kfs.context.trusted"] is False
    headers = server.requests[0].headers
    assert f"{done.context.trace_id:032x}" in headers["traceparent"]
    assert not {"baggage", "tracestate"} & headers.keys()


def test_a_context_that_is_trusted_continues_with_its_baggage(spans, bridge, server, send_raw, topic):
    send_raw(b"{}", {"traceparent": SENT, "baggage": "user=me"})
    run_until(bridge(server.url), 1)
    (done,) = spans_of(spans, f"process {topic}")
    assert (f"{done.context.trace_id:032x}", f"{done.parent.span_id:016x}") == (TRACE, SPAN)
    assert "otel_kfs.context.trusted" not in done.attributes
    assert server.requests[0].headers["baggage"] == "user=me"


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": b"\xff\x00\xfe"},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"traceparent": "00-" + "g" * 32 + "-" + SPAN + "-01"},
        {"traceparent": "x" * 100_000},
        {"traceparent": SENT, "tracestate": "a=" + "x" * 100_000},
        {"traceparent": SENT, "tracestate": ",".join(f"k{n}=v" for n in range(5000))},
        {"traceparent": SENT, "tracestate": b"a=\r\nX-Injected: 1"},
        {"traceparent": SENT, "baggage": "a=" + "x" * 500_000},
        {"traceparent": SENT, "baggage": ",".join(f"k{n}=v" for n in range(50_000))},
        {"traceparent": SENT, "baggage": b"\x80\x81=\r\nX-Injected: 1"},
        {"traceparent": None, "tracestate": None, "baggage": None},
    ],
    ids=range(11),
)
def test_hostile_trace_headers_neither_stop_a_record_nor_reach_the_model(bridge, server, send_raw, headers, trusted):
    send_raw(b"{}", headers)
    (answer,) = run_until(bridge(server.url, trust_context=trusted), 1)
    assert answer.outcome == "answered"
    (request,) = server.requests
    assert "x-injected" not in request.headers
    assert sum(len(name) + len(value) for name, value in request.headers.items()) < 64_000


class Record:
    """What `origin` asks of a record."""

    def __init__(self, **headers):
        self._headers = [(f"{key}", value) for key, value in headers.items()]

    def headers(self):
        return self._headers

    def topic(self):
        return "t"

    def partition(self):
        return 3

    def offset(self):
        return 7

    def timestamp(self):
        return 1, 99


LETTER = {
    "__connect.errors.topic": b"o",
    "__connect.errors.partition": b"1",
    "__connect.errors.offset": b"2",
    "otel_kfs.errors.timestamp": b"3",
    "otel_kfs.errors.attempts": b"4",
}


def test_a_dead_letter_s_headers_say_where_it_was_first():
    assert letter_origin(Record(**LETTER)) == Origin("o", 1, 2, 3, 4)


@pytest.mark.parametrize("value", [b"x", b"", b"\xff", None, b"1" * 5000, b"9" * 30, b"-2"], ids=repr)
@pytest.mark.parametrize("key", ["__connect.errors.partition", "__connect.errors.offset"])
def test_dead_letter_headers_that_say_nothing_are_passed_over(key, value):
    assert letter_origin(Record(**{**LETTER, key: value})) == Origin("t", 3, 7, 99)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("otel_kfs.errors.attempts", b"9" * 30),
        ("otel_kfs.errors.attempts", b"-1"),
        ("otel_kfs.errors.timestamp", b"9" * 30),
        ("__connect.errors.topic", b"a b\n"),
        ("__connect.errors.topic", b""),
        ("__connect.errors.topic", b"o" * 250),
    ],
    ids=str,
)
def test_dead_letter_headers_that_can_t_be_true_are_passed_over(key, value):
    assert letter_origin(Record(**{**LETTER, key: value})) == Origin("t", 3, 7, 99)


@pytest.mark.parametrize("attempts", [b"41", b"9" * 30])
def test_a_record_that_poses_as_a_dead_letter_is_handed_over_as_what_it_is(
    spans, bridge, server, send_raw, topic, make_topic, fetch, attempts
):
    server.answers(400)
    dead = make_topic()
    send_raw(b"{}", {**LETTER, "otel_kfs.errors.attempts": attempts})
    (answer,) = run_until(bridge(server.url, dead_letter_topic=dead), 1)
    assert (answer.outcome, answer.attempt) == ("dead-lettered", 1)
    (done,) = spans_of(spans, f"process {topic}")
    assert done.attributes["otel_kfs.delivery.attempt"] == 1
    headers = dict(fetch(dead)[0].headers())
    assert [headers[key] for key in LETTER if "timestamp" not in key] == [topic.encode(), b"0", b"0", b"1"]


def test_a_forged_dead_letter_is_redriven_as_one_that_says_nothing(broker, group, server, send_raw, topic):
    send_raw(b"{}", {**LETTER, "otel_kfs.errors.attempts": b"9" * 30})
    redrive = Bridge(broker, [], server.url, group=group, config=SOON_JOINED, dead_letter_topic=topic, redrive=True)
    (answer,) = run_until(redrive, 1)
    assert (answer.outcome, answer.attempt) == ("answered", 1)


def test_the_model_s_refusal_of_headers_is_a_send_error():
    with pytest.raises(SendError) as raised:
        request_headers.http_headers([("ce_a", "x" * 40_000)])
    assert raised.value.status == 431
