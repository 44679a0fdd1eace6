"""Publishes one record at a time and waits for its acknowledgement; a failure becomes one line."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from otel_kfs.client.kafka_access.broker_probe import BrokerProbe
from otel_kfs.client.kafka_access.kafka_settings import producer_config
from otel_kfs.client.model_request.model_client import megabytes
from otel_kfs.errors import PayloadTooLargeError, SendError
from otel_kfs.kafka.headers import Headers
from otel_kfs.kafka.producer import Producer

# How long a topic may stay unknown: it takes a moment until all brokers know a new one. librdkafka waits 30 s.
_UNKNOWN_TOPIC_MILLIS = 5000
_QUEUE_KBYTES = 1_048_576  # librdkafka's default
_ONLY_EMERGENCIES = 2  # syslog's levels: connection errors come by error_cb, and are logged once

_UNKNOWN_TOPIC = {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION}


class Delivered(NamedTuple):
    """Where in Kafka a record lies."""

    topic: str
    partition: int
    offset: int


class RecordPublisher:
    """A producer by which several threads may each publish a record at a time."""

    def __init__(self, bootstrap_servers: str, timeout: float, config: Mapping[str, Any]) -> None:
        """Make a producer; `timeout` (seconds) bounds a record's delivery, `config` holds further settings."""
        self._servers = bootstrap_servers
        self._timeout = timeout
        self._probe = BrokerProbe(bootstrap_servers)
        settings = {
            "topic.metadata.propagation.max.ms": _UNKNOWN_TOPIC_MILLIS,
            "log_level": _ONLY_EMERGENCIES,
            "error_cb": self._probe.on_error,
            **config,
        }
        self._config = producer_config(bootstrap_servers, timeout, settings)
        self._producer = Producer(self._config)
        self._lock = threading.Lock()
        self._callers = 0  # threads that publish right now

    def publish(self, topic: str, value: bytes, headers: Headers | None = None) -> Delivered:
        """Publish one record and wait until the broker has it.

        A full queue is waited for. An outage of the brokers is waited out for as long as `timeout`; brokers that were
        never reached are not.

        Raises:
            PayloadTooLargeError: the record is over a limit of the producer or the broker.
            SendError: it was not delivered.
            ConfigError: the brokers refuse the credentials.
        """
        reports: list[tuple[Any, Any]] = []
        with self._lock:
            self._callers += 1
        try:
            self._produce(topic, value, headers, reports)
            # The delivery report comes by itself once message.timeout.ms is over, whatever happens to the broker.
            while not reports:
                self._producer.poll(0.1)
                if not reports:
                    self._check_brokers()
        except BaseException:
            self._purge()
            raise
        finally:
            with self._lock:
                self._callers -= 1
        failure, record = reports[0]
        if failure is None:
            self._probe.reached = True
            return Delivered(record.topic(), record.partition(), record.offset())
        raise self._undelivered(failure, topic, len(value))

    def _purge(self) -> None:
        """Take the caller's record back: who was told of a failure should not find the record in the topic later.

        librdkafka can purge only all records. So those of other threads stay, and with them the caller's, if it was
        accepted: it is then delivered, or not, within the time-out.
        """
        with self._lock:  # no other thread publishes meanwhile
            if self._callers == 1:
                self._producer.purge()
                with suppress(Exception):
                    self._producer.poll(0)

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
                queued = len(self._producer)
                while len(self._producer) >= queued > 0:
                    if time.monotonic() > until:
                        raise SendError(
                            f"the producer's queue stayed full for {self._timeout:g} s: check that the broker at "
                            f"{self._servers} keeps up, or send from fewer threads"
                        ) from error
                    self._producer.poll(0.1)
                    self._check_brokers()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise PayloadTooLargeError(
                        f"a record of {megabytes(len(value))} is over this producer's message.max.bytes "
                        f"({self._config['message.max.bytes']}): raise message.max.bytes in its configuration"
                    ) from error
                raise SendError(f"can't send to topic {topic}: {error.args[0].str()}") from error
            else:
                return

    def _check_brokers(self) -> None:
        """Raise if it is of no use to wait: nobody is there, or the credentials are refused."""
        self._config["error_cb"].check()
        self._probe.check(self._config)

    def _undelivered(self, failure: Any, topic: str, size: int) -> SendError:
        """Explain a delivery report's error to the sender of one image."""
        code = failure.code()
        if code == KafkaError.MSG_SIZE_TOO_LARGE:
            return PayloadTooLargeError(
                f"the broker refused a record of {megabytes(size)}: raise the topic's max.message.bytes or "
                "the broker's message.max.bytes (and replica.fetch.max.bytes)"
            )
        if code in _UNKNOWN_TOPIC:
            return SendError(f"there is no topic {topic} at {self._servers}: check --topic, or create it")
        if code == KafkaError._MSG_TIMED_OUT:
            why = self._probe.explain_timeout(self._config, topic, self._timeout)
            return SendError(f"not delivered within {self._timeout:g} s: {why}")
        return SendError(f"topic {topic} at {self._servers}: {failure.str()}")
