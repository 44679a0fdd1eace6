"""The asyncio clients: a span a record that ends with its own future, and nothing attached in any task."""

import asyncio
import gc
import inspect
import logging

import confluent_kafka
import confluent_kafka.aio
import pytest
from kafka_support import MOCK, UNREACHABLE
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from otel_kfs.kafka import (
    AIOConsumer,
    AIOProducer,
    AsyncDeserializingConsumer,
    AsyncSerializingProducer,
    Producer,
    aio,
    process,
    processing,
)

pytestmark = pytest.mark.kafka

TRACER = trace.get_tracer("a test")
CLASSES = ["AIOProducer", "AIOConsumer", "AsyncSerializingProducer", "AsyncDeserializingConsumer"]


def mock(**config):
    return {**MOCK, **{key.replace("_", "."): value for key, value in config.items()}}


def of_topic(broker, topic, **config):
    return {"bootstrap.servers": broker, "group.id": "g", "fetch.wait.max.ms": 10, **config}


async def read(consumer, topic, offset=0):
    await consumer.assign([confluent_kafka.TopicPartition(topic, 0, offset)])


def test_a_record_s_span_lasts_until_its_future_is_done(spans):
    async def main():
        async with AIOProducer(mock(), batch_size=1) as producer:
            with TRACER.start_as_current_span("work") as work:
                future = await producer.produce("t", b"12345", "k")
            assert "send t" not in [span.name for span in spans.get_finished_spans()]
            await producer.flush()
            return work, await future

    work, record = asyncio.run(main())
    (sent,) = [span for span in spans.get_finished_spans() if span.name == "send t"]
    assert (sent.kind, sent.status.status_code) == (SpanKind.CLIENT, StatusCode.UNSET)
    assert sent.parent.span_id == work.get_span_context().span_id
    assert dict(sent.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "t",
        "messaging.destination.partition.id": str(record.partition()),
        "messaging.kafka.offset": record.offset(),
        "messaging.kafka.message.key": "k",
        "messaging.message.body.size": 5,
        "server.address": "mock",
        "server.port": 9092,
    }


def test_headers_are_refused_as_ever(spans):
    async def main():
        async with AIOProducer(mock()) as producer:
            with pytest.raises(NotImplementedError):
                await producer.produce("t", b"1", headers={"a": b"1"})

    asyncio.run(main())
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["NotImplementedError"]


def test_a_purged_record_ends_its_span_as_an_error(spans):
    async def main():
        producer = AIOProducer(dict(UNREACHABLE))
        future = await producer.produce("t", b"1")
        await producer.purge()
        await asyncio.sleep(0)
        assert future.cancelled()
        await producer.close()

    asyncio.run(main())
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["CancelledError"]


def test_a_failed_record_s_exception_is_still_the_user_s_to_miss(spans, caplog):
    """Asyncio logs an exception that nobody looks at; our look must not count."""

    async def main():
        async with AIOProducer(mock(), batch_size=1) as producer:
            future = await producer.produce("t", bytes(2_000_000))
            while not future.done():
                await asyncio.sleep(0.01)
            del future

    asyncio.run(main())
    gc.collect()
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["MSG_SIZE_TOO_LARGE"]
    assert "exception was never retrieved" in caplog.text


def test_a_dropped_producer_abandons_its_records(spans):
    async def main():
        producer = AIOProducer(mock(), buffer_timeout=0)
        await producer.produce("t", b"1")

    asyncio.run(main())
    gc.collect()
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["abandoned"]


@pytest.fixture
def two(broker, topic):
    producer = Producer({"bootstrap.servers": broker})
    for value in (b"1", b"2"):
        producer.produce(topic, value)
    producer.flush()
    return topic


def test_poll_and_consume_leave_spans_and_nothing_attached(spans, broker, two):
    async def main():
        async with AIOConsumer(of_topic(broker, two)) as consumer:
            await read(consumer, two)
            before = otel_context.get_current()
            first = await consumer.poll(30)
            rest = await consumer.consume(1, timeout=30)
            assert (otel_context.get_current(), consumer.group) == (before, "g")
            return [first, *rest]

    records = asyncio.run(main())
    sent = [span for span in spans.get_finished_spans() if span.name == f"send {two}"]
    polled = [span for span in spans.get_finished_spans() if span.name == f"poll {two}"]
    assert [record.value() for record in records] == [b"1", b"2"]
    assert [[link.context.span_id for link in span.links] for span in polled] == [
        [span.context.span_id] for span in sent
    ]


