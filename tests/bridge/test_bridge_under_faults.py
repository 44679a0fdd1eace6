"""Whatever goes wrong, in whatever order: every record is answered or parked, committed only then; nothing is stuck.

Hypothesis chooses the steps: bridges, redrives and other members come and go, the model is well or is not, and the
brokers, librdkafka's own mock cluster, answer with errors, answer late, or are away. At the end the model is well and
the brokers are there; then everything has to come to an end within a limit.
"""

from __future__ import annotations

import faulthandler
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import confluent_kafka
import pytest
from bridge_support import UnreliableModel, committed_offsets, instance, numbers_of, unmarked_repeats
from confluent_kafka import KafkaError, TopicPartition
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from mock_cluster_support import ALL_BROKERS, MockCluster
from support import LIMIT, HttpServer, wait_until

from otel_kfs.bridge import loop
from otel_kfs.kafka import Bridge, Consumer

pytestmark = pytest.mark.kafka

TOPIC, DEAD, GROUP, PARTITIONS, BROKERS = "t", "t.dead", "g", 3, 2

# Found out soon, tried again soon.
SOON = {
    "session.timeout.ms": 1500,
    "heartbeat.interval.ms": 100,
    "max.poll.interval.ms": 10_000,
    "fetch.wait.max.ms": 10,
    "fetch.error.backoff.ms": 20,
    "retry.backoff.ms": 20,
    "retry.backoff.max.ms": 100,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 100,
    "socket.timeout.ms": 5000,
}
ASSIGNMENTS = {
    "range": {"partition.assignment.strategy": "range,roundrobin"},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky"},
}

# What a broker may answer for a while. A member that is unknown or of another generation has lost its partitions.
PASSING = {
    "Produce": [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.REQUEST_TIMED_OUT, KafkaError._TRANSPORT],
    "Fetch": [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN, KafkaError._TRANSPORT],
    "ListOffsets": [KafkaError.LEADER_NOT_AVAILABLE, KafkaError.REQUEST_TIMED_OUT, KafkaError._TRANSPORT],
    "Metadata": [KafkaError.LEADER_NOT_AVAILABLE, KafkaError.REQUEST_TIMED_OUT, KafkaError._TRANSPORT],
    "OffsetCommit": [
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.UNKNOWN,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError._TRANSPORT,
    ],
    "OffsetFetch": [KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR, KafkaError._TRANSPORT],
    "FindCoordinator": [KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.REQUEST_TIMED_OUT, KafkaError._TRANSPORT],
    "JoinGroup": [KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.UNKNOWN_MEMBER_ID, KafkaError._TRANSPORT],
    "Heartbeat": [
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.NOT_COORDINATOR,
        KafkaError._TRANSPORT,
    ],
    "LeaveGroup": [KafkaError.NOT_COORDINATOR, KafkaError._TRANSPORT],
    "SyncGroup": [KafkaError.REBALANCE_IN_PROGRESS, KafkaError.UNKNOWN_MEMBER_ID, KafkaError._TRANSPORT],
    "InitProducerId": [KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError._TRANSPORT],
}
ERRORS = st.sampled_from(sorted(PASSING)).flatmap(
    lambda request: st.tuples(st.just(request), st.lists(st.sampled_from(PASSING[request]), min_size=1, max_size=4))
)


HEALTH = st.sampled_from(UnreliableModel.HEALTH)


