"""The `process` span of one record: what the user's code does with it inside a `with`."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import confluent_kafka
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind

from otel_kfs import semconv
from otel_kfs.kafka import client_telemetry
from otel_kfs.kafka.attributes import Operation, process_operation
from otel_kfs.kafka.consumer import telemetry_of
from otel_kfs.kafka.headers import extract, headers_of
from otel_kfs.kafka.send_span import of_record
from otel_kfs.kafka.types import Record
from otel_kfs.telemetry.current_span import CurrentSpan
from otel_kfs.telemetry.safe_tracer import describe, mark_failed, record_exception

_log = logging.getLogger(__name__)

_TIMESTAMP_TYPES = {
    confluent_kafka.TIMESTAMP_CREATE_TIME: "CreateTime",
    confluent_kafka.TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime",
}


def process(
    record: Record, *, consumer: object = None, group: str | None = None, links: bool = False, trusted: bool = True
) -> AbstractContextManager[Span]:
    """Trace the processing of one record: a `process {topic}` span, current inside the `with`.

    The span is a child of the record's `send` span, so that one record is one trace; with `links=True` it starts a
    trace of its own, linked to the producer's. An exception from inside marks the span and passes through unchanged.
    What the caller attached (baggage, suppression, values of one's own) holds inside, too; of two baggage entries of
    one name the record's counts.

    `consumer` (one of this package's) or `group` (a consumer group's id) is for the span's attributes alone.

    With `trusted=False` the record's headers are not believed: a new trace, as with `links`,
    whose span and link are marked with `otel_kfs.context.trusted`, and which the record's baggage does not enter.

    Anything but a record (a list, None) has no span, which is logged. For several records use `process_batch`.
    """
    if not hasattr(record, "topic"):
        _say_no_record(type(record).__name__)
        return nullcontext(INVALID_SPAN)
    return _Process(record, operation_of(consumer, group), links, trusted)


def operation_of(consumer: object, group: str | None) -> Operation:
    """Return what the `process` spans of a consumer (one of this package's), or else of a group, have in common."""
    client = telemetry_of(consumer)
    return _of_group(group) if client is None else client.process


class _Process(CurrentSpan):
    """One record's processing."""

    __slots__ = ("_links", "_operation", "_record", "_started", "_trusted")
    what = "Kafka's process"

    def __init__(self, record: Any, operation: Operation, links: bool, trusted: bool = True) -> None:
        super().__init__()
        self._record = record
        self._operation = operation
        self._links = links or not trusted
        self._trusted = trusted

    def start(self) -> tuple[Span, Context] | None:
        """Start the span, with the record's context around what is done inside."""
        self._started = time.time_ns()
        if not is_instrumentation_enabled():
            return None
        before = otel_context.get_current()
        # The record's baggage joins the caller's, for the calls made inside; the caller's span is no parent there.
        below = trace.set_span_in_context(INVALID_SPAN, before) if self._trusted else Context()
        carried = extract(headers_of(self._record), below)
        creation = trace.get_current_span(carried).get_span_context()
        mark = {} if self._trusted else {semconv.CONTEXT_TRUSTED: False}
        name, shared, _ = self._operation[self._record.topic()]
        span = client_telemetry.current.tracer.start_span(
            name,
            Context() if self._links else carried,
            SpanKind.CONSUMER,
            {**_attributes(self._record, shared, self._started), **mark},
            start_time=self._started,
            links=[Link(creation, mark)] if self._links and creation.is_valid else None,
        )
        return span, carried if self._trusted else before

    def finish(self, span: Span, error: BaseException | None) -> None:
        """End the span, failed where the body raised or the record itself is an error, and count the record."""
        ended = time.time_ns()
        record_error = self._record.error()
        failure = None
        if error is not None:
            record_exception(span, error)
            failure = (type(error).__qualname__, describe(error))
        elif record_error is not None:
            failure = (record_error.name(), record_error.str())
        if span.is_recording():
            if failure is not None:
                mark_failed(span, *failure)
            span.end(ended)
        if self.has_started:
            measured = self._operation[self._record.topic()].metric_attributes
            count_processing(measured, ended - self._started, str(self._record.partition()), failure)


def count_processing(
    measured: Mapping[str, Any], nanoseconds: int, partition: str | None, failure: tuple[str, str] | None
) -> None:
    """Count one processing in the metrics: `measured` are its topic's attributes, `failure` is a type and words."""
    metrics = client_telemetry.current.metrics
    if metrics.enabled:
        of_partition = {} if partition is None else {semconv.MESSAGING_DESTINATION_PARTITION_ID: partition}
        failed = {} if failure is None else {semconv.ERROR_TYPE: failure[0]}
        metrics.process(nanoseconds, {**measured, **of_partition, **failed})


def _attributes(record: Any, shared: dict[str, Any], start: int) -> dict[str, Any]:
    attributes = of_record(shared, record.value(), record.key())
    attributes[semconv.MESSAGING_DESTINATION_PARTITION_ID] = str(record.partition())
    attributes[semconv.MESSAGING_KAFKA_OFFSET] = record.offset()
    kind, timestamp = record.timestamp()
    if kind in _TIMESTAMP_TYPES:
        attributes[semconv.RECORD_TIMESTAMP] = timestamp
        attributes[semconv.RECORD_TIMESTAMP_TYPE] = _TIMESTAMP_TYPES[kind]
        attributes[semconv.QUEUE_TIME] = start // 1_000_000 - timestamp
    return attributes


@functools.lru_cache(100)
def _say_no_record(kind: str) -> None:
    _log.warning(
        "process() takes one record, not %s, and leaves no span here: call it only when poll() has returned one; the "
        "records that consume() returns are for process_batch() (logged once)",
        kind,
    )


@functools.lru_cache(100)
def _of_group(group: str | None) -> Operation:
    return process_operation({"group.id": group})
