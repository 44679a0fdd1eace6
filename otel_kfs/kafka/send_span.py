"""The `send` span: started by a call of `produce`, ended exactly once, by the delivery report or by what came instead.

A record that is under way stands in its client's `undelivered`; whoever takes it out is the one who ends its span.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import KafkaError
from opentelemetry.context import get_current
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from otel_kfs import semconv
from otel_kfs.kafka import client_telemetry
from otel_kfs.kafka.attributes import error_type, send_operation
from otel_kfs.kafka.headers import inject
from otel_kfs.kafka.metrics import Metrics
from otel_kfs.telemetry.provider import report_failure
from otel_kfs.telemetry.safe_tracer import mark_failed
from otel_kfs.telemetry.sigterm import at_end

DeliveryCallback = Callable[[Any, Any], None]  # (KafkaError | None, Message)
Failure = tuple[str, str]  # error.type and a description
ProduceAgain = Callable[[Any, Any, int, DeliveryCallback], None]  # (Message, headers, timestamp, callback)

# Failures of records that never left this client: the conventions count only what was sent.
_NOT_SENT = {"_PURGE_QUEUE"}

# Why a client or a broker refuses a record that without trace context may be small enough: for its own size, or for
# that of its batch, which trace context in each of its records makes larger, too.
TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}

_SMALL = 1000  # bytes: far below any limit of a broker's

_log = logging.getLogger(__name__)


class Measured(NamedTuple):
    """What the metrics of a pending record need at its end."""

    metrics: Metrics
    attributes: dict[str, Any]
    start: int  # ns since the epoch


class PendingRecord:
    """One record between `produce()` and its delivery report; as the client's callback, it takes the report."""

    __slots__ = ("_callback", "_client", "_measured", "_sent_again", "_span", "without_context")

    def __init__(
        self, client: ProducerTelemetry, span: Span, measured: Measured | None, callback: DeliveryCallback | None = None
    ) -> None:
        self._client = client
        self._span = span
        self._measured = measured
        self._callback = callback
        # Of a record with context in its headers: the user's own headers, and its timestamp, which reports don't have.
        self.without_context: tuple[Any, int] | None = None
        self._sent_again = False
        _register_exit()
        client.undelivered.add(self)

    def __call__(self, error: Any, record: Any) -> None:
        """Take the delivery report: `error` is a KafkaError, or None."""
        if error is not None and error.code() in TOO_LARGE and self._leaves_again(record):
            return
        if error is None and self._sent_again:
            self._client.left_without_context(record.topic())
        self.end(None if error is None else (error.name(), error.str()), record)
        callback = self._callback
        if callback is not None:
            # Last, so that the user's exceptions pass through as those of any callback do.
            callback(error, record)

    def _leaves_again(self, record: Any) -> bool:
        """Send what the broker refused for its size again, without context; tell whether it is on its way."""
        again, self.without_context = self.without_context, None
        produce = self._client.produce_again and self._client.produce_again()
        if again is None or produce is None:
            return False
        try:
            produce(record, *again, self)
        except Exception:  # the queue is full, or the transaction over: what the broker said stays the last word
            return False
        self._sent_again = True
        return True

    def end(self, failure: Failure | None = None, record: Any = None, sent: bool = True) -> None:
        """End the span now, if nobody did before; `sent` is False for what never left the client. Never raises."""
        try:
            self._client.undelivered.remove(self)
        except KeyError:
            return
        try:
            ended = time.time_ns()
            span, partition = self._span, None
            if failure is not None:
                mark_failed(span, *failure)
            elif record is not None:
                partition = str(record.partition())
                # One by one, because the SDK takes longer for two at a time.
                span.set_attribute(semconv.MESSAGING_DESTINATION_PARTITION_ID, partition)
                span.set_attribute(semconv.MESSAGING_KAFKA_OFFSET, record.offset())
            span.end(ended)
            if self._measured is not None:
                _count(self._measured, ended, failure, partition, sent)
        except Exception:
            report_failure("Kafka's delivery report")

    def handed_over(self) -> None:
        """End the span though nobody will tell what becomes of the record. Never raises."""
        try:
            self._span.set_attribute(semconv.ACKNOWLEDGED, False)
        except Exception:
            report_failure("Kafka's send")
        self.end()

    def refused(self, error: BaseException) -> None:
        """End the span with what the client raised: there will be no report."""
        self.end((error_type(error), str(error)), sent=False)


