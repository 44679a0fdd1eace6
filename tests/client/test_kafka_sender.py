"""One image, one trace, through Kafka; and what becomes of an image that does not get there."""

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from sender_support import PAYLOAD, by_name
from support import JPG, unserved_port

from otel_kfs import KafkaSender
from otel_kfs.errors import PayloadTooLargeError, SendError

pytestmark = pytest.mark.kafka


@pytest.fixture
def kafka_sender(broker):
    return lambda topic, **options: KafkaSender(broker, topic, **options)


def test_send_returns_where_the_record_lies(kafka_sender, topic):
    sender = kafka_sender(topic)
    assert [sender.send(JPG), sender.send(JPG)] == [(topic, 0, 0), (topic, 0, 1)]


def test_the_record_s_value_is_what_http_would_post(kafka_sender, broker, topic):
    from confluent_kafka import Consumer, TopicPartition

    kafka_sender(topic).send(JPG)
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "g", "fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert consumer.poll(30).value() == PAYLOAD
    consumer.close()


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "lz4"])
def test_a_record_says_in_its_headers_what_it_is_whatever_the_producer_compresses(
    spans, kafka_sender, broker, topic, compression
):
    from confluent_kafka import Consumer, TopicPartition

    kafka_sender(topic, encoding="cloudevent", compression=compression).send(JPG)
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "g", "fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(topic, 0, 0)])
    record = consumer.poll(30)
    consumer.close()
    headers = {key: value.decode() for key, value in record.headers() if key not in {"traceparent", "tracestate"}}
    assert record.value() == JPG
    assert {**headers, "ce_id": "any"} == {
        "content-type": "image/jpeg",
        "ce_specversion": "1.0",
        "ce_id": "any",
        "ce_source": "otel-kfs",
        "ce_type": "otel-kfs.image",
    }
    attributes = by_name(spans)["send image"].attributes
    assert (attributes["otel_kfs.encoding"], attributes.get("otel_kfs.compression")) == ("cloudevent", compression)
    assert attributes["otel_kfs.payload.size"] == len(JPG)


def test_one_image_is_one_trace_of_root_encode_and_send(spans, kafka_sender, topic):
    kafka_sender(topic).send(JPG)
    found = by_name(spans)
    root = found["send image"].context.span_id
    assert {name: (span.kind, span.parent and span.parent.span_id) for name, span in found.items()} == {
        "send image": (SpanKind.INTERNAL, None),
        "encode": (SpanKind.INTERNAL, root),
        f"send {topic}": (SpanKind.PRODUCER, root),
    }


def test_root_and_send_say_what_was_sent_and_where_it_lies(spans, kafka_sender, broker, topic):
    kafka_sender(topic, run_id="a run").send(JPG)
    found = by_name(spans)
    assert dict(found["send image"].attributes) == {
        "otel_kfs.transport": "kafka",
        "otel_kfs.run.id": "a run",
        "otel_kfs.sequence": 0,
        "otel_kfs.image.size": len(JPG),
        "otel_kfs.payload.size": len(PAYLOAD),
    }
    assert dict(found[f"send {topic}"].attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "messaging.message.body.size": len(PAYLOAD),
        "server.address": "127.0.0.1",
        "server.port": int(broker.partition(":")[2]),
    }


def test_a_record_of_13_9_mb_passes(kafka_sender, topic):
    image = JPG + bytes(10_430_000)
    assert kafka_sender(topic).send(image) == (topic, 0, 0)


def test_a_record_over_the_producer_s_limit_names_the_setting(kafka_sender, topic):
    with pytest.raises(PayloadTooLargeError) as raised:
        kafka_sender(topic, config={"message.max.bytes": 2_000_000}).send(JPG + bytes(2_000_000))
    assert str(raised.value) == (
        "a record of 2.7 MB is over this producer's message.max.bytes (2000000): "
        "raise message.max.bytes in its configuration"
    )


def test_a_broker_that_is_not_there_ends_in_an_error_within_the_timeout(spans):
    servers = f"127.0.0.1:{unserved_port()}"
    with pytest.raises(SendError) as raised:
        KafkaSender(servers, "mobilenet", timeout=0.3).send(JPG)
    assert str(raised.value) == (
        f"not delivered within 0.3 s: no broker answers at {servers} ({servers}/bootstrap: Connect to ipv4#{servers} "
        "failed: Connection refused); check --bootstrap-servers and that the broker runs"
    )
    found = by_name(spans)
    assert found["send mobilenet"].attributes["error.type"] == "_MSG_TIMED_OUT"
    assert {name: span.status.status_code for name, span in found.items()} == {
        "send image": StatusCode.ERROR,
        "encode": StatusCode.UNSET,
        "send mobilenet": StatusCode.ERROR,
    }