def test_the_body_of_an_asynchronous_loop_is_the_span(spans, broker, two):
    async def main():
        async with AIOConsumer(of_topic(broker, two)) as consumer:
            await read(consumer, two)
            before = otel_context.get_current()
            async for record in processing(consumer, 5):
                with TRACER.start_as_current_span(f"work {record.offset()}"):
                    await asyncio.sleep(0)
                if record.offset() == 1:
                    break
            assert otel_context.get_current() == before

    asyncio.run(main())
    done = [span for span in spans.get_finished_spans() if span.name == f"process {two}"]
    work = [span for span in spans.get_finished_spans() if span.name.startswith("work")]
    assert [span.parent.span_id for span in work] == [span.context.span_id for span in done]
    assert len(done) == 2


def test_a_cancelled_loop_leaves_nothing_attached(spans, broker, two, caplog):
    async def work(consumer):
        async for _ in processing(consumer, 30):
            await asyncio.sleep(60)

    async def main():
        async with AIOConsumer(of_topic(broker, two)) as consumer:
            await read(consumer, two)
            task = asyncio.create_task(work(consumer))
            while not any(span.name == f"poll {two}" for span in spans.get_finished_spans()):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return otel_context.get_current()

    assert trace.get_current_span(asyncio.run(main())) is trace.INVALID_SPAN
    gc.collect()
    assert [span.name for span in spans.get_finished_spans() if span.name.startswith("process")] == [f"process {two}"]
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_the_serialising_clients_have_spans_too(spans, broker, topic):
    async def main():
        serializer = {"value.serializer": lambda value, _: value.encode()}
        producer = await AsyncSerializingProducer({"bootstrap.servers": broker, **serializer}, batch_size=1)
        future = await producer.produce(topic, value="12345")
        await producer.close()
        await future
        deserializer = {"value.deserializer": lambda value, _: value.decode()}
        consumer = await AsyncDeserializingConsumer(of_topic(broker, topic, **deserializer))
        await read(consumer, topic)
        record = await consumer.poll(30)
        with process(record, consumer=consumer):
            value = record.value()
        await consumer.close()
        return value

    assert asyncio.run(main()) == "12345"
    sent, polled, done = spans.get_finished_spans()
    assert [span.name for span in (sent, polled, done)] == [f"send {topic}", f"poll {topic}", f"process {topic}"]
    assert sent.attributes["messaging.message.body.size"] == 5
    assert (done.parent, polled.links) == (None, ())


@pytest.mark.parametrize(("value", "size"), [("12345", 5), ("5 \u20ac", 5), ("", 0)])
def test_text_has_the_size_of_the_bytes_that_are_sent(spans, value, size):
    async def main():
        producer = await AsyncSerializingProducer(mock(), batch_size=1)
        sent = await producer.produce("t", value=value)
        await producer.close()
        return (await sent).value()

    record = asyncio.run(main())
    (span,) = [span for span in spans.get_finished_spans() if span.name == "send t"]
    assert (span.attributes["messaging.message.body.size"], record) == (size, value.encode())


@pytest.mark.parametrize("name", CLASSES)
def test_members_are_the_real_class_s_but_for_ours_which_take_what_those_take(name):
    ours, theirs = getattr(aio, name), getattr(confluent_kafka.aio, name)
    assert issubclass(ours, theirs)
    for member in dir(theirs):
        if member in {"__module__", "__doc__", "__init__", "__init_subclass__", "__subclasshook__", "__new__"}:
            continue
        of_ours, of_theirs = getattr(ours, member), getattr(theirs, member)
        if of_ours is not of_theirs and inspect.iscoroutinefunction(of_theirs):
            assert member in {"produce", "poll", "consume"}
            assert inspect.iscoroutinefunction(of_ours)
