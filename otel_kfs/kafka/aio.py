"""confluent_kafka's asyncio clients with spans.

`AIOProducer` gathers records into batches, which can carry no headers (it refuses them), so a consumer can't follow
its records: their spans are CLIENT spans, each from `await produce(...)` to the record's own delivery report.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import confluent_kafka.aio

from otel_kfs.kafka import telemetry
from otel_kfs.kafka.client import error_type
from otel_kfs.kafka.consumer import ReceiveClient
from otel_kfs.kafka.delivery import SendClient, Sending, abandon, of_record


@contextmanager
def _outer_client() -> Iterator[None]:
    token = telemetry.inner_client.set(True)
    try:
        yield
    finally:
        telemetry.inner_client.reset(token)


class AIOProducer(confluent_kafka.aio.AIOProducer):  # type: ignore[misc]
    """A `confluent_kafka.aio.AIOProducer` in every way: only `produce` does more."""

    _kfs: SendClient

    def __init__(self, producer_conf: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        with _outer_client():
            super().__init__(producer_conf, *args, **kwargs)
        self._follow(producer_conf)

    def _follow(self, config: Any) -> None:
        self._kfs = SendClient(config)
        weakref.finalize(self, abandon, self._kfs.undelivered).atexit = False

    async def produce(self, topic: str, value: Any = None, key: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Like `confluent_kafka.aio.AIOProducer.produce`; the span ends when the returned future is done."""
        sending = self._kfs.start_without_headers(Sending, topic, of_record({}, value, key))
        try:
            future = await super().produce(topic, value, key, *args, **kwargs)
        except BaseException as error:
            if sending is not None:
                sending.refused(error)
            raise
        if sending is not None:
            future.add_done_callback(lambda done: _delivered(sending, done))
        return future


class AIOConsumer(confluent_kafka.aio.AIOConsumer):  # type: ignore[misc]
    """A `confluent_kafka.aio.AIOConsumer` in every way: only `poll` and `consume` do more."""

    group: str | None
    _kfs: ReceiveClient

    def __init__(self, consumer_conf: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        with _outer_client():
            super().__init__(consumer_conf, *args, **kwargs)
        self._follow(consumer_conf)

    def _follow(self, config: Any) -> None:
        self.group = config.get("group.id")
        self._kfs = ReceiveClient(config)

    async def poll(self, *args: Any, **kwargs: Any) -> Any:
        """Like `confluent_kafka.aio.AIOConsumer.poll`."""
        start = time.time_ns()
        record = await super().poll(*args, **kwargs)
        if record is not None:
            self._kfs.received([record], start)
        return record

    async def consume(self, *args: Any, **kwargs: Any) -> Any:
        """Like `confluent_kafka.aio.AIOConsumer.consume`."""
        start = time.time_ns()
        records = await super().consume(*args, **kwargs)
        if records:
            self._kfs.received(records, start)
        return records


class AsyncSerializingProducer(confluent_kafka.aio.AsyncSerializingProducer, AIOProducer):  # type: ignore[misc]
    """A `confluent_kafka.aio.AsyncSerializingProducer` in every way (`await` its constructor), with `send` spans."""

    async def __init__(self, conf: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[misc]
        with _outer_client():
            await super().__init__(conf, **kwargs)  # type: ignore[misc]
        self._follow(conf)


class AsyncDeserializingConsumer(confluent_kafka.aio.AsyncDeserializingConsumer, AIOConsumer):  # type: ignore[misc]
    """A `confluent_kafka.aio.AsyncDeserializingConsumer` in every way (`await` its constructor), with `poll` spans."""

    async def __init__(self, conf: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[misc]
        with _outer_client():
            await super().__init__(conf, **kwargs)  # type: ignore[misc]
        self._follow(conf)


def _delivered(sending: Sending, future: asyncio.Future[Any]) -> None:
    if future.cancelled():
        sending.end(("CancelledError", "the record was purged, or the program stopped waiting for it"), sent=False)
        return
    # Not future.exception(): asking for it would keep asyncio from logging an exception that the user never looks at.
    error: BaseException | None = getattr(future, "_exception", None)
    if error is None:
        sending.end(record=future.result())
    else:
        sending.end((error_type(error), str(error)))
