"""What is committed is the end of the contiguous part that is done; the metadata tells what else was dispatched."""

import json
from types import SimpleNamespace

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_support import MOCK
from support import wait_until

from otel_kfs.bridge.offsets import offset_tracker
from otel_kfs.bridge.offsets.delivery_counts import DeliveryCounts
from otel_kfs.bridge.offsets.offset_tracker import OffsetTracker, PartitionOffsets

pytestmark = pytest.mark.kafka


class Life:
    """A bridge's dealings with one partition; `died` is what its successor knows."""

    def __init__(self, committed: TopicPartition | None = None) -> None:
        self.at = committed.offset if committed else 0
        self.offsets = PartitionOffsets("t", 0, DeliveryCounts.from_metadata(committed.metadata if committed else None))

    def dispatch(self, count: int) -> list[int]:
        self.at += count
        return [self.offsets.dispatch(offset) for offset in range(self.at - count, self.at)]

    def complete(self, *offsets: int) -> "Life":
        for offset in offsets:
            self.offsets.complete(offset)
        return self

    @property
    def position(self) -> int:
        return self.offsets.committable().offset


def test_the_contiguous_part_is_committed():
    life = Life()
    life.dispatch(5)
    assert [life.complete(offset).position for offset in (1, 0, 4, 2, 3)] == [0, 2, 2, 3, 5]


def test_offsets_that_no_record_has_are_no_gap():
    offsets = PartitionOffsets("t", 0, DeliveryCounts())
    for offset in (3, 7, 8):
        offsets.dispatch(offset)
    offsets.complete(3)
    assert offsets.committable().offset == 7
    offsets.complete(7)
    offsets.complete(8)
    assert offsets.committable().offset == 9


def test_before_a_record_came_there_is_nothing_to_commit():
    assert PartitionOffsets("t", 0, DeliveryCounts()).committable() is None


def test_when_all_is_done_the_metadata_is_empty():
    life = Life()
    life.dispatch(2)
    assert life.complete(0, 1).offsets.committable().metadata == ""


def test_the_next_life_knows_what_was_dispatched_before():
    first = Life()
    assert first.dispatch(5) == [1] * 5
    second = Life(first.complete(0, 3).offsets.committable())
    assert second.dispatch(6) == [2, 2, 2, 2, 1, 1]
    third = Life(second.complete(1, 2).offsets.committable())
    assert third.dispatch(6) == [3, 3, 2, 2, 1, 1]


def test_at_an_orderly_end_what_no_worker_began_was_not_dispatched():
    life = Life()
    life.dispatch(5)
    life.offsets.start(0)
    life.offsets.start(1)
    life.complete(0)
    assert Life(life.offsets.committable(last=True)).dispatch(4) == [2, 1, 1, 1]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))  # as much as a client can be told of
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)


@given(TEXT | st.builds(lambda steps: json.dumps({"otel_kfs.handed_out": steps}), JSON))
def test_whatever_the_metadata_says_the_next_delivery_can_be_counted(metadata):
    life = Life(TopicPartition("t", 0, 0, metadata))
    (delivery,) = life.dispatch(1)
    assert 1 <= delivery < 2**31
    assert len(life.offsets.committable().metadata) < 4096


