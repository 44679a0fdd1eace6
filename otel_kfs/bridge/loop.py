"""The bridge: consumes topics, hands each record to a model's URL, and commits only what was dealt with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from otel_kfs.bridge.bridge_options import BridgeOptions
from otel_kfs.bridge.broker_errors import BrokerErrors
from otel_kfs.bridge.dead_letters import DeadLetters
from otel_kfs.bridge.offsets.offset_tracker import COMMIT_SECONDS, OffsetTracker
from otel_kfs.bridge.outcomes import Answer, RunStats
from otel_kfs.bridge.record_handler import Task
from otel_kfs.bridge.record_workers import RecordWorkers
from otel_kfs.bridge.redrive import Redrive
from otel_kfs.bridge.stall_watch import StallWatch
from otel_kfs.client.kafka_access.kafka_security import Refusals, config_errors
from otel_kfs.client.kafka_access.kafka_settings import consumer_config
from otel_kfs.errors import ConfigError
from otel_kfs.kafka.consumer import Consumer, telemetry_of
from otel_kfs.telemetry import provider

__all__ = ["Answer", "Bridge"]

_POLL_SECONDS = 0.05  # how soon an answer is committed, and a request to stop is seen
# With no room for another record, so long until the partitions are paused: what librdkafka has fetched already is
# thrown away by that, and fetched again.
_PAUSE_AFTER_SECONDS = 1.0
_LEAVING_SECONDS = 5.0  # at most, until all partitions are given back; that asks no broker

# Where a partition without a committed offset begins, by `auto.offset.reset`; other values are left to librdkafka.
_RESET_OFFSETS = {
    **dict.fromkeys(("smallest", "earliest", "beginning"), OFFSET_BEGINNING),
    **dict.fromkeys(("largest", "latest", "end"), OFFSET_END),
}


class Bridge:
    """Consumes topics and posts each record's value to a model.

    A record's offset is committed after it was dealt with: answered, written to the dead-letter topic, or passed over
    because the user's policy says so. So every record is delivered at least once, and again where a bridge died
    before the commit. Records with the same key go one after another, in their order.
    """

    def __init__(self, bootstrap_servers: str, topics: Sequence[str], url: str, **options: Any) -> None:
        """Make a bridge from topics to the model at `url`; `options` are the further fields of `BridgeOptions`.

        Raises:
            ConfigError: options or settings that can't work together.
        """
        self.stats = RunStats()
        self._options = BridgeOptions(bootstrap_servers, topics, url, **options)
        provider.instrument_requests()
        self._dead_letters = _dead_letters(self._options)
        self._broker_errors = BrokerErrors(bootstrap_servers, self._options.consumed_topics)
        config = self._options.config or {}
        self._offsets = OffsetTracker(config.get("on_commit"))
        settings = {
            # What goes wrong with connections comes by error_cb alone; librdkafka would also log it, at each try.
            "log_level": 2,
            **config,
            **self._options.excluded_topics(),
            "error_cb": _in_turn(self._broker_errors.of_connection, config.get("error_cb")),
            "enable.partition.eof": True,  # which tells a redrive that it is done, and what a stall is
        }
        with config_errors("the consumer's settings"):
            settings = consumer_config(bootstrap_servers, self._options.group, settings)
            self._consumer = Consumer(settings)
        if (telemetry := telemetry_of(self._consumer)) is not None:
            telemetry.processes_all = True
        self._refusals: Refusals = settings["error_cb"]
        self._offsets.attach(self._consumer)

    def run(self, on_answer: Callable[[Answer], None], stop: threading.Event | None = None) -> None:
        """Hand records over until `stop` is set; then finish those in hand, commit, and close the consumer.

        `on_answer` gets each record's outcome before it is committed, from one thread at a time. What it raises ends
        the run, with that record uncommitted. With `redrive` the run also ends at the end of the dead-letter topic.

        Raises:
            SendError: a record was not answered and the policy is to stop; it was not committed.
            DeadLetterError: a record could not be written to the dead-letter topic; it was not committed.
            ConfigError: the broker refuses the topic, the group or the credentials.
        """
        stop = stop or threading.Event()
        workers = RecordWorkers(self._options, self._offsets, self.stats, self._dead_letters, on_answer, stop)
        loop = _PollLoop(self._options, self._consumer, self._offsets, workers, self._check, self._broker_errors)
        loop.run(stop)

    def _check(self) -> None:
        """Raise what the broker refused since the last poll."""
        self._refusals.check()
        self._broker_errors.check(self._offsets.commit_refusal)


def _in_turn(ours: Callable[..., None], users: Callable[..., None] | None) -> Callable[..., None]:
    """Return a callback of the consumer that calls the bridge's own, and then the user's."""
    if users is None:
        return ours

    def both(*arguments: Any) -> None:
        ours(*arguments)
        users(*arguments)

    return both


def _dead_letters(options: BridgeOptions) -> DeadLetters | None:
    if options.dead_letter_topic is None:
        return None
    return DeadLetters(
        options.bootstrap_servers,
        options.dead_letter_topic,
        options.group,
        options.config or {},
        options.dead_letter_config,
    )


class _PollLoop:
    """Feeds the workers, and keeps the consumer in its group: it never waits for a model."""

    def __init__(
        self,
        options: BridgeOptions,
        consumer: Any,
        offsets: OffsetTracker,
        workers: RecordWorkers,
        check: Callable[[], None],
        broker_errors: BrokerErrors,
    ) -> None:
        self._topics = options.consumed_topics
        self._dead_letter_topic = options.dead_letter_topic
        self._limit = options.in_flight_limit
        self._consumer = consumer
        self._offsets = offsets
        self._workers = workers
        self._check = check
        self._broker_errors = broker_errors
        self._redrive = Redrive(consumer, self._topics[0], options.bootstrap_servers) if options.redrive else None
        self._stall_watch = StallWatch(consumer, self._limit)
        self._polled: list[Any] = []  # not dispatched yet
        self._closing = False
        self._is_flowing: bool | None = None  # whether the partitions are resumed; None for ones that may be paused
        config = options.config or {}
        self._is_incremental = config.get("group.protocol", "").lower() == "consumer" or "cooperative" in config.get(
            "partition.assignment.strategy", ""
        )
        self._reset_offset = _RESET_OFFSETS.get(config.get("auto.offset.reset", "earliest"), OFFSET_INVALID)

    def run(self, stop: threading.Event) -> None:
        """Poll until `stop` is set, a worker fails, or a redrive has come to its end; then finish and close."""
        try:
            try:
                if self._redrive is not None:
                    self._redrive.find_ends()
                self._consumer.subscribe(
                    self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
                )
                while not (stop.is_set() or self._workers.failure or self._is_redriven()):
                    in_hand = self._wait_for_room()
                    self._poll(0 if self._polled else self._limit - in_hand)
                    if stop.is_set():
                        break  # meanwhile; what was polled is left to whoever comes next
                    if not self._polled:
                        self._offsets.commit()
                    elif self._dispatch():
                        self._offsets.commit_in_turn(self._limit)  # while the model works
                    else:
                        stop.wait(_POLL_SECONDS)
                    self._stall_watch.check(in_hand, len(self._polled))
            finally:
                self._workers.stop()
                self._offsets.release()
        finally:
            self._closing = True
            self._workers.close()
            try:
                self._leave_group()
            finally:
                self._consumer.close()
        if self._workers.failure is not None:
            raise self._workers.failure

    def _wait_for_room(self) -> int:
        """Return how many records are in hand, once there is room for another one or the time is over."""
        in_hand = self._workers.wait_for_fewer(self._limit, COMMIT_SECONDS)
        if in_hand >= self._limit:
            self._offsets.commit(self._limit)
            in_hand = self._workers.wait_for_fewer(self._limit, _PAUSE_AFTER_SECONDS)
        return in_hand

    def _leave_group(self) -> None:
        """Give all partitions back while they are polled for.

        A rebalance that comes while librdkafka closes the consumer is answered by nobody there, and keeps `close`, and
        with it the interpreter's lock, for ever.
        """
        self._consumer.pause(self._consumer.assignment())  # what is polled now is for whoever comes next
        self._consumer.unsubscribe()
        limit = time.monotonic() + _LEAVING_SECONDS
        self._consumer.poll(0)
        while self._consumer.assignment() and time.monotonic() < limit:
            self._consumer.poll(_POLL_SECONDS)

    def _is_redriven(self) -> bool:
        return (
            self._redrive is not None
            and not self._polled
            and self._redrive.is_finished()
            and self._workers.wait_for_fewer(1, _POLL_SECONDS) == 0
            and self._offsets.commit()  # else what it delivered last would be delivered again, after a rebalance
        )

    def _poll(self, room: int) -> None:
        """Get as many records as there is room for; without room none, but stay in the group."""
        has_room = room > 0
        if self._is_flowing is not has_room:
            self._is_flowing = has_room  # first: a callback may come in between
            change = self._consumer.resume if has_room else self._consumer.pause
            change(self._consumer.assignment())
        timeout = _POLL_SECONDS if has_room else 0.0
        while (record := self._consumer.poll(timeout)) is not None:
            timeout = 0.0
            error = record.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                self._broker_errors.in_place_of_record(error)
                continue
            self._stall_watch.poll(record)
            past_end = self._redrive is not None and self._redrive.is_past_end(record)
            if error is None and not past_end:
                self._polled.append(record)
            if len(self._polled) >= room:
                break
        self._check()

    def _dispatch(self) -> bool:
        """Give what was polled to the workers; return False where the commit before that fails: it has to wait."""
        dispatched = self._offsets.dispatch(self._polled, self._limit)
        if not dispatched:
            return False
        self._workers.submit([Task(record, *of) for record, of in zip(self._polled, dispatched, strict=True)])
        self._polled = []
        self._stall_watch.dispatch()
        return True

    def _assigned(self, _: Any, partitions: Sequence[TopicPartition]) -> None:
        self._is_flowing = None  # librdkafka keeps a pause over assignments
        if self._closing:
            return  # nobody polled for them: asking the broker about them could keep `close` from ending
        if self._redrive is None and any(at.topic == self._dead_letter_topic for at in partitions):
            # With group.protocol=consumer the broker matches patterns, and knows nothing of what is excluded here.
            raise ConfigError(
                f"the dead-letter topic {self._dead_letter_topic} matches --topic {', '.join(self._topics)}, and would "
                "be read again: name topics or a pattern without it"
            )
        if (committed := self._offsets.assign(partitions)) is not None:
            self._begin(committed)
        self._stall_watch.assign(partitions)
        if self._redrive is not None:
            self._redrive.assign(partitions)

    def _begin(self, partitions: Sequence[TopicPartition]) -> None:
        """Let the consumer read these from their committed offsets.

        Without an offset, librdkafka asks for the committed one itself, only once, and reads nothing if the broker
        that it asks no longer coordinates the group: https://github.com/confluentinc/librdkafka/issues/5586.
        """
        for at in partitions:
            if at.offset == OFFSET_INVALID:
                at.offset = self._reset_offset
        # Where that is refused, confluent_kafka assigns the partitions as if this had not been tried.
        with suppress(KafkaException):
            (self._consumer.incremental_assign if self._is_incremental else self._consumer.assign)(list(partitions))

    def _revoked(self, _: Any, partitions: Sequence[TopicPartition]) -> None:
        """Finish what is posted from these, commit it, and give back the rest: another bridge gets them."""
        self._leave(partitions)
        self._workers.finish(self._offsets.revoke(partitions))
        self._offsets.release(partitions)

    def _lost(self, _: Any, partitions: Sequence[TopicPartition]) -> None:
        """Give back the records of these: another bridge has them already, and nothing can be committed."""
        self._leave(partitions)
        self._workers.cancel(self._offsets.revoke(partitions))
        self._offsets.release(partitions, commit=False)

    def _leave(self, partitions: Sequence[TopicPartition]) -> None:
        """Do not dispatch what was polled from these: it goes to whoever has them next."""
        if self._redrive is not None:
            self._redrive.revoke(partitions)
        places = {(at.topic, at.partition) for at in partitions}
        self._polled = [record for record in self._polled if (record.topic(), record.partition()) not in places]
