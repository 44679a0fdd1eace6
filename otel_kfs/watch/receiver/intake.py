"""Intake: what happens to a request, by whichever protocol, before it is acknowledged."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from otel_kfs.traces.formats.otlp_protobuf import exported_spans
from otel_kfs.traces.span import Span

RETRY_AFTER = 1.0  # seconds, for a sender that is told to slow down
PATIENCE = 1.0  # seconds that a request waits for room until it is refused: no longer than it would stay away


class Refused(Exception):
    """A request that is not taken: the message says why."""


class MalformedRequest(Refused):
    """It is no OTLP request for traces, and never will be one."""


class Busy(Refused):
    """It can't be taken now; the sender is to try again after RETRY_AFTER."""


class Sink(Protocol):
    """What takes a request's spans as they came, in protobuf."""

    def __call__(self, request: bytes, spans: int, /) -> None:
        """Take one; raise OSError if it can't be kept."""
        ...


@dataclass(slots=True)
class IntakeCounts:
    """What became of requests."""

    requests: int = 0  # that were acknowledged
    spans: int = 0  # in these
    left_out: Counter[str] = field(default_factory=Counter)  # spans that can't be read, by reason
    malformed: int = 0  # requests that are none
    refused: int = 0  # that were told to try again, because too much waited
    unkept: int = 0  # that were told so, because they could not be written
    unkept_reason: str = ""  # why the last of them could not


class Intake:
    """Takes requests as bytes, in any thread, and keeps their spans until they are measured."""

    def __init__(self, most_waiting: int = 50_000, keep: Sink | None = None, hand_on: Sink | None = None) -> None:
        """No request is to be read while more than `most_waiting` spans wait to be measured.

        `keep` is called before a request is acknowledged, which it is not if that fails; then `hand_on`.
        """
        self.counts = IntakeCounts()
        self.waiting = 0  # spans that are not measured yet
        self.patience = PATIENCE
        self.arrived: Callable[[], None] = lambda: None
        self._most_waiting, self._keep, self._hand_on = most_waiting, keep, hand_on
        self._batches: deque[list[Span]] = deque()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)

    @property
    def has_room(self) -> bool:
        """Whether a request may be read now."""
        return self.waiting <= self._most_waiting

    def wait_for_room(self, seconds: float) -> None:
        """Wait in a sender's place until there is room; to be called before its request is read.

        A sender that is refused comes again with all that it sent, or drops what it can't keep meanwhile.

        Raises:
            Busy: too many spans wait to be measured, and still did after so many seconds.
        """
        if self.has_room:
            return
        with self._room:
            if self._room.wait_for(lambda: self.has_room, seconds):
                return
            self.counts.refused += 1
        raise Busy("too many spans wait to be measured")

    def take(self, request: bytes) -> Counter[str]:
        """Accept an ExportTraceServiceRequest; return how many of its spans are left out, by reason.

        Raises:
            MalformedRequest: it is none.
            Busy: the spans can't be written.
        """
        try:
            spans, left_out = exported_spans(request)
        except ValueError as error:
            self.counts.malformed += 1
            raise MalformedRequest(f"not an OTLP export of traces: {error}") from error
        with self._lock:
            if self._keep is not None:
                try:
                    self._keep(request, len(spans))
                except OSError as error:
                    self.counts.unkept += 1
                    self.counts.unkept_reason = error.strerror or str(error)
                    raise Busy(f"the spans can't be kept: {self.counts.unkept_reason}") from error
            if self._hand_on is not None:
                self._hand_on(request, len(spans))
            self.counts.requests += 1
            self.counts.spans += len(spans)
            self.counts.left_out.update(left_out)
            self.waiting += len(spans)
            self._batches.append(spans)
        self.arrived()
        return left_out

    def next(self) -> list[Span] | None:
        """Return the spans of the request that waited longest; None where none waits."""
        with self._lock:
            if not self._batches:
                return None
            spans = self._batches.popleft()
            self.waiting -= len(spans)
            if self.has_room:
                self._room.notify_all()
            return spans
