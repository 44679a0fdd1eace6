"""What is short-cut gives what the long way gives; and what a configuration says becomes attributes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka_support import MOCK
from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    AlwaysRecordSampler,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_kfs.kafka import Producer, headers, telemetry
from otel_kfs.kafka.client import client_attributes, send_operation

pytestmark = pytest.mark.kafka


# --- headers ---

span_contexts = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.integers(0, 255).map(TraceFlags),
    st.sampled_from([None, TraceState(), TraceState([("vendor", "1")])]),
)
contexts = st.builds(
    lambda span, items: baggage.set_baggage("k", "v", span) if items else span,
    st.one_of(span_contexts.map(lambda span: trace.set_span_in_context(NonRecordingSpan(span), Context()))),
    st.booleans(),
)
user_headers = st.lists(
    st.tuples(st.sampled_from(["a", "traceparent", "tracestate", "baggage"]), st.sampled_from([b"1", "2", None]))
)


def long_way(function, *arguments):
    """What a function gives when the global propagator is the default one's equal, and not known to be."""
    before = propagate.get_global_textmap()

    class Same(CompositePropagator):
        pass

    propagate.set_global_textmap(Same([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))
    try:
        assert not headers._propagation().is_default
        return function(*arguments)
    finally:
        propagate.set_global_textmap(before)


@given(user_headers, contexts)
def test_headers_are_written_as_the_propagator_writes_them(given_headers, context):
    assert headers._propagation().is_default
    assert headers.inject(given_headers, context) == long_way(headers.inject, given_headers, context)


@given(user_headers, contexts, span_contexts)
def test_headers_of_another_span_are_written_as_the_propagator_writes_them(given_headers, context, span):
    arguments = (given_headers, context, NonRecordingSpan(span))
    assert headers.inject(*arguments) == long_way(headers.inject, *arguments)


traceparents = st.one_of(
    st.binary(max_size=60),
    st.from_regex(rb"\A(00|01|ff)-[0-9a-fA-F]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?\Z"),
    st.sampled_from([b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01", b" 00-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01 "]),
)


def found(context):
    return trace.get_current_span(context).get_span_context(), dict(baggage.get_all(context))


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "a"]), traceparents)), st.booleans())
def test_headers_are_read_as_the_propagator_reads_them(pairs, with_baggage):
    pairs = [*pairs, ("baggage", b"k=v")] if with_baggage else pairs
    assert found(headers.extract(pairs)) == found(long_way(headers.extract, pairs))


# --- certainties ---

UNSAMPLED = [SpanContext(0xA1, 0xB2, remote, TraceFlags(flags)) for remote in (True, False) for flags in (0, 2)]
SAMPLED = [SpanContext(0xA1, 0xB2, remote, TraceFlags(1)) for remote in (True, False)]
SAMPLERS = [
    ALWAYS_ON,
    ALWAYS_OFF,
    DEFAULT_ON,
    DEFAULT_OFF,
    TraceIdRatioBased(0.5),
    ParentBasedTraceIdRatio(0),
    ParentBased(ALWAYS_ON, local_parent_not_sampled=ALWAYS_ON),
    ParentBased(ALWAYS_ON, remote_parent_not_sampled=AlwaysRecordSampler(ALWAYS_OFF)),
    ParentBased(ALWAYS_OFF, remote_parent_sampled=ALWAYS_OFF),
    AlwaysRecordSampler(DEFAULT_OFF),
    StaticSampler(Decision.RECORD_ONLY),
]


