"""What is certain to be dropped or kept is what the sampler would have decided, and the sampler is not asked."""

import random
import threading

import pytest
from kafka_support import MOCK
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
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
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
)

from otel_kfs import __version__
from otel_kfs.kafka import Producer, client_telemetry, headers, process
from otel_kfs.kafka.send_span import ProducerTelemetry

pytestmark = pytest.mark.kafka


class MyRatio(TraceIdRatioBased):
    """A sampler of the user's."""


class Mine(ParentBased):
    """Another one."""

    def should_sample(self, *arguments, **keywords):
        return super().should_sample(*arguments, **keywords)


LOW, HIGH = 0xA1, (7 << 64) + (1 << 64) - 5  # trace ids that any ratio keeps, and that none does
STATE = TraceState([("vendor", "1")])
PARENTS = [
    INVALID_SPAN_CONTEXT,
    SpanContext(0, 0, is_remote=True, trace_flags=TraceFlags(1), trace_state=STATE),
    *(
        SpanContext(trace_id, 0xB2, remote, TraceFlags(flags), state)
        for trace_id in (LOW, HIGH)
        for remote in (True, False)
        for flags in range(4)
        for state in (None, STATE)
    ),
]
FORESEEN = [
    ALWAYS_ON,
    ALWAYS_OFF,
    DEFAULT_ON,
    DEFAULT_OFF,
    StaticSampler(Decision.DROP),
    *(kind(rate) for kind in (TraceIdRatioBased, ParentBasedTraceIdRatio) for rate in (0, 1e-3, 0.5, 1 - 1e-9, 1)),
    ParentBased(ALWAYS_ON, local_parent_not_sampled=ALWAYS_ON),
    ParentBased(ALWAYS_ON, remote_parent_not_sampled=TraceIdRatioBased(0.5)),
    ParentBased(ALWAYS_OFF, remote_parent_sampled=ALWAYS_OFF),
    ParentBased(DEFAULT_OFF, local_parent_sampled=ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF)),
]
ASKED = [
    MyRatio(0.5),
    Mine(ALWAYS_ON),
    AlwaysRecordSampler(DEFAULT_OFF),
    AlwaysRecordSampler(TraceIdRatioBased(0.5)),
    StaticSampler(Decision.RECORD_ONLY),
]
HALF_FORESEEN = [
    ParentBased(MyRatio(0.5)),
    ParentBased(AlwaysRecordSampler(TraceIdRatioBased(0.5))),
    ParentBased(ALWAYS_ON, remote_parent_not_sampled=AlwaysRecordSampler(ALWAYS_OFF)),
]


def described(sampler):
    return f"{type(sampler).__name__}-{sampler.get_description()}"


