"""Telemetry never breaks its user: what fails in it is logged once, and the call goes on as the real class's would."""

import logging

import confluent_kafka
import pytest
from broken_telemetry_support import Broken, BrokenFields, BrokenPropagator, BrokenSampler, fail, processor
from kafka_support import MOCK
from opentelemetry import context as otel_context
from opentelemetry import propagate
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otel_kfs.kafka import Producer, process, processing
from otel_kfs.kafka.process_spans import process_span

pytestmark = pytest.mark.kafka


class BrokenExporter(SpanExporter):
    export = fail


class BrokenIds:
    generate_trace_id = generate_span_id = is_trace_id_random = fail


PARTS = {
    "sampler": {"sampler": BrokenSampler()},
    "ids": {"id_generator": BrokenIds()},
    "span start": {"processor": processor(on_start=fail)},
    "span end": {"processor": processor(on_end=fail)},
    "exporter": {"processor": SimpleSpanProcessor(BrokenExporter())},
    "propagator": {},
    "propagator's fields": {},
    "metrics": {},
}


@pytest.fixture(params=PARTS)
def broken(request, use, monkeypatch):
    """Breaks one part."""
    use(**{"sampler": ALWAYS_ON, **PARTS[request.param]})
    if request.param.startswith("propagator"):
        part = BrokenFields() if "fields" in request.param else BrokenPropagator()
        monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", part)
    if request.param == "metrics":
        for method in ("operation", "process", "sent", "consumed"):
            monkeypatch.setattr(f"otel_kfs.kafka.metrics.Metrics.{method}", fail)
        monkeypatch.setattr("otel_kfs.kafka.metrics.Metrics.enabled", True)
    return request.param


@pytest.fixture
def filled(broker, topic):
    """A topic with three records of the real producer."""
    plain = confluent_kafka.Producer({"bootstrap.servers": broker})
    for value in (b"0", b"1", b"2"):
        plain.produce(topic, value, headers={"traceparent": f"00-{1:032x}-{2:016x}-01"})
    plain.flush()
    return topic


def ours(caplog):
    """Our log entries of failures, by what failed."""
    # The telemetry that fails is set up with it, and may fail there already.
    records = [*caplog.get_records("setup"), *caplog.records]
    return [record.getMessage() for record in records if record.name.startswith("otel_kfs")]


def test_records_are_sent_and_reported_as_ever(broken, broker, topic, fetch, caplog):
    reports = []
    producer = Producer({"bootstrap.servers": broker})
    for _ in range(3):
        producer.produce(topic, b"1", headers={"a": b"1"}, on_delivery=lambda *report: reports.append(report))
    assert producer.flush() == 0
    assert [error for error, _ in reports] == [None] * 3
    assert [record.headers()[0] for record in fetch(topic, 3)] == [("a", b"1")] * 3
    assert len(producer._kfs.undelivered) == 0
    # The exporter's failure is the SDK's own to log.
    assert len(ours(caplog)) == (0 if broken == "exporter" else 1)


def test_a_batch_is_sent_and_reported_as_ever(broken, caplog):
    reports = []
    producer = Producer(MOCK)
    for _ in range(2):
        messages = [{"value": b"1", "callback": lambda *report: reports.append(report)}, {"value": b"2"}]
        assert producer.produce_batch("t", messages) == 2
    producer.flush()
    assert [error for error, _ in reports] == [None] * 2
    assert len(ours(caplog)) <= 1


def test_an_error_of_the_library_passes_unchanged(broken):
    raised = []
    for cls in (confluent_kafka.Producer, Producer):
        with pytest.raises(confluent_kafka.KafkaException) as error:
            cls(MOCK).produce("t", bytes(2_000_000))
        raised.append(error.value.args[0].str())
    assert raised[0] == raised[1]


def test_an_exception_of_a_callback_passes_unchanged(broken):
    failure = ValueError("the user's own")

    def callback(*_):
        raise failure

    producer = Producer(MOCK)
    producer.produce("t", b"1", on_delivery=callback)
    with pytest.raises(ValueError, match="the user's own") as raised:
        producer.flush()
    assert raised.value is failure


def test_records_are_polled_and_consumed_as_ever(broken, open_consumer, filled, caplog):
    consumer = open_consumer(filled)
    records = [consumer.poll(30)]
    while len(records) < 3:
        records += consumer.consume(3 - len(records), 1)
    assert [record.value() for record in records] == [b"0", b"1", b"2"]
    assert len(ours(caplog)) <= 1


