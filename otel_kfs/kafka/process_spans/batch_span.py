"""The `process` span of a batch: what the user's code does with several records at once."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Collection
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind

from otel_kfs import semconv
from otel_kfs.kafka import client_telemetry
from otel_kfs.kafka.attributes import Operation
from otel_kfs.kafka.headers import creation_context
from otel_kfs.kafka.process_spans.process_span import count_processing, operation_of
from otel_kfs.kafka.types import Record
from otel_kfs.telemetry.current_span import CurrentSpan
from otel_kfs.telemetry.safe_tracer import describe, mark_failed, record_exception, report_failure

_log = logging.getLogger(__name__)


def process_batch(
    records: Collection[Record], *, consumer: object = None, group: str | None = None, trusted: bool = True
) -> AbstractContextManager[Span]:
    """Trace the processing of several records at once: a `process {topic}` span that links to all their `send` spans.

    It begins a trace of its own, since each record has one, and is current inside the `with`; `otel-kfs tables` takes
    it for a part of each record's. Where topics are mixed there is a span a topic, one within another, of which the
    innermost is current. What the caller attached holds inside, too; the records' baggage, of which each may have
    another, is left out. An exception from inside marks the spans and passes through unchanged.

    Errors among the records (`record.error()`, the end of a partition) are passed over; where nothing else is there, no
    span is left. `consumer`, `group` and `trusted` are those of `process`.

    The SDK keeps 128 links of a span, unless OTEL_SPAN_LINK_COUNT_LIMIT says otherwise.

    Source: OpenTelemetry semantic conventions v1.44, messaging spans.
    """
    if not isinstance(records, Collection) or isinstance(records, str | bytes):
        # An iterator is not looked into: its records would be gone.
        _say_no_batch(type(records).__name__)
        return nullcontext(INVALID_SPAN)
    return ProcessBatch(records, operation_of(consumer, group), trusted)


class ProcessBatch:
    """The processing of several records, of any topics; `spans` are those of the topics, the outermost first."""

    __slots__ = ("_entered", "_operation", "_records", "_trusted", "spans")

    def __init__(self, records: Collection[Any], operation: Operation, trusted: bool) -> None:
        self._records = records
        self._operation = operation
        self._trusted = trusted
        self._entered = ExitStack()
        self.spans: list[Span] = []

    def __enter__(self) -> Span:
        by_topic: dict[str, list[Any]] = {}
        try:
            by_topic = _by_topic(self._records)
        except Exception:
            report_failure("Kafka's process")
        started = time.time_ns()
        for number, (topic, records) in enumerate(by_topic.items()):
            of_topic = _OfTopic(topic, records, self._operation, self._trusted, started, is_outermost=number == 0)
            self.spans.append(self._entered.enter_context(of_topic))
        return self.spans[-1] if self.spans else INVALID_SPAN

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered.__exit__(kind, error, traceback)


class _OfTopic(CurrentSpan):
    """The span of one topic's records."""

    __slots__ = ("_is_outermost", "_operation", "_partition", "_records", "_started", "_topic", "_trusted")
    what = "Kafka's process"

    def __init__(
        self,
        topic: str,
        records: list[Any],
        operation: Operation,
        trusted: bool,
        started: int,
        *,
        is_outermost: bool,
    ) -> None:
        super().__init__()
        self._topic = topic
        self._records = records
        self._operation = operation
        self._trusted = trusted
        self._started = started  # ns since the epoch
        self._is_outermost = is_outermost
        self._partition: str | None = None  # of all of them, if it is one

    def start(self) -> tuple[Span, Context] | None:
        """Start the span."""
        if not is_instrumentation_enabled():
            return None
        before = otel_context.get_current()
        mark = {} if self._trusted else {semconv.CONTEXT_TRUSTED: False}
        name, shared, _ = self._operation[self._topic]
        attributes = {**shared, semconv.MESSAGING_BATCH_MESSAGE_COUNT: len(self._records), **mark}
        partitions = {str(record.partition()) for record in self._records}
        if len(partitions) == 1:
            (self._partition,) = partitions
            attributes[semconv.MESSAGING_DESTINATION_PARTITION_ID] = self._partition
        links = [
            Link(creation, {**_place(record), **mark})
            for record in self._records
            if (creation := creation_context(record)).is_valid
        ]
        span = client_telemetry.current.tracer.start_span(
            name,
            Context() if self._is_outermost else before,
            SpanKind.CONSUMER,
            attributes,
            start_time=self._started,
            links=links,
        )
        return span, before

    def finish(self, span: Span, error: BaseException | None) -> None:
        """End the span, failed where the body raised, and count the batch."""
        ended = time.time_ns()
        failure = None
        if error is not None:
            record_exception(span, error)
            failure = (type(error).__qualname__, describe(error))
            mark_failed(span, *failure)
        span.end(ended)
        if self.has_started:
            measured = self._operation[self._topic].metric_attributes
            count_processing(measured, ended - self._started, self._partition, failure)


def _by_topic(records: Collection[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for record in records:
        if record.error() is None:
            found.setdefault(record.topic(), []).append(record)
    return found


def _place(record: Any) -> dict[str, Any]:
    """Return what tells a record from the others of its topic, for its link."""
    return {
        semconv.MESSAGING_DESTINATION_PARTITION_ID: str(record.partition()),
        semconv.MESSAGING_KAFKA_OFFSET: record.offset(),
    }


@functools.lru_cache(100)
def _say_no_batch(kind: str) -> None:
    _log.warning("process_batch() takes a list of records, not %s, and leaves no span here (logged once)", kind)
