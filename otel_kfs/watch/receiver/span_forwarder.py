"""Hands every request on to a Collector, Jaeger or Tempo, without letting anybody wait for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from otel_kfs.telemetry.otel_settings import otlp_access
from otel_kfs.watch.receiver.forward_target import NotWanted, TryAgain, sender

_MOST_BYTES = 64 * 2**20  # that wait
_TOGETHER = 2**20  # bytes of requests that go out as one
_PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before the next try; then the last again and again


@dataclass(slots=True)
class ForwardCounts:
    """What became of the spans that were to be handed on."""

    sent: int = 0
    dropped: int = 0  # there was no room, or the target did not want them
    failures: int = 0  # tries that failed
    reason: str = ""  # why the last of them did; "" since one succeeded


class _Waiting(NamedTuple):
    request: bytes
    spans: int


class SpanForwarder:
    """Sends requests to a target, in their order, from a thread of its own.

    Requests that wait go out together: protobuf's messages, one behind the other, are one message with the spans of
    both, and not a byte of a span changes. When there is no room left, what comes is dropped and counted.
    """

    def __init__(self, url: str) -> None:
        """`grpc://host:4317`, `grpcs://`, or `http(s)://host:4318[/v1/traces]`; port 4317 is gRPC's by any name.

        Headers and certificates are those of OpenTelemetry's variables, such as OTEL_EXPORTER_OTLP_HEADERS.

        Raises:
            ConfigError: it is no such URL, or what the variables say can't be used.
        """
        self.counts = ForwardCounts()
        self.url = url
        self._send = sender(url, otlp_access())
        self._waiting: deque[_Waiting] = deque()
        self._bytes = self._spans = 0  # that wait or are under way
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel-kfs forward", daemon=True)
        self._thread.start()

    def __call__(self, request: bytes, spans: int) -> None:
        """Put a request into the queue, or drop it where that is full; never wait."""
        with self._changed:
            if self._bytes + len(request) > _MOST_BYTES or self._stopping.is_set():
                self.counts.dropped += spans
                return
            self._bytes += len(request)
            self._spans += spans
            self._waiting.append(_Waiting(request, spans))
            self._changed.notify()

    def close(self, seconds: float = 1.0) -> None:
        """Hand on what waits, for at most so many seconds; drop the rest."""
        limit = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: not self._spans, timeout=max(0.0, limit - time.monotonic()))
            self._stopping.set()
            self.counts.dropped += self._spans  # what is under way may still arrive, unseen
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
                batch = self._next()
            if not batch:
                continue
            taken = self._deliver(b"".join(one.request for one in batch))
            spans = sum(one.spans for one in batch)
            with self._changed:
                if self._stopping.is_set():
                    return
                self.counts.sent += spans if taken else 0
                self.counts.dropped += 0 if taken else spans
                self._spans -= spans
                self._bytes -= sum(len(one.request) for one in batch)
                self._changed.notify_all()

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0].request) <= _TOGETHER):
            batch.append(self._waiting.popleft())
            size += len(batch[-1].request)
        return batch

    def _deliver(self, request: bytes) -> bool:
        """Send one until it is taken; return whether it was."""
        tries = 0
        while not self._stopping.is_set():
            try:
                self._send(request)
            except NotWanted as error:
                self._failed(error)
                return False
            except TryAgain as error:
                self._failed(error)
                self._stopping.wait(_PAUSES[min(tries, len(_PAUSES) - 1)])
                tries += 1
            else:
                self.counts.reason = ""
                return True
        return False

    def _failed(self, error: Exception) -> None:
        self.counts.failures += 1
        self.counts.reason = str(error)
