"""Records that a bridge has polled and can't dispatch: a consumer that follows a script says why."""

import threading
from typing import Any, ClassVar

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    TIMESTAMP_NOT_AVAILABLE,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from otel_kfs.bridge import loop as module
from otel_kfs.bridge import redrive
from otel_kfs.errors import ConfigError
from otel_kfs.kafka import Bridge

pytestmark = pytest.mark.kafka

MINE = [TopicPartition("t", 0)]


class Record:
    """As much of a record of the only partition as a bridge looks at."""

    def __init__(self, offset):
        self._offset = offset

    def topic(self):
        return "t"

    def partition(self):
        return 0

    def offset(self):
        return self._offset

    def key(self):
        return b"k"

    def value(self):
        return b"%d" % self._offset

    def headers(self):
        return []

    def timestamp(self):
        return TIMESTAMP_NOT_AVAILABLE, 0

    def error(self):
        return None


class Scripted:
    """A consumer whose polls do what `script` says, one step a call; nothing comes after its end.

    As librdkafka does, it keeps a partition's pause over assignments, and has no records of one that is paused or not
    assigned: such a step waits. What was paused can be resumed only by name, and `assignment` names what is assigned.
    """

    script: ClassVar[list[Any]] = []

    def __init__(self, settings):
        self.settings = settings
        self.steps = list(self.script)
        self.assigned, self.paused = set(), set()
        self.refusal = None

    def subscribe(self, _, **callbacks):
        self.callbacks = callbacks

    def poll(self, _):
        if not self.steps or (isinstance(self.steps[0], Record) and not self.assigned - self.paused):
            return None
        step = self.steps.pop(0)
        return step if isinstance(step, Record) else step(self)

    def committed(self, partitions, timeout):
        return partitions

    def assign(self, partitions):
        self.begun = [("assign", at.partition, at.offset) for at in partitions]

    def incremental_assign(self, partitions):
        self.begun = [("incremental_assign", at.partition, at.offset) for at in partitions]

    def commit(self, offsets, asynchronous):
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise KafkaException(refusal)

    def assignment(self):
        return [TopicPartition("t", number) for number in self.assigned]

    def pause(self, partitions):
        self.paused |= {at.partition for at in partitions}

    def resume(self, partitions):
        self.paused -= {at.partition for at in partitions}

    def unsubscribe(self):
        """Take the partitions back at the next poll."""
        self.steps = [revoked] if self.assigned else []

    def close(self):
        """Fail where librdkafka would call back meanwhile, which may keep it from ending."""
        assert not self.assigned, "closed with partitions"


# The client assigns and unassigns once the callback has returned.


def assigned(consumer):
    consumer.callbacks["on_assign"](consumer, MINE)
    consumer.assigned = {0}


def lost(consumer):
    consumer.callbacks["on_lost"](consumer, MINE)
    consumer.assigned = set()


def revoked(consumer):
    consumer.callbacks["on_revoke"](consumer, MINE)
    consumer.assigned = set()


@pytest.fixture
def run(monkeypatch, server):
    """Runs a bridge through a script until it has reported so many records; returns these."""

    def run_(count, *script, **options):
        monkeypatch.setattr(Scripted, "script", list(script))
        monkeypatch.setattr(module, "Consumer", Scripted)
        stop, reported = threading.Event(), []

        def on_answer(answer):
            reported.append((answer.offset, answer.attempt))
            if len(reported) == count:
                stop.set()

        timer = threading.Timer(20, stop.set)
        timer.start()
        try:
            options = {"topics": ["t"], "max_in_flight": 8, **options}
            Bridge("nowhere:1", url=server.url, **options).run(on_answer, stop)
        finally:
            timer.cancel()
        return reported

    return run_


@pytest.mark.parametrize("gone", [lost, revoked])
def test_a_record_polled_just_before_its_partition_goes_is_not_dispatched(run, gone):
    reported = run(2, assigned, Record(0), gone, assigned, Record(0), Record(1))
    assert reported == [(0, 1), (1, 1)]