class PendingBatch(PendingRecord):
    """The records of one `produce_batch()`: one span, which ends with the last of their reports."""

    __slots__ = ("_failed", "_first_failure", "_left", "_lock", "_records")

    def __init__(self, client: ProducerTelemetry, span: Span, measured: Measured | None) -> None:
        self._lock = threading.Lock()
        self._records = self._left = self._failed = 0
        self._first_failure: Failure | None = None
        super().__init__(client, span, measured)

    def expect(self, records: int) -> None:
        """Set how many reports will come, before the first one can."""
        self._records = self._left = records

    def report_to(self, callback: DeliveryCallback | None) -> DeliveryCallback:
        """Return the callback to pass on for records whose own is `callback`."""

        def report(error: Any, record: Any) -> None:
            self.one_done(None if error is None else (error.name(), error.str()))
            if callback is not None:
                callback(error, record)

        return report

    def one_done(self, failure: Failure | None, *, sent: bool = True) -> None:
        """Count one record that was delivered, or failed. Never raises."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
            if failure is not None:
                self._failed += 1
                self._first_failure = self._first_failure or failure
        try:
            if self._measured is not None and sent and not (failure and failure[0] in _NOT_SENT):
                metrics, attributes, _ = self._measured
                kind = {} if failure is None else {semconv.ERROR_TYPE: failure[0]}
                metrics.sent({**attributes, **kind})
        except Exception:
            report_failure("Kafka's delivery report")
        if last and self._first_failure is None:
            self.end(sent=False)
        elif last and self._first_failure is not None:
            kind_, description = self._first_failure
            self.end(
                (kind_, f"{self._failed} of {self._records} records were not delivered: {description}"), sent=False
            )


def _count(measured: Measured, ended: int, failure: Failure | None, partition: str | None, sent: bool) -> None:
    metrics, shared, start = measured
    attributes = {**shared}
    if partition is not None:
        attributes[semconv.MESSAGING_DESTINATION_PARTITION_ID] = partition
    if failure is not None:
        attributes[semconv.ERROR_TYPE] = failure[0]
    metrics.operation(ended - start, attributes)
    if sent and not (failure and failure[0] in _NOT_SENT):
        metrics.sent(attributes)


S = TypeVar("S", bound=PendingRecord)


class ProducerTelemetry:
    """What a producer's telemetry knows: its configuration, and which of its records have had no report yet."""

    def __init__(
        self, config: Mapping[str, Any], produce_again: Callable[[], ProduceAgain | None] | None = None
    ) -> None:
        """Read a configuration; `produce_again` sends a reported record once more, with other headers."""
        self.operation = send_operation(config)
        self.produce_again = produce_again
        self.undelivered: set[PendingRecord] = set()
        self._has_said_so = False
        _telemetries.add(self)

    def start(
        self,
        topic: str,
        value: Any,
        key: Any,
        headers: Any,
        callback: DeliveryCallback | None,
        timestamp: int = 0,
    ) -> tuple[DeliveryCallback | None, Any]:
        """Return the delivery callback and the headers that one record is to leave with.

        The callback is a PendingRecord where the record is followed, and calls `callback`; else it is `callback`. Never
        raises: where telemetry fails, the record leaves with the user's own headers.
        """
        report: DeliveryCallback | None = callback
        try:
            # (An empty context suppresses nothing.)
            if get_current() and not is_instrumentation_enabled():
                return callback, headers
            telemetry = client_telemetry.current
            name, attributes, metric_attributes = self.operation[topic]
            span = telemetry.tracer.start_span(
                name, kind=SpanKind.PRODUCER, attributes=of_record(attributes, value, key)
            )
            metrics = telemetry.metrics
            measured = Measured(metrics, metric_attributes, time.time_ns()) if metrics.enabled else None
            if measured is not None or span.is_recording() or _may_be_too_large(value):
                report = PendingRecord(self, span, measured, callback)
            # Headers that the client does not take stay as they are, for the client to refuse.
            if headers is None or isinstance(headers, list | dict):
                own, headers = headers, inject(headers, set_span_in_context(span))
                if isinstance(report, PendingRecord):
                    report.without_context = (own and own.copy(), timestamp)
        except Exception:
            report_failure("Kafka's send")
        return report, headers

    def left_without_context(self, topic: str) -> None:
        """Say once that no context fits into a record."""
        if not self._has_said_so:
            self._has_said_so = True
            _log.warning(
                "a record for topic %s is too large with trace context, and was sent without: its consumers' spans "
                "begin a trace of their own; later ones are sent so without a word",
                topic,
            )

    def start_without_headers(self, kind: type[S], topic: str, attributes: Mapping[str, Any]) -> S | None:
        """Follow records that can carry no context: their span is a CLIENT's, not a PRODUCER's. Never raises."""
        try:
            if not is_instrumentation_enabled():
                return None
            telemetry = client_telemetry.current
            name, shared, metric_attributes = self.operation[topic]
            span = telemetry.tracer.start_span(name, kind=SpanKind.CLIENT, attributes={**shared, **attributes})
            metrics = telemetry.metrics
            measured = Measured(metrics, metric_attributes, time.time_ns()) if metrics.enabled else None
            if measured is not None or span.is_recording():
                return kind(self, span, measured)
        except Exception:
            report_failure("Kafka's send")
        return None


def _may_be_too_large(value: Any) -> bool:
    return isinstance(value, bytes | str) and len(value) > _SMALL


def abandon(undelivered: set[PendingRecord], why: str = "the producer was dropped") -> None:
    """End what will never get a delivery report, as errors."""
    for record in list(undelivered):
        record.end(("abandoned", f"{why} before the delivery report arrived"), sent=False)


def of_record(shared: Mapping[str, Any], value: Any, key: Any) -> dict[str, Any]:
    """Return the attributes of one record beside those of its topic; key bytes and contents are never among them."""
    attributes = {**shared}
    if isinstance(value, bytes):
        attributes[semconv.MESSAGING_MESSAGE_BODY_SIZE] = len(value)
    elif value is None:
        attributes[semconv.MESSAGING_KAFKA_MESSAGE_TOMBSTONE] = True
    elif isinstance(value, str):
        # The client sends UTF-8. Of plain ASCII, as long JSON is, that has as many bytes, and need not be made.
        size = len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
        attributes[semconv.MESSAGING_MESSAGE_BODY_SIZE] = size
    if isinstance(key, str):
        attributes[semconv.MESSAGING_KAFKA_MESSAGE_KEY] = key
    return attributes


_telemetries: weakref.WeakSet[ProducerTelemetry] = weakref.WeakSet()


@functools.cache
def _register_exit() -> None:
    """Register for the end with the first record: a provider that was set up before it then shuts down after us."""
    at_end(_abandon_all)
    os.register_at_fork(after_in_child=_forget_all)


def _forget_all() -> None:
    """Forget, in a forked child, what is under way: the parent gets the reports and ends the spans."""
    for client in list(_telemetries):
        client.undelivered.clear()


def _abandon_all() -> None:
    for client in list(_telemetries):
        abandon(client.undelivered, "the program ended")
