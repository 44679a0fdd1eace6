"""`processing`: the body of a loop is a `process` span, and nothing is attached between records."""

import gc
import logging
import threading

import confluent_kafka
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from otel_kfs.kafka import Producer, process, processing

pytestmark = pytest.mark.kafka

TRACER = trace.get_tracer("a test")


@pytest.fixture
def filled(broker, topic):
    """A topic with two records."""
    producer = Producer({"bootstrap.servers": broker})
    for value in (b"0", b"1"):
        producer.produce(topic, value)
    producer.flush()
    return topic


def named(spans, name):
    return [span for span in spans.get_finished_spans() if span.name == name]


def test_each_body_is_a_span_and_the_polling_is_not(spans, open_consumer, filled):
    attached = []

    class Watched:
        """A consumer that notes the current span of each poll."""

        def __init__(self, consumer):
            self._kfs = consumer._kfs
            self.real = consumer

        def poll(self, timeout):
            attached.append(trace.get_current_span())
            return self.real.poll(timeout)

    for record in processing(Watched(open_consumer(filled)), 1):
        with TRACER.start_as_current_span(f"work {record.offset()}"):
            pass
    sent, done = named(spans, f"send {filled}"), named(spans, f"process {filled}")
    assert [span.parent.span_id for span in done] == [span.context.span_id for span in sent]
    assert [named(spans, f"work {n}")[0].parent.span_id for n in (0, 1)] == [span.context.span_id for span in done]
    assert attached == [trace.INVALID_SPAN] * 3
    assert done[0].attributes["messaging.consumer.group.name"] == "a group"
    assert done[0].attributes["server.address"] == "127.0.0.1"


def test_the_iteration_ends_when_nothing_comes(open_consumer, topic):
    assert list(processing(open_consumer(topic), 0.05)) == []


def test_a_break_ends_the_span(spans, open_consumer, filled):
    before = otel_context.get_current()
    for _ in processing(open_consumer(filled), 30):
        break
    gc.collect()
    assert len(named(spans, f"process {filled}")) == 1
    assert otel_context.get_current() == before


def test_an_exception_passes_through_and_ends_the_span(spans, open_consumer, filled):
    before = otel_context.get_current()

    def divide():
        for _ in processing(open_consumer(filled), 30):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        divide()
    gc.collect()
    assert [span.status.status_code for span in named(spans, f"process {filled}")] == [StatusCode.UNSET]
    assert otel_context.get_current() == before


def test_a_with_around_the_loop_marks_the_span_of_the_exception(spans, open_consumer, filled):
    def divide():
        with processing(open_consumer(filled), 30) as records:
            for record in records:
                if record.offset() == 1:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        divide()
    assert [span.attributes.get("error.type") for span in named(spans, f"process {filled}")] == [
        None,
        "ZeroDivisionError",
    ]


def test_with_links_each_record_is_a_trace_of_its_own(spans, open_consumer, filled):
    for _ in processing(open_consumer(filled), 1, links=True):
        pass
    sent, done = named(spans, f"send {filled}"), named(spans, f"process {filled}")
    assert [span.parent for span in done] == [None, None]
    assert [[link.context.span_id for link in span.links] for span in done] == [[span.context.span_id] for span in sent]


def test_what_comes_in_the_place_of_a_record_is_handed_over_without_a_span(spans, open_consumer, topic):
    records = processing(open_consumer(topic, config={"enable.partition.eof": True}), 30)
    record = next(records)
    assert record.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
    records.close()
    assert spans.get_finished_spans() == ()


def test_an_iterator_that_dies_in_another_thread_logs_nothing(spans, open_consumer, filled, caplog):
    held = [processing(open_consumer(filled), 30)]
    next(held[0])
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert len(named(spans, f"process {filled}")) == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    otel_context.attach(otel_context.Context())


def test_an_error_in_the_place_of_a_record_marks_its_processing(spans):
    error = confluent_kafka.KafkaError(confluent_kafka.KafkaError._AUTO_OFFSET_RESET, "no such offset")
    with process(confluent_kafka.Message(topic="t", partition=0, offset=1, error=error)):
        pass
    (done,) = named(spans, "process t")
    assert (done.status.status_code, done.status.description) == (StatusCode.ERROR, "no such offset")
    assert done.attributes["error.type"] == "_AUTO_OFFSET_RESET"


def test_a_consumer_of_the_real_class_can_be_processed_too(spans, broker, filled):
    plain = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": "g", "fetch.wait.max.ms": 10})
    plain.assign([confluent_kafka.TopicPartition(filled, 0, 0)])
    assert [record.value() for record in processing(plain, 1)] == [b"0", b"1"]
    plain.close()
    assert len(named(spans, f"process {filled}")) == 2
