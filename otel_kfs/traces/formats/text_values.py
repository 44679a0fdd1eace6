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
    *semconv.BODY_SIZE_KEYS,
    semconv.DELIVERY_ATTEMPT,
    semconv.HTTP_REQUEST_RESEND_COUNT,
    semconv.HTTP_RESPONSE_STATUS_CODE,
    semconv.IMAGE_SIZE,
    semconv.MESSAGING_BATCH_MESSAGE_COUNT,
    semconv.MESSAGING_KAFKA_OFFSET,
    semconv.PAYLOAD_SIZE,
    semconv.PROCESS_EXIT_CODE,
    semconv.PROCESS_PID,
    semconv.RECORD_TIMESTAMP,
    semconv.REQUEST_QUEUE_TIME,
    semconv.SEQUENCE,
    semconv.SERVER_PORT,
}
_DECIMALS = {
    *semconv.GEN_AI_LATENCIES,
    semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
    semconv.QUEUE_TIME,
}
_INTEGER = re.compile("-?[0-9]{1,19}")


def value_of(key: str, text: str) -> Any:
    """Return the value that a text was, by what the attribute of that key is; the text, where it is text."""
    if key in _BOOLEANS and text in {"true", "false"}:
        return text == "true"
    if key in _INTEGERS and _INTEGER.fullmatch(text):
        return int(text)
    if key in _DECIMALS:
        with suppress(ValueError):
            return float(text)
    return text
