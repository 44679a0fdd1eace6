"""Records that a bridge has polled and can't dispatch: a consumer that follows a script says why."""

import threading
from typing import Any, ClassVar

import pytest
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, TopicPartition

from otel_kfs.bridge import loop as module
from otel_kfs.errors import ConfigError
from otel_kfs.kafka import Bridge

pytestmark = pytest.mark.kafka

MINE = [TopicPartition("t", 0)]


class Record:
    """As much of a record as a bridge looks at."""

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
    """A consumer whose polls do what `script` says, one step a call; nothing comes after its end."""

    script: ClassVar[list[Any]] = []

    def __init__(self, _):
        self.steps = iter(self.script)
        self.sought = []
        self.refusal = None

    def subscribe(self, _, **callbacks):
        self.callbacks = callbacks

    def poll(self, _):
        return next(self.steps, lambda _: None)(self)

    def committed(self, partitions, timeout):
        return partitions

    def commit(self, offsets, asynchronous):
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise KafkaException(refusal)

    def seek(self, at):
        self.sought.append((at.topic, at.partition, at.offset))

    def assignment(self):
        return MINE

    def pause(self, _):
        """Nothing."""

    resume = pause

    def close(self):
        """Nothing."""


def assigned(consumer):
    consumer.callbacks["on_assign"](consumer, MINE)


def lost(consumer):
    consumer.callbacks["on_lost"](consumer, MINE)


def revoked(consumer):
    consumer.callbacks["on_revoke"](consumer, MINE)


def record(offset):
    return lambda _: Record(offset)


@pytest.fixture
def run(monkeypatch, server):
    """Runs a bridge through a script until it has reported so many records; returns them and the consumer."""

    def run_(count, *script):
        monkeypatch.setattr(Scripted, "script", list(script))
        monkeypatch.setattr(module, "Consumer", Scripted)
        stop, reported = threading.Event(), []

        def on_answer(answer):
            reported.append((answer.offset, answer.attempt))
            if len(reported) == count:
                stop.set()

        made = Bridge("nowhere:1", ["t"], server.url, max_in_flight=8)
        made.run(on_answer, stop)
        return reported, made._consumer

    return run_


@pytest.mark.parametrize("gone", [lost, revoked])
def test_a_record_polled_just_before_its_partition_goes_is_not_dispatched(run, gone):
    reported, _ = run(2, assigned, record(0), gone, assigned, record(0), record(1))
    assert reported == [(0, 1), (1, 1)]


def test_a_broker_that_never_takes_a_commit_is_a_configuration_error(run):
    def refuse(consumer):
        consumer.refusal = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)

    with pytest.raises(ConfigError) as raised:
        run(1, assigned, record(0), refuse)
    assert str(raised.value) == (
        "the broker at nowhere:1 refuses to commit offsets: "
        "Broker: Offset metadata string too large; see offset.metadata.max.bytes, and the group's and topic's rights"
    )


def test_records_whose_dispatch_can_t_be_committed_are_polled_again(run):
    def refuse(consumer):
        consumer.refusal = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)

    reported, consumer = run(3, assigned, record(4), record(5), refuse, record(4), record(5), record(6))
    assert consumer.sought == [("t", 0, 4)]
    assert reported == [(4, 1), (5, 1), (6, 1)]
