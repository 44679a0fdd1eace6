"""The user's sampler is asked for every span: headers and decisions are those of the SDK's own calls."""

import random

import confluent_kafka
import pytest
from kafka_support import MOCK
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext, TraceFlags, TraceState

from otel_kfs.kafka import Producer, client_telemetry, headers, process
from otel_kfs.kafka.send_span import PendingRecord, ProducerTelemetry

pytestmark = pytest.mark.kafka

RECORD_ONLY = StaticSampler(Decision.RECORD_ONLY)


class OtherArms(ParentBased):
    """A sampler of the user's: what a remote parent has dropped is sampled all the same."""

    def __init__(self):
        super().__init__(ALWAYS_OFF, remote_parent_not_sampled=ALWAYS_ON, local_parent_sampled=RECORD_ONLY)


class Changing(Sampler):
    """A sampler whose rate the program changes while it runs."""

    def __init__(self, rate=1.0):
        self.rate = rate

    def should_sample(self, *arguments, **keywords):
        return TraceIdRatioBased(self.rate).should_sample(*arguments, **keywords)

    def get_description(self):
        return "Changing"


LOW, HIGH = 0xA1, (7 << 64) + (1 << 64) - 5  # trace ids that any ratio keeps, and that none does
STATE = TraceState([("vendor", "1")])
PARENTS = [
    INVALID_SPAN_CONTEXT,
    *(
        SpanContext(trace_id, 0xB2, remote, TraceFlags(flags), state)
        for trace_id in (LOW, HIGH)
        for remote in (True, False)
        for flags in (0, 1)
        for state in (None, STATE)
    ),
]
SAMPLERS = [
    *(ALWAYS_ON, ALWAYS_OFF, DEFAULT_ON, DEFAULT_OFF, RECORD_ONLY),
    *(TraceIdRatioBased(0.5), ParentBasedTraceIdRatio(0.5), ParentBased(TraceIdRatioBased(0.5))),
    *(OtherArms(), Changing(0.5)),
]


def described(sampler):
    return f"{type(sampler).__name__}-{sampler.get_description()}"


class Seeded(RandomIdGenerator):
    """The same ids again for each one."""

    def __init__(self):
        self.random = random.Random(1)

    def generate_trace_id(self):
        return self.random.getrandbits(128)

    def generate_span_id(self):
        return self.random.getrandbits(64)


def provider_with(sampler, **more):
    return TracerProvider(sampler=sampler, shutdown_on_exit=False, id_generator=Seeded(), **more)


def ours(telemetry, parents):
    """The headers of a record sent below each parent, and whether its span records; then the same of processing it."""
    before = client_telemetry.use(telemetry)
    producer, found = ProducerTelemetry({}), []
    try:
        for parent in parents:
            with trace.use_span(NonRecordingSpan(parent)):
                report, written = producer.start("t", b"1", None, None, None)
            record = confluent_kafka.Message(topic="t", partition=0, offset=0, value=b"1", headers=written)
            with process(record) as span:
                below = (headers.inject(None), span.is_recording())
            found.append((written, isinstance(report, PendingRecord), *below))
    finally:
        client_telemetry.use(before)
    return found


def theirs(tracer, parents):
    """The same by the SDK's own `start_span` and `inject`."""

    def inject(span):
        carrier = {}
        propagate.inject(carrier, trace.set_span_in_context(span, Context()))
        return carrier, [(key, value.encode()) for key, value in carrier.items()]

    found = []
    for parent in parents:
        sent = tracer.start_span("send t", trace.set_span_in_context(NonRecordingSpan(parent), Context()))
        carrier, written = inject(sent)
        done = tracer.start_span("process t", propagate.extract(carrier, Context()))
        found.append((written, sent.is_recording(), inject(done)[1], done.is_recording()))
    return found


@pytest.mark.parametrize("sampler", SAMPLERS, ids=described)
def test_headers_and_decisions_are_those_of_the_sdk_s_own_start_span_and_inject(sampler):
    telemetry = client_telemetry.ClientTelemetry(provider_with(sampler))
    tracer = provider_with(sampler).get_tracer("x")
    assert ours(telemetry, PARENTS * 5) == theirs(tracer, PARENTS * 5)


