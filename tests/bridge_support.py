"""What the bridge's tests share: running one until it has reported so many records, and a model that may be ill."""

import json
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from support import HttpServer, wait_until

from otel_kfs.bridge.loop import Answer
from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS
from otel_kfs.kafka import Bridge

# The embedded broker lets a group's first join wait for half of the session time-out.
SOON_JOINED = {**CONSUMER_SETTINGS, "session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}


def run_until(bridge: Bridge, count: int) -> list[Answer]:
    """Run a bridge until it has reported so many records."""
    answers: list[Answer] = []
    stop = threading.Event()

    def on_answer(answer: Answer) -> None:
        answers.append(answer)
        if len(answers) == count:
            stop.set()

    bridge.run(on_answer, stop)
    return answers


def spans_of(spans: Any, name: str) -> list[Any]:
    """The finished spans of that name, by their start."""
    found = [span for span in spans.get_finished_spans() if span.name == name]
    return sorted(found, key=lambda span: span.start_time)


def unmarked_repeats(
    deliveries: Mapping[int, list[tuple[int, int]]], requested: Mapping[int, int]
) -> dict[int, tuple[list[tuple[int, int]], int]]:
    """The records that were delivered again, though each of their deliveries poses as the first; with what tells so.

    `deliveries` are those that bridges reported, as (attempt, requests); the model was also asked by those that ended
    before they could report, and they come first.
    """
    found = {}
    for record, reported in deliveries.items():
        firsts = [requests for attempt, requests in reported if attempt == 1]
        if len(firsts) > 1 or (len(firsts) == len(reported) and requested[record] > sum(firsts)):
            found[record] = reported, requested[record]
    return found


# What is answered while a group's coordinator is found, or moves.
NO_COORDINATOR = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


def committed_offsets(consumer: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    """What the consumer's group has committed, once the group has a coordinator."""
    found: list[TopicPartition] = []

    def answered() -> bool:
        try:
            found.extend(consumer.committed(asked, timeout=10))
        except KafkaException as error:
            if error.args[0].code() not in NO_COORDINATOR:
                raise
        return bool(found)

    wait_until("the group's coordinator", answered)
    return found


def instance(number: int) -> bytes:
    """A record of that number, as a request that can be merged with others."""
    return b'{"instances": [%d]}' % number


def numbers_of(body: bytes) -> list[int]:
    """The numbers of the records in a request."""
    found: list[int] = json.loads(body)["instances"]
    return found


class UnreliableModel:
    """A model whose health a test chooses; records are instances with a number each, and its answer repeats these."""

    HEALTH: ClassVar[list[str]] = ["well", "slow", "mixed", "broken", "refusing", "hanging", "closing"]

    def __init__(self, server: HttpServer) -> None:
        self.url = server.url
        self.received: list[int] = []
        self.most_together = 0  # records in one request
        self._health = "well"
        self._changed = threading.Event()  # since the health that a request met
        server.answer = self._answer

    def is_now(self, health: str) -> None:
        """Choose its health; requests that hang end."""
        before, self._changed, self._health = self._changed, threading.Event(), health
        before.set()

    def _answer(self, request: Any, handler: Any) -> tuple[int, bytes] | None:
        health, changed = self._health, self._changed
        if not request.body:
            return None  # half a request, of a bridge that was killed
        numbers = numbers_of(request.body)
        self.received += numbers
        self.most_together = max(self.most_together, len(numbers))
        if health == "mixed":
            health = ["well", "broken", "refusing"][len(self.received) % 3]
        if health in {"slow", "hanging"}:
            changed.wait(0.1 if health == "slow" else 20)
        if health in {"hanging", "closing"}:
            handler.close_connection = True
            return None
        status = {"broken": 500, "refusing": 400}.get(health)
        return (status, b"no") if status else (200, b'{"predictions": %s}' % json.dumps(numbers).encode())
