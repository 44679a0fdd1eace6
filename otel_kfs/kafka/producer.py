"""confluent_kafka's Producer, whose every record has a `send` span from `produce()` to its delivery report."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

import confluent_kafka
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from otel_kfs import names, tracing
from otel_kfs.kafka.headers import Headers, inject

DeliveryCallback = Callable[[Any, Any], None]  # (KafkaError | None, Message)

_ONLY_ERRORS = "delivery.report.only.error"


class Producer(confluent_kafka.Producer):  # type: ignore[misc]
    """A `confluent_kafka.Producer` in every way: only `produce` does more.

    Each record's headers carry the context of its own `send {topic}` span, a child of the current one. The span ends
    when the delivery report arrives (in the caller's `poll()` or `flush()`), with the partition and offset, or with the
    error; if the producer is dropped before, it ends then, as an error.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        config = {**(args[0] if args and isinstance(args[0], dict) else {}), **kwargs}
        # A record's own callback takes the place of the configuration's, and each of our records has one.
        self._on_delivery: DeliveryCallback | None = config.get("on_delivery")
        self._only_errors = _is_true(config.get(_ONLY_ERRORS))
        if self._only_errors:
            # Spans end with reports, so all of them must come; the user's callbacks still hear of errors only.
            kwargs[_ONLY_ERRORS] = False
        super().__init__(*args, **kwargs)
        self._undelivered: set[Span] = set()
        weakref.finalize(self, _abandon, self._undelivered)

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
        span = tracing.tracer().start_span(
            names.send(topic), kind=SpanKind.PRODUCER, attributes=_attributes(topic, value, key)
        )
        headers = inject(headers, trace.set_span_in_context(span))
        callback = callback or on_delivery or self._on_delivery
        if span.is_recording():
            self._undelivered.add(span)
        if span.is_recording() or self._only_errors:
            callback = _Delivery(span, self._undelivered, callback, only_errors=self._only_errors)
        # The clients refuse callback=None, so it is passed only where there is one.
        extra = {"on_delivery": callback} if callback is not None else {}
        try:
            super().produce(topic, value, key, partition, timestamp=timestamp, headers=headers, **extra)
        except BaseException as error:
            self._undelivered.discard(span)
            _fail(span, _error_type(error), str(error))
            raise


class _Delivery:
    """The delivery report of one record: ends its span, then calls the user's own callback."""

    __slots__ = ("_callback", "_only_errors", "_span", "_undelivered")

    def __init__(
        self, span: Span, undelivered: set[Span], callback: DeliveryCallback | None, *, only_errors: bool
    ) -> None:
        self._span = span
        self._undelivered = undelivered
        self._callback = callback
        self._only_errors = only_errors

    def __call__(self, error: Any, record: Any) -> None:
        ended = time.time_ns()
        if self._span in self._undelivered:
            self._undelivered.discard(self._span)
            if error is None:
                self._span.set_attributes(
                    {
                        names.MESSAGING_DESTINATION_PARTITION_ID: str(record.partition()),
                        names.MESSAGING_KAFKA_OFFSET: record.offset(),
                    }
                )
                self._span.end(ended)
            else:
                _fail(self._span, error.name(), error.str(), ended)
        if self._callback is not None and (error is not None or not self._only_errors):
            self._callback(error, record)


def _attributes(topic: str, value: str | bytes | None, key: str | bytes | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        names.MESSAGING_SYSTEM: names.KAFKA,
        names.MESSAGING_OPERATION_NAME: "send",
        names.MESSAGING_OPERATION_TYPE: "send",
        names.MESSAGING_DESTINATION_NAME: topic,
    }
    if value is None:
        attributes[names.MESSAGING_KAFKA_MESSAGE_TOMBSTONE] = True
    elif isinstance(value, bytes):
        attributes[names.MESSAGING_MESSAGE_BODY_SIZE] = len(value)
    if isinstance(key, str):
        attributes[names.MESSAGING_KAFKA_MESSAGE_KEY] = key
    return attributes


def _fail(span: Span, error_type: str, description: str, end_time: int | None = None) -> None:
    span.set_attribute(names.ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR, description))
    span.end(end_time)


def _error_type(error: BaseException) -> str:
    """Kafka's own name of an error ("MSG_SIZE_TOO_LARGE"), else the exception's class, as the conventions ask."""
    if isinstance(error, confluent_kafka.KafkaException) and error.args:
        return str(error.args[0].name())
    return type(error).__qualname__


def _is_true(setting: Any) -> bool:
    return str(setting).lower() in {"true", "t", "1"}


def _abandon(undelivered: set[Span]) -> None:
    while undelivered:
        _fail(undelivered.pop(), "abandoned", "the producer was dropped before the delivery report arrived")
