"""One record in a worker's hands: its `process` span, its requests, and what becomes of it without an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from otel_kfs import semconv
from otel_kfs.bridge import outcomes, request_headers
from otel_kfs.bridge.bridge_options import BridgeOptions
from otel_kfs.bridge.dead_letters import DeadLetters, letter_origin, own_origin
from otel_kfs.bridge.offsets.offset_tracker import PartitionOffsets
from otel_kfs.bridge.outcomes import Answer, Outcome
from otel_kfs.bridge.retries import Retrier, RetryPolicy, is_refusal, wait_for_any
from otel_kfs.client.model_request.model_client import ModelClient
from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import SendError
from otel_kfs.kafka.headers import headers_of
from otel_kfs.kafka.process_spans.process_span import process


@dataclass(frozen=True, eq=False)
class Task:
    """A record that is dispatched."""

    record: Any
    partition: PartitionOffsets
    delivery: int  # which one, of this record at this place

    @property
    def place(self) -> str:
        """Where the record is, for messages."""
        return f"{self.record.topic()}[{self.record.partition()}]@{self.record.offset()}"


class ModelConnection:
    """One worker's connection to the model."""

    def __init__(self, options: BridgeOptions, outages: OutageLog) -> None:
        session = options.session()
        self.retrier = Retrier(session, outages)
        self._client = ModelClient(
            options.url,
            host=options.host,
            timeout=options.timeout,
            session=session,
            max_answer_size=options.max_answer_size,
        )

    def answer(self, record: Any, policy: RetryPolicy, stopped: Callable[[float], bool]) -> dict[str, Any]:
        """Return the model's answer to a record.

        Raises:
            SendError: it refuses the record, or did not answer it within the policy's limits.
            Abandoned: `stopped` said so between two requests.
        """
        self.retrier.requests = 0
        headers = request_headers.http_headers(headers_of(record))
        value = record.value() or b""
        return self.retrier.call(lambda: self._client.post(value, headers), policy, stopped)

    def answer_once(self, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the model's answer to the request of several records, which is not repeated.

        Raises:
            SendError: it refuses it, or does not answer it.
        """
        return self.retrier.call(lambda: self._client.post(body, headers), RetryPolicy(retries=0), lambda _: False)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def handle(
    task: Task,
    model: ModelConnection,
    options: BridgeOptions,
    dead_letters: DeadLetters | None,
    stopping: threading.Event,
    earlier: int = 0,
) -> Answer:
    """Hand one record to the model. When `stopping` is set or its partition is revoked, do not try again.

    `earlier` requests were made before, with others.

    Raises:
        SendError: it was not answered, and the policy is to stop then.
        DeadLetterError: it could not be written to the dead-letter topic.
        Abandoned: the bridge ends or loses the partition before the record was answered.
    """
    record, started = task.record, time.monotonic()
    # A redrive's records are dead letters, whose headers say where they come from.
    origin = letter_origin(record) if options.redrive else own_origin(record)
    attempt = origin.attempts + task.delivery

    def outcome(kind: Outcome, **fields: Any) -> Answer:
        span.set_attribute(semconv.OUTCOME, kind)
        place = (record.topic(), record.partition(), record.offset())
        requests, duration = earlier + model.retrier.requests, time.monotonic() - started
        return Answer(*place, kind, attempt=attempt, requests=requests, duration=duration, **fields)

    result: Answer | None = None
    try:
        with process(record, group=options.group, links=options.links, trusted=options.trust_context) as span:
            span.set_attribute(semconv.DELIVERY_ATTEMPT, attempt)
            try:
                answer = model.answer(record, options.retry_policy, wait_for_any(stopping, task.partition.revoked))
            except SendError as error:
                refused = is_refusal(error)
                policy = options.policy(refused=refused)
                if policy == outcomes.DEAD_LETTER and dead_letters is not None:
                    letter = dead_letters.publish(record, origin, error, attempt)
                    result = outcome(outcomes.DEAD_LETTERED, refused=str(error), dead_letter=letter)
                elif policy == outcomes.SKIP:
                    result = outcome(outcomes.REFUSED if refused else outcomes.SKIPPED, refused=str(error))
                raise  # so that the span says what went wrong, whatever becomes of the record
            result = outcome(outcomes.ANSWERED, answer=answer)
    except SendError:
        if result is None:
            raise
    assert result is not None  # noqa: S101 - for mypy: every path above that does not raise has set it
    return result