def test_a_broker_that_never_takes_a_commit_is_a_configuration_error(run):
    def refuse(consumer):
        consumer.refusal = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)

    with pytest.raises(ConfigError) as raised:
        run(1, assigned, Record(0), refuse)
    assert str(raised.value) == (
        "the broker at nowhere:1 refuses to commit offsets: "
        "Broker: Offset metadata string too large; see offset.metadata.max.bytes, and the group's and topic's rights"
    )


def test_records_whose_dispatch_can_t_be_committed_are_dispatched_once_it_can(run):
    def refuse(consumer):
        consumer.refusal = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)

    assert run(3, assigned, Record(4), Record(5), refuse, Record(6)) == [(4, 1), (5, 1), (6, 1)]


@pytest.mark.parametrize("gone", [lost, revoked])
def test_records_whose_dispatch_can_t_be_committed_go_with_their_partition(run, gone):
    def refuse(consumer):
        consumer.refusal = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)

    script = (assigned, Record(4), refuse, gone, lambda _: None, assigned, Record(4), Record(5))
    assert run(2, *script) == [(4, 1), (5, 1)]


@pytest.mark.parametrize("gone", [lost, revoked])
def test_a_partition_that_goes_and_comes_back_while_the_bridge_is_full_is_read_again(run, gone, server):
    well = threading.Event()
    server.answer = lambda *_: (200, b"{}") if well.is_set() else (503, b"busy")

    def goes(consumer):
        gone(consumer)
        well.set()

    script = (assigned, Record(0), lambda _: None, goes, lambda _: None, assigned, Record(0), Record(1))
    assert run(2, *script, max_in_flight=1, retry_for=600) == [(0, 2), (1, 1)]


class End(Record):
    """The end of the partition."""

    def error(self):
        return KafkaError(KafkaError._PARTITION_EOF)


def test_a_redrive_is_not_over_while_the_dispatch_of_its_last_record_can_t_be_committed(run, monkeypatch):
    def refuse(consumer):
        consumer.refusal = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)

    monkeypatch.setattr(redrive.Redrive, "find_ends", lambda of: of._ends.update({0: 2}))
    options = {"topics": [], "dead_letter_topic": "t", "redrive": True}
    assert run(9, assigned, Record(0), Record(1), End(2), refuse, **options) == [(0, 1), (1, 1)]


def test_partitions_that_come_while_the_consumer_is_closed_are_not_asked_about(run, monkeypatch):
    def close(consumer):
        monkeypatch.setattr(Scripted, "committed", lambda *_, **__: pytest.fail("asked the broker"))
        assigned(consumer)

    monkeypatch.setattr(Scripted, "close", close)
    assert run(1, assigned, Record(0)) == [(0, 1)]


def test_while_nobody_says_what_is_committed_librdkafka_decides_where_a_partition_begins(run, monkeypatch):
    def refuse(*_, **__):
        raise KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))

    monkeypatch.setattr(Scripted, "committed", refuse)
    monkeypatch.setattr(Scripted, "assign", lambda *_: pytest.fail("assigned"))
    assert run(1, assigned, Record(0)) == [(0, 1)]


BEGIN = {
    "committed": ({}, 7, ("assign", 0, 7)),
    "not committed": ({}, OFFSET_INVALID, ("assign", 0, OFFSET_BEGINNING)),
    "latest": ({"auto.offset.reset": "latest"}, OFFSET_INVALID, ("assign", 0, OFFSET_END)),
    "no reset": ({"auto.offset.reset": "error"}, OFFSET_INVALID, ("assign", 0, OFFSET_INVALID)),
    "cooperative": ({"partition.assignment.strategy": "cooperative-sticky"}, 7, ("incremental_assign", 0, 7)),
    "consumer protocol": ({"group.protocol": "consumer"}, 7, ("incremental_assign", 0, 7)),
}


@pytest.mark.parametrize(("config", "committed", "begun"), BEGIN.values(), ids=BEGIN)
def test_a_partition_is_read_from_what_is_committed_without_a_second_question(
    run, monkeypatch, config, committed, begun
):
    """The question that librdkafka would ask may be answered with an error, which it takes for no answer for ever."""
    monkeypatch.setattr(Scripted, "committed", lambda *_, **__: [TopicPartition("t", 0, committed)])
    found = []
    script = (assigned, lambda consumer: found.extend(consumer.begun), Record(7))
    assert run(1, *script, config=config) == [(7, 1)]
    assert found == [begun]
