"""What the tests of the Kafka clients share: reading a topic from its start, without a group's slow join."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import confluent_kafka
import pytest

from otel_kfs.kafka import Consumer

GROUP = "a group"


@pytest.fixture(autouse=True)
def poll_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every poll that brings records is a span, unless a test wants it otherwise."""
    monkeypatch.setenv("OTEL_KFS_POLL_SPANS", "true")


@pytest.fixture
def open_consumer(broker: str) -> Iterator[Callable[..., Consumer]]:
    """Opens a Consumer of some topics' first partitions, from their start."""
    opened = []

    def open_(*topics: str, config: Mapping[str, Any] | None = None) -> Consumer:
        settings = {"bootstrap.servers": broker, "group.id": GROUP, "fetch.wait.max.ms": 10, **(config or {})}
        opened.append(Consumer(settings))
        opened[-1].assign([confluent_kafka.TopicPartition(topic, 0, 0) for topic in topics])
        return opened[-1]

    yield open_
    for consumer in opened:
        consumer.close()
