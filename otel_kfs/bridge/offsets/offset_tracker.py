"""Which records are dispatched and which are done, a partition at a time, and what of that is committed.

What is committed is the end of the contiguous part that is done. Its metadata says how far records may have been
dispatched beyond it, so that the bridge that comes next knows which of them may be second deliveries. So a commit goes
before records are dispatched, and is waited for: one that is only on its way is refused if the group is rebalanced
meanwhile, or is lost with the broker. While records come one after another, it announces a few more than are dispatched
so far: those need not wait for a commit of their own, and the next one is waited for while the model works. A model may
be so fast that a commit for each record would take as long: then one is made when what was announced is used up. What
this bridge dispatched it also remembers itself, for the partitions that it gets back.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from otel_kfs.bridge.broker_errors import is_permanent
from otel_kfs.bridge.offsets.delivery_counts import DeliveryCounts

_log = logging.getLogger(__name__)

_COMMITTED_SECONDS = 10.0  # to ask for the committed offsets
_PAUSE_SECONDS = 0.1  # before they are asked for once more

COMMIT_SECONDS = 0.01  # between two commits while records come, unless one has to go before a record


class PartitionOffsets:
    """One partition, from its assignment to its end, or until the consumer goes back to records before."""

    def __init__(self, topic: str, partition: int, earlier: DeliveryCounts) -> None:
        self.topic = topic
        self.partition = partition
        # This bridge no longer has the partition, or has begun it anew: nobody waits for these records.
        self.revoked = threading.Event()
        self._earlier = earlier
        self._open: dict[int, None] = {}  # dispatched, not done, in the order of offsets
        self._dispatched: int | None = None  # one past the last record dispatched
        self._delivered = 0  # one past the last record that workers were given
        self._started = 0  # one past the last record that a worker began
        self._announced = 0  # the broker surely knows that the records below this may have been delivered

    def dispatch(self, offset: int) -> int:
        """Note a record as dispatched; return which delivery it is: 1, or more where it may have been one before."""
        self._open[offset] = None
        self._dispatched = offset + 1
        return 1 + self._earlier.of(offset)

    def is_announced(self, offset: int) -> bool:
        """Tell whether the broker knows that this record may have been delivered."""
        return offset < self._announced

    def deliver(self) -> None:
        """Note that workers are given what is dispatched."""
        self._delivered = self._dispatched or 0

    def is_delivered(self, offset: int) -> bool:
        """Tell whether workers were given this record, or one behind it."""
        return offset < self._delivered

    def start(self, offset: int) -> None:
        """Note that a worker begins with a record."""
        self._started = max(self._started, offset + 1)

    def complete(self, offset: int) -> None:
        """Let a record be committed, as soon as all before it may."""
        self._open.pop(offset, None)

    def committable(self, ahead: int = 0, *, last: bool = False) -> TopicPartition | None:
        """Return what to commit now, None for nothing yet.

        The `ahead` records beyond those that are dispatched count as dispatched, too; with `last` only what a worker
        began does.
        """
        if self._dispatched is None:
            return None
        position = next(iter(self._open), self._dispatched)
        counts = self._earlier.with_delivery(self._started if last else self._dispatched + ahead)
        return TopicPartition(self.topic, self.partition, position, counts.beyond(position).to_metadata())

    def ask(self, ahead: int) -> None:
        """Note that the broker may have what `committable` returned, or still what it had before."""
        if self._dispatched is not None:
            self._announced = min(self._announced, self._dispatched + ahead)

    def announce(self, ahead: int) -> None:
        """Note that the broker has what `committable` returned."""
        if self._dispatched is not None:
            self._announced = self._dispatched + ahead

    def started_counts(self) -> DeliveryCounts:
        """Return how often records were delivered until now, here and before: those that workers began."""
        return self._earlier.with_delivery(self._started)


class OffsetTracker:
    """All partitions of one consumer. Workers call `start` and `complete`; the thread that polls it calls all else.

    (Only that thread commits: a commit from another one waits for it, and it may wait for that one in a callback.)
    """

    def __init__(self, on_commit: Callable[[KafkaError | None, Any], None] | None = None) -> None:
        """Make one that tells `on_commit` of its commits: librdkafka does not, of those that are waited for."""
        self._on_commit = on_commit
        self._lock = threading.Lock()
        self.commit_refusal = ""  # why the broker never takes a commit
        self._partitions: dict[tuple[str, int], PartitionOffsets] = {}
        self._changed: set[tuple[str, int]] = set()
        self._ahead: set[tuple[str, int]] = set()  # where the last commit announced more than is dispatched
        self._is_used_up = False  # all that was announced has been dispatched
        self._committed_at = -math.inf
        self._released: dict[tuple[str, int], DeliveryCounts] = {}  # of partitions that this process no longer has
        self._consumer: Any = None

    def attach(self, consumer: Any) -> None:
        """Commit by this consumer."""
        self._consumer = consumer

    def assign(self, partitions: Sequence[TopicPartition]) -> Sequence[TopicPartition] | None:
        """Begin with these: learn how far the bridge before had come. Return what is committed, None if nobody says."""
        found = self._committed(partitions)
        with self._lock:
            for at in partitions if found is None else found:
                key = (at.topic, at.partition)
                # What was dispatched as the broker died may be known here alone.
                committed = DeliveryCounts.from_metadata(getattr(at, "metadata", None))
                counts = committed.merge(self._released.pop(key, DeliveryCounts()))
                # What is committed rarely comes again: its counts would only grow, by a step per assignment.
                counts = counts.beyond(at.offset).merge(DeliveryCounts(((at.offset, 1),) if at.offset > 0 else ()))
                self._partitions[key] = PartitionOffsets(*key, counts)
        return found

    def dispatch(self, records: Sequence[Any], ahead: int = 0) -> list[tuple[PartitionOffsets, int]]:
        """Return for each record its partition and which delivery it is, once a commit has said so.

        That is this one, which announces `ahead` further records, unless an earlier one announced all of them. Nothing,
        if it failed: nobody could tell that these records are delivered again.
        """
        with self._lock:
            dispatched, is_announced, self._is_used_up = [], True, False
            for record in records:
                key = (record.topic(), record.partition())
                partition = self._partitions.get(key)
                if partition is None:
                    partition = self._partitions[key] = PartitionOffsets(*key, DeliveryCounts())
                elif partition.is_delivered(record.offset()):
                    # The log was truncated, or its offsets are lost: the consumer begins anew where its settings say.
                    partition.revoked.set()
                    partition = self._partitions[key] = PartitionOffsets(*key, partition.started_counts())
                is_announced = is_announced and partition.is_announced(record.offset())
                self._is_used_up = self._is_used_up or not partition.is_announced(record.offset() + 1)
                dispatched.append((partition, partition.dispatch(record.offset())))
                self._changed.add(key)
        if not is_announced and not self._commit(ahead):
            return []
        for partition, _ in dispatched:
            partition.deliver()
        return dispatched

    def start(self, partition: PartitionOffsets, offset: int) -> None:
        """Note that a worker begins with a record."""
        with self._lock:
            partition.start(offset)

    def complete(self, partition: PartitionOffsets, offset: int) -> None:
        """Let a record be committed."""
        with self._lock:
            partition.complete(offset)
            if not partition.revoked.is_set():
                self._changed.add((partition.topic, partition.partition))

    def commit_in_turn(self, ahead: int) -> None:
        """Commit like `commit` if the last time was not just now, or the next record would have to wait for it."""
        if self._is_used_up or time.monotonic() - self._committed_at >= COMMIT_SECONDS:
            self.commit(ahead)

    def commit(self, ahead: int = 0) -> bool:
        """Commit what is done since the last time, and announce `ahead` records beyond what is dispatched; 0: no more.

        Return whether the broker has it now; what could not be committed, the next commit says.
        """
        return self._commit(ahead) if self._changed or (self._ahead and not ahead) else True

    def revoke(self, partitions: Sequence[TopicPartition]) -> list[PartitionOffsets]:
        """Stop waiting for the records of these partitions; `release` still commits what is done."""
        with self._lock:
            revoked = [self._partitions[key] for key in self._keys(partitions)]
        for partition in revoked:
            partition.revoked.set()
        return revoked

    def release(self, partitions: Sequence[TopicPartition] | None = None, *, commit: bool = True) -> None:
        """End with these (or all): commit what is done, and wait for that."""
        with self._lock:
            released = [self._partitions.pop(key) for key in self._keys(partitions)]
            for partition in released:
                partition.revoked.set()
                key = (partition.topic, partition.partition)
                self._changed.discard(key)
                self._ahead.discard(key)
                self._released[key] = partition.started_counts()
            last = [at for partition in released if (at := partition.committable(last=True)) is not None]
        if last and commit and (error := self._send(last)) is not None:
            _log.warning("the last offsets were not committed; those records will be delivered again: %s", error.str())

    def _committed(self, partitions: Sequence[TopicPartition]) -> Sequence[TopicPartition] | None:
        """Return what is committed, with its metadata, asking again for a while; None if all attempts failed."""
        until = time.monotonic() + _COMMITTED_SECONDS
        while True:
            try:
                found: Sequence[TopicPartition] = self._consumer.committed(list(partitions), timeout=_COMMITTED_SECONDS)
            except KafkaException as raised:
                error = raised.args[0]
            else:
                if (error := _error_in(found)) is None:
                    return found
            if time.monotonic() > until or is_permanent(error):
                _log.warning("can't tell which records are second deliveries: %s", error.str())
                return None
            time.sleep(_PAUSE_SECONDS)

    def _keys(self, partitions: Sequence[TopicPartition] | None) -> list[tuple[str, int]]:
        if partitions is None:
            return list(self._partitions)
        return [key for at in partitions if (key := (at.topic, at.partition)) in self._partitions]

    def _commit(self, ahead: int) -> bool:
        """Commit what has changed; tell whether that succeeded."""
        with self._lock:
            keys = self._changed | self._ahead
            partitions = [self._partitions[key] for key in keys]
            offsets = [at for partition in partitions if (at := partition.committable(ahead)) is not None]
            self._changed.clear()
        # A commit that fails may have been taken: only its answer was lost, with the connection or the coordinator.
        for partition in partitions:
            partition.ask(ahead)
        if offsets and (error := self._send(offsets)) is not None:
            self._commit_failed(error)
            return False
        for partition in partitions:
            partition.announce(ahead)
        self._ahead = keys if ahead else set()
        self._is_used_up = not ahead
        self._committed_at = time.monotonic()
        return True

    def _send(self, offsets: list[TopicPartition]) -> KafkaError | None:
        """Commit, and wait for that; return why it failed.

        librdkafka repeats some commits that fail: one that nobody waits for could undo the next one.
        """
        failure, result = None, offsets
        try:
            result = self._consumer.commit(offsets=offsets, asynchronous=False) or offsets
        except KafkaException as error:
            failure = error.args[0]
        if self._on_commit is not None:
            self._on_commit(failure, result)
        return failure or _error_in(result)

    def _commit_failed(self, error: KafkaError) -> None:
        _log.info("offsets were not committed: %s", error.str())
        if is_permanent(error):
            self.commit_refusal = error.str()
        with self._lock:
            self._changed |= self._partitions.keys()


def _error_in(partitions: Sequence[TopicPartition]) -> KafkaError | None:
    """Return why some of the offsets in a commit were not taken: the commit as a whole fails only if all were not."""
    return next((at.error for at in partitions if at.error is not None), None)
