"""confluent_kafka's clients with spans; importing this package is what imports confluent_kafka."""

from __future__ import annotations

try:
    import confluent_kafka  # noqa: F401
except ModuleNotFoundError as error:
    from otel_kfs.errors import MissingLibrary

    raise MissingLibrary("confluent-kafka", "kafka") from error

from otel_kfs.kafka.aio import AIOConsumer, AIOProducer, AsyncDeserializingConsumer, AsyncSerializingProducer
from otel_kfs.kafka.bridge import Bridge
from otel_kfs.kafka.consumer import Consumer, DeserializingConsumer
from otel_kfs.kafka.handling import process, processing
from otel_kfs.kafka.instrumentor import KafkaInstrumentor
from otel_kfs.kafka.producer import Producer, SerializingProducer

__all__ = [
    "AIOConsumer",
    "AIOProducer",
    "AsyncDeserializingConsumer",
    "AsyncSerializingProducer",
    "Bridge",
    "Consumer",
    "DeserializingConsumer",
    "KafkaInstrumentor",
    "Producer",
    "SerializingProducer",
    "process",
    "processing",
]