@given(st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(0, 30))), max_size=12))
def test_however_often_it_dies_each_record_s_deliveries_are_counted(lives):
    counted = dict.fromkeys(range(200), 0)
    committed = None
    for count, done in lives:
        life = Life(committed)
        begin = life.at
        for offset, attempt in zip(range(begin, begin + count), life.dispatch(count), strict=True):
            counted[offset] += 1
            assert attempt == counted[offset]
        committed = life.complete(*done).offsets.committable()
        assert committed.offset >= begin


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        "",
        "kept by another program",
        "{}",
        "[]",
        "[" * 100_000,
        *(
            f'{{"otel_kfs.handed_out": {steps}}}'
            for steps in (
                1,
                "[[Infinity,1]]",
                "[[1e999,1]]",
                "[[NaN,1]]",
                '[["5","1"]]',
                "[[5.5,1]]",
                "[[5,true]]",
                "[[5]]",
                "[[5,1,1]]",
                "[[-5,1]]",
                "[[5,-1]]",
                "[[5,0]]",
                f"[[5,{2**80}]]",
                f"[[{2**80},1]]",
                "[[5,1],[3,1]]",
                "[[5,1],[5,1]]",
                "{}",
                '{"55": 1}',
            )
        ),
    ],
)
def test_metadata_that_somebody_else_wrote_is_passed_over(metadata):
    life = Life()
    life.offsets = PartitionOffsets("t", 0, DeliveryCounts.from_metadata(metadata))
    assert life.dispatch(1) == [1]


def test_the_metadata_stays_within_what_a_broker_takes():
    committed = None
    for _ in range(300):
        life = Life(committed)
        life.dispatch(500)
        committed = life.offsets.committable()
        life.at = 0
    many = PartitionOffsets("t", 0, DeliveryCounts(tuple((10**12 + end, 300 - end) for end in range(300))))
    many.dispatch(0)
    assert len(many.committable().metadata) < 4096


class Record:
    def __init__(self, topic, offset):
        self.topic, self.partition, self.offset = (lambda: topic), (lambda: 0), (lambda: offset)


@pytest.fixture
def consumer():
    """A consumer of librdkafka's own broker, and the OffsetTracker that commits by it."""
    offsets = OffsetTracker()
    settings = {
        **MOCK,
        "group.id": "g",
        "enable.auto.commit": False,
        "allow.auto.create.topics": True,
    }
    settings.pop("linger.ms")
    made = confluent_kafka.Consumer(settings)
    offsets.attach(made)
    wait_until("the topic", lambda: made.list_topics("t").topics["t"].partitions)
    yield made, offsets
    made.close()


def committed(consumer):
    (found,) = consumer.committed([TopicPartition("t", 0)], timeout=30)
    return found.offset, found.metadata or ""


def test_what_is_dispatched_is_with_the_broker_before_it_is_done(consumer):
    made, offsets = consumer
    results = offsets.dispatch([Record("t", 4), Record("t", 5)])
    assert [attempt for _, attempt in results] == [1, 1]
    wait_until("the commit", lambda: made.poll(0) is None and committed(made)[0] == 4)
    assert committed(made) == (4, '{"otel_kfs.handed_out":[[6,1]]}')
    # The bridge is killed; the next one begins.
    after = OffsetTracker()
    after.attach(made)
    after.assign([TopicPartition("t", 0)])
    results = after.dispatch([Record("t", 4), Record("t", 5), Record("t", 6)])
    assert [attempt for _, attempt in results] == [2, 2, 1]
    for partition, offset in ((results[0][0], 4), (results[0][0], 5), (results[0][0], 6)):
        after.start(partition, offset)
        after.complete(partition, offset)
    after.release()
    assert committed(made) == (7, "")


def test_after_a_partition_was_revoked_what_ends_later_is_not_committed(consumer):
    made, offsets = consumer
    ((partition, _),) = offsets.dispatch([Record("t", 4)])
    offsets.revoke([TopicPartition("t", 0)])
    assert partition.revoked.is_set()
    offsets.release([TopicPartition("t", 0)])
    offsets.complete(partition, 4)
    offsets.commit()
    assert committed(made)[0] == 4


AWAY = KafkaError(KafkaError._WAIT_COORD)
PARTITIONS = [TopicPartition("t", 0)]


class Broker:
    """A consumer whose broker takes commits, or is away."""

    def __init__(self, offsets):
        self.offsets, self.away, self.stored = offsets, None, {}
        self.loses_answers = False
        self.waited: list[bool] = []
        offsets.attach(self)

    def commit(self, offsets, asynchronous):
        self.waited.append(not asynchronous)
        if self.away is None or self.loses_answers:
            self.stored = {(at.topic, at.partition): at for at in offsets}
        if not asynchronous and self.away is not None:
            raise KafkaException(self.away)

    def committed(self, partitions, timeout):
        return [self.stored.get((at.topic, at.partition), at) for at in partitions]


