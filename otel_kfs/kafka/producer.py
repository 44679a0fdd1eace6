"""confluent_kafka's producers, whose every record has a `send` span from `produce()` to its delivery report."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaException

from otel_kfs import semconv
from otel_kfs.kafka import client_telemetry, real_classes
from otel_kfs.kafka.attributes import configuration
from otel_kfs.kafka.headers import Headers
from otel_kfs.kafka.real_classes import refused_by
from otel_kfs.kafka.send_span import (
    TOO_LARGE,
    DeliveryCallback,
    PendingBatch,
    PendingRecord,
    ProducerTelemetry,
    abandon,
)
from otel_kfs.kafka.types import K, V

ONLY_ERRORS = "delivery.report.only.error"


class Producer(real_classes.Producer):
    """A `confluent_kafka.Producer` in every way: only `produce` and `produce_batch` do more.

    Each record's headers carry the context of its own `send {topic}` span, a child of the current one. The span ends
    when the delivery report arrives (in the caller's `poll()` or `flush()`), with the partition and offset, or with the
    error; if the producer is dropped or the program ends before, it ends then, as an error.

    What this client or the broker refuses for its size is sent with its own headers alone, which may be small enough.
    """

    _kfs: ProducerTelemetry | None = None  # None: this producer makes no spans
    _kfs_on_delivery: DeliveryCallback | None = None
    _kfs_only_errors = False
    _kfs_reports = True  # each record may have our callback, and it will be called

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        config = configuration(args, kwargs)
        is_inner = client_telemetry.inner_client.get()
        only_errors = not is_inner and config.get(ONLY_ERRORS) is True
        if only_errors:
            # Spans end with reports, so all of them must come; the user's callbacks still hear of errors only.
            super().__init__({**config, ONLY_ERRORS: False})
        elif kwargs:
            super().__init__(*args, **kwargs)
        else:  # the real class refuses to be made with nothing, and takes an empty dict of keywords for something
            super().__init__(*args)
        if is_inner:
            return
        # A record's own callback takes the place of the configuration's, and each of our records has one.
        self._kfs_on_delivery = config.get("on_delivery")
        self._kfs_only_errors = only_errors
        self._kfs = ProducerTelemetry(config, weakref.WeakMethod(self._kfs_produce_again))
        weakref.finalize(self, abandon, self._kfs.undelivered).atexit = False

    @refused_by(real_classes.Producer.produce)
    def produce(
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        partition: int = -1,
        callback: DeliveryCallback | None = None,
        on_delivery: DeliveryCallback | None = None,
        timestamp: int = 0,
        headers: Headers | None = None,
    ) -> None:
        """Produce one record; arguments and errors are those of `confluent_kafka.Producer.produce`."""
        if callback is None:
            callback = on_delivery
        client = self._kfs
        if client is None or not isinstance(topic, str):
            super().produce(topic, value, key, partition, callback, None, timestamp, headers)  # type: ignore[arg-type]
            return
        reported = self._kfs_reports or callback is not None
        if callback is None:
            callback = self._kfs_on_delivery
        if callback is not None and self._kfs_only_errors:
            callback = _only_errors(callback)
        produce_with_span(
            client, super().produce, topic, value, key, partition, callback, timestamp, headers, reported=reported
        )

    def _kfs_produce_again(
        self, record: confluent_kafka.Message, headers: Any, timestamp: int, report: DeliveryCallback
    ) -> None:
        """Produce the record of a delivery report once more, to the partition that it had."""
        where = (record.topic(), record.value(), record.key(), record.partition())
        super().produce(*where, report, None, timestamp, headers)  # type: ignore[arg-type]

    @refused_by(real_classes.Producer.produce_batch)
    def produce_batch(
        self,
        topic: str,
        messages: list[dict[str, Any]],
        partition: int = -1,
        callback: DeliveryCallback | None = None,
        on_delivery: DeliveryCallback | None = None,
    ) -> int:
        """Produce many records; arguments, result, errors and `_error` are those of the real `produce_batch`.

        Its records can carry no headers, so no consumer can follow them: the one `send {topic}` span of the call is a
        CLIENT span, which ends with the last delivery report.
        """
        client = self._kfs
        if callback is None:
            callback = on_delivery
        if client is None or not (isinstance(topic, str) and isinstance(messages, list) and messages):
            return int(super().produce_batch(topic, messages, partition, callback))
        if callback is None:
            callback = self._kfs_on_delivery
        place = {semconv.MESSAGING_DESTINATION_PARTITION_ID: str(partition)} if partition != -1 else {}
        attributes = {semconv.MESSAGING_BATCH_MESSAGE_COUNT: len(messages), **place}
        batch = client.start_without_headers(PendingBatch, topic, attributes)
        if batch is not None:
            batch.expect(len(messages))
        # The user's dicts are told of errors, as ever; those with a callback travel as copies with ours in its place.
        errors = [message.get("_error") if isinstance(message, dict) else None for message in messages]
        sent = [self._with_report(message, batch) for message in messages]
        try:
            queued = super().produce_batch(topic, sent, partition, self._report(callback, batch))
        except BaseException as error:
            if batch is not None:
                batch.refused(error)
            raise
        for message, copy, before in zip(messages, sent, errors, strict=True):
            if (refusal := copy.get("_error")) is not before:
                message["_error"] = refusal
                if batch is not None:
                    batch.one_done((refusal.name(), refusal.str()), sent=False)
        return int(queued)

    def _with_report(self, message: Any, batch: PendingBatch | None) -> Any:
        if not isinstance(message, dict) or message.get("callback") is None:
            return message
        return {**message, "callback": self._report(message["callback"], batch)}

    def _report(self, callback: DeliveryCallback | None, batch: PendingBatch | None) -> DeliveryCallback | None:
        """Return the callback for the report of a record of a batch whose own callback is `callback`."""
        if self._kfs_only_errors and callback is not None:
            callback = _only_errors(callback)
        return callback if batch is None else batch.report_to(callback)


def produce_with_span(
    client: ProducerTelemetry,
    produce: Callable[..., Any],
    topic: str,
    value: Any,
    key: Any,
    partition: int,
    callback: DeliveryCallback | None,
    timestamp: int,
    headers: Any,
    *,
    reported: bool = True,
) -> None:
    """Produce one record by the real class's `produce`, with its span; without `reported`, leave the callback alone."""
    pending, carrying = client.start(topic, value, key, headers, callback, timestamp)
    report = pending if reported else callback
    try:
        try:
            produce(topic, value, key, partition, report, None, timestamp, carrying)
        except KafkaException as error:
            # No record is refused for its trace context: without that, it may be small enough.
            if carrying is headers or error.args[0].code() not in TOO_LARGE:
                raise
            if isinstance(pending, PendingRecord):
                pending.without_context = None
            produce(topic, value, key, partition, report, None, timestamp, headers)
            client.left_without_context(topic)
    except BaseException as error:
        if isinstance(pending, PendingRecord):
            pending.refused(error)
        raise
    if not reported and isinstance(pending, PendingRecord):
        pending.handed_over()


class SerializingProducer(real_classes.SerializingProducer[K, V], Producer):  # type: ignore[misc]
    """A `confluent_kafka.SerializingProducer` in every way, whose records have `send` spans.

    A span starts once key and value are serialised, where the real class hands the record to its base class.
    """


def _only_errors(callback: DeliveryCallback) -> DeliveryCallback:
    def report(error: Any, record: Any) -> None:
        if error is not None:
            callback(error, record)

    return report
