"""Share consumers: each poll that brings records has its spans, and what is done with them, too."""

import confluent_kafka
import pytest
from confluent_kafka.serialization import StringDeserializer
from kafka_support import named
from mock_cluster_support import MockCluster
from opentelemetry.trace import SpanKind
from support import wait_until

from otel_kfs.kafka import DeserializingShareConsumer, KafkaInstrumentor, Producer, ShareConsumer, processing

pytestmark = pytest.mark.kafka


@pytest.fixture
def cluster():
    """librdkafka's own broker, which knows share groups."""
    made = MockCluster(1)
    made.create_topic("t", 1)
    yield made
    made.close()


def polled(consumer, servers):
    """Send records until the share group is given some; return those."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
    consumer.subscribe(["t"])

    def some():
        producer.produce("t", b"1")  # a share group begins where the topic ends
        producer.flush()
        return consumer.poll(0.5)

    return wait_until("records", some)


def test_a_poll_that_brings_records_is_a_span_linked_to_their_senders(spans, cluster):
    consumer = ShareConsumer({"bootstrap.servers": cluster.bootstrap_servers, "group.id": "g", "log_level": 0})
    records = polled(consumer, cluster.bootstrap_servers)
    consumer.close()
    assert (type(records), consumer.group) == (confluent_kafka.Messages, "g")
    (span,) = named(spans, "poll t")
    sent = {sender.context.span_id for sender in named(spans, "send t")}
    assert (span.kind, span.attributes["messaging.consumer.group.name"]) == (SpanKind.CLIENT, "g")
    assert span.attributes["messaging.batch.message_count"] == len(records) == len(span.links)
    assert {link.context.span_id for link in span.links} <= sent


def test_the_body_of_a_loop_is_a_record_s_span(spans, cluster):
    servers = cluster.bootstrap_servers
    consumer = DeserializingShareConsumer(
        {"bootstrap.servers": servers, "group.id": "g", "log_level": 0, "value.deserializer": StringDeserializer()}
    )
    first = list(polled(consumer, servers))
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
    producer.produce("t", b"last")
    producer.flush()
    values = [record.value() for record in processing(consumer, 3)]
    consumer.close()
    assert [record.value() for record in first] == ["1"] * len(first)
    assert values[-1] == "last"
    done = named(spans, "process t")
    assert len(done) == len(values)
    assert {span.attributes["messaging.consumer.group.name"] for span in done} == {"g"}


def test_the_instrumentor_puts_ours_in_the_place_of_both_classes():
    instrumentor = KafkaInstrumentor()
    instrumentor.instrument()
    try:
        assert (confluent_kafka.ShareConsumer, confluent_kafka.DeserializingShareConsumer) == (
            ShareConsumer,
            DeserializingShareConsumer,
        )
    finally:
        instrumentor.uninstrument()
    assert confluent_kafka.ShareConsumer is not ShareConsumer


@pytest.mark.parametrize("wrong", [{"nothing": 1}, {"timeout": "soon"}])
def test_wrong_arguments_raise_what_the_real_class_raises(wrong):
    raised = []
    for cls in (confluent_kafka.ShareConsumer, ShareConsumer):
        consumer = cls({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0})
        with pytest.raises(TypeError) as error:
            consumer.poll(**wrong)
        raised.append(str(error.value))
        consumer.close()
    assert raised[0] == raised[1]
