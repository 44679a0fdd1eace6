"""Bridges and a redrive against a broker and a model whose faults come in any order: each record ends in one way."""

import itertools
import logging
import threading
import time
from contextlib import ExitStack, suppress

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from mock_cluster_support import API_KEYS, mock_cluster
from support import HttpServer, wait_until

from otel_kfs.kafka import Bridge

pytestmark = pytest.mark.kafka

PARTITIONS, MOST_BRIDGES = 3, 2
TOPIC, DEAD, GROUP = "t", "d", "g"
# What may come for a while; none of it is final.
PASSING = [
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError.UNKNOWN,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
]
MODES = {"well": (200, b"{}"), "failing": (500, b"boom"), "refusing": (400, b"no picture"), "hanging": None}
_log = logging.getLogger("fault machine")
_log.propagate = False  # librdkafka says a lot
SETTINGS = {
    "session.timeout.ms": 3000,
    "heartbeat.interval.ms": 200,
    "fetch.wait.max.ms": 50,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 500,
    "logger": _log,
}


class Running:
    """A bridge in a thread."""

    def __init__(self, servers, url, report, assignor, **options):
        self.stop, self.failure = threading.Event(), None
        config = {**SETTINGS, "partition.assignment.strategy": assignor}
        self._bridge = Bridge(
            servers,
            url=url,
            group=GROUP,
            config=config,
            dead_letter_topic=DEAD,
            on_unanswered="dead-letter",
            retries=1000,
            retry_for=600,
            timeout=1,
            grace=0.5,
            concurrency=2,
            **options,
        )
        self.thread = threading.Thread(target=self._run, args=(report,), daemon=True)
        self.thread.start()

    def _run(self, report):
        try:
            self._bridge.run(report, self.stop)
        except BaseException as error:  # noqa: BLE001 - for the test to see
            self.failure = error

    def end(self):
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


class Faults(RuleBasedStateMachine):
    """Any faults in any order; once they are over, no record is without an outcome, and all are committed."""

    assignor = "range,roundrobin"

    def __init__(self):
        super().__init__()
        self.stack = ExitStack()
        self.cluster = self.stack.enter_context(mock_cluster())
        self.servers = self.cluster.bootstrap_servers
        for topic in (TOPIC, DEAD):
            self.cluster.create_topic(topic, PARTITIONS)
        self.server = self.stack.enter_context(HttpServer().running())
        self.mode, self.over = "well", threading.Event()
        self.server.answer = self.answer
        self.producer = confluent_kafka.Producer({"bootstrap.servers": self.servers, "logger": SETTINGS["logger"]})
        self.asking = confluent_kafka.Consumer({"bootstrap.servers": self.servers, "group.id": GROUP, **SETTINGS})
        self.numbers = itertools.count()
        self.sent = dict.fromkeys(range(PARTITIONS), 0)
        self.reported = {}
        self.bridges, self.members = [], []
        self.is_up = True

    def answer(self, request, handler):
        answer = MODES[self.mode]
        if answer is None:
            self.over.wait(1.5)  # longer than the bridge waits
            handler.close_connection = True
        return answer

    def report(self, answer):
        self.reported.setdefault((answer.topic, answer.partition, answer.offset), []).append(answer)

    @rule(count=st.integers(1, 30))
    def send(self, count):
        for _ in range(count):
            partition = next(self.numbers) % PARTITIONS
            self.producer.produce(TOPIC, b"%d" % self.sent[partition], partition=partition)
            self.sent[partition] += 1
        self.producer.poll(0)

    @precondition(lambda self: len(self.bridges) < MOST_BRIDGES)
    @rule()
    def start(self):
        self.bridges.append(Running(self.servers, self.server.url, self.report, self.assignor, topics=[TOPIC]))

    @precondition(lambda self: self.bridges)
    @rule(which=st.integers(0, MOST_BRIDGES - 1))
    def stop(self, which):
        bridge = self.bridges.pop(which % len(self.bridges))
        bridge.end()
        assert bridge.failure is None

    @rule()
    def join(self):
        settings_ = {**SETTINGS, "partition.assignment.strategy": self.assignor, "enable.auto.commit": False}
        member = confluent_kafka.Consumer({"bootstrap.servers": self.servers, "group.id": GROUP, **settings_})
        member.subscribe([TOPIC])
        self.members.append(member)

    @precondition(lambda self: self.members)
    @rule()
    def leave(self):
        self.members.pop().close()

    @rule(mode=st.sampled_from(sorted(MODES)))
    def model(self, mode):
        self.mode = mode

    @rule(request=st.sampled_from(sorted(API_KEYS)), errors=st.lists(st.sampled_from(PASSING), min_size=1, max_size=5))
    def fail(self, request, errors):
        self.cluster.fail(request, *errors)

    @rule(milliseconds=st.sampled_from([0, 0, 50, 400]))
    def delay(self, milliseconds):
        self.cluster.delay(milliseconds)

    @rule()
    def toggle_broker(self):
        (self.cluster.down if self.is_up else self.cluster.up)()
        self.is_up = not self.is_up

    @rule(seconds=st.floats(0.05, 1.5))
    def go_on(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for member in self.members:
                member.poll(0)
            time.sleep(0.02)

    @invariant()
    def no_bridge_has_ended(self):
        assert [bridge.failure for bridge in self.bridges] == [None] * len(self.bridges)

    def committed(self):
        """What the broker says, an empty answer while it does not."""
        asked = [TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)]
        with suppress(KafkaException):
            return {at.partition: max(0, at.offset) for at in self.asking.committed(asked, timeout=30)}
        return {}

    def unreported(self, committed):
        return [
            (partition, offset)
            for partition, end in committed.items()
            for offset in range(end)
            if (TOPIC, partition, offset) not in self.reported
        ]

    def teardown(self):
        try:
            self.finish()
        finally:
            self.over.set()
            for bridge in self.bridges:
                bridge.end()
            self.asking.close()
            self.stack.close()

    def finish(self):
        self.cluster.up()
        self.cluster.delay(0)
        while self.members:
            self.leave()
        assert self.producer.flush(60) == 0
        self.mode = "well"
        if not self.bridges:
            self.start()
        wait_until("every record to be committed", lambda: self.committed() == self.sent, 60)
        assert self.unreported(self.committed()) == []
        assert {one.outcome for answers in self.reported.values() for one in answers} <= {"answered", "dead-lettered"}
        self.no_bridge_has_ended()
        redrive = Running(self.servers, self.server.url, self.report, self.assignor, topics=[], redrive=True)
        redrive.thread.join(60)
        assert (redrive.thread.is_alive(), redrive.failure) == (False, None)
        letters = {one.dead_letter for answers in self.reported.values() for one in answers if one.dead_letter}
        assert letters <= {f"{topic}[{partition}]@{offset}" for topic, partition, offset in self.reported}


class CooperativeFaults(Faults):
    assignor = "cooperative-sticky"


@pytest.mark.parametrize("machine", [Faults, CooperativeFaults], ids=["range", "cooperative-sticky"])
def test_whatever_fails_in_whatever_order_every_record_is_answered_or_parked_and_then_committed(machine):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=3,  # as many more as you have minutes, without the next line, look further
            derandomize=True,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # a failure takes a minute, too long to be shrunk
        ),
    )
