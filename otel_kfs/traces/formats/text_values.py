"""Attributes of programs that write every value as text (Zipkin's JSON, ClickHouse's exporter), as what they were."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from otel_kfs import semconv

_BOOLEANS = {
    semconv.ACKNOWLEDGED,
    semconv.CONTEXT_TRUSTED,
    semconv.MESSAGING_KAFKA_MESSAGE_TOMBSTONE,
    semconv.WARMUP,
}
_INTEGERS = {
    semconv.DELIVERY_ATTEMPT,
    semconv.HTTP_REQUEST_BODY_SIZE,
    semconv.HTTP_REQUEST_RESEND_COUNT,
    semconv.HTTP_RESPONSE_STATUS_CODE,
    semconv.IMAGE_SIZE,
    semconv.MESSAGING_BATCH_MESSAGE_COUNT,
    semconv.MESSAGING_KAFKA_OFFSET,
    semconv.MESSAGING_MESSAGE_BODY_SIZE,
    semconv.PAYLOAD_SIZE,
    semconv.PROCESS_EXIT_CODE,
    semconv.PROCESS_PID,
    semconv.RECORD_TIMESTAMP,
    semconv.SEQUENCE,
    semconv.SERVER_PORT,
}
_INTEGER = re.compile("-?[0-9]{1,19}")


def value_of(key: str, text: str) -> Any:
    """Return the value that a text was, by what the attribute of that key is; the text, where it is text."""
    if key in _BOOLEANS and text in {"true", "false"}:
        return text == "true"
    if key in _INTEGERS and _INTEGER.fullmatch(text):
        return int(text)
    if key == semconv.QUEUE_TIME:
        with suppress(ValueError):
            return float(text)
    return text
