"""Our own classes beside another instrumentation, which came first: one span of each kind, and nothing of theirs."""

import pytest
from support import run_python

pytestmark = pytest.mark.kafka

CONTRIB = "opentelemetry.instrumentation.confluent_kafka"

# As those that replace the library's names by classes of their own, which stand between ours and the library's.
DERIVED = """
import confluent_kafka, confluent_kafka.aio

for module, names in (
    (confluent_kafka, ["Producer", "Consumer", "SerializingProducer", "DeserializingConsumer"]),
    (confluent_kafka.aio, ["AIOProducer", "AIOConsumer"]),
):
    for name in names:
        real = getattr(module, name)

        def wrapped(method, name=name, real=real):
            def call(self, *args, **kwargs):
                with trace.get_tracer("theirs").start_as_current_span(f"theirs: {name}.{method}"):
                    return getattr(real, method)(self, *args, **kwargs)
            return call

        methods = ["produce"] if "Producer" in name else ["poll", "consume"]
        setattr(module, name, type(name, (real,), {method: wrapped(method) for method in methods}))
"""

INSTRUMENTED = f"""
from {CONTRIB} import ConfluentKafkaInstrumentor
ConfluentKafkaInstrumentor().instrument()
"""

PROGRAM = """
import asyncio, os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
{theirs}
import confluent_kafka
import otel_kfs.kafka as ours

servers, topic = os.environ["SERVERS"], os.environ["TOPIC"]
reading = {{"bootstrap.servers": servers, "group.id": "g", "fetch.wait.max.ms": 10}}
first = [confluent_kafka.TopicPartition(topic, 0, 0)]

def blocking(producer_class, consumer_class):
    producer = producer_class({{"bootstrap.servers": servers}})
    producer.produce(topic, value=b"1")
    producer.flush()
    consumer = consumer_class(reading)
    consumer.assign(first)
    with ours.process(consumer.poll(30), consumer=consumer):
        pass
    assert trace.get_current_span() is trace.INVALID_SPAN
    consumer.close()

async def asynchronous():
    async with ours.AIOProducer({{"bootstrap.servers": servers}}, batch_size=1) as producer:
        await (await producer.produce(topic, b"1"))
    async with ours.AIOConsumer(dict(reading)) as consumer:
        await consumer.assign(first)
        with ours.process(await consumer.poll(30), consumer=consumer):
            pass

def check():
    found = [span.name for span in exporter.get_finished_spans()]
    assert found == [f"{{what}} {{topic}}" for what in ("send", "poll", "process")], found
    exporter.clear()

blocking(ours.Producer, ours.Consumer)
check()
blocking(ours.SerializingProducer, ours.DeserializingConsumer)
check()
asyncio.run(asynchronous())
check()
assert ours.Producer.__mro__[1].__module__ == ours.Consumer.__mro__[1].__module__ == "cimpl"

theirs = confluent_kafka.Producer
ours.KafkaInstrumentor().instrument()
blocking(confluent_kafka.Producer, confluent_kafka.Consumer)
check()
ours.KafkaInstrumentor().uninstrument()
assert confluent_kafka.Producer is theirs
"""


@pytest.mark.parametrize("theirs", [DERIVED, INSTRUMENTED], ids=["derived", "contrib"])
def test_our_classes_leave_one_span_of_each_kind_and_none_of_theirs_stays_current(broker, topic, theirs):
    done = run_python(PROGRAM.format(theirs=theirs), SERVERS=broker, TOPIC=topic)
    assert done.returncode == 0, done.stderr
