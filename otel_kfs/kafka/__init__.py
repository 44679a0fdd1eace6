"""confluent_kafka's clients with spans; importing this package is what imports confluent_kafka."""

from __future__ import annotations

try:
    import confluent_kafka  # noqa: F401
except ImportError as error:
    from otel_kfs.errors import MissingExtra

    raise MissingExtra("confluent-kafka", "kafka") from error

from otel_kfs.kafka.bridge import Bridge
from otel_kfs.kafka.consumer import Consumer, process
from otel_kfs.kafka.producer import Producer

__all__ = ["Bridge", "Consumer", "Producer", "process"]
