"""The bridge: consumes topics, hands each record to a model's URL, and commits only what was dealt with."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import requests
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from otel_kfs.bridge import outcomes
from otel_kfs.bridge.dead_letters import DeadLetters
from otel_kfs.bridge.keyed_pool import KeyedPool
from otel_kfs.bridge.offset_tracker import OffsetTracker
from otel_kfs.bridge.outcomes import Answer, Policy, RunStats
from otel_kfs.bridge.record_handler import HandlingPolicy, Model, Task, hand_over
from otel_kfs.bridge.redrive import Redrive
from otel_kfs.bridge.retries import Abandoned, RetryPolicy
from otel_kfs.client.kafka_access.kafka_security import Refusals, accepted
from otel_kfs.client.kafka_access.kafka_settings import consumer_config
from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import ConfigError, DeadLetterError, SendError
from otel_kfs.kafka.consumer import Consumer
from otel_kfs.telemetry import provider

__all__ = ["Answer", "Bridge"]

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05  # how soon an answer is committed, and a request to stop is seen
# With no room for another record, so long until the partitions are paused: what librdkafka has fetched already is
# thrown away by that, and fetched again.
_PATIENCE_SECONDS = 1.0


class Bridge:
    """Consumes topics and posts each record's value to a model.

    A record's offset is committed after it was dealt with: answered, parked in the dead-letter topic, or passed over
    because the user's policy says so. So every record is handed over at least once, and again where a bridge died
    before the commit. Records with the same key go one after another, in their order.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topics: Sequence[str],
        url: str,
        *,
        group: str = "otel-kfs-bridge",
        host: str | None = None,
        timeout: float = 600.0,
        config: Mapping[str, Any] | None = None,
        links: bool = False,
        trust_context: bool = True,
        concurrency: int = 1,
        max_in_flight: int | None = None,
        retries: int = 5,
        retry_for: float = 60.0,
        dead_letter_topic: str | None = None,
        dead_letter_config: Mapping[str, Any] | None = None,
        on_refused: Policy | None = None,
        on_unanswered: Policy | None = None,
        grace: float = 30.0,
        redrive: bool = False,
        session: Callable[[], requests.Session] = requests.Session,
    ) -> None:
        """`url` is the model's; `host` goes into the Host header; `timeout` bounds one request (seconds).

        `config` holds further librdkafka settings of the consumer, `dead_letter_config` those of the producer for the
        dead-letter topic (without it: as far as they are about reaching the broker, the consumer's). `session` makes
        the HTTP session of one worker: it brings credentials, certificates, proxies.

        With `links`, each record's processing is a trace of its own that links to the producer's, instead of a part of
        it; without `trust_context` too, and the producer's baggage stays out.

        `concurrency` workers have together at most `max_in_flight` records (default: 1 of 1 worker, else twice as many
        as workers). A request that fails is repeated up to `retries` times, within `retry_for` seconds. Then
        `on_unanswered` says what becomes of the record, `on_refused` of one that the server refuses (4xx): "skip",
        "dead-letter" or "stop" (default: "dead-letter" with a dead-letter topic, else "stop" and "skip"). `grace`
        (seconds) bounds how long records in hand are waited for at the end, and when partitions go to another bridge.

        With `redrive`, the records are the dead-letter topic's own, up to its present end; `topics` is empty then.

        Raises:
            ConfigError: options or settings that can't work together.
        """
        if redrive and (topics or dead_letter_topic is None):
            raise ConfigError("a redrive reads the dead-letter topic: name that one, and no other topic")
        if dead_letter_topic in topics:
            raise ConfigError(f"{dead_letter_topic} is the dead-letter topic: it can't be bridged, only redriven")
        if dead_letter_topic is None and outcomes.DEAD_LETTER in {on_refused, on_unanswered}:
            raise ConfigError("records can't be parked without a dead-letter topic; name one with --dead-letter-topic")
        provider.instrument_requests()
        self._servers = bootstrap_servers
        self._topics = [dead_letter_topic] if redrive and dead_letter_topic else list(topics)
        self._room = max_in_flight or (1 if concurrency == 1 else 2 * concurrency)
        self._grace = grace
        self._concurrency = concurrency
        self._model = partial(_model, url, host, timeout, session, OutageLog(_log, "the model does not answer"))
        parks = dead_letter_topic is not None
        self._manner = HandlingPolicy(
            group,
            links,
            trust_context,
            RetryPolicy(retries, retry_for),
            on_refused or (outcomes.DEAD_LETTER if parks else outcomes.SKIP),
            on_unanswered or (outcomes.DEAD_LETTER if parks else outcomes.STOP),
            redrive,
        )
        self._dead_letters = (
            DeadLetters(bootstrap_servers, dead_letter_topic, group, config or {}, dead_letter_config)
            if dead_letter_topic is not None
            else None
        )
        self.tally = RunStats()
        self._offsets = OffsetTracker()
        # What goes wrong with connections comes by this callback alone; librdkafka would also log it, at each try.
        settings = {
            "error_cb": self._connection_error,
            "on_commit": self._offsets.committed,
            "log_level": 2,
            **({"enable.partition.eof": True} if redrive else {}),
            **(config or {}),
        }
        self._unreached = self._fatal = ""
        self._outages = OutageLog(_log, f"no broker reached at {bootstrap_servers}")
        with accepted("the consumer's settings"):
            settings = consumer_config(bootstrap_servers, group, settings)
            self._consumer = Consumer(settings)
        self._refusals: Refusals = settings["error_cb"]
        self._offsets.of(self._consumer)
        self._redrive = Redrive(self._consumer, self._topics[0], bootstrap_servers) if redrive else None

    def run(self, on_answer: Callable[[Answer], None], stop: threading.Event | None = None) -> None:
        """Hand records over until `stop` is set; then finish those in hand, commit, and close the consumer.

        `on_answer` is told of each record before it is committed, from one thread at a time. What it raises ends the
        run, with that record uncommitted. With `redrive` the run also ends at the end of the dead-letter topic.

        Raises:
            SendError: a record was not answered and the policy is to stop; it was not committed.
            NotParked: a record could not be written to the dead-letter topic; it was not committed.
            ConfigError: the broker refuses the topic, the group or the credentials.
        """
        _Run(self, on_answer, stop or threading.Event()).to_its_end()

    def _broker_error(self, error: KafkaError) -> None:
        """What stands in the place of a record; a topic that does not exist yet may still be made."""
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            _log.warning("topic %s does not exist yet on %s", ", ".join(self._topics), self._servers)
        elif error.fatal() or not error.retriable():
            raise ConfigError(f"the broker at {self._servers} refused: {error.str()}")

    def _connection_error(self, error: KafkaError) -> None:
        """What librdkafka tells of its connections: it connects again by itself, but not to better credentials."""
        self._offsets.doubt()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._outages.report(self._unreached or error.str())
        elif error.fatal():
            self._fatal = error.str()
        else:
            self._unreached = error.str().partition(" (after ")[0]

    def _check(self) -> None:
        """After each poll: whether the broker said what no new try can mend."""
        self._refusals.check()
        if self._offsets.refused:
            raise ConfigError(
                f"the broker at {self._servers} refuses to commit offsets: {self._offsets.refused}; "
                "see offset.metadata.max.bytes, and the group's and topic's rights"
            )
        if self._fatal:
            raise ConfigError(f"the broker at {self._servers} refused: {self._fatal}")


