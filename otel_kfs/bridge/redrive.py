"""Where a redrive ends: at the end that the topic had when it began, so that what fails again is not met again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from otel_kfs.errors import ConfigError

_ASK_SECONDS = 10.0


class Redrive:
    """The ends of a topic's partitions, and which of the assigned ones have been reached.

    Its consumer has `enable.partition.eof` set, so that partitions without further records are reached too.
    """

    def __init__(self, consumer: Any, topic: str, servers: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._servers = servers
        self._ends: dict[int, int] = {}
        self._left: set[int] | None = None  # assigned and not reached; None: nothing was assigned yet

    def begin(self) -> None:
        """Ask the broker for the ends.

        Raises:
            ConfigError: there is no such topic, or no broker.
        """
        try:
            found = self._consumer.list_topics(self._topic, timeout=_ASK_SECONDS).topics[self._topic]
            if found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise ConfigError(f"there is no topic {self._topic} at {self._servers}: check --dead-letter-topic")
            if found.error is not None:
                raise ConfigError(f"topic {self._topic} at {self._servers}: {found.error.str()}")
            self._ends = {
                partition: self._consumer.get_watermark_offsets(
                    TopicPartition(self._topic, partition), timeout=_ASK_SECONDS
                )[1]
                for partition in found.partitions
            }
        except KafkaException as error:
            raise ConfigError(
                f"no broker at {self._servers} says where topic {self._topic} ends ({error.args[0].str()}); check "
                "--bootstrap-servers and that the broker runs"
            ) from error

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """These are this redrive's part."""
        self._left = {at.partition for at in partitions}

    def is_beyond(self, record: Any) -> bool:
        """Whether what `poll` returned is the end of its partition, or a record that came after the redrive's begin."""
        partition = record.partition()
        if record.error() is not None:
            if record.error().code() != KafkaError._PARTITION_EOF:
                return False
        elif record.offset() < self._ends.get(partition, 0):
            return False
        if self._left is not None:
            self._left.discard(partition)
        return True

    def is_over(self) -> bool:
        """Whether all that is this redrive's part has been read."""
        return self._left is not None and not self._left
