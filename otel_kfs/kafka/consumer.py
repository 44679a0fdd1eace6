"""confluent_kafka's consumers, whose calls that bring records can have a `poll` span: the waiting, not the working."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import confluent_kafka
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Link, SpanKind

from otel_kfs import semconv
from otel_kfs.kafka import client_telemetry, real_classes
from otel_kfs.kafka.attributes import configuration, poll_operation, process_operation
from otel_kfs.kafka.headers import creation_context
from otel_kfs.kafka.real_classes import refused_by
from otel_kfs.kafka.send_span import Failure
from otel_kfs.kafka.types import K, V
from otel_kfs.telemetry.provider import report_failure
from otel_kfs.telemetry.safe_tracer import mark_failed


def wants_poll_spans() -> bool:
    """Return whether a poll that brought only records of other traces is to be a span, and so a trace, of its own.

    As many such traces as images would stand beside theirs in every list of traces.
    """
    return os.environ.get(semconv.ENV_POLL_SPANS, "").strip().lower() == "true"


class Consumer(real_classes.Consumer):
    """A `confluent_kafka.Consumer` in every way: only `poll` and `consume` do more.

    A call that fails, or brings records whose producers are not traced, leaves one `poll {topic}` span per topic, from
    the call to its return, linked to those producers that are. One that brings only records of traces leaves one where
    OTEL_KFS_POLL_SPANS says so, and one that brings nothing none.

    No context stays attached afterwards: what is done with a record is bounded by `with process(record):`, or by
    `for record in processing(consumer):`.
    """

    group: str | None = None
    _kfs: ConsumerTelemetry | None = None  # None: this consumer makes no spans

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs:
            super().__init__(*args, **kwargs)
        else:  # the real class refuses to be made with nothing, and takes an empty dict of keywords for something
            super().__init__(*args)
        config = configuration(args, kwargs)
        self.group = config.get("group.id")
        if not client_telemetry.inner_client.get():
            self._kfs = ConsumerTelemetry(config)

    @refused_by(real_classes.Consumer.poll)
    def poll(self, timeout: float = -1) -> confluent_kafka.Message | None:
        """Like `confluent_kafka.Consumer.poll`."""
        start = time.time_ns()
        record = super().poll(timeout)
        if record is not None and self._kfs is not None:
            self._kfs.received([record], start)
        return record

    @refused_by(real_classes.Consumer.consume)
    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[confluent_kafka.Message]:
        """Like `confluent_kafka.Consumer.consume`."""
        start = time.time_ns()
        records = super().consume(num_messages, timeout)
        if records and self._kfs is not None:
            self._kfs.received(records, start)
        return records


class DeserializingConsumer(real_classes.DeserializingConsumer[K, V], Consumer):  # type: ignore[misc]
    """A `confluent_kafka.DeserializingConsumer` in every way, whose polls have spans.

    A span ends before key and value are deserialised, where the real class gets the record from its base class.
    """


class ShareConsumer(real_classes.ShareConsumer):
    """A `confluent_kafka.ShareConsumer` in every way: only `poll` does more.

    A call that brings records leaves one `poll {topic}` span per topic, as a Consumer's does. What is done with them is
    bounded by `process` or `process_batch`, or by `for record in processing(consumer):`.
    """

    group: str | None = None
    _kfs: ConsumerTelemetry | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config = configuration(args, kwargs)
        self.group = config.get("group.id")
        self._kfs = ConsumerTelemetry(config)

    @refused_by(real_classes.ShareConsumer.poll)
    def poll(self, timeout: float = -1) -> confluent_kafka.Messages:
        """Like `confluent_kafka.ShareConsumer.poll`."""
        start = time.time_ns()
        records = super().poll(timeout)
        if records and self._kfs is not None:
            self._kfs.received(list(records), start)
        return records


class DeserializingShareConsumer(real_classes.DeserializingShareConsumer, ShareConsumer):
    """A `confluent_kafka.DeserializingShareConsumer` in every way, whose polls have spans.

    A span ends before keys and values are deserialised.
    """


def telemetry_of(consumer: object) -> ConsumerTelemetry | None:
    """Return the telemetry of a consumer of this package; None for any other."""
    found: ConsumerTelemetry | None = getattr(consumer, "_kfs", None)
    return found


class ConsumerTelemetry:
    """What a consumer's telemetry knows: its configuration."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.poll = poll_operation(config)
        self.process = process_operation(config)
        # Whether each record will have a `process` span: then a poll needs none to show one that no producer traced.
        self.processes_all = False
        self._wants_poll_spans = wants_poll_spans()

    def received(self, records: Sequence[Any], start: int) -> None:
        """Leave the spans of a call that began at `start` (ns since the epoch) and has brought `records`. Never raises.

        The end of a partition is no record and no error: a call that brought nothing else leaves nothing.
        """
        try:
            end = time.time_ns()
            if self._says_nothing_of(records) or not is_instrumentation_enabled():
                return
            by_topic: dict[str, list[Any]] = {}
            for record in records:
                error = record.error()
                if error is None or error.code() != confluent_kafka.KafkaError._PARTITION_EOF:
                    by_topic.setdefault(record.topic() or "", []).append(record)
            for topic, batch in by_topic.items():
                self._received(topic, batch, start, end)
        except Exception:
            report_failure("Kafka's poll")

    def _says_nothing_of(self, records: Sequence[Any]) -> bool:
        """Return whether these need neither span nor metric, as most that a bridge polls."""
        return (
            self.processes_all
            and not self._wants_poll_spans
            and not client_telemetry.current.metrics.enabled
            and all(record.error() is None for record in records)
        )

    def _received(self, topic: str, batch: Sequence[Any], start: int, end: int) -> None:
        name, attributes, metric_attributes = self.poll[topic]
        good = [record for record in batch if record.error() is None]
        telemetry = client_telemetry.current
        failure: Failure | None = None
        if len(good) < len(batch):
            error = next(record.error() for record in batch if record.error() is not None)
            failure = (error.name(), error.str())
        is_wanted = failure is not None or self._wants_poll_spans
        links: list[Link] = []
        if is_wanted or not self.processes_all:
            links = [Link(creation) for record in good if (creation := creation_context(record)).is_valid]
            is_wanted = is_wanted or len(links) < len(good)
        if is_wanted:
            span = telemetry.tracer.start_span(
                name,
                kind=SpanKind.CLIENT,
                attributes={**attributes, semconv.MESSAGING_BATCH_MESSAGE_COUNT: len(good)},
                start_time=start,
                links=links,
            )
            if failure is not None:
                mark_failed(span, *failure)
            span.end(end)
        if telemetry.metrics.enabled:
            if good:
                telemetry.metrics.consumed(len(good), metric_attributes)
            failed = {} if failure is None else {semconv.ERROR_TYPE: failure[0]}
            telemetry.metrics.operation(end - start, {**metric_attributes, **failed})