def dispatched(offsets, *numbers):
    """The numbers of the deliveries; a worker begins each record."""
    results = offsets.dispatch([Record("t", number) for number in numbers])
    for (partition, _), number in zip(results, numbers, strict=False):
        offsets.start(partition, number)
    return [attempt for _, attempt in results]


@pytest.fixture
def broker():
    made = Broker(OffsetTracker())
    made.offsets.assign(PARTITIONS)
    return made


def test_a_bridge_that_gets_a_partition_back_remembers_what_the_broker_has_forgotten(broker):
    offsets = broker.offsets
    assert dispatched(offsets, 4, 5) == [1, 1]
    offsets.release(PARTITIONS, commit=False)
    broker.stored.clear()
    offsets.assign(PARTITIONS)
    assert dispatched(offsets, 4, 5, 6) == [2, 2, 1]
    # And tells the broker now, so that another bridge knows it too.
    another = Broker(OffsetTracker())
    another.stored = broker.stored
    another.offsets.assign(PARTITIONS)
    assert dispatched(another.offsets, 4, 5, 6, 7) == [3, 3, 2, 1]


def test_what_is_remembered_and_what_the_broker_heard_is_not_counted_twice(broker):
    offsets = broker.offsets
    assert dispatched(offsets, 4, 5) == [1, 1]
    offsets.release(PARTITIONS, commit=False)
    offsets.assign(PARTITIONS)
    assert dispatched(offsets, 4, 5, 6) == [2, 2, 1]


def test_what_was_done_though_its_commit_was_lost_is_remembered_too(broker):
    offsets = broker.offsets
    ((partition, _),) = offsets.dispatch([Record("t", 4)])
    offsets.start(partition, 4)
    offsets.complete(partition, 4)
    offsets.release(PARTITIONS, commit=False)
    broker.stored.clear()
    offsets.assign(PARTITIONS)
    assert dispatched(offsets, 4, 5) == [2, 1]


def test_nothing_is_dispatched_until_the_commit_that_says_so_has_succeeded(broker):
    offsets = broker.offsets
    assert dispatched(offsets, 4) == [1]
    broker.away = AWAY
    assert dispatched(offsets, 5, 6) == []
    assert dispatched(offsets, 5, 6) == []
    broker.away = None
    assert dispatched(offsets, 5, 6) == [1, 1]
    assert broker.waited == [True] * 4
    assert broker.stored["t", 0].metadata == '{"otel_kfs.handed_out":[[7,1]]}'


def test_a_commit_that_failed_is_sent_again_though_no_record_comes(broker):
    offsets = broker.offsets
    broker.away = AWAY
    dispatched(offsets, 4)
    broker.away = None
    offsets.commit()
    assert broker.stored["t", 0].metadata == '{"otel_kfs.handed_out":[[5,1]]}'


def test_records_that_a_commit_has_announced_need_none_of_their_own(broker):
    offsets = broker.offsets
    offsets.dispatch([Record("t", 4)], ahead=2)
    assert broker.stored["t", 0].metadata == '{"otel_kfs.handed_out":[[7,1]]}'
    broker.away = AWAY
    assert dispatched(offsets, 5) == [1]
    assert dispatched(offsets, 6) == [1]
    assert dispatched(offsets, 7) == []
    another = Broker(OffsetTracker())
    another.stored = broker.stored
    another.offsets.assign(PARTITIONS)
    assert dispatched(another.offsets, 4, 5, 6, 7) == [2, 2, 2, 1]


