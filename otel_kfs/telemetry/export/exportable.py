r"""Makes a span one that every exporter can encode and every collector accepts: its text is Unicode, and bounded.

A lone surrogate (what JSON's `"\ud83d"` is read as, and a file name that is not UTF-8) can't be encoded, and one that
quotes megabytes of input makes a request that collectors refuse: either costs all spans of its batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from opentelemetry.sdk.environment_variables import (
    OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT,
    OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link

from otel_kfs.telemetry.span_copy import changed_parts, copied, plain, with_attributes

DEFAULT_CHARACTERS = 16 * 1024
_NO_LIMIT = 1 << 62

# Collections within collections: a protobuf parser gives up at 100 messages within each other, three of these a level.
_MAX_DEPTH = 16


class TextLimits(NamedTuple):
    """How many characters one text may have at most."""

    attribute: int = DEFAULT_CHARACTERS  # a span's attribute, and its key
    other: int = DEFAULT_CHARACTERS  # an attribute of anything else, a status, a name

    def times(self, factor: int) -> TextLimits:
        """Return limits that are so many times as high."""
        return TextLimits(self.attribute * factor, self.other * factor)


def limits_of_environment() -> TextLimits:
    """Return the SDK's own limits where its variables set them, ours otherwise; `unset` there means none.

    Raises:
        ValueError: a variable of the SDK's limits is no number.
    """
    limits = SpanLimits()
    other, attribute = (
        _NO_LIMIT if limit is None else limit
        for limit in (limits.max_attribute_length, limits.max_span_attribute_length)
    )
    if OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT not in os.environ:
        other = DEFAULT_CHARACTERS
        if OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT not in os.environ:
            attribute = DEFAULT_CHARACTERS
    return TextLimits(attribute, other)


def exportable(span: ReadableSpan, limits: TextLimits) -> ReadableSpan:
    """Return the span itself, or where needed one with its text repaired and cut, and numbers that fit into 64 bits."""
    description = span.status.description
    return copied(
        span,
        name=_text(span.name, limits.other),
        description=description and _text(description, limits.other),
        resource=_resource(span.resource, limits.other),
        scope=_scope(span.instrumentation_scope, limits.other),
        attributes=_attributes(span.attributes, limits.attribute),
        events=changed_parts(span.events, lambda event: _event(event, limits.other)),
        links=changed_parts(span.links, lambda link: _link(link, limits.other)),
    )


def encoded_bytes(span: ReadableSpan) -> int:
    """Return how many bytes a span takes at most, about, when it is encoded without its resource."""
    size = 200 + len(span.name) + 4 * len(span.status.description or "") + _attributes_bytes(span.attributes)
    for event in span.events:
        size += 80 + 4 * len(event.name) + _attributes_bytes(event.attributes)
    for link in span.links:
        size += 80 + _attributes_bytes(link.attributes)
    return size


def may_be_large(span: ReadableSpan) -> bool:
    """Return at once whether a span may hold text that is long: for the thread that ends it."""
    if span.events or span.status.description:
        return True
    for value in plain(span.attributes or {}).values():
        if type(value) is tuple or (type(value) is str and len(value) > DEFAULT_CHARACTERS):
            return True
    return False


def _attributes_bytes(attributes: Mapping[str, Any] | None) -> int:
    if not attributes:
        return 0
    size = 0
    for key, value in plain(attributes).items():
        size += 20 + len(key) + (len(value) if type(value) is str and value.isascii() else _bytes(value))
    return size


def _bytes(value: Any) -> int:
    if isinstance(value, int | float):
        return 10
    if isinstance(value, str):
        return len(value) if value.isascii() else 4 * len(value)
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Mapping):
        return _attributes_bytes(value)
    return sum(10 + _bytes(item) for item in value) if isinstance(value, Sequence) else 10


def _event(event: Event, limit: int) -> Event:
    name, attributes = _text(event.name, limit), _attributes(event.attributes, limit)
    if name is event.name and attributes is None:
        return event
    return Event(name, event.attributes if attributes is None else attributes, event.timestamp)


def _link(link: Link, limit: int) -> Link:
    return with_attributes(link, _attributes(link.attributes, limit))


_resources: dict[int, tuple[Resource, Resource]] = {}  # a process has one, and its spans are many


def _resource(resource: Resource, limit: int) -> Resource:
    seen, result = _resources.get(limit, (None, resource))
    if seen is not resource:
        attributes, url = _attributes(resource.attributes, limit), _text(resource.schema_url, limit)
        is_same = attributes is None and url is resource.schema_url
        result = resource if is_same else Resource(attributes or resource.attributes, url)
        _resources[limit] = resource, result
    return result


def _scope(scope: InstrumentationScope | None, limit: int) -> InstrumentationScope | None:
    if scope is None:
        return None
    name, version = _text(scope.name, limit), scope.version and _text(scope.version, limit)
    url, attributes = scope.schema_url and _text(scope.schema_url, limit), _attributes(scope.attributes, limit)
    if attributes is None and name is scope.name and version is scope.version and url is scope.schema_url:
        return scope
    return InstrumentationScope(name, version, url, scope.attributes if attributes is None else attributes)


def _attributes(attributes: Mapping[str, Any] | None, limit: int) -> dict[str, Any] | None:
    """Return the attributes, changed; None where none is."""
    if not attributes:
        return None
    changed: dict[str, Any] = {}
    is_changed = False
    for key, value in plain(attributes).items():
        new_key, new = _text(key, limit), _value(value, limit)
        changed[new_key] = new
        is_changed = is_changed or new is not value or new_key is not key
    return changed if is_changed else None


def _value(value: Any, limit: int) -> Any:
    """Return what can be encoded of an attribute's value: itself, if all of it can."""
    if isinstance(value, str):
        return _text(value, limit)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return _integer(value, limit)
    if isinstance(value, bytes):
        return value[:limit]
    return _Collection(limit).part_of(value, 0)


