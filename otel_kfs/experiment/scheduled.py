"""Senders of images that are due at a time: an image's trace, and with it stamp 1, begins then, however late it leaves.

What lies between is a `late start` span, and part of 4-1.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from otel_kfs import semconv
from otel_kfs.client.grpc_sender import GrpcSender
from otel_kfs.client.image_span import SentImage
from otel_kfs.client.senders import HttpSender, KafkaSender, Sender
from otel_kfs.telemetry import provider

_due: ContextVar[int | None] = ContextVar("due", default=None)  # ns since the epoch


class Scheduled(Sender):
    """What makes a sender one of these."""

    def send_due(self, image: Path, due: int | None, *, warmup: bool = False) -> Any:
        """`send`, of an image that was due at a moment (ns since the epoch), if at any."""
        token = _due.set(due)
        try:
            return self.send(image, warmup=warmup)
        finally:
            _due.reset(token)

    def _root(self, warmup: bool) -> AbstractContextManager[SentImage]:
        due = _due.get()
        return super()._root(warmup) if due is None else self._late_root(warmup, due)

    @contextmanager
    def _late_root(self, warmup: bool, due: int) -> Iterator[SentImage]:
        attributes: dict[str, Any] = {semconv.TRANSPORT: self.transport, **self._form.attributes()}
        attributes |= {semconv.RUN_ID: self.run_id, semconv.SEQUENCE: next(self._sequence)}
        if warmup:
            attributes[semconv.WARMUP] = True
        tracer = provider.tracer()
        with tracer.start_as_current_span(semconv.SEND_IMAGE, attributes=attributes, start_time=due) as span:
            tracer.start_span(semconv.LATE_START, start_time=due).end(max(due, time.time_ns()))
            yield SentImage(span, self._form)


class ScheduledHttp(Scheduled, HttpSender):
    """Over HTTP."""


class ScheduledKafka(Scheduled, KafkaSender):
    """Through Kafka."""


class ScheduledGrpc(Scheduled, GrpcSender):
    """Over gRPC."""
