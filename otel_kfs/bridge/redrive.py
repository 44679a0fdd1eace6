"""Where a redrive ends: at the end that the topic had when it began, so that what fails again is not met again."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from otel_kfs.bridge.broker_errors import is_permanent
from otel_kfs.errors import ConfigError

_log = logging.getLogger(__name__)

_ASK_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 1.0
_PAUSE_SECONDS = 0.2  # before the ends are asked for once more


class Redrive:
    """The ends of a topic's partitions, and which of them have been reached, here or by another member of the group.

    Its consumer has `enable.partition.eof` set, so that partitions without further records are reached too.
    """

    def __init__(self, consumer: Any, topic: str, servers: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._servers = servers
        self._ends: dict[int, int] = {}  # of the partitions that are not empty
        self._unread: set[int] = set()  # assigned, their end not reached
        self._read: set[int] = set()  # assigned, their end reached
        self._has_joined = False
        self._asked = -math.inf
        self._has_waited = False

    def find_ends(self) -> None:
        """Ask the broker for the ends.

        Raises:
            ConfigError: there is no such topic, or no broker.
        """
        until = time.monotonic() + _ASK_SECONDS
        while (error := self._ask_for_ends()) is not None:
            if time.monotonic() > until or is_permanent(error):
                raise ConfigError(
                    f"no broker at {self._servers} says where topic {self._topic} ends ({error.str()}); check "
                    "--bootstrap-servers and that the broker runs"
                )
            time.sleep(_PAUSE_SECONDS)

    def _ask_for_ends(self) -> KafkaError | None:
        """Ask once; return why there was no answer."""
        try:
            metadata = self._consumer.list_topics(self._topic, timeout=_ASK_SECONDS).topics[self._topic]
            if metadata.error is not None and metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise ConfigError(f"there is no topic {self._topic} at {self._servers}: check --dead-letter-topic")
            for partition in metadata.partitions:
                at = TopicPartition(self._topic, partition)
                first, end = self._consumer.get_watermark_offsets(at, timeout=_ASK_SECONDS)
                if end > first:
                    self._ends[partition] = end
        except KafkaException as error:
            return error.args[0]  # type: ignore[no-any-return]
        return metadata.error  # type: ignore[no-any-return]

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Add these to this redrive's part: all of it, or, of an incremental assignor, what is new."""
        self._has_joined = True
        self._unread |= {at.partition for at in partitions}

    def revoke(self, partitions: Sequence[TopicPartition]) -> None:
        """Take these out of this redrive's part; whoever gets them reads them to their end."""
        revoked = {at.partition for at in partitions}
        self._unread -= revoked
        self._read -= revoked

    def is_past_end(self, record: Any) -> bool:
        """Tell whether `poll` returned the end of a partition, or a record that came after the redrive began."""
        partition = record.partition()
        if record.error() is not None:
            if record.error().code() != KafkaError._PARTITION_EOF:
                return False
        elif record.offset() < self._ends.get(partition, 0):
            return False
        if partition in self._unread:
            self._unread.remove(partition)
            self._read.add(partition)
        return True

    def is_finished(self) -> bool:
        """Tell whether all of the topic has been read: this redrive's part by itself, the others' by their commits."""
        # Before it is a member, what is committed may be what is left of a topic of that name that was deleted.
        if self._unread or not self._has_joined:
            return False
        others = [TopicPartition(self._topic, partition) for partition in self._ends.keys() - self._read]
        if not others:
            return True
        if time.monotonic() - self._asked < _ASK_AGAIN_SECONDS:
            return False
        self._asked = time.monotonic()
        try:
            committed = self._consumer.committed(others, timeout=_ASK_SECONDS)
        except KafkaException:
            return False
        left = sorted(at.partition for at in committed if at.offset < self._ends[at.partition])
        if left and self._read and not self._has_waited:
            self._has_waited = True
            _log.info("waiting for other members of the group, which have partitions %s", ", ".join(map(str, left)))
        return not left
