"""A ledger of 900 records over two bridges that are killed, a model that is ill and a broker that freezes."""

import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict

import confluent_kafka
import pytest
from bridge_support import UnreliableModel, instance, numbers_of, unmarked_repeats
from faults_bridge_support import bridges, committed, wait_for_commits
from faults_producer_support import values
from support import LIMIT, HttpServer, new_topic, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(900)]

RECORDS, PARTITIONS = 900, 6
SEED = int(os.environ.get("LEDGER_SEED") or random.SystemRandom().randrange(10**6))
# What happens, in an order that the seed chooses; the model's health changes besides.
EVENTS = ["kill"] * 4 + ["term"] * 2 + ["freeze"] * 2
FROZEN_SECONDS = 8  # longer than the session of a bridge
OPTIONS = ("--concurrency", "4", "--retries", "2", "--retry-for", "6", "--timeout", "2", "--grace", "3")


@pytest.fixture
def model():
    with HttpServer().running() as server:
        yield UnreliableModel(server)


def produce(servers, topic, seconds, numbers):
    """Write the records over a time, whatever the broker does meanwhile; `numbers` gets each one's place."""

    def delivered(error, record):
        assert error is None
        (numbers[record.partition(), record.offset()],) = numbers_of(record.value())

    producer = confluent_kafka.Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 0})
    for number in range(RECORDS):
        key = b"%d" % (number % 40)
        producer.produce(topic, instance(number), key, number % 40 % PARTITIONS, on_delivery=delivered)
        producer.poll(0)
        time.sleep(seconds / RECORDS)
    assert producer.flush(LIMIT) == 0


def number_in(line):
    """The number that a record was answered with; each is answered with its own prediction alone."""
    (number,) = line["answer"]["predictions"]
    return number


def ends(servers, topic):
    """The end of each partition."""
    reader = confluent_kafka.Consumer({"bootstrap.servers": servers, "group.id": "unused"})
    at = [confluent_kafka.TopicPartition(topic, number) for number in range(PARTITIONS)]
    found = [reader.get_watermark_offsets(each, timeout=LIMIT)[1] for each in at]
    reader.close()
    return found


def test_of_900_records_none_is_lost_stuck_or_repeated_without_a_mark(kafka, model, tmp_path):
    print(f"LEDGER_SEED={SEED}")  # which lets the same events happen again, though not at the same moments
    chance = random.Random(SEED)
    servers = kafka.bootstrap_servers
    topic, dead = new_topic(servers, PARTITIONS), new_topic(servers, 2)
    events = chance.sample(EVENTS, len(EVENTS))
    options = (*OPTIONS, "--batch", chance.choice(["1", "3"]), "--dead-letter-topic", dead)
    with bridges(servers, topic, model.url, tmp_path, group=topic) as start_bridge:
        started = [start_bridge(*options) for _ in range(2)]
        running = list(started)
        numbers = {}
        sender = threading.Thread(target=produce, args=(servers, topic, 50, numbers), daemon=True)
        sender.start()
        wait_until("the first record", lambda: model.received)
        while events or sender.is_alive():
            model.is_now(chance.choice([*model.HEALTH, "well", "slow"]))
            time.sleep(chance.uniform(0.5, 2.5))
            if not events:
                continue
            event = events.pop()
            if event == "freeze":
                os.kill(kafka.server.pid, signal.SIGSTOP)
                try:
                    time.sleep(FROZEN_SECONDS / 2)
                    model.is_now(chance.choice(model.HEALTH))
                    time.sleep(FROZEN_SECONDS / 2)
                finally:
                    os.kill(kafka.server.pid, signal.SIGCONT)
            else:
                ended = running.pop(chance.randrange(len(running)))
                ended.process.send_signal(signal.SIGKILL if event == "kill" else signal.SIGTERM)
                time.sleep(chance.uniform(0, 1))
                running.append(start_bridge(*options))
                started.append(running[-1])
        sender.join()
        model.is_now("well")
        all_of_it = ends(servers, topic)
        assert sum(all_of_it) == len(numbers) == RECORDS
        wait_for_commits(servers, topic, RECORDS, PARTITIONS, group=topic)
        assert committed(servers, topic, PARTITIONS, group=topic) == all_of_it
        wait_until("the bridge that began last", lambda: running[-1].errors)  # it takes signals from then on
        assert [each.end(signal.SIGTERM) for each in running] == [143, 143]
        for each in started:
            assert each.end() in {143, -signal.SIGKILL, -signal.SIGTERM}, each.errors
        told = [line for each in started for line in each.told]
        answered = {number_in(line) for line in told if line["outcome"] == "answered"}
        parked = {number for value in values(servers, dead, 2) for number in numbers_of(value)}
        assert answered | parked == set(range(RECORDS))
        assert {line["outcome"] for line in told} <= {"answered", "dead-lettered"}
        deliveries = defaultdict(list)
        for line in told:
            number = numbers[line["partition"], line["offset"]]
            deliveries[number].append((line["attempt"], line["requests"]))
        assert unmarked_repeats(deliveries, Counter(model.received)) == {}
        redrive = start_bridge("--redrive", "--dead-letter-topic", dead)
        assert redrive.end() == 0
        assert {number_in(line) for line in redrive.told} == parked
    print(f"at most {model.most_together} in a request: ", end="")
    print(f"{len(answered)} answered, {len(parked)} parked, {sum(line['attempt'] > 1 for line in told)} marked")
