"""Trace context in a record's headers: one context, the newest, whatever was there before."""

import copy
import tracemalloc
from pathlib import Path

import pytest
from kafka_support import produce_with_header
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState
from support import read_traces, run_python

from otel_kfs.kafka.headers import extract, inject

TRACE, SPAN = 0xA1B2, 0xC3D4
TRACEPARENT = f"00-{TRACE:032x}-{SPAN:016x}-01"
OLD = "00-11111111111111111111111111111111-2222222222222222-01"


def context(trace_state: TraceState | None = None) -> Context:
    """A context with a span that was sampled."""
    span = SpanContext(TRACE, SPAN, is_remote=False, trace_flags=TraceFlags(1), trace_state=trace_state)
    return trace.set_span_in_context(NonRecordingSpan(span), Context())


def ids(found: Context) -> tuple[int, int]:
    """Trace and span id of a context's span."""
    span = trace.get_current_span(found).get_span_context()
    return span.trace_id, span.span_id


class OneHeader(TextMapPropagator):
    """B3's single header."""

    def extract(self, carrier, context=None, getter=None):
        trace_id, span_id, _ = carrier.get("b3", "0-0-0").split("-")
        span = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True)
        return trace.set_span_in_context(NonRecordingSpan(span), context)

    def inject(self, carrier, context=None, setter=None):
        span = trace.get_current_span(context).get_span_context()
        carrier["b3"] = f"{span.trace_id:032x}-{span.span_id:016x}-1"

    @property
    def fields(self):
        return {"b3"}


@pytest.fixture
def b3():
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(OneHeader())
    yield
    propagate.set_global_textmap(before)


PAIRS = [("a", b"1"), ("b", "2"), ("c", None), ("a", b"3")]


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        (None, []),
        ([], []),
        ({}, []),
        ({"a": b"1", "b": "2", "c": None}, PAIRS[:3]),
        (PAIRS, PAIRS),
        (tuple(PAIRS), PAIRS),
    ],
)
def test_the_user_s_headers_stay_in_order_before_the_context(headers, kept):
    assert inject(headers, context()) == [*kept, ("traceparent", TRACEPARENT.encode())]


def test_a_generator_of_headers_is_taken():
    assert inject(iter(PAIRS), context()) == [*PAIRS, ("traceparent", TRACEPARENT.encode())]


@pytest.mark.parametrize("headers", [{"a": b"1", "traceparent": OLD}, [("a", b"1"), ("traceparent", OLD)]])
def test_the_user_s_collection_is_never_changed(headers):
    before = copy.deepcopy(headers)
    inject(headers, context())
    assert headers == before


def test_three_calls_with_one_list_give_one_traceparent_each():
    headers = [("a", b"1")]
    assert [inject(headers, context()) for _ in range(3)] == [[("a", b"1"), ("traceparent", TRACEPARENT.encode())]] * 3


def test_an_older_context_is_replaced_whole_with_its_tracestate_and_baggage():
    stale = [("traceparent", OLD.encode()), ("a", b"1"), ("tracestate", b"old=1"), ("baggage", b"k=old")]
    assert inject(stale, context()) == [("a", b"1"), ("traceparent", TRACEPARENT.encode())]


def test_many_older_contexts_are_replaced_by_one():
    assert inject([("traceparent", OLD)] * 3, context()) == [("traceparent", TRACEPARENT.encode())]


def test_tracestate_and_baggage_of_the_context_travel():
    with_both = baggage.set_baggage("k", "v", context(TraceState([("vendor", "1")])))
    assert dict(inject(None, with_both)) == {
        "traceparent": TRACEPARENT.encode(),
        "tracestate": b"vendor=1",
        "baggage": b"k=v",
    }


def test_without_a_context_only_the_user_s_headers_remain():
    assert inject([("a", b"1"), ("traceparent", OLD)], Context()) == [("a", b"1")]


@pytest.mark.usefixtures("b3")
def test_another_propagator_s_key_is_written_and_replaced():
    headers = [("b3", b"old"), ("traceparent", b"the user's own")]
    assert inject(headers, context()) == [
        ("traceparent", b"the user's own"),
        ("b3", f"{TRACE:032x}-{SPAN:016x}-1".encode()),
    ]


@pytest.mark.usefixtures("b3")
def test_another_propagator_s_key_is_read():
    assert ids(extract(inject(None, context()))) == (TRACE, SPAN)


@pytest.mark.parametrize("value", [TRACEPARENT, TRACEPARENT.encode()])
def test_a_context_is_read_from_text_and_bytes(value):
    assert ids(extract([("a", b"1"), ("traceparent", value)])) == (TRACE, SPAN)


def test_the_last_of_many_contexts_counts():
    assert ids(extract([("traceparent", OLD.encode()), ("traceparent", TRACEPARENT.encode())])) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "headers",
    [None, [], [("a", b"\xff\xfe")], [("traceparent", None)], [("traceparent", b"\xff\xfe")], [("traceparent", b"?")]],
)
def test_headers_without_a_readable_context_give_an_empty_one(headers):
    assert ids(extract(headers)) == (0, 0)


def test_bytes_that_are_no_text_do_not_hide_a_context():
    assert ids(extract([("x", b"\xff"), ("traceparent", TRACEPARENT.encode()), ("tracestate", b"\xff")])) == (
        TRACE,
        SPAN,
    )


def test_a_header_too_long_for_a_context_is_not_taken_apart():
    members = b",".join(b"k%d=v" % number for number in range(1_000_000))
    tracemalloc.start()
    try:
        found = extract([("traceparent", TRACEPARENT.encode()), ("tracestate", members), ("baggage", members)])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert ids(found) == (TRACE, SPAN)
    assert baggage.get_all(found) == {}


def test_the_current_context_is_not_taken_for_a_record_s():
    with trace.use_span(NonRecordingSpan(SpanContext(TRACE, SPAN, is_remote=False))):
        assert ids(extract([])) == (0, 0)


@pytest.mark.kafka
def test_a_loop_over_records_survives_a_header_whose_key_is_no_text(broker, topic):
    produce_with_header(broker, topic, b"\xff\xfe", b"1")
    produce_with_header(broker, topic, b"a", b"2")
    done = run_python(
        f"""
import confluent_kafka, otel_kfs
from otel_kfs.kafka import Consumer, process
otel_kfs.configure("a loop", traces_file="traces.jsonl")
consumer = Consumer({{"bootstrap.servers": "{broker}", "group.id": "g", "fetch.wait.max.ms": 10}})
consumer.assign([confluent_kafka.TopicPartition("{topic}", 0, 0)])
for _ in range(2):
    record = consumer.poll(30)
    with process(record):
        print(record.value(), record.headers())
"""
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, ["b'1' []", "b'2' [('a', b'x')]"]), done.stderr
    assert [span.name for span in read_traces(Path("traces.jsonl"))] == [f"poll {topic}", f"process {topic}"] * 2


def test_baggage_is_read():
    assert baggage.get_baggage("k", extract([("baggage", b"k=v")])) == "v"
