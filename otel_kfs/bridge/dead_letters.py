"""The dead-letter topic: records that the model did not answer, with the reason and their origin as headers.

The headers are those of Kafka Connect's dead-letter queues (KIP-298), as text; what Connect has no name for is under
`otel_kfs.errors.`. The record's own headers stay, and among them its trace context: a redrive continues
the trace of who sent it first.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from opentelemetry import propagate
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind

from otel_kfs import semconv
from otel_kfs.bridge.request_headers import is_for_model
from otel_kfs.client.kafka_access.kafka_security import Refusals, config_errors
from otel_kfs.client.kafka_access.kafka_settings import MAX_RECORD_BYTES, producer_config
from otel_kfs.errors import ConfigError, DeadLetterError, SendError
from otel_kfs.kafka.headers import creation_context, headers_of, inject
from otel_kfs.kafka.producer import Producer
from otel_kfs.telemetry import provider

_log = logging.getLogger(__name__)

TOPIC: Final = "__connect.errors.topic"
PARTITION: Final = "__connect.errors.partition"
OFFSET: Final = "__connect.errors.offset"
GROUP: Final = "__connect.errors.connector.name"  # a bridge's group is what names it
ERROR_CLASS: Final = "__connect.errors.exception.class.name"
ERROR_MESSAGE: Final = "__connect.errors.exception.message"
TIMESTAMP: Final = "otel_kfs.errors.timestamp"  # the record's own, ms; the dead letter's is when it became one
STATUS: Final = "otel_kfs.errors.status"  # the server's last one; absent where it was not reached
ATTEMPTS: Final = "otel_kfs.errors.attempts"  # deliveries so far

_OURS = ("__connect.errors.", "otel_kfs.errors.")
_ORIGIN = {TOPIC, PARTITION, OFFSET, TIMESTAMP, ATTEMPTS}  # what a redrive reads
_DELIVERY_SECONDS = 60.0
_MOST_MESSAGE_CHARACTERS = 1000
_TOPIC = re.compile(rb"[A-Za-z0-9._-]{1,249}")  # as Kafka allows them
_INT32, _INT64 = 2**31, 2**63
# What a consumer's settings and a producer's have in common: how the broker is reached.
_SHARED = ("security.", "sasl.", "ssl.", "enable.ssl.", "broker.address.", "client.dns.", "socket.")

Headers = list[tuple[str, Any]]


@dataclass(frozen=True)
class Origin:
    """Where a record was first, and how often it had been delivered before it came to where it is now."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    attempts: int = 0


def own_origin(record: Any) -> Origin:
    """Return where a record is: its origin, unless it is a dead letter."""
    return Origin(record.topic(), record.partition(), record.offset(), record.timestamp()[1])


def letter_origin(letter: Any) -> Origin:
    """Read a dead letter's headers; return its own place where they say nothing that can be true.

    Only for dead letters: the senders of other records can write anything into these headers.
    """
    found = {key: value for key, value in headers_of(letter) if value is not None and key.startswith(_OURS)}
    here = own_origin(letter)
    try:
        if not _TOPIC.fullmatch(found[TOPIC]):
            return here
        return Origin(
            found[TOPIC].decode(),
            _number(found[PARTITION], _INT32),
            _number(found[OFFSET], _INT64),
            _number(found.get(TIMESTAMP, here.timestamp), _INT64, at_least=-1),
            _number(found.get(ATTEMPTS, 0), _INT32),
        )
    except (KeyError, ValueError):
        return here


def _number(text: bytes | int, below: int, at_least: int = 0) -> int:
    number = int(text)
    if not at_least <= number < below:
        raise ValueError("a number that none of Kafka's can be")
    return number