def test_in_turn_a_commit_comes_a_while_after_the_one_before(broker, monkeypatch):
    now = 5.0
    monkeypatch.setattr(offset_tracker, "time", SimpleNamespace(monotonic=lambda: now))
    offsets = broker.offsets
    offsets.dispatch([Record("t", 4)], ahead=2)
    offsets.dispatch([Record("t", 5)], ahead=2)
    offsets.commit_in_turn(2)
    assert len(broker.waited) == 1
    now += 2 * offset_tracker.COMMIT_SECONDS
    offsets.commit_in_turn(2)
    offsets.commit_in_turn(2)
    assert len(broker.waited) == 2


def test_in_turn_a_commit_comes_once_all_that_was_announced_is_dispatched(broker, monkeypatch):
    monkeypatch.setattr(offset_tracker, "time", SimpleNamespace(monotonic=lambda: 5.0))
    offsets, commits = broker.offsets, []
    for number in range(4, 11):
        offsets.dispatch([Record("t", number)], ahead=2)
        offsets.commit_in_turn(2)
        commits.append(len(broker.waited))
    assert commits == [1, 1, 2, 2, 3, 3, 4]
    assert broker.stored["t", 0].metadata == '{"otel_kfs.handed_out":[[13,1]]}'


def test_what_was_announced_and_did_not_come_is_taken_back(broker):
    offsets = broker.offsets
    ((partition, _),) = offsets.dispatch([Record("t", 4)], ahead=2)
    offsets.complete(partition, 4)
    offsets.commit(ahead=2)
    assert broker.stored["t", 0].metadata == '{"otel_kfs.handed_out":[[7,1]]}'
    offsets.commit()
    assert (broker.stored["t", 0].offset, broker.stored["t", 0].metadata) == (5, "")
    commits = len(broker.waited)
    offsets.commit()
    assert len(broker.waited) == commits
    broker.away = AWAY
    assert dispatched(offsets, 5) == []


def test_a_commit_that_failed_announces_nothing(broker):
    broker.away = AWAY
    assert broker.offsets.dispatch([Record("t", 4)], ahead=8) == []
    assert dispatched(broker.offsets, 5) == []


def test_a_commit_that_was_taken_though_its_answer_was_lost_leaves_no_announcement_to_rely_on(broker):
    offsets = broker.offsets
    ((partition, _),) = offsets.dispatch([Record("t", 4)], ahead=2)
    offsets.complete(partition, 4)
    broker.away, broker.loses_answers = AWAY, True
    offsets.commit()
    assert broker.stored["t", 0].metadata == ""
    broker.loses_answers = False
    assert dispatched(offsets, 5) == []
    broker.away = None
    assert dispatched(offsets, 5) == [1]
    assert broker.stored["t", 0].metadata == '{"otel_kfs.handed_out":[[6,1]]}'


STEPS = st.tuples(
    st.sampled_from(["dispatch", "complete", "commit", "commit in turn", "go back"]),
    st.sampled_from(["well", "away", "loses answers"]),
)


@settings(max_examples=200)
@given(st.lists(STEPS, min_size=8, max_size=20), st.integers(1, 3))
def test_whatever_becomes_of_commits_the_broker_knows_of_every_record_that_was_begun(steps, ahead):
    broker = Broker(OffsetTracker())
    offsets = broker.offsets
    offsets.assign(PARTITIONS)
    at, begun, was_begun = 0, [], set()
    for step, health in steps:
        broker.away, broker.loses_answers = None if health == "well" else AWAY, health == "loses answers"
        if step == "dispatch":
            for partition, delivery in offsets.dispatch([Record("t", at)], ahead):
                assert (delivery > 1) == (at in was_begun)
                offsets.start(partition, at)
                was_begun.add(at)
                begun.append((partition, at))
                at += 1
        elif step == "complete" and begun:
            offsets.complete(*begun.pop(0))
        elif step == "commit":
            offsets.commit()
        elif step == "commit in turn":
            offsets.commit_in_turn(ahead)
        elif step == "go back":
            at = max(0, at - 2)
        if begun:
            stored = broker.stored["t", 0]
            counts = DeliveryCounts.from_metadata(stored.metadata)
            assert [number for _, number in begun if number >= stored.offset and not counts.of(number)] == []


