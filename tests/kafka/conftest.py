"""What the tests of the Kafka clients share: reading a topic from its start, without a group's slow join."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import confluent_kafka
import pytest
from support import wait_until

from otel_kfs.kafka import Consumer

GROUP = "a group"


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


@pytest.fixture
def fetch(broker: str) -> Callable[..., list[Any]]:
    """The first `count` records of a topic, read by confluent_kafka's own consumer: it makes no spans."""

    def fetch_(topic: str, count: int = 1) -> list[Any]:
        consumer = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": "g", "fetch.wait.max.ms": 10})
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        records: list[Any] = []
        wait_until(
            f"{count} records of {topic}",
            lambda: len(records) >= count or records.extend(consumer.consume(count - len(records), 0.2)),
        )
        consumer.close()
        return records

    return fetch_
