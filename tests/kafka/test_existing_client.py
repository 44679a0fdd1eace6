"""`instrument_client`: a client that was made before is traced as far as can be, and is otherwise what it was."""

import asyncio

import confluent_kafka
import confluent_kafka.aio
import pytest
from confluent_kafka.serialization import StringSerializer
from kafka_support import MOCK, UNREACHABLE, named

from otel_kfs.kafka import Consumer, KafkaInstrumentor, Producer, process

pytestmark = pytest.mark.kafka

instrument_client = KafkaInstrumentor.instrument_client


def delivered(spans):
    """Each `send` span: whether it has its offset, and whether it says that nobody tells of it."""
    return [
        ("messaging.kafka.offset" in span.attributes, span.attributes.get("otel_kfs.acknowledged"))
        for span in named(spans, "send t")
    ]


def test_a_producer_whose_configuration_is_known_has_spans_until_the_report(spans):
    heard = []
    config = {**MOCK, "on_delivery": lambda error, record: heard.append(record.value())}
    producer = instrument_client(confluent_kafka.Producer(config), config)
    producer.produce("t", b"1")
    producer.flush()
    assert isinstance(producer, confluent_kafka.Producer)
    assert (heard, delivered(spans)) == ([b"1"], [(True, None)])
    assert named(spans, "send t")[0].attributes["server.address"] == "mock"


def test_a_producer_of_an_unknown_configuration_keeps_its_own_callback(spans):
    heard = []
    config = {**MOCK, "on_delivery": lambda error, record: heard.append(record.value())}
    producer = instrument_client(confluent_kafka.Producer(config))
    producer.produce("t", b"1")
    assert delivered(spans) == [(False, False)]
    producer.flush()
    assert heard == [b"1"]


def test_a_record_with_a_callback_has_its_span_until_the_report_anyway(spans):
    heard = []
    producer = instrument_client(confluent_kafka.Producer(MOCK))
    producer.produce("t", b"1", on_delivery=lambda error, record: heard.append(record.value()))
    producer.flush()
    assert (heard, delivered(spans)) == ([b"1"], [(True, None)])


def test_a_record_that_is_refused_raises_what_the_real_class_raises(spans):
    producer = instrument_client(confluent_kafka.Producer(MOCK))
    with pytest.raises(confluent_kafka.KafkaException):
        producer.produce("t", bytes(2_000_000))
    with pytest.raises(TypeError):
        producer.produce(3)
    assert [span.attributes["error.type"] for span in named(spans, "send t")] == ["MSG_SIZE_TOO_LARGE"]


def test_a_dropped_producer_s_records_are_abandoned(spans):
    producer = instrument_client(confluent_kafka.Producer(UNREACHABLE), UNREACHABLE)
    producer.produce("t", b"1")
    del producer
    assert [span.attributes["error.type"] for span in named(spans, "send t")] == ["abandoned"]


class Own(confluent_kafka.Producer):
    """A program's own class."""

    def produce(self, topic, value, **more):
        super().produce(topic, b"own " + value, **more)


def test_an_object_of_a_program_s_own_class_stays_one_and_is_traced_itself(spans):
    heard = []
    producer = Own(MOCK)
    assert instrument_client(producer, MOCK) is producer
    assert isinstance(producer, Own)
    producer.produce("t", b"1", on_delivery=lambda error, record: heard.append(record.value()))
    producer.flush()
    assert (heard, delivered(spans)) == ([b"own 1"], [(True, None)])


def test_a_serializing_producer_is_traced_itself(spans):
    config = {**MOCK, "value.serializer": StringSerializer()}
    producer = confluent_kafka.SerializingProducer(config)
    assert instrument_client(producer, config) is producer
    producer.produce("t", value="1")
    producer.flush()
    assert delivered(spans) == [(True, None)]


@pytest.mark.parametrize("method", ["poll", "consume"])
def test_a_consumer_s_polls_have_spans(spans, broker, topic, send, method):
    send(b"1")
    config = {"bootstrap.servers": broker, "group.id": "g", "fetch.wait.max.ms": 10}
    plain = confluent_kafka.Consumer(config)
    consumer = instrument_client(plain, config)
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    record = consumer.poll(30) if method == "poll" else consumer.consume(1, 30)[0]
    with process(record, consumer=consumer):
        pass
    consumer.close()
    for name in (f"poll {topic}", f"process {topic}"):
        assert [span.attributes["messaging.consumer.group.name"] for span in named(spans, name)] == ["g"]


def test_asyncio_clients_are_traced_themselves(spans):
    async def run():
        producer = confluent_kafka.aio.AIOProducer(MOCK)
        consumer = confluent_kafka.aio.AIOConsumer(
            {"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0}
        )
        assert instrument_client(producer, MOCK) is producer
        assert instrument_client(consumer) is consumer
        sent = await producer.produce("t", b"1")
        await producer.flush()
        await sent
        await producer.close()
        await consumer.close()

    asyncio.run(run())
    assert delivered(spans) == [(True, None)]


def test_a_share_consumer_has_no_consume():
    config = {"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0}
    consumer = instrument_client(confluent_kafka.ShareConsumer(config), config)
    assert (consumer.group, hasattr(consumer, "consume")) == ("g", False)
    consumer.close()


def test_what_is_traced_already_is_left_as_it_is():
    for client in (Producer(MOCK), Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0})):
        assert instrument_client(client) is client
    proxy = instrument_client(confluent_kafka.Producer(MOCK))
    assert instrument_client(proxy) is proxy


def test_what_is_no_client_is_refused():
    with pytest.raises(TypeError, match=r"builtins\.int is no client of confluent_kafka's"):
        instrument_client(1)