class Ledger:
    """What became of every record, by its place; what was seen to be wrong."""

    def __init__(self) -> None:
        # Of the records in the topic, by partition and offset. One stands there twice where the producer lost an
        # acknowledgement with its connection, and sent it again.
        self.numbers: dict[tuple[int, int], int] = {}
        self.done: dict[str, dict[int, set[int]]] = {TOPIC: defaultdict(set), DEAD: defaultdict(set)}
        self.answers: list[Any] = []
        self.wrong: list[str] = []

    def take(self, answer: Any) -> None:
        """Take what a bridge reports of a record."""
        self.answers.append(answer)
        self.done[answer.topic][answer.partition].add(answer.offset)

    def answered(self) -> set[int]:
        """The numbers of the records that were answered, in the topic or as dead letters; each with its own answer."""
        for one in self.answers:
            if one.outcome == "answered" and one.topic == TOPIC:
                assert one.answer == {"predictions": [self.numbers[one.partition, one.offset]]}
        return {number_in(one.answer) for one in self.answers if one.outcome == "answered"}

    def unmarked(self, requested: Counter[int]) -> dict[int, Any]:
        """Return the records whose second delivery poses as a first one, by number, with what tells so."""
        deliveries = defaultdict(list)
        for one in self.answers:
            number = self.numbers[one.partition, one.offset] if one.topic == TOPIC else number_in(one.answer)
            deliveries[number].append((one.attempt, one.requests))
        # Two records of one number are two first deliveries.
        twice = {number for number, times in Counter(self.numbers.values()).items() if times > 1}
        found = unmarked_repeats(deliveries, requested)
        return {number: why for number, why in found.items() if number not in twice}

    def check_commit(self, offsets: list[TopicPartition]) -> None:
        """Note a commit of a record that no bridge has reported."""
        for at in offsets:
            undone = set(range(at.offset)) - self.done[at.topic][at.partition]
            if undone:
                self.wrong.append(f"{at.topic}[{at.partition}] committed to {at.offset} without {sorted(undone)}")


def number_in(answer: dict[str, Any] | None) -> int | None:
    """The number that a record was answered with; each is answered with its own prediction alone."""
    if answer is None:
        return None
    (number,) = answer["predictions"]
    return int(number)


def written(error: KafkaError | None, record: Any) -> None:
    """Take a producer's report."""
    assert error is None, error


class Running:
    """A bridge in a thread."""

    def __init__(self, bridge: Bridge, ledger: Ledger) -> None:
        self.stop = threading.Event()
        self.breaks = threading.Event()  # whoever reads its output has gone
        self.failure: BaseException | None = None
        self._bridge = bridge
        self._ledger = ledger
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._bridge.run(self._on_answer, self.stop)
        except BaseException as failure:  # noqa: BLE001
            self.failure = failure

    def _on_answer(self, answer: Any) -> None:
        if self.breaks.is_set():
            raise BrokenPipeError("nobody reads")
        self._ledger.take(answer)

    def end(self) -> None:
        """Wait for its end, and for the failure that it may have."""
        self.thread.join(LIMIT)
        assert not self.thread.is_alive(), f"a bridge did not end within {LIMIT:g} s"
        if not (self.breaks.is_set() and isinstance(self.failure, BrokenPipeError)):
            assert self.failure is None, f"a bridge failed: {self.failure!r}"