class Seeded(RandomIdGenerator):
    """The same ids again for each one with the same seed."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)

    def generate_trace_id(self):
        return self.random.getrandbits(128)

    def generate_span_id(self):
        return self.random.getrandbits(64)


class NotRandom(Seeded):
    def is_trace_id_random(self):
        return False


def provider_with(sampler, ids=Seeded):
    return TracerProvider(sampler=sampler, shutdown_on_exit=False, id_generator=ids())


def in_context(parent):
    """Of an invalid span context that is not the usual one, too."""
    span = NonRecordingSpan(parent)
    return Context() if parent is INVALID_SPAN_CONTEXT else trace.set_span_in_context(span, Context())


def contents(span):
    """All of a span that the sampler and the ids decide about, and what it is exported with."""
    of = span.get_span_context()
    trace_of = (of.trace_id, of.is_remote, of.trace_flags, of.trace_state)
    if not span.is_recording():
        return trace_of
    links = [link.context for link in span.links]
    exported = (span.name, span.kind, span.parent, dict(span.attributes), links, span.resource)
    return *trace_of, of.span_id, *exported


def as_ours(now, parent):
    """The span of a child of `parent`, or what is propagated in its place; and whether the sampler was not asked."""
    dropped, start_span = now.child(parent)
    if dropped is not None:
        return NonRecordingSpan(SpanContext(*dropped[:5])), True
    return start(start_span, parent), start_span != now.start_span


def start(start_span, parent):
    return start_span("x", in_context(parent), SpanKind.PRODUCER, {"a": 1}, links=[Link(PARENTS[-1])])


@pytest.mark.parametrize("ids", [Seeded, NotRandom])
@pytest.mark.parametrize("sampler", [*FORESEEN, *ASKED, *HALF_FORESEEN], ids=described)
def test_each_span_is_kept_or_dropped_as_the_sdk_does(sampler, ids):
    now, tracer = (
        client_telemetry.ClientTelemetry(provider_with(sampler, ids)),
        provider_with(sampler, ids).get_tracer("x"),
    )
    for seed in range(20):
        for parent in PARENTS:
            # The same ids for both, whatever one of them has left undone before.
            now._tracer.id_generator.random.seed(seed)
            tracer.id_generator.random.seed(seed)
            ours, unasked = as_ours(now, parent)
            assert contents(ours) == contents(start(tracer.start_span, parent))
            assert ours.get_span_context().is_valid
            assert unasked or sampler in (*ASKED, *HALF_FORESEEN)
            assert not (unasked and sampler in ASKED)


@pytest.mark.parametrize("parent", [parent for parent in PARENTS if parent.is_valid])
def test_a_dropped_child_propagates_its_parent_s_ids(parent):
    dropped, _ = client_telemetry.ClientTelemetry(provider_with(ALWAYS_OFF)).child(parent)
    assert dropped[:2] == (parent.trace_id, parent.span_id)


@pytest.mark.parametrize("ids", [Seeded, NotRandom])
@pytest.mark.parametrize(
    "sampler", [sampler for sampler in FORESEEN if sampler.get_description() != "AlwaysOnSampler"], ids=described
)
def test_roots_are_kept_or_dropped_as_the_sdk_does_one_after_the_other(sampler, ids):
    now, tracer = (
        client_telemetry.ClientTelemetry(provider_with(sampler, ids)),
        provider_with(sampler, ids).get_tracer("x"),
    )
    for _ in range(2000):
        ours, _ = as_ours(now, INVALID_SPAN_CONTEXT)
        assert contents(ours) == contents(start(tracer.start_span, INVALID_SPAN_CONTEXT))


@pytest.mark.parametrize("sampler", FORESEEN, ids=described)
def test_what_starts_any_root_is_there_where_all_roots_are_alike(sampler):
    now = client_telemetry.ClientTelemetry(provider_with(sampler))
    alike = {described(s) for s in (ALWAYS_ON, DEFAULT_ON, TraceIdRatioBased(1), ParentBasedTraceIdRatio(1))}
    alike |= {described(s) for s in FORESEEN if s.get_description().startswith("ParentBased{root:AlwaysOnSampler")}
    assert (now.start_root is not None) == (described(sampler) in alike)
    if now.start_root is not None:
        assert now.root() == (None, now.start_root)


@pytest.mark.parametrize("kind", [TraceIdRatioBased, ParentBasedTraceIdRatio])
@pytest.mark.parametrize("rate", [0.02, 0.3, 0.75])
def test_as_many_roots_are_kept_as_the_ratio_says(kind, rate):
    count = 20_000
    now = client_telemetry.ClientTelemetry(provider_with(kind(rate)))
    kept = sum(now.root()[0] is None for _ in range(count))
    assert abs(kept - rate * count) < 4 * (count * rate * (1 - rate)) ** 0.5


@pytest.mark.parametrize("low_bits", [-1, 0, 1])
def test_the_bound_of_a_ratio_is_the_sdk_s_to_the_last_bit(low_bits):
    sampler = TraceIdRatioBased(0.3)

    class AtTheBound(RandomIdGenerator):
        def generate_trace_id(self):
            return (7 << 64) + sampler.bound + low_bits

    ours, _ = as_ours(client_telemetry.ClientTelemetry(provider_with(sampler, AtTheBound)), INVALID_SPAN_CONTEXT)
    assert ours.is_recording() is (low_bits == -1)
    assert ours.is_recording() is provider_with(sampler, AtTheBound).get_tracer("x").start_span("x").is_recording()


def test_each_thread_s_root_has_the_id_that_this_thread_has_drawn():
    now = client_telemetry.ClientTelemetry(provider_with(TraceIdRatioBased(0.9), RandomIdGenerator))
    both_have_drawn = threading.Barrier(2)
    found = []

    def draw():
        dropped, start_span = now.root()
        while dropped is not None:
            dropped, start_span = now.root()
        both_have_drawn.wait()
        found.append(start(start_span, INVALID_SPAN_CONTEXT).get_span_context().trace_id)

    threads = [threading.Thread(target=draw) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 2


@pytest.mark.parametrize("sampler", [ALWAYS_ON, TraceIdRatioBased(1 - 1e-9)], ids=described)
def test_what_changes_in_the_tracer_changes_in_its_twin(sampler):
    provider = provider_with(sampler)
    now = client_telemetry.ClientTelemetry(provider)
    provider._update_resource(Resource({"process.pid": "the child's"}))  # as after a fork
    ours, unasked = as_ours(now, INVALID_SPAN_CONTEXT)
    assert (unasked, ours.resource.attributes["process.pid"]) == (True, "the child's")


def test_the_tracer_that_the_provider_shares_keeps_its_own_ids_and_sampler():
    provider = provider_with(TraceIdRatioBased(0.5))
    as_ours(client_telemetry.ClientTelemetry(provider), INVALID_SPAN_CONTEXT)
    tracer = provider.get_tracer(client_telemetry.SCOPE, __version__, client_telemetry.SCHEMA_URL)
    assert (tracer.id_generator, tracer.sampler) == (provider.id_generator, provider.sampler)


# --- in use ---


def traceparent(record):
    """Trace id and flags of a record's header."""
    version, trace_id, _, flags = dict(record.headers())["traceparent"].decode().split("-")
    assert version == "00"
    return int(trace_id, 16), flags


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

    class Counting(ParentBased):
        def should_sample(self, *arguments, **keywords):
            asked.append(1)
            return super().should_sample(*arguments, **keywords)

    use(sampler=Counting(ALWAYS_ON))
    producer = Producer(MOCK)
    producer.produce("t", b"1")
    with trace.use_span(NonRecordingSpan(SpanContext(LOW, 0xB2, is_remote=False))):
        producer.produce("t", b"1")
    assert asked == [1, 1]


