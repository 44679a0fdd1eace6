"""The `process` span: one record in the hands of the user's code, bounded by a `with` or by the body of a loop."""

from __future__ import annotations

import functools
import logging
import time
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Generic, overload

import confluent_kafka
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind

from otel_kfs import semconv
from otel_kfs.kafka import client_telemetry
from otel_kfs.kafka.attributes import Operation, process_operation
from otel_kfs.kafka.headers import extract, headers_of
from otel_kfs.kafka.send_span import of_record
from otel_kfs.kafka.types import M, Polled, PolledAsync, Record
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
    """Bound what is done with one record: a `process {topic}` span, current inside the `with`.

    The span is a child of the record's `send` span, so that one record is one trace; with `links=True` it starts a
    trace of its own, linked to the producer's. An exception from inside marks the span and passes through unchanged.
    What the caller attached (baggage, suppression, values of one's own) holds inside, too; of two baggage entries of
    one name the record's counts.

    `consumer` (one of this package's) or `group` (a consumer group's id) is for the span's attributes alone.

    With `trusted=False` the record's headers come from somebody who is not believed: a new trace, as with `links`,
    whose span and link are marked with `otel_kfs.context.trusted`, and which the record's baggage does not enter.

    What is no record (a list of them, None) leaves no span; that is logged.
    """
    if not hasattr(record, "topic"):
        _say_no_record(type(record).__name__)
        return nullcontext(INVALID_SPAN)
    client = None if consumer is None else getattr(consumer, "_kfs", None)
    return _Process(record, _of_group(group) if client is None else client.process, links, trusted)


@overload
def processing(consumer: PolledAsync[M], timeout: float = -1, *, links: bool = False) -> Processing[M]: ...
@overload
def processing(consumer: Polled[M], timeout: float = -1, *, links: bool = False) -> Processing[M]: ...
def processing(consumer: Any, timeout: float = -1, *, links: bool = False) -> Processing[Any]:
    """Iterate over a consumer's records, each with its `process` span: the span covers exactly the loop's body.

    `for record in processing(consumer, 1.0):`, or `async for` with an asyncio consumer. The iteration ends when no
    record has come for `timeout` seconds; -1 waits for ever. What `poll` returns in the place of a record (an error,
    the end of a partition) is handed over as it is, without a span.

    Python does not tell an iterator why its loop was left: `with processing(consumer) as records:` around the loop
    marks the span of a record whose body raised. Without it, keep the iterator in no variable, so that the last span
    ends with the loop.
    """
    return Processing(consumer, timeout, links)


class Processing(Generic[M]):
    """The records of `processing()`; an iterator, an asynchronous iterator and a context manager."""

    def __init__(self, consumer: Any, timeout: float, links: bool) -> None:
        self._consumer = consumer
        self._timeout = timeout
        self._links = links
        self._open: AbstractContextManager[Span] | None = None

    def __iter__(self) -> Processing[M]:
        return self

    def __next__(self) -> M:
        self.close()
        record: M | None = self._consumer.poll(self._timeout)
        if record is None:
            raise StopIteration
        return self._begin(record)

    def __aiter__(self) -> Processing[M]:
        return self

    async def __anext__(self) -> M:
        self.close()
        record: M | None = await self._consumer.poll(self._timeout)
        if record is None:
            raise StopAsyncIteration
        return self._begin(record)

    def __enter__(self) -> Processing[M]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(error)

    def close(self, error: BaseException | None = None) -> None:
        """End the span of the record at hand, if there is one; `error` is what its body raised."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.__exit__(None if error is None else type(error), error, None)

    def __del__(self) -> None:
        self.close()

    def _begin(self, record: M) -> M:
        if record.error() is None:
            self._open = process(record, consumer=self._consumer, links=self._links)
            self._open.__enter__()
        return record


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
        self._count(ended, failure)

    def _count(self, ended: int, failure: tuple[str, str] | None) -> None:
        metrics = client_telemetry.current.metrics
        if not self.has_started or not metrics.enabled:
            return
        attributes = dict(self._operation[self._record.topic()].metric_attributes)
        attributes[semconv.MESSAGING_DESTINATION_PARTITION_ID] = str(self._record.partition())
        if failure is not None:
            attributes[semconv.ERROR_TYPE] = failure[0]
        metrics.process(ended - self._started, attributes)


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
        "process() takes one record, not %s, and leaves no span here: call it for each record that consume() returns, "
        "and only when poll() has returned one (logged once)",
        kind,
    )


@functools.lru_cache(100)
def _of_group(group: str | None) -> Operation:
    return process_operation({"group.id": group})