class Member:
    """Somebody else in the group, who takes partitions and handles nothing."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._leave, self.joined = threading.Event(), threading.Event()
        self._consumer = confluent_kafka.Consumer({**config, "enable.auto.commit": False, "log_level": 0})
        self._consumer.subscribe([TOPIC, DEAD], on_assign=lambda *_: self.joined.set())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._leave.is_set():
            self._consumer.poll(0.05)
        self._consumer.close()

    def leave(self) -> None:
        """Leave the group."""
        self._leave.set()
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "another member did not leave"


class BridgeUnderFaults(RuleBasedStateMachine):
    """Bridges, redrives, a model and brokers, with a ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.threads_before = set(threading.enumerate())
        self.cluster = MockCluster(BROKERS)
        self.stack.callback(self.cluster.close)
        self.cluster.create_topic(TOPIC, PARTITIONS)
        self.cluster.create_topic(DEAD, PARTITIONS)
        self.model = UnreliableModel(self.stack.enter_context(HttpServer().running()))
        self.ledger = ledger = Ledger()

        class Observed(Consumer):
            def commit(self, *args: Any, **kwargs: Any) -> Any:
                ledger.check_commit(kwargs["offsets"])
                return super().commit(*args, **kwargs)

        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(loop, "Consumer", Observed)
        self.producer = confluent_kafka.Producer({**self._servers(), "linger.ms": 0, "log_level": 0})
        self.produced = 0
        self.up = True
        self.bridges: list[Running] = []
        self.redrives: list[Running] = []
        self.member: Member | None = None

    def _servers(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.cluster.bootstrap_servers}

    @initialize(
        assignment=st.sampled_from(sorted(ASSIGNMENTS)),
        concurrency=st.sampled_from([1, 2, 4]),
        batch=st.sampled_from([1, 3]),
        retries=st.sampled_from([1, 1000]),
        grace=st.sampled_from([0.2, 2.0]),
        keyed=st.booleans(),
        health=HEALTH,
    )
    def begin(
        self, assignment: str, concurrency: int, batch: int, retries: int, grace: float, keyed: bool, health: str
    ) -> None:
        self.config = {**SOON, **ASSIGNMENTS[assignment]}
        self.options = {
            "concurrency": concurrency,
            "batch": batch,
            "retries": retries,
            "retry_for": 2.0 if retries == 1 else 600.0,
            "grace": grace,
            "timeout": 1.0,
            "group": GROUP,
            "config": self.config,
            "dead_letter_topic": DEAD,
        }
        self.assignment, self.keyed = assignment, keyed
        self.model.is_now(health)
        self.produce(24)
        self.start()

    def start(self, *, redrive: bool = False) -> None:
        servers, url = self.cluster.bootstrap_servers, self.model.url
        bridge = Bridge(servers, [] if redrive else [TOPIC], url, redrive=redrive, **self.options)
        (self.redrives if redrive else self.bridges).append(Running(bridge, self.ledger))

    def running(self) -> list[Running]:
        """The bridges that were not told to end."""
        return [one for one in self.bridges if not one.stop.is_set() and not one.breaks.is_set()]

    @precondition(lambda self: self.up)
    @rule(count=st.integers(1, 8))
    def produce(self, count: int) -> None:
        for number in range(self.produced, self.produced + count):
            partition = number % PARTITIONS
            key = b"%d" % (number % (2 * PARTITIONS)) if self.keyed else None
            self.producer.produce(TOPIC, instance(number), key, partition, on_delivery=written)
        assert self.producer.flush(LIMIT) == 0
        self.produced += count

    @precondition(lambda self: len(self.running()) < 3)
    @rule()
    def a_bridge_begins(self) -> None:
        self.start()

    @precondition(lambda self: self.up and len(self.redrives) < 2)
    @rule()
    def a_redrive_begins(self) -> None:
        self.start(redrive=True)

    @precondition(lambda self: self.running())
    @rule()
    def a_bridge_is_told_to_end(self) -> None:
        self.running()[0].stop.set()

    @precondition(lambda self: self.running())
    @rule()
    def a_bridge_can_t_report(self) -> None:
        self.running()[-1].breaks.set()

    @rule()
    def another_member_comes_or_goes(self) -> None:
        if self.member is None:
            self.member = Member({**self._servers(), **self.config, "group.id": GROUP})
        else:
            member, self.member = self.member, None
            member.leave()

    @precondition(lambda self: self.up and self.member is None)
    @rule()
    def another_member_comes_and_goes_while_bridges_are_full(self) -> None:
        self.model.is_now("broken")
        self.produce(24)
        time.sleep(1.5)  # partitions are paused by then
        self.another_member_comes_or_goes()
        self.member.joined.wait(3)  # with errors on its way it may take longer, or not come to that
        self.another_member_comes_or_goes()

    @rule(health=HEALTH)
    def the_model_is(self, health: str) -> None:
        self.model.is_now(health)

    @rule(errors=ERRORS)
    def brokers_answer_with(self, errors: tuple[str, list[int]]) -> None:
        self.cluster.answer_with(*errors)

    @rule(milliseconds=st.sampled_from([0, 20, 300]))
    def brokers_take(self, milliseconds: int) -> None:
        self.cluster.delay(milliseconds)

    @precondition(lambda self: self.up)
    @rule(broker=st.sampled_from([ALL_BROKERS, *range(1, BROKERS + 1)]))
    def brokers_are_away(self, broker: int) -> None:
        self.cluster.set_down(broker)
        self.up = False

    @precondition(lambda self: not self.up)
    @rule()
    def brokers_are_back(self) -> None:
        self.cluster.set_up()
        self.up = True

    @rule(broker=st.integers(1, BROKERS))
    def the_group_moves_to(self, broker: int) -> None:
        self.cluster.move_coordinator(GROUP, broker)

    @rule(partition=st.integers(0, PARTITIONS - 1), broker=st.integers(1, BROKERS))
    def a_partition_moves_to(self, partition: int, broker: int) -> None:
        self.cluster.move_leader(TOPIC, partition, broker)

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 2.5]))
    def time_passes(self, seconds: float) -> None:
        time.sleep(seconds)

    @invariant()
    def something_happens_meanwhile(self) -> None:
        time.sleep(0.1)

    def teardown(self) -> None:
        with self.stack:
            try:
                if hasattr(self, "options"):
                    self._finish()
            finally:
                self.model.is_now("well")
                for each in [*self.bridges, *self.redrives]:
                    each.stop.set()
                for each in [*self.bridges, *self.redrives]:
                    each.thread.join(LIMIT)
                if self.member is not None:
                    self.member.leave()

    def _finish(self) -> None:
        self.cluster.set_up()
        self.cluster.answer_as_usual()
        self.cluster.delay(0)
        self.model.is_now("well")
        if self.member is not None:
            member, self.member = self.member, None
            member.leave()
        if not self.running():
            self.start()
        wait_until("every record committed", lambda: self._left(TOPIC) == {}, LIMIT)
        for each in self.bridges:
            each.stop.set()
        for each in [*self.bridges, *self.redrives]:
            each.end()
        # A bridge whose grace is over waits for its workers no longer. Here, its process goes on, and so do they: one
        # may still write a dead letter.
        wait_until("the last worker", lambda: not self._workers(), LIMIT)
        # What failed again is behind the end of the redrive that met it.
        last = len(self.redrives)
        self.start(redrive=True)
        self.redrives[last].end()
        assert self._left(DEAD) == {}
        assert self.ledger.wrong == []
        self.ledger.numbers = self._records()
        assert self.ledger.answered() == set(self.ledger.numbers.values()) == set(range(self.produced))
        # A rebalance of the mock cluster waits half a second for members, and goes on with what it last heard of those
        # that are late: cooperative ones keep what it gives to others, and both deliver it. A broker puts them out.
        if self.assignment == "range":
            assert self.ledger.unmarked(Counter(self.model.received)) == {}

    def _workers(self) -> list[threading.Thread]:
        """The threads of this example's bridges that are at work."""
        return [one for one in set(threading.enumerate()) - self.threads_before if one.name.startswith("bridge-")]

    def _records(self) -> dict[tuple[int, int], int]:
        """The numbers of all records in the topic, by partition and offset."""
        found: dict[tuple[int, int], int] = {}
        with self._observer() as observer:
            places = [TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)]
            count = sum(observer.get_watermark_offsets(at, timeout=10)[1] for at in places)
            observer.assign(places)

            def read() -> bool:
                for record in observer.consume(500, timeout=0.1):
                    assert record.error() is None, record.error()
                    (found[record.partition(), record.offset()],) = numbers_of(record.value())
                return len(found) == count

            wait_until("the whole topic is read", read, LIMIT)
        return found

    @contextmanager
    def _observer(self) -> Iterator[confluent_kafka.Consumer]:
        settings = {**self._servers(), "group.id": GROUP, "enable.auto.commit": False, "log_level": 0}
        observer = confluent_kafka.Consumer(settings)
        try:
            yield observer
        finally:
            observer.close()

    def _left(self, topic: str) -> dict[int, tuple[int, int]]:
        """The partitions whose committed offset is not their end, with both."""
        with self._observer() as observer:
            found = committed_offsets(observer, [TopicPartition(topic, number) for number in range(PARTITIONS)])
            ends = [observer.get_watermark_offsets(at, timeout=10)[1] for at in found]
        return {at.partition: (at.offset, end) for at, end in zip(found, ends, strict=True) if max(0, at.offset) != end}


def run(examples: int, *, steps: int, derandomize: bool) -> None:
    run_state_machine_as_test(
        BridgeUnderFaults,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            database=None,
            deadline=None,
            phases=[Phase.generate],  # threads run as they will: a failure need not come again, nor be made smaller
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.fixture
def _watchdog() -> Iterator[None]:
    """A callback that hangs in librdkafka keeps the interpreter's lock: pytest's own time-out would hang, too."""
    faulthandler.dump_traceback_later(590, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.usefixtures("_watchdog")
def test_every_record_is_answered_or_parked_and_nothing_is_stuck_whatever_goes_wrong():
    run(5, steps=12, derandomize=True)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("_watchdog")
def test_the_same_with_faults_by_chance():
    run(15, steps=20, derandomize=False)
