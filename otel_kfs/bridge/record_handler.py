"""One record in a worker's hands: its `process` span, its requests, and what becomes of it without an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from otel_kfs import semconv
from otel_kfs.bridge import outcomes, request_headers
from otel_kfs.bridge.dead_letters import DeadLetters, origin, place
from otel_kfs.bridge.offset_tracker import PartitionOffsets
from otel_kfs.bridge.outcomes import Answer, Outcome, Policy
from otel_kfs.bridge.retries import Requests, RetryPolicy, is_refusal, waiting_for
from otel_kfs.client.model_client import ModelClient
from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import SendError
from otel_kfs.kafka.headers import headers_of
from otel_kfs.kafka.process_span import process


@dataclass(frozen=True, eq=False)
class Task:
    """A record that is handed out."""

    record: Any
    owner: PartitionOffsets
    delivery: int  # which one, of this record at this place


@dataclass(frozen=True)
class HandlingPolicy:
    """How every record is handed over."""

    group: str
    links: bool
    trusted: bool
    limits: RetryPolicy
    on_refused: Policy
    on_unanswered: Policy
    redrive: bool  # the records are dead letters, whose headers say where they come from


class Model:
    """One worker's connection to the model."""

    def __init__(
        self, url: str, host: str | None, timeout: float, session: requests.Session, outages: OutageLog
    ) -> None:
        self.requests = Requests(session, outages)
        self._client = ModelClient(url, host=host, timeout=timeout, session=session)

    def answer(self, record: Any, limits: RetryPolicy, stopped: Callable[[float], bool]) -> dict[str, Any]:
        """The model's answer to a record.

        Raises:
            SendError: it refuses the record, or did not answer it within the limits.
            Abandoned: `stopped` said so between two requests.
        """
        self.requests.count = 0
        headers: Mapping[str, str] = request_headers.of_record(headers_of(record))
        value = record.value() or b""
        return self.requests.until_answered(lambda: self._client.post(value, headers), limits, stopped)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def hand_over(
    task: Task, model: Model, manner: HandlingPolicy, dead_letters: DeadLetters | None, ends: threading.Event
) -> Answer:
    """Hand one record to the model. When `ends` is set or its partition is given up, no further try is made.

    Raises:
        SendError: it was not answered, and the manner says to stop then.
        NotParked: it could not be written to the dead-letter topic.
        Abandoned: the bridge ends or loses the partition before the record was answered.
    """
    record, started = task.record, time.monotonic()
    was = origin(record) if manner.redrive else place(record)
    attempt = was.attempts + task.delivery

    def told(
        outcome: Outcome,
        answer: dict[str, Any] | None = None,
        refused: str | None = None,
        dead_letter: str | None = None,
    ) -> Answer:
        span.set_attribute(semconv.OUTCOME, outcome)
        taken = time.monotonic() - started
        here = (record.topic(), record.partition(), record.offset())
        count = model.requests.count
        return Answer(*here, outcome, answer, refused, dead_letter, attempt=attempt, requests=count, duration=taken)

    became: Answer | None = None
    try:
        with process(record, group=manner.group, links=manner.links, trusted=manner.trusted) as span:
            span.set_attribute(semconv.DELIVERY_ATTEMPT, attempt)
            try:
                answer = model.answer(record, manner.limits, waiting_for(ends, task.owner.given_up))
            except SendError as error:
                refusal = is_refusal(error)
                policy = manner.on_refused if refusal else manner.on_unanswered
                if policy == outcomes.DEAD_LETTER and dead_letters is not None:
                    parked = dead_letters.park(record, was, error, attempt)
                    became = told(outcomes.DEAD_LETTERED, refused=str(error), dead_letter=parked)
                elif policy == outcomes.SKIP:
                    became = told(outcomes.REFUSED if refusal else outcomes.SKIPPED, refused=str(error))
                raise  # so that the span says what went wrong, whatever becomes of the record
            became = told(outcomes.ANSWERED, answer)
    except SendError:
        if became is None:
            raise
    assert became is not None  # noqa: S101 - for mypy: every way above that does not raise has set it
    return became
