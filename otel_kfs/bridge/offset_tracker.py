"""Which records are handed out and which are done, a partition at a time, and what of that is committed.

What is committed is the end of the contiguous part that is done. Its metadata says how far records had been handed out
beyond it, so that the bridge that comes next knows which of them may be second deliveries. So a commit goes before
records are handed out. It is not waited for where it is the only one under way, for then it is with the broker before
any record is with the model; behind others it is, or a bridge that is killed would take those with it. It is waited
for, too, when the broker seems to be away, and records are not handed out while nobody can be told of it. What this
bridge handed out it also remembers itself, for the partitions that it gets back.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

_log = logging.getLogger(__name__)

_METADATA_KEY = "otel_kfs.handed_out"
_MOST_STEPS = 50  # in the metadata: 1 kB, of which a broker takes 4 (offset.metadata.max.bytes)
# Why a broker never takes a commit, however often it is sent.
_REFUSALS = {
    KafkaError.OFFSET_METADATA_TOO_LARGE,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}
_COMMITTED_SECONDS = 10.0  # to ask for the committed offsets
_COMMIT_SECONDS = 10.0  # after which a commit without a report is taken for lost

Steps = list[tuple[int, int]]  # (offset, times): all below that offset were handed out so many times


class PartitionOffsets:
    """One partition, from its assignment to its end."""

    def __init__(self, topic: str, partition: int, earlier: Steps) -> None:
        self.topic = topic
        self.partition = partition
        self.given_up = threading.Event()  # this bridge no longer has the partition: nobody waits for its records
        self._earlier = earlier
        self._open: dict[int, None] = {}  # handed out, not done, in the order of offsets
        self._next: int | None = None  # one past the last record handed out
        self._started = 0  # one past the last record that a worker took up

    def hand_out(self, offset: int) -> int:
        """Which delivery of that record this is: 1, or more where it may have been handed out before."""
        self._open[offset] = None
        self._next = offset + 1
        return 1 + _times(self._earlier, offset)

    def start(self, offset: int) -> None:
        """A worker takes it up."""
        self._started = max(self._started, offset + 1)

    def done(self, offset: int) -> None:
        """It may be committed, as soon as all before it may."""
        self._open.pop(offset, None)

    def committable(self, *, last: bool = False) -> TopicPartition | None:
        """What to commit now; `last`: what no worker took up counts as not handed out. None: nothing yet."""
        if self._next is None:
            return None
        position = next(iter(self._open), self._next)
        steps = self._steps(self._started if last else self._next)
        return TopicPartition(
            self.topic, self.partition, position, _written([step for step in steps if step[0] > position])
        )

    def taken_up(self) -> Steps:
        """How often records were handed out until now, in this life and before: those that workers took up."""
        return self._steps(self._started)

    def _steps(self, handed_out: int) -> Steps:
        return [
            (upto, times)
            for upto in sorted({*(upto for upto, _ in self._earlier), handed_out})
            if (times := _times(self._earlier, upto - 1) + (upto <= handed_out))
        ]


class OffsetTracker:
    """All of one consumer's partitions. Workers call `start` and `done`; the thread that polls the consumer all else.

    (Only that thread commits: a commit from another one waits for it, and it may wait for that one in a callback.)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.refused = ""  # why the broker takes no commits
        self._partitions: dict[tuple[str, int], PartitionOffsets] = {}
        self._changed: set[tuple[str, int]] = set()
        self._handed_out: dict[tuple[str, int], Steps] = {}  # by this process, in partitions that it no longer has
        self._under_way = 0  # commits without a report
        self._doubtful = False  # whether commits reach the broker: the last one did not, or a connection broke
        self._last_sent = 0.0
        self._consumer: Any = None

    def of(self, consumer: Any) -> None:
        """The consumer that commits; it was made with `committed` as its `on_commit`."""
        self._consumer = consumer

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Begin with these: learn how far the bridge before had come."""
        try:
            found = self._consumer.committed(list(partitions), timeout=_COMMITTED_SECONDS)
        except KafkaException as error:
            _log.warning("can't tell which records are second deliveries: %s", error.args[0].str())
            found = partitions
        with self._lock:
            for at in found:
                key = (at.topic, at.partition)
                # What was handed out as the broker died may be known here alone.
                known = _most(_read(getattr(at, "metadata", None)), self._handed_out.pop(key, []))
                self._partitions[key] = PartitionOffsets(*key, known)

    def hand_out(self, records: Sequence[Any]) -> list[tuple[PartitionOffsets, int]]:
        """For each record, where it belongs and which delivery it is. The commit that says so is sent before.

        Nothing, if that failed while it was waited for: these records have to be polled again.
        """
        with self._lock:
            handed = []
            for record in records:
                key = (record.topic(), record.partition())
                if key not in self._partitions:
                    self._partitions[key] = PartitionOffsets(*key, [])
                owner = self._partitions[key]
                handed.append((owner, owner.hand_out(record.offset())))
                self._changed.add(key)
        return handed if self._commit(wait=self._under_way > 0 or self._doubtful) else []

    def doubt(self) -> None:
        """A connection broke: commits may not reach the broker."""
        self._doubtful = True

    def start(self, owner: PartitionOffsets, offset: int) -> None:
        """A worker takes a record up."""
        with self._lock:
            owner.start(offset)

    def done(self, owner: PartitionOffsets, offset: int) -> None:
        """A record may be committed."""
        with self._lock:
            owner.done(offset)
            if not owner.given_up.is_set():
                self._changed.add((owner.topic, owner.partition))

    def committed(self, error: KafkaError | None, _: Sequence[TopicPartition]) -> None:
        """A commit's report, as the consumer's `on_commit`; what it could not say, the next one says."""
        self._under_way = max(0, self._under_way - 1)
        if error is not None:
            self._failed(error)
        else:
            self._doubtful = False

    def commit(self) -> None:
        """Commit what is done since the last time; not while a commit is under way, unless that seems lost."""
        if self._changed and (not self._under_way or time.monotonic() - self._last_sent > _COMMIT_SECONDS):
            self._commit()

    def give_up(self, partitions: Sequence[TopicPartition]) -> list[PartitionOffsets]:
        """Nobody here waits for the records of these any longer; `release` still commits what is done."""
        with self._lock:
            owners = [self._partitions[key] for key in self._keys(partitions)]
        for owner in owners:
            owner.given_up.set()
        return owners

    def release(self, partitions: Sequence[TopicPartition] | None = None, *, commit: bool = True) -> None:
        """End with these (or all): commit what is done, and wait for that."""
        with self._lock:
            released = [self._partitions.pop(key) for key in self._keys(partitions)]
            for owner in released:
                owner.given_up.set()
                key = (owner.topic, owner.partition)
                self._changed.discard(key)
                self._handed_out[key] = owner.taken_up()
            last = [at for owner in released if (at := owner.committable(last=True)) is not None]
        if last and commit:
            try:
                self._consumer.commit(offsets=last, asynchronous=False)
            except KafkaException as error:
                _log.warning("the last offsets were not committed; those records come again: %s", error.args[0].str())

    def _keys(self, partitions: Sequence[TopicPartition] | None) -> list[tuple[str, int]]:
        if partitions is None:
            return list(self._partitions)
        return [key for at in partitions if (key := (at.topic, at.partition)) in self._partitions]

    def _commit(self, *, wait: bool = False) -> bool:
        """Commit what has changed. False: it failed at once, or while it was waited for."""
        with self._lock:
            offsets = [at for key in self._changed if (at := self._partitions[key].committable()) is not None]
            self._changed.clear()
        if not offsets:
            return True
        self._last_sent = time.monotonic()
        try:
            self._consumer.commit(offsets=offsets, asynchronous=not wait)
        except KafkaException as error:
            self._failed(error.args[0])
            return False
        if wait:
            self._doubtful = False
        else:
            self._under_way += 1
        return True

    def _failed(self, error: KafkaError) -> None:
        _log.info("offsets were not committed: %s", error.str())
        self._doubtful = True
        if error.code() in _REFUSALS:
            self.refused = error.str()
        with self._lock:
            self._changed |= self._partitions.keys()


def _times(steps: Steps, offset: int) -> int:
    """How often a record was handed out: what the first step beyond it says."""
    return next((times for upto, times in steps if offset < upto), 0)


def _most(one: Steps, other: Steps) -> Steps:
    """For each record, the greater number that either says."""
    uptos = sorted({upto for upto, _ in (*one, *other)})
    return [(upto, max(_times(one, upto - 1), _times(other, upto - 1))) for upto in uptos]


def _written(steps: Steps) -> str:
    return json.dumps({_METADATA_KEY: steps[:_MOST_STEPS]}, separators=(",", ":")) if steps else ""


def _read(metadata: Any) -> Steps:
    """The steps of a commit's metadata; none where somebody else wrote it."""
    try:
        steps = json.loads(metadata)[_METADATA_KEY]
        return [(int(upto), int(times)) for upto, times in steps]
    except (TypeError, ValueError, KeyError, RecursionError):
        return []
