"""What the tests of senders under faults share: what lies in a topic of a real broker."""

from __future__ import annotations

from typing import Any

import confluent_kafka
from confluent_kafka.admin import AdminClient
from support import LIMIT


def leaders(servers: str, topic: str) -> list[int]:
    """The id of the broker that leads each partition of a topic; -1: none does."""
    found = AdminClient({"bootstrap.servers": servers}).list_topics(topic, timeout=LIMIT).topics[topic].partitions
    return [found[number].leader for number in sorted(found)]


def values(servers: str, topic: str, partitions: int = 1) -> list[bytes]:
    """The values of all records of a topic, read to the end of each partition by confluent_kafka's own consumer."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": servers, "group.id": "unused", "enable.partition.eof": True, "enable.auto.commit": False}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, number, 0) for number in range(partitions)])
    found: list[bytes] = []
    ends = 0
    while ends < partitions:
        record: Any = consumer.poll(30)
        assert record is not None, "the topic can't be read"
        if record.error() is None:
            found.append(record.value())
        else:
            assert record.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, record.error()
            ends += 1
    consumer.close()
    return found
