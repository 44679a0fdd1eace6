"""What the bridge's tests share: running one until it has reported so many records."""

import threading
from typing import Any

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
