"""Tracing makes no record fail: what a client or a broker refuses for its size with trace context leaves without it."""

import asyncio
from contextlib import ExitStack

import confluent_kafka
import confluent_kafka.aio
import pytest
from confluent_kafka import KafkaError
from kafka_support import MOCK, MockCluster
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.trace import NonRecordingSpan, SpanContext

import otel_kfs.kafka

pytestmark = pytest.mark.kafka

LIMIT = 100_000
OVERHEAD = 1000  # more than what the client adds to a value, and less than what baggage does below


def outcome(report):
    """What a program learns of a record: the error's name, or None."""
    error, _ = report
    return error and error.name()


def produced(producer, value, **arguments):
    reports = []
    try:
        producer.produce("t", value=value, on_delivery=lambda *report: reports.append(report), **arguments)
    except confluent_kafka.KafkaException as error:
        return error.args[0].name()
    producer.flush()
    (report,) = reports
    return outcome(report)


def of_producer(module, config, value):
    return produced(module.Producer(config), value)


def of_serializing_producer(module, config, value):
    return produced(module.SerializingProducer({**config, "value.serializer": lambda value, _: value}), value)


def of_batch(module, config, value):
    producer, reports, messages = module.Producer(config), [], [{"value": value}]
    producer.produce_batch("t", messages, on_delivery=lambda *report: reports.append(report))
    producer.flush()
    return outcome(reports[0]) if reports else messages[0]["_error"].name()


async def awaited(producer, value):
    future = await producer.produce("t", value=value)
    await producer.close()
    try:
        await future
    except confluent_kafka.KafkaException as error:
        return error.args[0].name()
    return None


def of_aio_producer(module, config, value):
    async def main():
        return await awaited(getattr(module, "aio", module).AIOProducer(dict(config), batch_size=1), value)

    return asyncio.run(main())


def of_async_serializing_producer(module, config, value):
    async def main():
        producer = await getattr(module, "aio", module).AsyncSerializingProducer(dict(config), batch_size=1)
        return await awaited(producer, value)

    return asyncio.run(main())


WAYS = [of_producer, of_serializing_producer, of_batch, of_aio_producer, of_async_serializing_producer]


def largest(send):
    """The size of the largest value that the real class takes, by trying."""
    low, high = LIMIT - OVERHEAD, LIMIT
    assert send(bytes(low)) is None
    assert send(bytes(high)) is not None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if send(bytes(middle)) is None else (low, middle)
    return low


@pytest.mark.parametrize("send", WAYS)
def test_what_the_real_producer_takes_ours_takes_and_what_it_refuses_ours_refuses(send):
    config = {**MOCK, "message.max.bytes": LIMIT}
    size = largest(lambda value: send(confluent_kafka, config, value))
    token = otel_context.attach(baggage.set_baggage("a", "b" * OVERHEAD))
    try:
        assert [send(otel_kfs.kafka, config, bytes(size + more)) for more in (0, 1)] == [None, "MSG_SIZE_TOO_LARGE"]
    finally:
        otel_context.detach(token)


@pytest.fixture
def cluster():
    running = MockCluster()
    yield running
    running.close()


def read(servers, count):
    """The records of the cluster's topic `t`, as (value, key, headers, timestamp)."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": servers, "group.id": "g", "fetch.wait.max.ms": 10})
    consumer.assign([confluent_kafka.TopicPartition("t", number, 0) for number in range(4)])
    records = [consumer.poll(30) for _ in range(count)]
    consumer.close()
    return [(record.value(), record.key(), record.headers(), record.timestamp()[1]) for record in records]


SIZE_ERRORS = [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE]
VALUE = bytes(2000)


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("code", SIZE_ERRORS)
@pytest.mark.parametrize("headers", [None, [("a", b"1"), ("traceparent", b"the user's")], {"a": b"1"}])
def test_what_the_broker_refuses_for_its_size_is_sent_again_with_the_user_s_own_headers(
    spans, cluster, caplog, headers, code, sampled
):
    reports = []
    cluster.refuse(code)
    config = {"bootstrap.servers": cluster.servers, "linger.ms": 0}
    with ExitStack() as stack:
        if not sampled:
            stack.enter_context(trace.use_span(NonRecordingSpan(SpanContext(0xA1, 0xB2, is_remote=False))))
        producer = stack.enter_context(otel_kfs.kafka.Producer(config))
        own = headers and headers.copy()
        producer.produce("t", VALUE, "k", -1, lambda *report: reports.append(report), None, 1_600_000_000_000, own)
        if own:
            own.clear()  # the user's to change as soon as produce() has returned
        assert producer.flush() == 0
    expected = list(headers.items()) if isinstance(headers, dict) else headers
    assert read(cluster.servers, 1) == [(VALUE, b"k", expected, 1_600_000_000_000)]
    assert [outcome(report) for report in reports] == [None]
    ended = [(span.name, "error.type" in span.attributes) for span in spans.get_finished_spans()]
    assert ended == ([("send t", False)] if sampled else [])
    assert [record.levelname for record in caplog.records if "too large with trace context" in record.message] == [
        "WARNING"
    ]


@pytest.mark.parametrize("value", [None, b"", b"v", "text"])
def test_a_record_sent_again_is_the_same_record(cluster, value):
    cluster.refuse(KafkaError.MSG_SIZE_TOO_LARGE)
    producer = otel_kfs.kafka.Producer({"bootstrap.servers": cluster.servers, "linger.ms": 0})
    producer.produce("t", value)
    producer.flush()
    ((found, *_),) = read(cluster.servers, 1)
    assert found == (value.encode() if isinstance(value, str) else value)


def test_what_the_broker_refuses_without_context_too_is_reported_once(spans, cluster):
    cluster.refuse(*[KafkaError.MSG_SIZE_TOO_LARGE] * 2)
    assert produced(otel_kfs.kafka.Producer({"bootstrap.servers": cluster.servers}), VALUE) == "MSG_SIZE_TOO_LARGE"
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["MSG_SIZE_TOO_LARGE"]


def test_what_the_broker_refuses_for_another_reason_is_not_sent_again(cluster):
    cluster.refuse(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    producer = otel_kfs.kafka.Producer({"bootstrap.servers": cluster.servers})
    assert produced(producer, VALUE) == "TOPIC_AUTHORIZATION_FAILED"


def test_where_only_errors_are_reported_a_record_that_is_sent_again_is_none(cluster):
    cluster.refuse(KafkaError.MSG_SIZE_TOO_LARGE)
    config = {"bootstrap.servers": cluster.servers, "delivery.report.only.error": True}
    producer, reports = otel_kfs.kafka.Producer(config), []
    producer.produce("t", VALUE, on_delivery=lambda *report: reports.append(report))
    producer.flush()
    assert reports == []
    assert len(read(cluster.servers, 1)) == 1


def test_a_record_that_can_t_be_sent_again_is_reported_as_the_broker_refused_it(spans, cluster):
    cluster.refuse(KafkaError.MSG_SIZE_TOO_LARGE)
    config = {"bootstrap.servers": cluster.servers, "queue.buffering.max.messages": 1}
    assert produced(otel_kfs.kafka.Producer(config), VALUE) == "MSG_SIZE_TOO_LARGE"
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["MSG_SIZE_TOO_LARGE"]


def test_a_producer_is_not_kept_alive_by_what_it_may_send_again(spans, cluster):
    producer = otel_kfs.kafka.Producer({"bootstrap.servers": cluster.servers, "linger.ms": 60_000})
    producer.produce("t", VALUE)
    del producer
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["abandoned"]