def test_records_before_the_committed_offset_that_come_after_all_were_delivered_before(broker):
    offsets = broker.offsets
    offsets.assign([TopicPartition("t", 0, 3)])
    assert dispatched(offsets, 1, 2, 3) == [2, 2, 1]


def test_a_consumer_that_goes_back_begins_its_partition_anew(broker):
    offsets = broker.offsets
    (first, _), (second, _) = offsets.dispatch([Record("t", 4), Record("t", 5)], ahead=8)
    offsets.start(first, 4)
    offsets.complete(first, 4)
    (again, delivery), (unbegun, first_delivery) = offsets.dispatch([Record("t", 4), Record("t", 5)], ahead=8)
    assert (delivery, first_delivery) == (2, 1)
    assert first is second
    assert again is unbegun
    assert (first.revoked.is_set(), again.revoked.is_set()) == (True, False)
    assert (broker.stored["t", 0].offset, broker.stored["t", 0].metadata) == (
        4,
        '{"otel_kfs.handed_out":[[5,2],[14,1]]}',
    )
    offsets.complete(second, 5)
    offsets.complete(again, 4)
    offsets.commit()
    assert broker.stored["t", 0].offset == 5


def test_partitions_without_a_record_announce_nothing_with_others(broker):
    offsets = broker.offsets
    offsets.assign([TopicPartition("u", 0)])
    broker.away = AWAY
    offsets.dispatch([Record("t", 4)])
    broker.away = None
    offsets.commit(ahead=8)
    broker.away = AWAY
    assert offsets.dispatch([Record("u", 0)]) == []


def test_why_a_broker_never_takes_a_commit_is_kept(broker):
    broker.away = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)
    dispatched(broker.offsets, 4)
    assert broker.offsets.commit_refusal == broker.away.str()


def test_a_partition_whose_offset_was_not_taken_is_committed_again_though_the_others_were(broker, monkeypatch):
    offsets = broker.offsets
    ((partition, _),) = offsets.dispatch([Record("t", 4)])
    offsets.complete(partition, 4)
    with monkeypatch.context() as patch:
        patch.setattr(broker, "commit", lambda **_: [SimpleNamespace(error=None), SimpleNamespace(error=AWAY)])
        offsets.commit()
    broker.stored.clear()
    offsets.commit()
    assert broker.stored["t", 0].offset == 5


def test_records_are_not_dispatched_while_a_part_of_the_commit_that_is_waited_for_fails(broker, monkeypatch):
    offsets = broker.offsets
    monkeypatch.setattr(broker, "commit", lambda **_: [SimpleNamespace(error=None), SimpleNamespace(error=AWAY)])
    assert dispatched(offsets, 4) == []


def test_what_is_committed_takes_one_count_however_often_a_partition_comes_back(broker):
    offsets = broker.offsets
    for number in range(300):
        assert dispatched(offsets, number) == [1]
        ((partition, _),) = offsets.dispatch([Record("t", number)])
        offsets.complete(partition, number)
        offsets.release(PARTITIONS)
        offsets.assign(PARTITIONS)
    ((partition, _),) = offsets.dispatch([Record("t", 300)])
    assert partition.started_counts().steps == ((300, 1),)


def test_second_deliveries_are_known_though_the_first_question_for_what_is_committed_fails(broker, monkeypatch):
    assert dispatched(broker.offsets, 4) == [1]
    failures, committed = [AWAY], broker.committed

    def answer(partitions, timeout):
        if failures:
            raise KafkaException(failures.pop())
        return committed(partitions, timeout)

    after = Broker(OffsetTracker())
    after.stored = broker.stored
    monkeypatch.setattr(after, "committed", answer)
    after.offsets.assign(PARTITIONS)
    assert dispatched(after.offsets, 4) == [2]
