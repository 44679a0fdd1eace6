"""What can become of a record, as the bridge reports and counts it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Literal

from otel_kfs.client.encodings import answer_json

Outcome = Literal["answered", "refused", "skipped", "dead-lettered"]
Policy = Literal["skip", "dead-letter", "stop"]

ANSWERED: Final = "answered"
REFUSED: Final = "refused"  # by the server, as the client's fault (4xx), and passed over
SKIPPED: Final = "skipped"  # not answered in spite of all retries, and passed over
DEAD_LETTERED: Final = "dead-lettered"

SKIP: Final = "skip"
DEAD_LETTER: Final = "dead-letter"
STOP: Final = "stop"


@dataclass(frozen=True)
class Answer:
    """What became of one record: the model's answer, or why there is none."""

    topic: str
    partition: int
    offset: int
    outcome: Outcome
    answer: dict[str, Any] | None = None
    refused: str | None = None  # why there is no answer, in one line
    dead_letter: str | None = None  # where the record was written to: topic[partition]@offset
    attempt: int = 1  # which delivery of this record it was; more than 1: it may have been delivered before
    requests: int = 1  # how many requests that delivery took
    duration: float = 0.0  # seconds in the bridge's hands


def as_json(answer: Answer) -> bytes:
    """Write one line of JSON."""
    return answer_json.dumps(vars(answer))


class RunStats:
    """What a run has done so far; threads may count at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._redelivered = self._retries = self._returned = 0

    def add_answer(self, answer: Answer) -> None:
        """Count a record that was dealt with."""
        with self._lock:
            self._outcomes[answer.outcome] += 1
            self._redelivered += answer.attempt > 1
            self._retries += max(0, answer.requests - 1)  # a record may be refused before any request

    def add_returned(self, records: int = 1) -> None:
        """Count records that were given back uncommitted."""
        with self._lock:
            self._returned += records

    def __str__(self) -> str:
        with self._lock:
            total = self._outcomes.total()
            parts = [f"{self._outcomes[outcome]} {outcome}" for outcome in sorted(self._outcomes)]
            retries = "retry" if self._retries == 1 else "retries"
            more = {"delivered again": self._redelivered, retries: self._retries, "given back": self._returned}
        parts += [f"{count} {what}" for what, count in more.items() if count]
        return f"{total} record{'' if total == 1 else 's'}{': ' if parts else ''}{', '.join(parts)}"
