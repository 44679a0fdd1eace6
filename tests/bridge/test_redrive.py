"""A redrive ends when all of the dead-letter topic has been handed over, by it or by whatever joined it."""

import threading
from types import SimpleNamespace

import confluent_kafka
import pytest
from bridge_support import SOON_JOINED
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from support import LIMIT, unserved_port, wait_until

from otel_kfs.bridge import loop
from otel_kfs.bridge import redrive as module
from otel_kfs.bridge.redrive import Redrive
from otel_kfs.errors import ConfigError
from otel_kfs.kafka import Bridge, Consumer

pytestmark = pytest.mark.kafka

PARTITIONS, LETTERS = 4, 40
ASSIGNORS = ["range,roundrobin", "cooperative-sticky"]


class Polled:
    """The end of a partition, as `poll` returns it."""

    def __init__(self, partition):
        self.partition = lambda: partition
        self.error = lambda: KafkaError(KafkaError._PARTITION_EOF)


class Topic:
    """A consumer of a topic of three partitions with a letter each, of which another member has handled some."""

    def __init__(self):
        self.handled = set()

    def list_topics(self, topic, timeout):
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=range(4))})

    def get_watermark_offsets(self, at, timeout):
        return (0, 1) if at.partition < 3 else (7, 7)

    def committed(self, partitions, timeout):
        return [
            TopicPartition(at.topic, at.partition, 1 if at.partition in self.handled else -1001) for at in partitions
        ]


def at(*partitions):
    return [TopicPartition("d", partition) for partition in partitions]


@pytest.fixture
def topic():
    return Topic()


@pytest.fixture
def redrive(topic, monkeypatch):
    monkeypatch.setattr(module, "_ASK_AGAIN_SECONDS", 0)
    made = Redrive(topic, "d", "localhost:9092")
    made.find_ends()
    return made


def reach(redrive, *partitions):
    for partition in partitions:
        redrive.is_past_end(Polled(partition))


def test_it_is_finished_when_all_that_is_assigned_is_read(redrive):
    redrive.assign(at(0, 1, 2, 3))
    reach(redrive, 0, 1, 3)
    assert not redrive.is_finished()
    reach(redrive, 2)
    assert redrive.is_finished()


def test_what_an_incremental_assignor_adds_is_read_too(redrive):
    redrive.assign(at(0, 1))
    redrive.assign(at(2))
    reach(redrive, 2)
    assert not redrive.is_finished()
    reach(redrive, 0, 1)
    assert redrive.is_finished()


def test_what_goes_to_another_member_is_waited_for_until_that_has_committed_it(redrive, topic):
    redrive.assign(at(0, 1, 2))
    reach(redrive, 0, 2)
    redrive.revoke(at(1))
    assert not redrive.is_finished()
    topic.handled = {1}
    assert redrive.is_finished()


def test_what_comes_back_is_read_again(redrive):
    redrive.assign(at(0, 1, 2))
    reach(redrive, 0, 1, 2)
    redrive.revoke(at(0))
    redrive.assign(at(0))
    assert not redrive.is_finished()


def test_without_a_part_it_waits_for_the_others(redrive, topic):
    redrive.assign([])
    assert not redrive.is_finished()
    topic.handled = {0, 1, 2}
    assert redrive.is_finished()


def test_before_it_has_joined_the_group_nothing_that_is_committed_counts(redrive, topic):
    """Offsets outlive a topic that is deleted and made again."""
    topic.handled = {0, 1, 2}
    assert not redrive.is_finished()
    redrive.assign(at(0, 1, 2))
    assert not redrive.is_finished()
    reach(redrive, 0, 1, 2)
    assert redrive.is_finished()


def test_while_the_broker_does_not_say_what_others_have_done_it_waits(redrive, monkeypatch):
    def away(*_, **__):
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(Topic, "committed", away)
    redrive.assign([])
    assert not redrive.is_finished()


