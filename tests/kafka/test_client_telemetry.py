"""What is short-cut gives what the long way gives; and what a configuration says becomes attributes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_kfs.kafka import client_telemetry, headers
from otel_kfs.kafka.attributes import client_attributes, send_operation
from otel_kfs.telemetry.safe_tracer import SafePropagator

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


def test_the_default_propagator_is_short_cut_where_it_is_guarded_too(monkeypatch):
    default = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", SafePropagator(default))
    assert headers._propagation().is_default


# --- the provider ---


def test_before_a_provider_is_set_nothing_is_recorded_and_the_first_one_is_found(monkeypatch):
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    waiting = client_telemetry.ClientTelemetry()
    assert waiting.root() == (None, waiting.start_span)
    assert not waiting.start_span("a", Context(), trace.SpanKind.PRODUCER, {}).is_recording()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    waiting.start_span("a", Context(), trace.SpanKind.PRODUCER, {})
    assert waiting.root()[0] is not None


class Wrapper(trace.Tracer):
    """A tracer of somebody else's around the SDK's, with whatever that has."""

    def __init__(self, tracer):
        self.tracer = tracer
        self.sampler = tracer.sampler
        self.id_generator = tracer.id_generator

    def start_span(self, *args, **kwargs):
        return self.tracer.start_span(*args, **kwargs)

    start_as_current_span = start_span


def test_a_tracer_that_is_not_the_sdk_s_own_is_asked(monkeypatch):
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    monkeypatch.setattr(provider, "get_tracer", lambda *_, **__: Wrapper(tracer))
    tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("x")
    ours = client_telemetry.ClientTelemetry(provider)
    assert ours.root() == ours.child(INVALID_SPAN_CONTEXT) == (None, ours.start_span)
    assert ours.start_root == ours.start_span


def test_where_nothing_can_be_foreseen_the_tracer_is_asked_and_that_is_logged(monkeypatch, caplog):
    def fail(_):
        raise AttributeError("no sampler in this version")

    monkeypatch.setattr(client_telemetry, "Foresight", fail)
    ours = client_telemetry.ClientTelemetry(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    assert ours.root() == (None, ours.start_span)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["telemetry failed (Kafka's sampling)"]


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