@pytest.mark.parametrize("flags", [0, 1])
@pytest.mark.parametrize("sampler", [ALWAYS_OFF, TraceIdRatioBased(0)], ids=described)
@pytest.mark.parametrize("with_baggage", [False, True])
def test_dropped_records_carry_their_parent_s_trace_unsampled(
    use, broker, topic, fetch, monkeypatch, sampler, flags, with_baggage
):
    exporter = use(sampler=sampler)
    monkeypatch.setattr(type(sampler), "should_sample", lambda *_, **__: pytest.fail("the sampler was asked"))
    producer = Producer({"bootstrap.servers": broker})
    parent = NonRecordingSpan(SpanContext(HIGH, 0xB2, is_remote=True, trace_flags=TraceFlags(flags)))
    context = trace.set_span_in_context(parent, Context())
    token = trace.context_api.attach(baggage.set_baggage("k", "v", context) if with_baggage else context)
    producer.produce(topic, b"1", headers=[("a", b"1"), ("traceparent", b"old")])
    trace.context_api.detach(token)
    producer.flush()
    (record,) = fetch(topic)
    assert traceparent(record) == (HIGH, "00")
    keys = [key for key, _ in record.headers()]
    assert keys == ["a", "traceparent", "baggage"] if with_baggage else ["a", "traceparent"]
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, DEFAULT_OFF, TraceIdRatioBased(0)], ids=described)
def test_dropped_roots_carry_traces_of_their_own_unsampled(use, broker, topic, fetch, sampler):
    use(sampler=sampler)
    producer = Producer({"bootstrap.servers": broker})
    for _ in range(2):
        producer.produce(topic, b"1")
    producer.flush()
    found = [traceparent(record) for record in fetch(topic, 2)]
    assert [flags for _, flags in found] == ["02", "02"]  # not sampled; the id is random
    assert len({trace_id for trace_id, _ in found}) == 2


@pytest.mark.parametrize("links", [False, True])
@pytest.mark.parametrize("sampled", [0, 1])
def test_inside_a_dropped_process_an_unsampled_local_span_is_current(
    use, open_consumer, send_raw, topic, links, sampled
):
    exporter = use(sampler=ALWAYS_OFF)
    send_raw(b"1", {"traceparent": f"00-{LOW:032x}-{0xB2:016x}-0{sampled}", "baggage": "k=v"})
    with process(open_consumer(topic).poll(30), links=links) as span:
        assert trace.get_current_span() is span
        assert baggage.get_baggage("k") == "v"
        of = span.get_span_context()
    assert (of.is_valid, of.is_remote, of.trace_flags.sampled, span.is_recording()) == (True, False, False, False)
    assert (of.trace_id == LOW) is not links
    assert exporter.get_finished_spans() == ()
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_dropped_poll_makes_no_span_and_is_counted(use, broker, open_consumer, topic):
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    exporter = use(sampler=ALWAYS_OFF, meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    producer = Producer({"bootstrap.servers": broker})
    producer.produce(topic, b"1")
    producer.flush()
    assert open_consumer(topic).poll(30).value() == b"1"
    (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
    assert "messaging.client.consumed.messages" in {metric.name for metric in scope.metrics}
    assert exporter.get_finished_spans() == ()


def test_roots_that_are_all_dropped_have_new_ids_each_unless_another_generator_draws_them():
    flags = client_telemetry.ClientTelemetry(provider_with(ALWAYS_OFF, RandomIdGenerator)).dropped_roots
    written = [headers.inject_dropped_root(flags) for _ in range(100)]
    found = [headers.extract_span(one)[1].get_span_context() for one in written]
    assert all(one.is_valid and one.trace_flags == flags and not one.trace_flags.sampled for one in found)
    assert len({one.trace_id for one in found}) == len({one.span_id for one in found}) == 100
    assert [client_telemetry.ClientTelemetry(provider_with(*of)).dropped_roots for of in OTHERS] == [None] * len(OTHERS)


OTHERS = [(ALWAYS_OFF, Seeded), (ALWAYS_ON, RandomIdGenerator), (TraceIdRatioBased(0.5), RandomIdGenerator)]


@pytest.mark.parametrize("own", [None, {}, [], {"mine": "1"}])
def test_roots_that_are_all_dropped_propagate_whatever_headers_there_are(use, own):
    use(sampler=ALWAYS_OFF)
    report, written = ProducerTelemetry({}).start("t", b"1", None, own, print)
    assert (report, [key for key, _ in written]) == (print, [*(own or ()), "traceparent"])
