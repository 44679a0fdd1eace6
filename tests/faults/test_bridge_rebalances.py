"""Partitions that move, are lost and come back at any moment while a bridge is full: none stays unread."""

import random
import signal
import time

import confluent_kafka
import pytest
from faults_bridge_support import SETTINGS, bridges, wait_for_commits
from support import LIMIT, HttpServer, new_topic, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(900)]

PARTITIONS, RECORDS = 6, 120
ASSIGNMENTS = {
    "range": "partition.assignment.strategy=range,roundrobin",
    "cooperative": "partition.assignment.strategy=cooperative-sticky",
    "consumer protocol": "group.protocol=consumer",
}


@pytest.fixture
def model():
    with HttpServer().running() as server:
        server.answers(500, b"boom")
        yield server


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_every_record_is_answered_once_the_model_is_well_whatever_moved_while_the_bridge_was_full(
    kafka, model, tmp_path, assignment
):
    servers, chance = kafka.bootstrap_servers, random.Random(assignment)
    topic = new_topic(servers, PARTITIONS)
    producer = confluent_kafka.Producer({"bootstrap.servers": servers})
    for number in range(RECORDS):
        producer.produce(topic, b"%d" % number, partition=number % PARTITIONS)
    assert producer.flush(LIMIT) == 0
    # With the consumer protocol the broker says how long a session is.
    settings = ASSIGNMENTS[assignment] if "protocol" in assignment else f"{SETTINGS}\n{ASSIGNMENTS[assignment]}"
    config = tmp_path / "settings.properties"
    config.write_text(settings)
    member = dict(line.split("=") for line in settings.split())
    with bridges(servers, topic, model.url, tmp_path, group=topic) as start_bridge:
        options = ("--consumer-config", str(config), "--concurrency", "4", "--grace", "5", "--timeout", "3")
        bridge = start_bridge(*options, "--retries", "1000", "--retry-for", "600")
        wait_until("a bridge that is full", lambda: len({request.body for request in model.requests}) >= 4)
        for _ in range(2):
            other = confluent_kafka.Consumer(
                {"bootstrap.servers": servers, "group.id": topic, "enable.auto.commit": False, **member}
            )
            other.subscribe([topic])
            wait_until("its partitions", lambda other=other: other.assignment() or (other.poll(0.1) and False))
            time.sleep(chance.random())  # any moment will do
            other.close()
            time.sleep(3 * chance.random())
        if "protocol" not in assignment:
            # Longer than its session: its partitions are lost, and it finds that out when it goes on.
            bridge.process.send_signal(signal.SIGSTOP)
            time.sleep(8)
            bridge.process.send_signal(signal.SIGCONT)
        model.answers(200, b"{}")
        wait_for_commits(servers, topic, RECORDS, PARTITIONS, group=topic)
        assert bridge.end(signal.SIGTERM) == 143
    assert {(line["partition"], line["offset"]) for line in bridge.told} == {
        (number % PARTITIONS, number // PARTITIONS) for number in range(RECORDS)
    }
