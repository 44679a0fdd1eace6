"""`process_batch`: one `process` span of several records, linked to all of them; and loops over such batches."""

import asyncio

import confluent_kafka
import pytest
from kafka_support import named
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import SpanKind, StatusCode

from otel_kfs.kafka import Producer, client_telemetry, process_batch, processing

pytestmark = pytest.mark.kafka

END = confluent_kafka.KafkaError(confluent_kafka.KafkaError._PARTITION_EOF)


def record_of(topic, offset=0, partition=0, sent_by=None, **more):
    """A record; `sent_by` is the number of the trace, and of the span, that sent it."""
    headers = [("traceparent", b"00-%032x-%016x-01" % (sent_by, sent_by))] if sent_by else []
    return confluent_kafka.Message(topic=topic, partition=partition, offset=offset, value=b"", headers=headers, **more)


def links_of(span):
    return [(link.context.span_id, dict(link.attributes)) for link in span.links]


def test_one_span_links_to_the_senders_of_all_records(spans):
    before = otel_context.get_current()
    with process_batch([record_of("t", 4, sent_by=1), record_of("t", 5, 1, sent_by=2), record_of("t", 6)]) as span:
        assert trace.get_current_span() is span
    assert otel_context.get_current() == before
    (done,) = spans.get_finished_spans()
    assert (done.name, done.kind, done.parent, done.status.status_code) == (
        "process t",
        SpanKind.CONSUMER,
        None,
        StatusCode.UNSET,
    )
    assert dict(done.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "t",
        "messaging.batch.message_count": 3,
    }
    assert links_of(done) == [
        (1, {"messaging.destination.partition.id": "0", "messaging.kafka.offset": 4}),
        (2, {"messaging.destination.partition.id": "1", "messaging.kafka.offset": 5}),
    ]


def test_records_of_one_partition_share_its_attribute_and_a_group_s(spans):
    with process_batch([record_of("t", 4, 7), record_of("t", 5, 7)], group="g"):
        pass
    (done,) = spans.get_finished_spans()
    assert done.attributes["messaging.destination.partition.id"] == "7"
    assert done.attributes["messaging.consumer.group.name"] == "g"


def test_where_topics_are_mixed_there_is_a_span_a_topic_around_all_that_is_done(spans):
    records = [record_of("t", 0, sent_by=1), record_of("u", 0, sent_by=2), record_of("t", 1, sent_by=3)]
    with process_batch(records) as span, trace.get_tracer("a test").start_as_current_span("work") as work:
        pass
    (of_t,), (of_u,) = named(spans, "process t"), named(spans, "process u")
    assert [link.context.span_id for link in of_t.links] == [1, 3]
    assert [link.context.span_id for link in of_u.links] == [2]
    assert (of_t.parent, of_u.parent.span_id, work.parent.span_id) == (
        None,
        of_t.context.span_id,
        of_u.context.span_id,
    )
    assert span.get_span_context() == of_u.context
    assert (of_t.attributes["messaging.batch.message_count"], of_u.attributes["messaging.batch.message_count"]) == (
        2,
        1,
    )


def test_an_exception_marks_the_spans_and_passes_through(spans):
    with pytest.raises(ZeroDivisionError), process_batch([record_of("t"), record_of("u")]):
        raise ZeroDivisionError("by nothing")
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["ZeroDivisionError"] * 2


def test_errors_among_the_records_are_passed_over(spans):
    with process_batch([record_of("t", 1), record_of("t", 2, error=END)]):
        pass
    with process_batch([record_of("t", 2, error=END)]), process_batch([]):
        pass
    assert [span.attributes["messaging.batch.message_count"] for span in spans.get_finished_spans()] == [1]


def test_the_caller_s_context_holds_inside_and_no_record_s_baggage(spans):
    record = record_of("t")
    record.set_headers([("baggage", b"whose=a record's")])
    token = otel_context.attach(baggage.set_baggage("mine", "yes"))
    try:
        with process_batch([record]):
            assert dict(baggage.get_all()) == {"mine": "yes"}
    finally:
        otel_context.detach(token)


def test_strangers_links_are_marked(spans):
    with process_batch([record_of("t", sent_by=1)], trusted=False):
        pass
    (done,) = spans.get_finished_spans()
    assert (done.attributes["otel_kfs.context.trusted"], links_of(done)[0][1]["otel_kfs.context.trusted"]) == (
        False,
        False,
    )