@pytest.mark.parametrize("parent", [INVALID_SPAN_CONTEXT, *UNSAMPLED, *SAMPLED])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.get_description())
def test_what_is_certain_to_be_dropped_is_dropped_by_the_sampler_and_propagates_the_same_trace(sampler, parent):
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    certain = telemetry.Telemetry(provider).dropped(parent)
    context = trace.set_span_in_context(NonRecordingSpan(parent), Context()) if parent.is_valid else Context()
    span = provider.get_tracer("x").start_span("x", context)
    if certain is not None:
        certain = SpanContext(*certain[:5])
        asked = span.get_span_context()
        assert not span.is_recording()
        assert (certain.trace_flags, certain.trace_state) == (asked.trace_flags, asked.trace_state)
        assert certain.is_valid
        assert (certain.trace_id == asked.trace_id) is parent.is_valid
    else:
        # The common ones are known.
        assert not (parent in UNSAMPLED and sampler in (ALWAYS_OFF, DEFAULT_ON, DEFAULT_OFF))
        assert not (parent is INVALID_SPAN_CONTEXT and sampler in (ALWAYS_OFF, DEFAULT_OFF))


def test_a_sampler_of_the_user_s_is_always_asked(use):
    asked = []

    class Mine(ParentBased):
        def should_sample(self, *arguments, **keywords):
            asked.append(1)
            return super().should_sample(*arguments, **keywords)

    use(sampler=Mine(ALWAYS_ON))
    producer = Producer(MOCK)
    with trace.use_span(NonRecordingSpan(UNSAMPLED[0])):
        producer.produce("t", b"1")
    assert asked == [1]


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, DEFAULT_ON, TraceIdRatioBased(0)])
@pytest.mark.parametrize("with_baggage", [False, True])
def test_unsampled_records_carry_an_unsampled_context(use, broker, topic, fetch, sampler, with_baggage):
    use(sampler=sampler)
    producer = Producer({"bootstrap.servers": broker})
    context = trace.set_span_in_context(NonRecordingSpan(UNSAMPLED[2]), Context())
    token = trace.context_api.attach(baggage.set_baggage("k", "v", context) if with_baggage else context)
    producer.produce(topic, b"1", headers=[("a", b"1"), ("traceparent", b"old")])
    trace.context_api.detach(token)
    producer.flush()
    (_, a), (_, traceparent), *rest = fetch(topic)[0].headers()
    assert (a, rest) == (b"1", [("baggage", b"k=v")] if with_baggage else [])
    version, trace_id, _, flags = traceparent.decode().split("-")
    assert (version, int(trace_id, 16), flags) == ("00", 0xA1, "00")


def test_before_a_provider_is_set_nothing_is_recorded_and_the_first_one_is_found(monkeypatch):
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    waiting = telemetry.Telemetry()
    assert not waiting.start_span("a", Context(), trace.SpanKind.PRODUCER, {}).is_recording()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(sampler=DEFAULT_ON, shutdown_on_exit=False))
    assert waiting.start_span("a", Context(), trace.SpanKind.PRODUCER, {}).is_recording()
    assert waiting.dropped(UNSAMPLED[0]) is UNSAMPLED[0]


# --- configuration ---


@pytest.mark.parametrize(
    ("servers", "address"),
    [
        ("broker:9093", ("broker", 9093)),
        ("broker", ("broker", 9092)),
        (" broker:9093 ,", ("broker", 9093)),
        ("SASL_SSL://broker:9093", ("broker", 9093)),
        ("[::1]:9093", ("::1", 9093)),
        ("one:1,two:2", None),
        ("", None),
        (None, None),
        ("broker:port", None),
    ],
)
def test_the_only_broker_is_the_server(servers, address):
    attributes = client_attributes({"bootstrap.servers": servers})
    expected = {} if address is None else {"server.address": address[0], "server.port": address[1]}
    assert attributes == expected


def test_group_and_client_id_are_attributes():
    assert client_attributes({"group.id": "g", "client.id": "c", "metadata.broker.list": "b"}) == {
        "messaging.consumer.group.name": "g",
        "messaging.client.id": "c",
        "server.address": "b",
        "server.port": 9092,
    }


def test_topics_are_remembered_within_bounds():
    operation = send_operation({})
    for number in range(3000):
        operation[f"t{number}"]
    assert len(operation) <= 1000
    assert operation["t0"].name == "send t0"
