"""A bridge that is full stays in its group, and takes records again once there is room, whatever moved meanwhile."""

import threading

import confluent_kafka
import pytest
from bridge_support import SOON_JOINED
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from support import wait_until

from otel_kfs.bridge.stall_watch import StallWatch
from otel_kfs.kafka import Bridge

pytestmark = pytest.mark.kafka

RECORDS = 60


@pytest.mark.parametrize("assignor", ["range,roundrobin", "cooperative-sticky"])
def test_every_record_is_answered_after_partitions_went_and_came_back_while_the_bridge_was_full(
    broker, make_topic, group, server, assignor
):
    topic, settings = make_topic(6), {**SOON_JOINED, "partition.assignment.strategy": assignor}
    producer = confluent_kafka.Producer({"bootstrap.servers": broker})
    for number in range(RECORDS):
        producer.produce(topic, b"%d" % number, partition=number % 6)
    assert producer.flush(30) == 0
    server.answers(500, b"boom")
    stop, answers = threading.Event(), []
    bridge = Bridge(
        broker, [topic], server.url, group=group, config=settings, concurrency=2, retries=1000, retry_for=600, grace=5
    )
    thread = threading.Thread(target=bridge.run, args=(answers.append, stop), daemon=True)
    thread.start()
    try:
        wait_until("a bridge that is full", lambda: len({request.body for request in server.requests}) > 1)
        other = confluent_kafka.Consumer(
            {"bootstrap.servers": broker, "group.id": group, "enable.auto.commit": False, **settings}
        )
        other.subscribe([topic])
        wait_until("its partitions", lambda: other.assignment() or (other.poll(0.1) and False))
        other.close()
        server.answers(200, b"{}")
        wait_until("all answers", lambda: len({(one.partition, one.offset) for one in answers}) == RECORDS)
    finally:
        stop.set()
        thread.join(30)
    assert {one.outcome for one in answers} == {"answered"}


class Lagging:
    """A consumer of two partitions that end at 5 and 7; of the second, 4 is committed."""

    def assignment(self):
        return [TopicPartition("t", 0), TopicPartition("t", 1)]

    def get_watermark_offsets(self, at, timeout):
        return 0, {0: 5, 1: 7}[at.partition]

    def committed(self, partitions, timeout):
        return [TopicPartition(at.topic, at.partition, 4 if at.partition else -1001) for at in partitions]


class Polled:
    """A record, or the end of a partition."""

    def __init__(self, partition, offset, error=None):
        self.topic, self.partition, self.offset, self.error = (
            (lambda: "t"),
            (lambda: partition),
            (lambda: offset),
            (lambda: error),
        )


END = KafkaError(KafkaError._PARTITION_EOF)


@pytest.mark.parametrize(
    ("polled", "in_hand", "held", "why"),
    [
        ([], 0, 0, "8 are waiting in t[0], t[1]; restart the bridge if this continues"),
        ([Polled(0, 3), Polled(1, 7, END)], 1, 0, "1 are waiting in t[0]; restart the bridge if this continues"),
        ([Polled(0, 4), Polled(1, 7, END)], 1, 0, None),
        ([], 0, 3, "offsets can't be committed, and 3 wait for that"),
        ([], 2, 0, "the model has answered none of the 2 in hand"),
    ],
)
def test_a_bridge_that_hands_nothing_over_for_a_while_says_why_once(caplog, polled, in_hand, held, why):
    watch = StallWatch(Lagging(), limit=2, seconds=0)
    for one in polled:
        watch.poll(one)
    for _ in range(3):
        watch.check(in_hand, held)
    assert [record.message for record in caplog.records] == (
        [f"no record was handed to the model for 0 s: {why}"] if why else []
    )


def test_what_is_handed_over_begins_a_new_while(caplog):
    watch = StallWatch(Lagging(), limit=2, seconds=0)
    watch.check(0, 0)
    watch.dispatch()
    watch.check(0, 0)
    assert len(caplog.records) == 2
    patient = StallWatch(Lagging(), limit=2)
    patient.check(0, 0)
    assert len(caplog.records) == 2


def test_a_broker_that_does_not_say_what_there_is_leaves_the_watch_silent(caplog, monkeypatch):
    def away(*_, **__):
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(Lagging, "get_watermark_offsets", away)
    StallWatch(Lagging(), limit=2, seconds=0).check(0, 0)
    assert caplog.records == []