def test_records_are_processed_as_ever(broken, open_consumer, filled, caplog):
    consumer = open_consumer(filled)
    before = otel_context.get_current()
    done = []
    for record in processing(consumer, 1):
        done.append(record.value())
        with process(record):
            done.append(record.offset())
    assert done == [b"0", 0, b"1", 1, b"2", 2]
    assert otel_context.get_current() == before
    messages = ours(caplog)
    assert len(messages) == len(set(messages)) <= 2


def test_an_exception_in_processing_passes_unchanged(broken, open_consumer, filled):
    failure = ValueError("the user's own")
    record = open_consumer(filled).poll(30)
    with pytest.raises(ValueError, match="the user's own") as raised, process(record):
        raise failure
    assert raised.value is failure


def test_a_failure_is_logged_with_its_traceback_and_once(use, caplog):
    use(sampler=BrokenSampler())
    producer = Producer(MOCK)
    for _ in range(5):
        producer.produce("t", b"1")
    producer.flush()
    (entry,) = [record for record in caplog.records if record.name == "otel_kfs.telemetry.safe_tracer"]
    assert (entry.levelno, entry.exc_info[0]) == (logging.ERROR, Broken)


class Hostile(dict):
    """Headers that the client takes, and that fail when anybody else looks."""

    items = fail


def test_hostile_headers_reach_the_client_as_they_are(caplog):
    results = []
    for cls in (confluent_kafka.Producer, Producer):
        producer = cls(MOCK)
        producer.produce("t", b"1", headers=Hostile(a=b"1"))
        results.append(producer.flush())
    assert results == [0, 0]
    assert len(ours(caplog)) == 1


@pytest.mark.parametrize("headers", [3, "a", (("a", b"1"),), [("a",)], [3], {"a": 1}, iter([])])
def test_headers_that_the_client_refuses_raise_what_it_raises(headers):
    raised = []
    for cls in (confluent_kafka.Producer, Producer):
        with pytest.raises(TypeError) as error:
            cls(MOCK).produce("t", b"1", headers=headers)
        raised.append(str(error.value))
    assert raised[0].split(" at ")[0] == raised[1].split(" at ")[0]


def test_keys_that_are_no_text_are_taken_as_the_client_takes_them(broker, topic, fetch):
    for cls in (confluent_kafka.Producer, Producer):
        producer = cls({"bootstrap.servers": broker})
        producer.produce(topic, b"1", headers={1: b"1"})
        producer.flush()
    plain, ours = (record.headers()[0] for record in fetch(topic, 2))
    assert plain == ours == ("1", b"1")


@pytest.mark.parametrize(("no_record", "kind"), [([confluent_kafka.Message("t")], "list"), (None, "NoneType")])
def test_what_is_no_record_is_processed_without_a_span_and_that_is_said_once(spans, caplog, no_record, kind):
    process_span._say_no_record.cache_clear()
    done = []
    for _ in range(2):
        with process(no_record) as span:
            span.set_attribute("a", 1)
            done.append(no_record)
    with pytest.raises(ValueError, match="the user's own"), process(no_record):
        raise ValueError("the user's own")
    assert (done, spans.get_finished_spans()) == ([no_record] * 2, ())
    assert ours(caplog) == [
        f"process() takes one record, not {kind}, and leaves no span here: call it only when poll() has returned "
        "one; the records that consume() returns are for process_batch() (logged once)"
    ]


def test_hostile_configuration_is_the_client_s_to_judge():
    class Group:
        def __str__(self):
            raise Broken

    for cls in (confluent_kafka.Producer, Producer):
        with pytest.raises((Broken, TypeError, confluent_kafka.KafkaException)):
            cls({"bootstrap.servers": "x", "client.id": Group()})


def test_a_record_s_hostile_headers_are_processed(spans, open_consumer, broker, topic):
    plain = confluent_kafka.Producer({"bootstrap.servers": broker})
    hostile = [("traceparent", b"\xff"), ("traceparent", None), ("tracestate", b"=,=,="), ("baggage", b"%%%;;==,\x00")]
    plain.produce(topic, b"1", headers=[*hostile, ("baggage", b"k=" + b"v" * 9000), ("traceparent", b"0" * 99)])
    plain.flush()
    with process(open_consumer(topic).poll(30)) as span:
        assert span.is_recording()
