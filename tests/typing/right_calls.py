"""A user's program: what mypy must know of each call, without a complaint and without Any where there is a type."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import confluent_kafka
import httpx
import requests
from opentelemetry.trace import Span
from typing_extensions import assert_type

import otel_kfs
from otel_kfs.client.kafka_access.record_publisher import Delivered


def senders() -> None:
    http = otel_kfs.HttpSender("http://ingress", model="mobilenet")
    assert_type(http.send("cat.jpg"), dict[str, Any])
    assert_type(http.send_json(b"{}", warmup=True), dict[str, Any])
    assert_type(http.send(b"...", due=1), dict[str, Any])
    assert_type(otel_kfs.GrpcSender("host:1", "mobilenet").send(b"..."), dict[str, Any])
    delivered = otel_kfs.KafkaSender("host:1", "mobilenet").send("cat.jpg")
    assert_type(delivered, Delivered)
    assert_type(delivered.offset, int)
    with otel_kfs.image_span(encoding="raw") as image:
        payload = image.encode("cat.jpg")
        assert_type(payload, bytes)
        body = image.body(payload)
        requests.post("http://ingress", data=body, headers=body.headers)
        httpx.post("http://ingress", content=body, headers=body.headers)


def producers() -> None:
    producer = otel_kfs.kafka.Producer({"bootstrap.servers": "host:1"})
    producer.produce("topic", b"value", headers={"a": b"1"}, on_delivery=lambda error, record: None)
    assert_type(producer.produce_batch("topic", [{"value": b"1"}]), int)
    assert_type(producer.poll(0), int)
    assert_type(producer.flush(), int)
    with producer as same:
        assert_type(same, otel_kfs.kafka.Producer)
    of_text = otel_kfs.kafka.SerializingProducer[str, str]({"value.serializer": str.encode})
    of_text.produce("topic", key="key", value="value")
    otel_kfs.kafka.SerializingProducer({"bootstrap.servers": "host:1"}).produce("topic", value=3)


def consumers() -> None:
    consumer = otel_kfs.kafka.Consumer({"bootstrap.servers": "host:1", "group.id": "g"})
    assert_type(consumer.group, str | None)
    assert_type(consumer.poll(1.0), confluent_kafka.Message | None)
    assert_type(consumer.consume(10, timeout=1), list[confluent_kafka.Message])
    while (record := consumer.poll(1.0)) is not None:
        with otel_kfs.kafka.process(record, consumer=consumer, links=True) as span:
            assert_type(span, Span)
            assert_type(record.value(), bytes | None)
    for record in otel_kfs.kafka.processing(consumer, 1.0):
        assert_type(record, confluent_kafka.Message)
    with otel_kfs.kafka.processing(consumer) as records:
        for record in records:
            assert_type(record, confluent_kafka.Message)
    of_text = otel_kfs.kafka.DeserializingConsumer[str, str]({"group.id": "g"})
    assert_type(of_text.poll(), confluent_kafka.Message[str, str] | None)
    for text in otel_kfs.kafka.processing(of_text):
        assert_type(text.deserialized_value(), str | None)


def readings() -> None:
    reading = otel_kfs.read(Path("traces"), run="monday", servers=["mine"], lookback=timedelta(hours=2))
    assert_type(reading, otel_kfs.Reading)
    assert_type(reading.answer.sentence, str)
    assert_type(reading.left_out, dict[str, int])
    for image in reading.images():
        assert_type(image["duration_ns"], int)
        assert_type(image["stamp_2_ns"], int | None)
        assert_type(image["segment"], str)
    assert_type([row["p95_ns"] for row in reading.summary()], list[int | None])
    assert_type(reading.where(transport="http").compare(reading).slower(0.1), list[str])
    reading.report("report.html")


async def asyncio_uploads() -> None:
    with otel_kfs.image_span() as image:
        body = image.async_body(image.encode("cat.jpg"))
        await httpx.AsyncClient().post("http://ingress", content=body, headers=body.headers)
        await aiohttp.ClientSession().post("http://ingress", data=body, headers=body.headers)


async def asyncio_clients() -> None:
    producer = otel_kfs.kafka.AIOProducer({"bootstrap.servers": "host:1"})
    assert_type(await producer.produce("topic", b"value"), asyncio.Future[confluent_kafka.Message])
    consumer = otel_kfs.kafka.AIOConsumer({"group.id": "g"})
    assert_type(await consumer.poll(1.0), confluent_kafka.Message | None)
    assert_type(await consumer.consume(num_messages=10), list[confluent_kafka.Message])
    async for record in otel_kfs.kafka.processing(consumer):
        assert_type(record, confluent_kafka.Message)
    serializing = await otel_kfs.kafka.AsyncSerializingProducer[str, str]({"bootstrap.servers": "host:1"})
    assert_type(serializing, otel_kfs.kafka.AsyncSerializingProducer[str, str])
    sent = await serializing.produce("topic", key="key", value="value")
    assert_type(sent, asyncio.Future[confluent_kafka.Message])
    anything = await otel_kfs.kafka.AsyncSerializingProducer({"bootstrap.servers": "host:1"})
    await anything.produce("topic", value=3)
    deserializing = await otel_kfs.kafka.AsyncDeserializingConsumer[str, str]({"group.id": "g"})
    assert_type(await deserializing.poll(), confluent_kafka.Message[str, str] | None)
