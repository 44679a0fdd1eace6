"""Traces a Kafka client that was made before: in place where Python allows it, else by a proxy around it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import wrapt
from confluent_kafka import Message

from otel_kfs.kafka import aio, consumer, producer, real_classes
from otel_kfs.kafka.attributes import configuration
from otel_kfs.kafka.consumer import ConsumerTelemetry
from otel_kfs.kafka.real_classes import refused_by
from otel_kfs.kafka.send_span import DeliveryCallback, ProducerTelemetry, abandon

C = TypeVar("C")

Config = Mapping[str, Any] | None


def traced(client: C, config: Config = None) -> C:
    """Return a client that does all that `client` does, with spans; `config`: its settings, if known.

    Raises:
        TypeError: it is no client of confluent_kafka's.
    """
    if getattr(client, "_kfs", None) is not None:
        return client
    settings = None if config is None else configuration((dict(config),), {})
    of_client: type[Any] = client.__class__
    for real, (ours, follow, proxy) in _OURS.items():
        if issubclass(of_client, real):
            try:
                client.__class__ = ours if of_client is real else _derived(of_client, ours)
            except TypeError:  # of a class in C, or with slots
                if proxy is None:
                    raise
                return proxy(client, settings)  # type: ignore[no-any-return]
            follow(client, settings)
            return client
    raise TypeError(f"{of_client.__module__}.{of_client.__qualname__} is no client of confluent_kafka's")


def _derived(cls: type[Any], ours: type[Any]) -> type[Any]:
    """Return a program's own class with our methods below its own."""
    return type(cls.__name__, (cls, ours), {"__module__": cls.__module__, "__qualname__": cls.__qualname__})


def _follow_producer(client: Any, config: Config) -> None:
    again = weakref.WeakMethod(client._kfs_produce_again)
    client._kfs = telemetry = ProducerTelemetry(config or {}, again)
    client._kfs_on_delivery = (config or {}).get("on_delivery")
    client._kfs_reports = _reports(config)
    weakref.finalize(client, abandon, telemetry.undelivered).atexit = False


def _follow_async_producer(client: Any, config: Config) -> None:
    client._kfs = telemetry = ProducerTelemetry(config or {})
    weakref.finalize(client, abandon, telemetry.undelivered).atexit = False


def _follow_consumer(client: Any, config: Config) -> None:
    client.group = (config or {}).get("group.id")
    client._kfs = ConsumerTelemetry(config or {})


def _reports(config: Config) -> bool:
    """Tell whether a callback of ours may be given to each record, and will be called."""
    return config is not None and config.get(producer.ONLY_ERRORS) is not True


def _produce_untraced(proxy: Any, *args: Any, **kwargs: Any) -> Any:
    return proxy.__wrapped__.produce(*args, **kwargs)


class _ProducerProxy(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """A producer of the class in C; batches stay untraced."""

    def __init__(self, client: Any, config: Config) -> None:
        super().__init__(client)
        self._self_kfs = ProducerTelemetry(config or {}, weakref.WeakMethod(self._again))
        self._self_on_delivery = (config or {}).get("on_delivery")
        self._self_reports = _reports(config)
        weakref.finalize(self, abandon, self._self_kfs.undelivered).atexit = False

    @property
    def _kfs(self) -> ProducerTelemetry:
        return self._self_kfs

    @refused_by(_produce_untraced)
    def produce(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int = -1,
        callback: DeliveryCallback | None = None,
        on_delivery: DeliveryCallback | None = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        """Produce one record; arguments and errors are those of the real class."""
        produce: Callable[..., Any] = self.__wrapped__.produce
        callback = callback if callback is not None else on_delivery
        if not isinstance(topic, str):
            produce(topic, value, key, partition, callback, None, timestamp, headers)
            return
        reported = self._self_reports or callback is not None
        callback = callback if callback is not None else self._self_on_delivery
        producer.produce_with_span(
            self._self_kfs, produce, topic, value, key, partition, callback, timestamp, headers, reported=reported
        )

    def _again(self, record: Any, headers: Any, timestamp: int, report: DeliveryCallback) -> None:
        where = (record.topic(), record.value(), record.key(), record.partition())
        self.__wrapped__.produce(*where, report, None, timestamp, headers)


class _ConsumerProxy(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """A consumer, or share consumer, of the class in C."""

    def __init__(self, client: Any, config: Config) -> None:
        super().__init__(client)
        self._self_group = (config or {}).get("group.id")
        self._self_kfs = ConsumerTelemetry(config or {})

    @property
    def _kfs(self) -> ConsumerTelemetry:
        return self._self_kfs

    @property
    def group(self) -> str | None:
        """The consumer group, where it is known."""
        return self._self_group

    def poll(self, *args: Any, **kwargs: Any) -> Any:
        """Poll as the real class does."""
        return self._read(self.__wrapped__.poll, *args, **kwargs)

    def _read(self, read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        start = time.time_ns()
        polled = read(*args, **kwargs)
        if polled is not None and (records := [polled] if isinstance(polled, Message) else list(polled)):
            self._self_kfs.received(records, start)
        return polled


class _BatchConsumerProxy(_ConsumerProxy):
    """A consumer, which a share consumer's lack of `consume` tells from the other."""

    def consume(self, *args: Any, **kwargs: Any) -> Any:
        """Consume as the real class does."""
        return self._read(self.__wrapped__.consume, *args, **kwargs)


# The most derived first. What is written in Python needs no proxy.
_OURS: dict[type[Any], tuple[type[Any], Callable[[Any, Config], None], Callable[[Any, Config], Any] | None]] = {
    real_classes.SerializingProducer: (producer.SerializingProducer, _follow_producer, None),
    real_classes.DeserializingConsumer: (consumer.DeserializingConsumer, _follow_consumer, None),
    real_classes.DeserializingShareConsumer: (consumer.DeserializingShareConsumer, _follow_consumer, None),
    real_classes.AIOProducer: (aio.AIOProducer, _follow_async_producer, None),
    real_classes.AIOConsumer: (aio.AIOConsumer, _follow_consumer, None),
    real_classes.Producer: (producer.Producer, _follow_producer, _ProducerProxy),
    real_classes.Consumer: (consumer.Consumer, _follow_consumer, _BatchConsumerProxy),
    real_classes.ShareConsumer: (consumer.ShareConsumer, _follow_consumer, _ConsumerProxy),
}