def _model(
    url: str, host: str | None, timeout: float, session: Callable[[], requests.Session], outages: OutageLog
) -> Model:
    return Model(url, host, timeout, session(), outages)


class _Run:
    """One run of a bridge: its workers, and the loop that feeds them. The loop never waits for a model."""

    def __init__(self, bridge: Bridge, on_answer: Callable[[Answer], None], stop: threading.Event) -> None:
        self._bridge = bridge
        self._consumer, self._offsets, self._redrive = bridge._consumer, bridge._offsets, bridge._redrive
        self._on_answer = on_answer
        self._telling = threading.Lock()
        self._stop = stop
        self._ends = threading.Event()  # no further try of a request
        self._failure: BaseException | None = None
        self._paused = False
        self._polled: list[Any] = []  # in this turn, not handed out yet
        self._models = [bridge._model() for _ in range(bridge._concurrency)]
        self._workers: KeyedPool[Task] = KeyedPool(bridge._concurrency, self._work)

    def to_its_end(self) -> None:
        try:
            try:
                if self._redrive is not None:
                    self._redrive.begin()
                self._consumer.subscribe(
                    self._bridge._topics,
                    on_assign=self._assigned,
                    on_revoke=self._revoked,
                    on_lost=self._lost,
                )
                while not (self._stop.is_set() or self._failure or self._redriven()):
                    self._turn()
            finally:
                self._finish()
        finally:
            self._workers.close()
            self._consumer.close()
            for model in self._models:
                model.close()
        if self._failure is not None:
            raise self._failure

    def _turn(self) -> None:
        """Get as many records as there is room for; without room, wait, and stay in the group meanwhile."""
        limit = self._bridge._room
        under_way = self._workers.wait_for_fewer(limit, _PATIENCE_SECONDS)
        self._offsets.commit()
        if under_way < limit and self._paused:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False
        elif under_way >= limit:
            # At each turn: partitions that were assigned meanwhile are not paused yet.
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
        self._polled = []
        timeout = 0.0 if self._paused else _POLL_SECONDS
        while (record := self._consumer.poll(timeout)) is not None:
            if self._redrive is not None and self._redrive.is_beyond(record):
                pass
            elif (error := record.error()) is not None:
                self._bridge._broker_error(error)
            else:
                self._polled.append(record)
            if under_way + len(self._polled) >= limit:
                break
            timeout = 0.0
        self._bridge._check()
        if self._polled:
            self._hand_out()

    def _hand_out(self) -> None:
        """Give what was polled to the workers, or poll it again a little later if nobody can be told of it now."""
        if handed := self._offsets.hand_out(self._polled):
            for record, (owner, delivery) in zip(self._polled, handed, strict=True):
                self._workers.give(Task(record, owner, delivery), record.key())
            return
        first = {(record.topic(), record.partition()): record.offset() for record in reversed(self._polled)}
        for (topic, partition), offset in first.items():
            with suppress(KafkaException):  # it is lost meanwhile, and this bridge is yet to hear of it
                self._consumer.seek(TopicPartition(topic, partition, offset))
        self._stop.wait(_POLL_SECONDS)

    def _redriven(self) -> bool:
        return (
            self._redrive is not None
            and self._redrive.is_over()
            and self._workers.wait_for_fewer(1, _POLL_SECONDS) == 0
        )

    def _work(self, number: int, task: Task) -> None:
        """A worker's part. Whatever fails, fails the run: the loop sees it and ends."""
        bridge = self._bridge
        if self._failure is not None or task.owner.given_up.is_set():
            bridge.tally.abandoned()
            return
        self._offsets.start(task.owner, task.record.offset())
        try:
            answer = hand_over(task, self._models[number], bridge._manner, bridge._dead_letters, self._ends)
            with self._telling:
                bridge.tally.told(answer)
                self._on_answer(answer)
        except Abandoned as abandoned:
            _log.info("%s: %s", _place(task), abandoned)
            bridge.tally.abandoned()
        except BaseException as failure:
            if isinstance(failure, SendError | DeadLetterError):
                failure.args = (f"{_place(task)} stays uncommitted and comes again: {failure}", *failure.args[1:])
            # The first one counts: what follows it may be its consequence.
            self._failure = self._failure or failure
        else:
            self._offsets.done(task.owner, task.record.offset())

    def _finish(self) -> None:
        """Let what is in hand end, within the grace; commit what is done."""
        self._ends.set()
        self._give_back(lambda _: True)
        self._offsets.release()

    def _give_back(self, wanted: Callable[[Task], bool]) -> None:
        bridge = self._bridge
        bridge.tally.abandoned(len(self._workers.take_back(wanted)))
        late = self._workers.wait_until_done(wanted, time.monotonic() + bridge._grace)
        if late:
            bridge.tally.abandoned(len(late))
            _log.warning("not answered within the grace of %g s, to come again: %d", bridge._grace, len(late))

    def _assigned(self, _: Any, partitions: Sequence[TopicPartition]) -> None:
        self._offsets.assigned(partitions)
        if self._redrive is not None:
            self._redrive.assigned(partitions)

    def _revoked(self, _: Any, partitions: Sequence[TopicPartition]) -> None:
        """Another bridge gets these: finish what is at work there, commit it, and give the rest back."""
        self._leave(partitions)
        owners = self._offsets.give_up(partitions)
        self._give_back(lambda task: task.owner in owners)
        self._offsets.release(partitions)

    def _lost(self, _: Any, partitions: Sequence[TopicPartition]) -> None:
        """Another bridge has these already: nothing can be committed."""
        self._leave(partitions)
        owners = self._offsets.give_up(partitions)
        self._bridge.tally.abandoned(len(self._workers.take_back(lambda task: task.owner in owners)))
        self._offsets.release(partitions, commit=False)

    def _leave(self, partitions: Sequence[TopicPartition]) -> None:
        """What the same turn has polled from these is not handed out any more: it comes to whoever has them next."""
        places = {(at.topic, at.partition) for at in partitions}
        self._polled = [record for record in self._polled if (record.topic(), record.partition()) not in places]


def _place(task: Task) -> str:
    return f"{task.record.topic()}[{task.record.partition()}]@{task.record.offset()}"
