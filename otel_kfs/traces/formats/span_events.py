"""The events of a span that tables are made of (`semconv.READ_EVENTS`), as each format has them.

What is not as it should be is passed over: a span is worth more than its events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from otel_kfs import semconv

Events = tuple[tuple[str, int], ...]

_END_OF_TIME = 2**64


def wanted(events: Iterable[tuple[Any, Any]], unit: int = 1) -> Events:
    """Return those events, by name and time in units of so many nanoseconds."""
    found = []
    for name, at in events:
        if isinstance(name, str) and name in semconv.READ_EVENTS:
            time = int(at) if isinstance(at, str) and at.isascii() and at.isdigit() and len(at) <= 20 else at
            if type(time) is int and 0 <= time * unit < _END_OF_TIME:
                found.append((name, time * unit))
    return tuple(found)


def of_otlp(events: Any) -> Events:
    """Return those of OTLP's JSON: `[{"name": ..., "timeUnixNano": ...}]`."""
    return wanted((event.get("name"), event.get("timeUnixNano")) for event in _objects(events))


def of_jaeger(logs: Any) -> Events:
    """Return those of Jaeger's older JSON, in microseconds: `[{"timestamp": ..., "fields": [...]}]`."""
    found = []
    for log in _objects(logs):
        fields = {str(field.get("key")): field.get("value") for field in _objects(log.get("fields"))}
        found.append((fields.get("event"), log.get("timestamp")))
    return wanted(found, 1000)


def of_zipkin(annotations: Any) -> Events:
    """Return those of Zipkin's JSON, in microseconds: `[{"timestamp": ..., "value": ...}]`."""
    return wanted(((one.get("value"), one.get("timestamp")) for one in _objects(annotations)), 1000)


def parsed(raw: msgspec.Raw) -> Any:
    """Return what was left unread, if it may have such an event; hardly any trace has."""
    text = bytes(raw)
    if b"_START" not in text and b"_END" not in text:  # of which each of their names has one
        return None
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        return None


def _objects(found: Any) -> Iterable[Mapping[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else ()
