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
        self._unread: set[int] | None = None  # assigned, their end not reached; None: nothing was assigned yet

    def find_ends(self) -> None:
        """Ask the broker for the ends.

        Raises:
            ConfigError: there is no such topic, or no broker.
        """
        try:
            metadata = self._consumer.list_topics(self._topic, timeout=_ASK_SECONDS).topics[self._topic]
            if metadata.error is not None and metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise ConfigError(f"there is no topic {self._topic} at {self._servers}: check --dead-letter-topic")
            if metadata.error is not None:
                raise ConfigError(f"topic {self._topic} at {self._servers}: {metadata.error.str()}")
            self._ends = {
                partition: self._consumer.get_watermark_offsets(
                    TopicPartition(self._topic, partition), timeout=_ASK_SECONDS
                )[1]
                for partition in metadata.partitions
            }
        except KafkaException as error:
            raise ConfigError(
                f"no broker at {self._servers} says where topic {self._topic} ends ({error.args[0].str()}); check "
                "--bootstrap-servers and that the broker runs"
            ) from error

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Make these this redrive's part."""
        self._unread = {at.partition for at in partitions}

    def is_past_end(self, record: Any) -> bool:
        """Tell whether `poll` returned the end of a partition, or a record that came after the redrive began."""
        partition = record.partition()
        if record.error() is not None:
            if record.error().code() != KafkaError._PARTITION_EOF:
                return False
        elif record.offset() < self._ends.get(partition, 0):
            return False
        if self._unread is not None:
            self._unread.discard(partition)
        return True

    def is_finished(self) -> bool:
        """Tell whether all of this redrive's part has been read."""
        return self._unread is not None and not self._unread
