"""confluent_kafka's Consumer, whose polls have spans, and `process`, the span around what is done with one record."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import confluent_kafka
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from otel_kfs import names, tracing
from otel_kfs.kafka.headers import extract

_TIMESTAMP_TYPES = {
    confluent_kafka.TIMESTAMP_CREATE_TIME: "CreateTime",
    confluent_kafka.TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime",
}


class Consumer(confluent_kafka.Consumer):  # type: ignore[misc]
    """A `confluent_kafka.Consumer` in every way: only `poll` and `consume` do more.

    A call that brings records leaves one `poll {topic}` span per topic, from the call to its return, linked to the
    records' producers; one that brings nothing leaves none. No context stays attached afterwards: what is done with a
    record is bounded by `with process(record):`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config = {**(args[0] if args else {}), **kwargs}
        self.group: str | None = config.get("group.id")

    def poll(self, *args: Any, **kwargs: Any) -> Any:
        """Like `confluent_kafka.Consumer.poll`."""
        start = time.time_ns()
        record = super().poll(*args, **kwargs)
        if record is not None:
            self._received([record], start)
        return record

    def consume(self, *args: Any, **kwargs: Any) -> Any:
        """Like `confluent_kafka.Consumer.consume`."""
        start = time.time_ns()
        records = super().consume(*args, **kwargs)
        if records:
            self._received(records, start)
        return records

    def _received(self, records: Sequence[Any], start: int) -> None:
        end = time.time_ns()
        by_topic: dict[str, list[Any]] = {}
        for record in records:
            error = record.error()
            if error is None or error.code() != confluent_kafka.KafkaError._PARTITION_EOF:
                by_topic.setdefault(record.topic() or "", []).append(record)
        for topic, batch in by_topic.items():
            good = [record for record in batch if record.error() is None]
            span = tracing.tracer().start_span(
                names.poll(topic),
                kind=SpanKind.CLIENT,
                start_time=start,
                attributes={
                    **_attributes(topic, self.group, "poll", "receive"),
                    names.MESSAGING_BATCH_MESSAGE_COUNT: len(good),
                },
                links=[Link(creation) for record in good if (creation := _creation(record)).is_valid],
            )
            if len(good) < len(batch):
                error = next(record.error() for record in batch if record.error() is not None)
                span.set_attribute(names.ERROR_TYPE, error.name())
                span.set_status(Status(StatusCode.ERROR, error.str()))
            span.end(end)


@contextmanager
def process(record: Any, *, group: str | None = None, links: bool = False) -> Iterator[Span]:
    """Bound what is done with one record: a `process {topic}` span, current inside the `with`.

    The span is a child of the record's `send` span, so that one record is one trace; with `links=True` it starts a
    trace of its own, linked to the producer's. An exception from inside marks the span and passes through unchanged.
    `group` is the consumer's group id, for the span's attributes (`Consumer.group`).
    """
    context = extract(record.headers())
    creation = trace.get_current_span(context).get_span_context()
    start = time.time_ns()
    span = tracing.tracer().start_span(
        names.process(record.topic()),
        context=otel_context.Context() if links else context,
        kind=SpanKind.CONSUMER,
        start_time=start,
        attributes=_process_attributes(record, group, start),
        links=[Link(creation)] if links and creation.is_valid else None,
    )
    # Baggage of the record's headers travels on to the calls made inside; the span is current on top of it.
    token = otel_context.attach(trace.set_span_in_context(span, context))
    try:
        yield span
    except BaseException as error:
        span.record_exception(error)
        span.set_attribute(names.ERROR_TYPE, type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        raise
    finally:
        otel_context.detach(token)
        span.end()


def _creation(record: Any) -> trace.SpanContext:
    return trace.get_current_span(extract(record.headers())).get_span_context()


def _attributes(topic: str, group: str | None, name: str, operation: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        names.MESSAGING_SYSTEM: names.KAFKA,
        names.MESSAGING_OPERATION_NAME: name,
        names.MESSAGING_OPERATION_TYPE: operation,
        names.MESSAGING_DESTINATION_NAME: topic,
    }
    if group is not None:
        attributes[names.MESSAGING_CONSUMER_GROUP_NAME] = group
    return attributes


def _process_attributes(record: Any, group: str | None, start: int) -> dict[str, Any]:
    attributes = _attributes(record.topic(), group, "process", "process")
    attributes[names.MESSAGING_DESTINATION_PARTITION_ID] = str(record.partition())
    attributes[names.MESSAGING_KAFKA_OFFSET] = record.offset()
    value, key = record.value(), record.key()
    if value is None:
        attributes[names.MESSAGING_KAFKA_MESSAGE_TOMBSTONE] = True
    elif isinstance(value, bytes):
        attributes[names.MESSAGING_MESSAGE_BODY_SIZE] = len(value)
    if isinstance(key, str):
        attributes[names.MESSAGING_KAFKA_MESSAGE_KEY] = key
    kind, timestamp = record.timestamp()
    if kind in _TIMESTAMP_TYPES:
        attributes[names.RECORD_TIMESTAMP] = timestamp
        attributes[names.RECORD_TIMESTAMP_TYPE] = _TIMESTAMP_TYPES[kind]
        attributes[names.QUEUE_TIME] = start // 1_000_000 - timestamp
    return attributes
