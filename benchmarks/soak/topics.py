"""The soak run's two topics: made, and read to their ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

from .account import Place

TOPIC, PARKED, PARTITIONS = "mobilenet", "mobilenet.dead-letters", 4


def create(servers: str) -> None:
    """Make both."""
    admin = AdminClient({"bootstrap.servers": servers})
    for made in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1), NewTopic(PARKED, 1, 1)]).values():
        made.result(30)


def length(servers: str) -> int:
    """How many records the topic has."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": servers, "group.id": "soak"})
    ends = [
        consumer.get_watermark_offsets(confluent_kafka.TopicPartition(TOPIC, number), timeout=30)[1]
        for number in range(PARTITIONS)
    ]
    consumer.close()
    return sum(ends)


def contents(servers: str) -> tuple[dict[Place, str], list[Place]]:
    """Return each record's trace by its place in the topic, and the first places of the dead letters."""
    found = {
        (record.partition(), record.offset()): dict(record.headers() or ()).get("traceparent", b"").decode()[3:35]
        for record in _records(servers, TOPIC, PARTITIONS)
    }
    parked = []
    for record in _records(servers, PARKED, 1):
        headers = dict(record.headers() or ())
        parked.append((int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"])))
    return found, parked


def _records(servers: str, topic: str, partitions: int) -> Iterator[Any]:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": servers, "group.id": "soak", "enable.partition.eof": True, "enable.auto.commit": False}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, number, 0) for number in range(partitions)])
    ends = 0
    while ends < partitions:
        record: Any = consumer.poll(30)
        if record is None:
            raise SystemExit(f"soak: the topic {topic} can't be read")
        if record.error() is None:
            yield record
        elif record.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
            ends += 1
    consumer.close()