@pytest.mark.skipif(not hasattr(TracerProvider, "_set_tracer_configurator"), reason="this SDK has no configurators")
@pytest.mark.parametrize("when", ["at start", "at run time"])
def test_a_tracer_that_a_configurator_disabled_leaves_the_caller_s_context_in_headers(when):
    from opentelemetry.sdk.trace import _disable_tracer_configurator as disabled

    sampled = [parent for parent in PARENTS if parent.trace_flags.sampled]
    found = []
    for run in (
        lambda provider: ours(client_telemetry.ClientTelemetry(provider), [INVALID_SPAN_CONTEXT, *sampled]),
        lambda provider: theirs(provider.get_tracer("x"), [INVALID_SPAN_CONTEXT, *sampled]),
    ):
        provider = provider_with(ALWAYS_ON, **({"_tracer_configurator": disabled} if when == "at start" else {}))
        before = [] if when == "at start" else run(provider)
        provider._set_tracer_configurator(tracer_configurator=disabled)
        found.append((before, run(provider)))
    assert found[0] == found[1]
    (none, _, _, _), *others = found[0][1]
    assert none == []
    assert [written[0][1][-3:] for written, *_ in others] == [b"-01"] * len(others)


def send_and_process():
    producer = Producer(MOCK)
    producer.produce("t", b"1")
    producer.flush()
    with process(confluent_kafka.Message(topic="t", partition=0, offset=0, value=b"1")):
        pass


@pytest.mark.parametrize("where", ["instance", "class"])
@pytest.mark.parametrize("kind", [TraceIdRatioBased, ParentBasedTraceIdRatio, Changing])
def test_a_should_sample_that_is_replaced_is_the_one_that_is_asked(use, monkeypatch, where, kind):
    sampler = kind(1.0)
    exporter = use(sampler=sampler)
    send_and_process()
    assert [span.name for span in exporter.get_finished_spans()] == ["send t", "process t"]
    owner = sampler if where == "instance" else kind
    monkeypatch.setattr(owner, "should_sample", lambda *_, **__: SamplingResult(Decision.DROP))
    send_and_process()
    assert len(exporter.get_finished_spans()) == 2


def test_a_rate_that_changes_while_the_program_runs_is_followed(use):
    sampler = Changing()
    exporter = use(sampler=sampler)
    found = []
    for sampler.rate in (1.0, 0.0, 1.0):
        exporter.clear()
        send_and_process()
        found.append(len(exporter.get_finished_spans()))
    assert found == [2, 0, 2]


def test_a_span_that_is_recorded_only_ends_with_its_report_and_is_not_exported(use):
    ended = []

    class Watching(SpanProcessor):
        def on_end(self, span):
            ended.append((span.name, span.attributes.get("messaging.kafka.offset")))

    exporter = use(sampler=RECORD_ONLY, processor=Watching())
    send_and_process()
    assert ended == [("send t", 0), ("process t", 0)]
    assert exporter.get_finished_spans() == ()


def test_the_sampler_is_asked_once_for_each_span_with_its_name_kind_and_attributes(use):
    asked = []

    class Watching(Changing):
        def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, *more, **keywords):
            asked.append((name, kind, attributes["messaging.operation.name"]))
            return super().should_sample(parent_context, trace_id, name, kind, attributes, *more, **keywords)

    use(sampler=Watching())
    send_and_process()
    assert asked == [("send t", trace.SpanKind.PRODUCER, "send"), ("process t", trace.SpanKind.CONSUMER, "process")]


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


@pytest.mark.parametrize("flags", [0, 1])
@pytest.mark.parametrize("sampler", [ALWAYS_OFF, TraceIdRatioBased(0)], ids=described)
@pytest.mark.parametrize("with_baggage", [False, True])
def test_dropped_records_carry_their_parent_s_trace_unsampled(use, broker, topic, fetch, sampler, flags, with_baggage):
    exporter = use(sampler=sampler)
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


@pytest.mark.parametrize("own", [None, {}, [], {"mine": "1"}])
def test_dropped_roots_propagate_beside_whatever_headers_there_are(use, own):
    use(sampler=ALWAYS_OFF)
    report, written = ProducerTelemetry({}).start("t", b"1", None, own, print)
    assert (report, [key for key, _ in written]) == (print, [*(own or ()), "traceparent"])
