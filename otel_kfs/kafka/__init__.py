"""confluent_kafka's clients with spans; importing this package is what imports confluent_kafka."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

try:
    import confluent_kafka  # noqa: F401
except ModuleNotFoundError as error:
    from otel_kfs.errors import MissingLibrary

    raise MissingLibrary("confluent-kafka", "kafka") from error

from otel_kfs.kafka.aio import AIOConsumer, AIOProducer, AsyncDeserializingConsumer, AsyncSerializingProducer
from otel_kfs.kafka.consumer import Consumer, DeserializingConsumer, DeserializingShareConsumer, ShareConsumer
from otel_kfs.kafka.instrumentor import KafkaInstrumentor
from otel_kfs.kafka.process_spans.batch_span import process_batch
from otel_kfs.kafka.process_spans.process_span import process
from otel_kfs.kafka.process_spans.record_loop import processing
from otel_kfs.kafka.producer import Producer, SerializingProducer

if TYPE_CHECKING:
    from otel_kfs.bridge.loop import Bridge

__all__ = [
    "AIOConsumer",
    "AIOProducer",
    "AsyncDeserializingConsumer",
    "AsyncSerializingProducer",
    "Bridge",
    "Consumer",
    "DeserializingConsumer",
    "DeserializingShareConsumer",
    "KafkaInstrumentor",
    "Producer",
    "SerializingProducer",
    "ShareConsumer",
    "process",
    "process_batch",
    "processing",
]


def __getattr__(name: str) -> Any:
    # The bridge stands above the clients, which know nothing of it; its name is here for those who use it.
    if name == "Bridge":
        return importlib.import_module("otel_kfs.bridge.loop").Bridge
    raise AttributeError(f"module 'otel_kfs.kafka' has no attribute {name!r}")
