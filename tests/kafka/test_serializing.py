"""SerializingProducer and DeserializingConsumer: the same spans, whatever keys and values become."""

import confluent_kafka
import pytest
from confluent_kafka.error import KeyDeserializationError, KeySerializationError
from confluent_kafka.serialization import StringDeserializer, StringSerializer

from otel_kfs.kafka import Consumer, DeserializingConsumer, Producer, SerializingProducer, process

pytestmark = pytest.mark.kafka

SERIALIZERS = {"key.serializer": StringSerializer(), "value.serializer": lambda value, _: value.encode()}


@pytest.fixture
def producer(broker):
    with SerializingProducer({"bootstrap.servers": broker, "linger.ms": 0, **SERIALIZERS}) as producer:
        yield producer


@pytest.fixture
def open_deserializing(broker):
    opened = []

    def open_(topic, **config):
        settings = {"bootstrap.servers": broker, "group.id": "g", "fetch.wait.max.ms": 10, **config}
        opened.append(DeserializingConsumer(settings))
        opened[-1].assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        return opened[-1]

    yield open_
    for consumer in opened:
        consumer.close()


def test_a_record_is_sent_polled_and_processed_in_one_trace(spans, producer, open_deserializing, topic):
    reports = []
    producer.produce(topic, "a key", "value", headers={"a": b"1"}, on_delivery=lambda *report: reports.append(report))
    producer.flush()
    consumer = open_deserializing(topic, **{"value.deserializer": StringDeserializer()})
    record = consumer.poll(30)
    with process(record, consumer=consumer):
        assert (record.value(), record.key(), len(reports)) == ("value", b"a key", 1)
    sent, polled, done = spans.get_finished_spans()
    assert [span.name for span in (sent, polled, done)] == [f"send {topic}", f"poll {topic}", f"process {topic}"]
    assert done.parent.span_id == sent.context.span_id
    assert [link.context.span_id for link in polled.links] == [sent.context.span_id]
    # The serialised key is bytes of unknown meaning.
    assert ("messaging.kafka.message.key" in sent.attributes, sent.attributes["messaging.message.body.size"]) == (
        False,
        5,
    )
    assert done.attributes["messaging.consumer.group.name"] == "g"


def test_a_value_that_can_t_be_serialised_raises_as_ever_and_is_no_span(spans, producer, topic):
    def fail(*_):
        raise ValueError("no such key")

    producer._key_serializer = fail
    with pytest.raises(KeySerializationError, match="no such key"):
        producer.produce(topic, "k", "v")
    assert spans.get_finished_spans() == ()


def test_a_record_that_can_t_be_deserialised_raises_as_ever_and_was_polled(spans, producer, open_deserializing, topic):
    def fail(*_):
        raise ValueError("no such key")

    producer.produce(topic, "k", "v")
    producer.flush()
    with pytest.raises(KeyDeserializationError, match="no such key"):
        open_deserializing(topic, **{"key.deserializer": fail}).poll(30)
    assert [span.name for span in spans.get_finished_spans()] == [f"send {topic}", f"poll {topic}"]


@pytest.mark.parametrize(
    ("ours", "theirs", "base"),
    [
        (SerializingProducer, confluent_kafka.SerializingProducer, Producer),
        (DeserializingConsumer, confluent_kafka.DeserializingConsumer, Consumer),
    ],
)
def test_all_members_are_those_of_the_real_class_over_our_base_class(ours, theirs, base):
    assert ours.__mro__[1:3] == (theirs, base)
    assert set(vars(ours)) <= {"__module__", "__doc__", "__parameters__", "__orig_bases__", "__static_attributes__"} | {
        "__firstlineno__"
    }


def test_consume_is_not_implemented_as_ever(open_deserializing, topic):
    with pytest.raises(NotImplementedError):
        open_deserializing(topic).consume()