class DeadLetters:
    """The producer of the dead-letter topic; safe to use from many threads."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        group: str,
        consumer_settings: Mapping[str, Any],
        settings: Mapping[str, Any] | None,
    ) -> None:
        """Make the producer with further `settings`; without any, it reaches the broker as the consumer does."""
        self.topic = topic
        self._group = group
        shared = {key: value for key, value in consumer_settings.items() if key.startswith(_SHARED)}
        settings = shared if settings is None else settings
        where = "settings for the dead-letter topic"
        if "0" in {str(settings.get(key)) for key in ("acks", "request.required.acks")}:
            raise ConfigError(f"{where}: acks=0 would pass records over whose dead letters no broker has: leave it out")
        with config_errors(where):
            config = producer_config(
                bootstrap_servers,
                _DELIVERY_SECONDS,
                {
                    # A record of the largest size that a consumer gets, with more headers than it had.
                    "message.max.bytes": MAX_RECORD_BYTES + 1_000_000,
                    "enable.idempotence": True,
                    "error_cb": lambda error: _log.debug("dead-letter producer: %s", error.str()),
                    "log_level": 2,
                    **settings,
                },
                where=where,
            )
            self._producer = Producer(config)
        self._refusals: Refusals = config["error_cb"]

    def publish(self, record: Any, origin: Origin, error: SendError, attempt: int) -> str:
        """Write one record there and wait for the acknowledgement; return `topic[partition]@offset`.

        Where the record is so large that not all headers fit, it is written with fewer.

        `origin` is where it was first, `attempt` how often it has been delivered.

        Raises:
            DeadLetterError: it was not acknowledged.
            ConfigError: the broker refuses the producer's certificate or login.
        """
        headers = self._headers(record, origin, error, attempt)
        with provider.tracer().start_as_current_span(
            semconv.send(self.topic),
            kind=SpanKind.PRODUCER,
            attributes={
                semconv.MESSAGING_SYSTEM: semconv.KAFKA,
                semconv.MESSAGING_OPERATION_NAME: "send",
                semconv.MESSAGING_OPERATION_TYPE: "send",
                semconv.MESSAGING_DESTINATION_NAME: self.topic,
            },
        ) as span:
            letter = self._deliver_within_limit(record, headers)
            span.set_attributes(
                {
                    semconv.MESSAGING_DESTINATION_PARTITION_ID: str(letter.partition()),
                    semconv.MESSAGING_KAFKA_OFFSET: letter.offset(),
                }
            )
        return f"{letter.topic()}[{letter.partition()}]@{letter.offset()}"

    def _deliver_within_limit(self, record: Any, headers: Headers) -> Any:
        """Write a record with as many headers as fit, in the end those alone without which a model can't read it."""
        context = propagate.get_global_textmap().fields
        for kept in (
            headers,
            [(key, value) for key, value in headers if not key.startswith(_OURS) or key in _ORIGIN],
            [(key, value) for key, value in headers if key in _ORIGIN or key in context or is_for_model(key)],
            [(key, value) for key, value in headers if is_for_model(key)],
        ):
            failure, letter = self._deliver(record, kept)
            if failure is None:
                if kept is not headers:
                    _log.warning(
                        "%s[%d]@%d is so large that %d of its %d headers were left out in the dead-letter topic %s",
                        *(record.topic(), record.partition(), record.offset()),
                        *(len(headers) - len(kept), len(headers), self.topic),
                    )
                return letter
            if failure.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise self._error(failure.str())
        raise self._error("Broker: Message size too large: raise the topic's max.message.bytes")

    def _deliver(self, record: Any, headers: Headers) -> tuple[KafkaError | None, Any]:
        """Write a record once; return the report."""
        reports: list[tuple[KafkaError | None, Any]] = []
        reported = threading.Event()

        def on_delivery(error: KafkaError | None, letter: Any) -> None:
            reports.append((error, letter))
            reported.set()

        until = time.monotonic() + _DELIVERY_SECONDS
        while True:
            try:
                # The record's trace context is to stay, so the producer's own must not take its place.
                with suppress_instrumentation():
                    self._producer.produce(
                        self.topic, record.value(), record.key(), headers=headers, on_delivery=on_delivery
                    )
                break
            except KafkaException as error:
                return error.args[0], None
            except BufferError as error:  # the queue is full of other workers' letters
                if time.monotonic() > until:
                    raise self._error(str(error)) from error
                self._producer.poll(0.05)
        # Any thread may get the report of any record; it comes by itself once message.timeout.ms is over.
        while not reported.is_set():
            self._producer.poll(0.05)
            self._refusals.check()
        return reports[0]

    def _error(self, why: str) -> DeadLetterError:
        return DeadLetterError(f"the record was not written to the dead-letter topic {self.topic}: {why}")

    def _headers(self, record: Any, origin: Origin, error: SendError, attempt: int) -> Headers:
        own: Headers = [(key, value) for key, value in headers_of(record) if not key.startswith(_OURS)]
        if not creation_context(record).is_valid:
            # Sent without a trace: it continues the one that began here, below the `process` span.
            own = inject(own)
        added = {
            TOPIC: origin.topic,
            PARTITION: origin.partition,
            OFFSET: origin.offset,
            GROUP: self._group,
            ERROR_CLASS: type(error).__name__,
            ERROR_MESSAGE: str(error)[:_MOST_MESSAGE_CHARACTERS],
            TIMESTAMP: origin.timestamp,
            STATUS: error.status,
            ATTEMPTS: attempt,
        }
        # A server's words may hold half a surrogate pair, which no encoding takes.
        return own + [(key, str(value).encode(errors="replace")) for key, value in added.items() if value is not None]