def _text(value: Any, limit: int) -> str:
    """Return a text without lone surrogates, and cut; other things in its place become text."""
    text: str = value if type(value) is str else str(value)
    if len(text) > limit:
        text = text[:limit]
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # two halves of one character, each for itself, are joined
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _integer(value: int, limit: int) -> int | str:
    if -(2**63) <= value < 2**63:
        return value if type(value) is int else int(value)
    # Python does not write down longer ones in decimal.
    return _text(value if value.bit_length() < 10_000 else hex(value), limit)


class _Collection:
    """What a sequence or mapping may hold altogether: as much as one text, or the default, if that is more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._room = max(limit, DEFAULT_CHARACTERS)

    def part_of(self, value: Any, depth: int) -> Any:
        """Return as much of it as there is room for."""
        if isinstance(value, Mapping):
            pairs = {_text(key, self._limit): item for key, item in self._items(value.items(), depth)}
            same = len(pairs) == len(value) and all(
                new is key and pairs[new] is value[key] for new, key in zip(pairs, value, strict=True)
            )
            return value if same else pairs
        if isinstance(value, Sequence):
            items = tuple(item for _, item in self._items(((None, item) for item in value), depth))
            same = len(items) == len(value) and all(new is old for new, old in zip(items, value, strict=True))
            return value if same else items
        return _text(value, self._limit)

    def _items(self, pairs: Any, depth: int) -> Iterator[tuple[Any, Any]]:
        for key, value in pairs:
            if isinstance(value, str | bytes | int | float) or value is None:
                new = _value(value, self._limit)
            else:
                new = self.part_of(value, depth + 1) if depth < _MAX_DEPTH else "..."
            self._room -= 8 + len(key or "") + (len(new) if isinstance(new, str | bytes) else 0)
            if self._room < 0:
                return
            yield key, new
