"""Sends one record after another and waits for each one's acknowledgement: back-pressure, and failures in one line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from otel_kfs.client.kafka_access.broker_probe import BrokerProbe
from otel_kfs.client.kafka_access.kafka_settings import producer_config
from otel_kfs.client.model_client import megabytes
from otel_kfs.errors import PayloadTooLargeError, SendError
from otel_kfs.kafka.headers import Headers
from otel_kfs.kafka.producer import Producer

# How long a topic may stay unknown: a new one needs a moment to be known everywhere. librdkafka waits 30 s.
_UNKNOWN_TOPIC_MILLIS = 5000
_QUEUE_KBYTES = 1_048_576  # librdkafka's default
_ONLY_EMERGENCIES = 2  # syslog's levels: what goes wrong with connections comes by error_cb, and once

_UNKNOWN_TOPIC = {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION}


class Delivered(NamedTuple):
    """Where in Kafka a record lies."""

    topic: str
    partition: int
    offset: int


class RecordPublisher:
    """A producer, of which several threads may each send a record at a time."""

    def __init__(self, bootstrap_servers: str, timeout: float, config: Mapping[str, Any]) -> None:
        """`timeout` (seconds) bounds one record's delivery; `config` holds further librdkafka settings."""
        self._servers = bootstrap_servers
        self._timeout = timeout
        self._reach = BrokerProbe(bootstrap_servers)
        settings = {
            "topic.metadata.propagation.max.ms": _UNKNOWN_TOPIC_MILLIS,
            "log_level": _ONLY_EMERGENCIES,
            "error_cb": self._reach.heard,
            **config,
        }
        self._config = producer_config(bootstrap_servers, timeout, settings)
        self._producer = Producer(self._config)

    def publish(self, topic: str, value: bytes, headers: Headers | None = None) -> Delivered:
        """Produce one record and wait until the broker has it.

        A full queue is waited for. An outage of the brokers is waited out for as long as `timeout`; brokers that were
        never reached are not.

        Raises:
            TooLarge: the record is over a limit of the producer or the broker.
            SendError: it was not delivered.
            ConfigError: the brokers refuse the credentials.
        """
        reports: list[tuple[Any, Any]] = []
        try:
            self._produce(topic, value, headers, reports)
            # The delivery report comes by itself once message.timeout.ms is over, whatever happens to the broker.
            while not reports:
                self._producer.poll(0.1)
                if not reports:
                    self._config["error_cb"].check()
                    self._reach.check(self._config)
        except BaseException:
            # Whoever was told of a failure must not find the record in the topic later.
            self._producer.purge()
            with suppress(Exception):
                self._producer.poll(0)
            raise
        failure, record = reports[0]
        if failure is None:
            self._reach.reached = True
            return Delivered(record.topic(), record.partition(), record.offset())
        raise self._undelivered(failure, topic, len(value))

    def _produce(self, topic: str, value: bytes, headers: Headers | None, reports: list[tuple[Any, Any]]) -> None:
        until = time.monotonic() + self._timeout
        while True:
            try:
                self._producer.produce(
                    topic, value, headers=headers, on_delivery=lambda error, record: reports.append((error, record))
                )
            except BufferError as error:
                room = int(self._config.get("queue.buffering.max.kbytes", _QUEUE_KBYTES)) * 1024
                if len(value) > room:
                    raise PayloadTooLargeError(
                        f"a record of {megabytes(len(value))} does not fit into this producer's queue "
                        f"({room // 1024} kB): raise queue.buffering.max.kbytes in its configuration"
                    ) from error
                full = len(self._producer)
                while len(self._producer) >= full > 0:
                    if time.monotonic() > until:
                        raise SendError(
                            f"the producer's queue stayed full for {self._timeout:g} s: check that the broker at "
                            f"{self._servers} keeps up, or send from fewer threads"
                        ) from error
                    self._producer.poll(0.1)
                    self._config["error_cb"].check()
                    self._reach.check(self._config)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise PayloadTooLargeError(
                        f"a record of {megabytes(len(value))} is over this producer's message.max.bytes "
                        f"({self._config['message.max.bytes']}): raise message.max.bytes in its configuration"
                    ) from error
                raise SendError(f"can't send to topic {topic}: {error.args[0].str()}") from error
            else:
                return

    def _undelivered(self, failure: Any, topic: str, size: int) -> SendError:
        """What a delivery report's error means to the sender of one image."""
        code = failure.code()
        if code == KafkaError.MSG_SIZE_TOO_LARGE:
            return PayloadTooLargeError(
                f"the broker refused a record of {megabytes(size)}: raise the topic's max.message.bytes or "
                "the broker's message.max.bytes (and replica.fetch.max.bytes)"
            )
        if code in _UNKNOWN_TOPIC:
            return SendError(f"there is no topic {topic} at {self._servers}: check --topic, or create it")
        if code == KafkaError._MSG_TIMED_OUT:
            why = self._reach.late(self._config, topic, self._timeout)
            return SendError(f"not delivered within {self._timeout:g} s: {why}")
        return SendError(f"topic {topic} at {self._servers}: {failure.str()}")