@pytest.mark.parametrize("wrong", [record_of("t"), None, iter([1]), "text"], ids=["record", "None", "iterator", "text"])
def test_what_is_no_list_of_records_is_said_and_leaves_no_span(spans, caplog, wrong):
    with process_batch(wrong):
        pass
    assert spans.get_finished_spans() == ()
    assert all("process_batch() takes a list of records" in record.message for record in caplog.records)


def test_a_list_of_what_is_no_record_does_not_stop_the_work(spans, caplog):
    done = []
    with process_batch([1, 2]):
        done.append(1)
    assert (done, spans.get_finished_spans()) == ([1], ())


def test_a_batch_is_counted_once_a_topic():
    reader = InMemoryMetricReader()
    before = client_telemetry.use(
        client_telemetry.ClientTelemetry(None, MeterProvider([reader], shutdown_on_exit=False))
    )
    try:
        with process_batch([record_of("t", 1, 3), record_of("t", 2, 3), record_of("u", 1)]):
            pass
    finally:
        client_telemetry.use(before)
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert metric.name == "messaging.process.duration"
    counted = {
        (
            point.attributes["messaging.destination.name"],
            point.attributes["messaging.destination.partition.id"],
        ): point.count
        for point in metric.data.data_points
    }
    assert counted == {("t", "3"): 1, ("u", "0"): 1}


class Records:
    """Stands in for a consumer that has so many records."""

    def __init__(self, count):
        self.left = [record_of("t", offset) for offset in range(count)]

    def poll(self, timeout):
        return self.left.pop(0) if self.left else None

    def consume(self, number, timeout):
        taken, self.left = self.left[:number], self.left[number:]
        return taken


class AsyncRecords(Records):
    """The same for an asyncio consumer."""

    async def poll(self, timeout):
        return super().poll(timeout)

    async def consume(self, number, timeout):
        return super().consume(number, timeout)


class SharedRecords:
    """The same for a share consumer, whose polls bring three at a time."""

    def __init__(self, count):
        self.all = Records(count)

    def poll(self, timeout):
        return confluent_kafka.Messages(self.all.consume(3, timeout))


def offsets_of(batches):
    return [[record.offset() for record in batch] for batch in batches]


def test_a_loop_is_handed_as_many_as_are_there_up_to_its_batch(spans):
    assert offsets_of(processing(Records(5), 1, batch=2)) == [[0, 1], [2, 3], [4]]
    counts = [span.attributes["messaging.batch.message_count"] for span in spans.get_finished_spans()]
    assert counts == [2, 2, 1]


def test_an_asyncio_loop_is_handed_batches_too(spans):
    async def run():
        return [batch async for batch in processing(AsyncRecords(3), 1, batch=2)]

    assert offsets_of(asyncio.run(run())) == [[0, 1], [2]]
    assert len(named(spans, "process t")) == 2


def test_what_a_share_consumer_brings_is_handed_over_one_after_another(spans):
    assert [record.offset() for record in processing(SharedRecords(5), 1)] == [0, 1, 2, 3, 4]
    assert [span.attributes["messaging.kafka.offset"] for span in spans.get_finished_spans()] == [0, 1, 2, 3, 4]


def test_what_a_share_consumer_brings_is_handed_over_in_batches_of_one_poll(spans):
    assert offsets_of(processing(SharedRecords(5), 1, batch=2)) == [[0, 1], [2], [3, 4]]


def test_the_body_of_a_loop_is_the_batch_s_span(spans, open_consumer, topic, broker):
    producer = Producer({"bootstrap.servers": broker})
    for value in (b"0", b"1", b"2"):
        producer.produce(topic, value)
    producer.flush()
    seen = []

    def work():
        with processing(open_consumer(topic), 5, batch=10) as batches:
            for batch in batches:
                seen.extend(record.value() for record in batch)
                if len(seen) == 3:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert seen == [b"0", b"1", b"2"]
    done = named(spans, f"process {topic}")
    sent = {span.context.span_id for span in named(spans, f"send {topic}")}
    assert {link.context.span_id for span in done for link in span.links} == sent
    assert done[-1].attributes["error.type"] == "ZeroDivisionError"
    assert done[-1].attributes["messaging.consumer.group.name"] == "a group"


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one record"):
        processing(Records(1), batch=0)