def test_a_failure_that_passes_does_not_keep_it_from_beginning(topic, monkeypatch):
    answers = iter([KafkaError(KafkaError.LEADER_NOT_AVAILABLE), None])

    def list_topics(name, timeout):
        return SimpleNamespace(topics={name: SimpleNamespace(error=next(answers), partitions=range(4))})

    monkeypatch.setattr(topic, "list_topics", list_topics)
    redrive = Redrive(topic, "d", "localhost:9092")
    redrive.find_ends()
    redrive.assign(at(0))
    assert not redrive.is_finished()


@pytest.fixture
def start(broker, group, server, make_topic):
    """Starts redrives of one dead-letter topic to the test's server."""
    dead = make_topic(PARTITIONS)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker})
    for number in range(LETTERS):
        producer.produce(dead, b"%d" % number, partition=number % PARTITIONS)
        assert producer.flush(30) == 0  # one by one: the embedded broker says a wrong end after larger batches

    def start_(answers, assignor):
        settings = {**SOON_JOINED, "partition.assignment.strategy": assignor}
        made = Bridge(broker, [], server.url, group=group, config=settings, dead_letter_topic=dead, redrive=True)
        thread = threading.Thread(target=made.run, args=(answers.append,), daemon=True)
        thread.start()
        return thread

    def join(assignor):
        settings = {**SOON_JOINED, "partition.assignment.strategy": assignor, "enable.auto.commit": False}
        member = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": group, **settings})
        member.subscribe([dead])
        wait_until("its partitions", lambda: member.assignment() or (member.poll(0.1) and False))
        member.close()

    def committed():
        reader = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": group})
        places = [TopicPartition(dead, number) for number in range(PARTITIONS)]
        found = [place.offset for place in reader.committed(places, timeout=30)]
        reader.close()
        return found

    start_.join, start_.committed = join, committed
    return start_


def letters(*answers):
    return {(one.partition, one.offset) for each in answers for one in each}


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_a_redrive_hands_over_every_letter_though_another_member_comes_and_goes(start, server, assignor):
    ready, answers = threading.Event(), []
    server.answer = lambda *_: ready.wait(60) and (200, b"{}")
    thread = start(answers, assignor)
    wait_until("the first letter", lambda: server.requests)
    threading.Timer(3, ready.set).start()  # while the other one is there, which waits for the letter in hand
    start.join(assignor)
    ready.set()
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert len(letters(answers)) == LETTERS


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_two_redrives_hand_over_every_letter_between_them(start, server, assignor):
    ready, answers = threading.Event(), ([], [])
    server.answer = lambda *_: ready.wait(60) and (200, b"{}")
    threads = [start(answers[0], assignor)]
    wait_until("the first letter", lambda: server.requests)
    threads.append(start(answers[1], assignor))
    threading.Timer(3, ready.set).start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert len(letters(*answers)) == LETTERS


def test_a_redrive_ends_when_its_last_letters_are_committed_though_that_fails_at_first(start, monkeypatch):
    answers, failures = [], [KafkaError(KafkaError.REBALANCE_IN_PROGRESS)] * 3

    class Rebalancing(Consumer):
        def commit(self, *args, **kwargs):
            if failures and len(letters(answers)) == LETTERS:
                raise KafkaException(failures.pop())
            return super().commit(*args, **kwargs)

    monkeypatch.setattr(loop, "Consumer", Rebalancing)
    thread = start(answers, "range,roundrobin")
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert (failures, start.committed()) == ([], [LETTERS // PARTITIONS] * PARTITIONS)


def test_a_redrive_without_a_broker_ends_with_one_line(monkeypatch):
    monkeypatch.setattr(module, "_ASK_SECONDS", 0.5)  # of 10, which a command waits
    servers = f"127.0.0.1:{unserved_port()}"
    bridge = Bridge(servers, [], "http://127.0.0.1:1", dead_letter_topic="d", redrive=True)
    with pytest.raises(ConfigError) as raised:
        bridge.run(print)
    assert str(raised.value).startswith(f"no broker at {servers} says where topic d ends (")
    assert "\n" not in str(raised.value)
