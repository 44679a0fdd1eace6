"""What is short-cut gives what the long way gives; and what a configuration says becomes attributes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka_support import MOCK
from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
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

from otel_kfs import __version__
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
RATIOS = (TraceIdRatioBased, ParentBasedTraceIdRatio)
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
        assert certain.trace_id == asked.trace_id
    else:
        # The common ones are known.
        assert not (parent in UNSAMPLED and sampler in (ALWAYS_OFF, DEFAULT_ON, DEFAULT_OFF))


class Seeded(RandomIdGenerator):
    """The same ids again for each one with the same seed."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)

    def generate_trace_id(self):
        return self.random.getrandbits(128)


class NotRandom(Seeded):
    def is_trace_id_random(self):
        return False


def roots(sampler, count, ids):
    """(trace id, flags, state, whether recorded) of so many roots: ours, and those that the SDK starts itself."""
    ours = telemetry.Telemetry(TracerProvider(sampler=sampler, shutdown_on_exit=False, id_generator=ids()))
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False, id_generator=ids()).get_tracer("x")
    found = []
    for _ in range(count):
        fields, start_span = ours.draw_root()
        span = NonRecordingSpan(SpanContext(*fields[:5])) if fields else start_span("x", Context())
        found.append(span)
    return [
        [
            (of.trace_id, of.is_remote, of.trace_flags, of.trace_state, span.is_recording())
            for span in spans
            for of in [span.get_span_context()]
        ]
        for spans in (found, [tracer.start_span("x", Context()) for _ in range(count)])
    ]


@pytest.mark.parametrize("ids", [Seeded, NotRandom])
@pytest.mark.parametrize(
    "sampler",
    [ALWAYS_OFF, DEFAULT_OFF, *(kind(rate) for kind in RATIOS for rate in (0, 1e-3, 0.1, 0.5, 1 - 1e-9))],
    ids=lambda sampler: sampler.get_description() if hasattr(sampler, "get_description") else None,
)
def test_a_root_is_kept_or_dropped_as_the_sdk_does_for_the_same_trace_id(sampler, ids):
    ours, the_sdks = roots(sampler, 2000, ids)
    assert ours == the_sdks


@pytest.mark.parametrize("kind", RATIOS)
@pytest.mark.parametrize("rate", [0.02, 0.3, 0.75])
def test_as_many_roots_are_kept_as_the_ratio_says(kind, rate):
    count = 20_000
    ours, _ = roots(kind(rate), count, Seeded)
    kept = sum(recorded for *_, recorded in ours)
    assert abs(kept - rate * count) < 4 * (count * rate * (1 - rate)) ** 0.5


@pytest.mark.parametrize("low_bits", [-1, 0, 1])
def test_the_bound_of_a_ratio_is_the_sdk_s_to_the_last_bit(low_bits):
    sampler = TraceIdRatioBased(0.3)

    class AtTheBound(RandomIdGenerator):
        def generate_trace_id(self):
            return (7 << 64) + sampler.bound + low_bits

    ours, the_sdks = roots(sampler, 1, AtTheBound)
    assert ours == the_sdks
    assert ours[0][-1] is (low_bits == -1)


class MyRatio(TraceIdRatioBased):
    pass


@pytest.mark.parametrize(
    "sampler",
    [
        ALWAYS_ON,
        DEFAULT_ON,
        TraceIdRatioBased(1),
        MyRatio(0.5),
        ParentBased(MyRatio(0.5)),
        AlwaysRecordSampler(TraceIdRatioBased(0.5)),
        ParentBased(AlwaysRecordSampler(TraceIdRatioBased(0.5))),
        StaticSampler(Decision.RECORD_ONLY),
    ],
    ids=lambda sampler: sampler.get_description(),
)
def test_roots_of_any_other_sampler_are_left_to_it(sampler):
    assert not telemetry.Telemetry(TracerProvider(sampler=sampler, shutdown_on_exit=False)).draws_roots


def test_the_tracer_that_the_provider_shares_keeps_its_own_ids():
    provider = TracerProvider(sampler=TraceIdRatioBased(0.5), shutdown_on_exit=False)
    ours = telemetry.Telemetry(provider)
    while ours.draw_root()[0] is not None:
        pass
    assert provider.get_tracer(telemetry.SCOPE, __version__, telemetry.SCHEMA_URL).id_generator is provider.id_generator


def test_a_kept_root_s_record_carries_the_span_that_was_exported(use, broker, topic, fetch):
    exporter = use(sampler=ParentBasedTraceIdRatio(0.5))
    producer = Producer({"bootstrap.servers": broker})
    for _ in range(40):
        producer.produce(topic, b"1")
    producer.flush()
    contexts = [trace.get_current_span(headers.extract(r.headers())).get_span_context() for r in fetch(topic, 40)]
    sampled = {(of.trace_id, of.span_id) for of in contexts if of.trace_flags.sampled}
    assert sampled == {(span.context.trace_id, span.context.span_id) for span in exporter.get_finished_spans()}
    assert len({of.trace_id for of in contexts}) == 40
    assert 0 < len(sampled) < 40


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
