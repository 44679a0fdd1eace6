"""confluent_kafka's asyncio clients with spans.

`AIOProducer` gathers records into batches, which can carry no headers (it refuses them), so a consumer can't follow
its records: their spans are CLIENT spans, each from `await produce(...)` to the record's own delivery report.
"""

from __future__ import annotations

import asyncio
import functools
import time
import weakref
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import confluent_kafka.aio

from otel_kfs.kafka import client_telemetry, real_classes
from otel_kfs.kafka.attributes import error_type
from otel_kfs.kafka.consumer import Consumer, ConsumerTelemetry
from otel_kfs.kafka.send_span import PendingRecord, ProducerTelemetry, abandon, of_record
from otel_kfs.kafka.types import K, V

if TYPE_CHECKING:
    from typing_extensions import Self

# The methods that ours replace, also in the real classes themselves while an instrumentor is active.
_Producer, _Consumer = real_classes.AIOProducer, real_classes.AIOConsumer
_init_producer, _produce = _Producer.__init__, _Producer.produce
_init_consumer = _Consumer.__init__
_READS: dict[str, tuple[Any, Any]] = {
    "poll": (_Consumer.poll, real_classes.Consumer.poll),
    "consume": (_Consumer.consume, real_classes.Consumer.consume),
}


@contextmanager
def _outer_client() -> Iterator[None]:
    token = client_telemetry.inner_client.set(True)
    try:
        yield
    finally:
        client_telemetry.inner_client.reset(token)


class AIOProducer(real_classes.AIOProducer):
    """A `confluent_kafka.aio.AIOProducer` in every way: only `produce` does more."""

    def __init__(self, producer_conf: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        with _outer_client():
            _init_producer(self, producer_conf, *args, **kwargs)
        _follow_producer(self, producer_conf)

    async def produce(
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> asyncio.Future[confluent_kafka.Message]:
        """Like `confluent_kafka.aio.AIOProducer.produce`; the span ends when the returned future is done."""
        client: ProducerTelemetry | None = getattr(self, "_kfs", None)
        pending = None
        if client is not None:
            pending = client.start_without_headers(PendingRecord, topic, of_record({}, value, key))
        try:
            future = await _produce(self, topic, value, key, *args, **kwargs)
        except BaseException as error:
            if pending is not None:
                pending.refused(error)
            raise
        if pending is not None:
            future.add_done_callback(functools.partial(_delivered, pending))
        return future


class AIOConsumer(real_classes.AIOConsumer):
    """A `confluent_kafka.aio.AIOConsumer` in every way: only `poll` and `consume` do more."""

    group: str | None

    def __init__(self, consumer_conf: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        with _outer_client():
            _init_consumer(self, consumer_conf, *args, **kwargs)
        _follow_consumer(self, consumer_conf)

    async def poll(self, *args: Any, **kwargs: Any) -> confluent_kafka.Message | None:
        """Like `confluent_kafka.aio.AIOConsumer.poll`."""
        start = time.time_ns()
        record: confluent_kafka.Message | None = await _read(self, "poll", *args, **kwargs)
        if record is not None:
            _received(self, [record], start)
        return record

    async def consume(self, *args: Any, **kwargs: Any) -> list[confluent_kafka.Message]:
        """Like `confluent_kafka.aio.AIOConsumer.consume`."""
        start = time.time_ns()
        records: list[confluent_kafka.Message] = await _read(self, "consume", *args, **kwargs)
        if records:
            _received(self, records, start)
        return records


class AsyncSerializingProducer(confluent_kafka.aio.AsyncSerializingProducer[K, V], AIOProducer):
    """A `confluent_kafka.aio.AsyncSerializingProducer` in every way (`await` its constructor), with `send` spans."""

    async def __init__(self, conf: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[misc]
        with _outer_client():
            await super().__init__(conf, **kwargs)
        _follow_producer(self, conf)

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, Self]:
            """Await the constructor, as every call of the class does."""

        async def produce(  # type: ignore[override]
            self,
            topic: str,
            key: K | None = None,
            value: V | None = None,
            partition: int = -1,
            timestamp: int = 0,
            headers: Any = None,
        ) -> asyncio.Future[confluent_kafka.Message]:
            """Produce as the real class, which types its future as one of anything."""


class AsyncDeserializingConsumer(  # type: ignore[misc]
    confluent_kafka.aio.AsyncDeserializingConsumer[K, V], AIOConsumer
):
    """A `confluent_kafka.aio.AsyncDeserializingConsumer` in every way (`await` its constructor), with `poll` spans."""

    async def __init__(self, conf: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[misc]
        with _outer_client():
            await super().__init__(conf, **kwargs)
        _follow_consumer(self, conf)

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, Self]:
            """Await the constructor, as every call of the class does."""


def _follow_producer(producer: Any, config: Any) -> None:
    producer._kfs = client = ProducerTelemetry(config)
    weakref.finalize(producer, abandon, client.undelivered).atexit = False


def _follow_consumer(consumer: Any, config: Any) -> None:
    consumer.group = config.get("group.id")
    consumer._kfs = ConsumerTelemetry(config)


async def _read(consumer: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """Poll or consume as the real class does, but without another instrumentation's spans.

    The real class makes its blocking consumer by the name that such an instrumentation replaces.
    """
    asynchronous, blocking = _READS[method]
    inner = consumer._consumer
    if type(inner) in {real_classes.Consumer, Consumer} or not isinstance(inner, real_classes.Consumer):
        return await asynchronous(consumer, *args, **kwargs)
    return await consumer._call(functools.partial(blocking, inner), *args, **kwargs)


def _received(consumer: Any, records: Any, start: int) -> None:
    client: ConsumerTelemetry | None = getattr(consumer, "_kfs", None)
    if client is not None:
        client.received(records, start)


def _delivered(pending: PendingRecord, future: asyncio.Future[Any]) -> None:
    if future.cancelled():
        pending.end(("CancelledError", "the record was purged, or the program stopped waiting for it"), sent=False)
        return
    # Not future.exception(): asking for it would keep asyncio from logging an exception that the user never looks at.
    error: BaseException | None = getattr(future, "_exception", None)
    if error is None:
        pending.end(record=future.result())
    else:
        pending.end((error_type(error), str(error)))
