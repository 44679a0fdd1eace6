"""An account of every record from outside, while bridges are killed, the model fails and Kafka freezes."""

import random
import signal
import threading
import time
from collections import defaultdict

import confluent_kafka
import pytest
from faults_bridge_support import bridges, committed
from support import HttpServer, new_topic, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.kafka]

PARTITIONS, RECORDS, PER_SECOND = 6, 900, 30
OPTIONS = (*("--concurrency", "4", "--grace", "3", "--timeout", "2"), *("--retries", "1000", "--retry-for", "600"))


class Model:
    """Answers as its present mode says; `deliveries` are the traces of the requests for each record, in their order.

    Records come without a trace, so that each delivery of one begins its own, which its retries share.
    """

    MODES = ("well", "well", "failing", "refusing connections", "slow")

    def __init__(self, server, chance):
        self.deliveries = defaultdict(dict)
        self.answered = set()
        self.mode = "well"
        self._chance, self._lock = chance, threading.Lock()
        server.answer = self._answer

    def _answer(self, request, handler):
        number = int(request.body)
        with self._lock:
            self.deliveries[number][request.headers["traceparent"].split("-")[1]] = True
            mode = self.mode if self._chance.random() < 0.8 else "well"
        if mode == "failing":
            return 503, b"busy"
        if mode == "refusing connections":
            handler.close_connection = True
            return None
        time.sleep(0.3 if mode == "slow" else 0.01)
        with self._lock:
            self.answered.add(number)
        return 200, b'{"predictions": [1]}'


def produce(servers, topic):
    producer = confluent_kafka.Producer({"bootstrap.servers": servers, "enable.idempotence": True})
    for number in range(RECORDS):
        producer.produce(topic, b"%d" % number, partition=number % PARTITIONS)
        producer.poll(1 / PER_SECOND)
    assert producer.flush(60) == 0


@pytest.mark.parametrize("seed", range(2))
def test_no_record_is_lost_stuck_or_delivered_again_without_a_mark(kafka, tmp_path, seed):
    servers, chance = kafka.bootstrap_servers, random.Random(seed)
    topic = new_topic(servers, PARTITIONS)
    with HttpServer().running() as server, bridges(servers, topic, server.url, tmp_path, group=topic) as start_bridge:
        model = Model(server, random.Random(seed))
        running = [start_bridge(*OPTIONS) for _ in range(2)]
        told = list(running)
        sender = threading.Thread(target=produce, args=(servers, topic), daemon=True)
        sender.start()
        for fault in ("freeze", "kill", "freeze", "kill"):
            for _ in range(3):
                model.mode = chance.choice(Model.MODES)
                time.sleep(2 * chance.random())
            if fault == "kill":
                killed = running.pop(chance.randrange(2))
                killed.end(signal.SIGKILL)
                time.sleep(2 * chance.random())
                running.append(start_bridge(*OPTIONS))
                told.append(running[-1])
            else:
                kafka.server.process.send_signal(signal.SIGSTOP)
                time.sleep(chance.uniform(2, 8))
                kafka.server.process.send_signal(signal.SIGCONT)
        sender.join(120)
        model.mode = "well"
        wait_until(
            "every record to be committed",
            lambda: sum(committed(servers, topic, PARTITIONS, group=topic)) == RECORDS,
            120,
        )
        wait_until("the bridge that was started last", lambda: running[-1].errors)  # which takes signals from then on
        assert [each.end(signal.SIGTERM) for each in running] == [143, 143]
    attempts = defaultdict(int)
    for line in (line for each in told for line in each.told):
        number = line["offset"] * PARTITIONS + line["partition"]
        attempts[number] = max(attempts[number], line["attempt"])
    assert model.answered == set(range(RECORDS))
    assert attempts.keys() == set(range(RECORDS))
    unmarked = {number for number, traces in model.deliveries.items() if len(traces) > 1 and attempts[number] == 1}
    assert unmarked == set()
