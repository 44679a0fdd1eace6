"""Says when a bridge hands no record to the model for a while, though records are waiting."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

_log = logging.getLogger(__name__)

_STALL_SECONDS = 60.0
_ASK_SECONDS = 1.0
_ASK_LIMIT_SECONDS = 5.0  # for all partitions together


class StallWatch:
    """Looks after a while without a dispatch whether there is anything to dispatch; warns once per stall."""

    def __init__(self, consumer: Any, limit: int, seconds: float = _STALL_SECONDS) -> None:
        """Watch a consumer, which has `enable.partition.eof` set, of a bridge with at most `limit` records in hand."""
        self._consumer = consumer
        self._limit = limit
        self._seconds = seconds
        self._since = time.monotonic()
        self._warned = False
        self._positions: dict[tuple[str, int], int] = {}  # one past the last record polled, or a partition's end

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Begin anew with these."""
        for at in partitions:
            self._positions.pop((at.topic, at.partition), None)
        self._since = time.monotonic()

    def poll(self, record: Any) -> None:
        """Note what `poll` returned: a record, or the end of a partition."""
        self._positions[record.topic(), record.partition()] = record.offset() + (record.error() is None)

    def dispatch(self) -> None:
        """Note that records went to the workers."""
        self._since = time.monotonic()
        self._warned = False

    def check(self, in_hand: int, polled: int) -> None:
        """Warn if no record was dispatched for a while in spite of records that wait, `polled` of them here."""
        if self._warned or time.monotonic() - self._since < self._seconds:
            return
        self._since = time.monotonic()
        if in_hand >= self._limit:
            why = f"the model has answered none of the {in_hand} in hand"
        elif polled:
            why = f"offsets can't be committed, and {polled} wait for that"
        elif waiting := self._waiting():
            why = f"{sum(waiting.values())} are waiting in {', '.join(waiting)}; restart the bridge if this continues"
        else:
            return
        self._warned = True
        _log.warning("no record was handed to the model for %g s: %s", self._seconds, why)

    def _waiting(self) -> dict[str, int]:
        """Return how many records there are beyond those that were polled, by partition, as far as the broker says."""
        waiting: dict[str, int] = {}
        with suppress(KafkaException):  # that no broker answers is said elsewhere
            until = time.monotonic() + _ASK_LIMIT_SECONDS
            for at in self._consumer.assignment():
                if time.monotonic() > until:
                    break
                low, high = self._consumer.get_watermark_offsets(at, timeout=_ASK_SECONDS)
                position = self._positions.get((at.topic, at.partition))
                if position is None:
                    (committed,) = self._consumer.committed([at], timeout=_ASK_SECONDS)
                    position = max(low, committed.offset)
                if high > position:
                    waiting[f"{at.topic}[{at.partition}]"] = high - position
        return waiting
