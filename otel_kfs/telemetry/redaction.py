"""Takes out of a span, before it is exported, what may be a secret: URLs' users and query values, tokens, cookies.

Instrumentations write the URLs they see, and recorded exceptions hold those of libraries in their messages and stack
traces; OpenTelemetry's own redaction knows a handful of query parameters. All strings of a span are looked at where it
leaves the process, in the exporter's thread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status

REDACTED = "REDACTED"  # the semantic conventions' word

# Attributes that are URLs, or parts of one, as the semantic conventions call them now and called them before.
_URLS = {"url.full", "url.original", "http.url", "http.target", "http.route", "http.referer"}
_QUERIES = {"url.query", "url.fragment"}
_HEADER = re.compile(
    r"(?:http|rpc\.grpc)\.(?:request|response)\.(?:header|metadata)\.(?:authorization|proxy.authorization|cookie|set.cookie|x.api.key)"
)

_USER = re.compile(r"(?<=://)[^/?#\s\"]*@")
_QUERY = re.compile(r"(?<=[^\s'\"(])\?(?=[^\s?=]*=)[^\s\"<>]+")
_QUERY_VALUE = re.compile(r"(?<==)[^&#]+")
_CREDENTIALS = re.compile(r"\b(bearer|basic|authorization['\"]?[:=]\s*['\"]?\w+)\s+[\w.~+/=-]{16,}", re.IGNORECASE)


def without_secrets(span: ReadableSpan, resource: Resource | None = None) -> ReadableSpan:
    """Return the span itself, or one that is the same without what may be a secret, or of another resource."""
    changed = _changed(span.attributes)
    events = [_event(event) for event in span.events]
    links = [_link(link) for link in span.links]
    said = span.status.description
    description = said and text(said)
    if (
        resource is None
        and not changed
        and description == said
        and all(new is old for new, old in zip(events, span.events, strict=True))
        and all(new is old for new, old in zip(links, span.links, strict=True))
    ):
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=resource or span.resource,
        attributes={**(span.attributes or {}), **changed},
        events=events,
        links=links,
        kind=span.kind,
        status=Status(span.status.status_code, description),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def text(value: str) -> str:
    """Return a text without the users and query values of the URLs in it, and without tokens."""
    if "@" in value:
        value = _USER.sub("", value)
    if "?" in value:
        value = _QUERY.sub(lambda match: _QUERY_VALUE.sub(REDACTED, match[0]), value)
    if " " in value:
        value = _CREDENTIALS.sub(rf"\1 {REDACTED}", value)
    return value


def _changed(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return those attributes that hold what may be a secret, without it."""
    return {key: new for key, old in (attributes or {}).items() if (new := _value(key, old)) != old}


def _value(key: str, value: Any) -> Any:
    if isinstance(value, str):
        if key in _URLS:
            return _url(value)
        if key in _QUERIES:
            return _query(value)
        # Most keys are seen at one glance to be no header's.
        return REDACTED if key[:5] in {"http.", "rpc.g"} and _HEADER.fullmatch(key) else text(value)
    if isinstance(value, tuple | list) and value and isinstance(value[0], str):
        return tuple(_value(key, item) if isinstance(item, str) else item for item in value)
    return value


def _url(value: str) -> str:
    """Clean a whole URL, or its path and query."""
    value, _, _ = value.partition("#")
    place, mark, query = value.partition("?")
    return _USER.sub("", place) + mark + _query(query)


def _query(value: str) -> str:
    """Return the parameters' names; what has no name is all value."""
    return "&".join(
        f"{name}={REDACTED}" if separator else REDACTED
        for name, separator, _ in (pair.partition("=") for pair in value.split("&"))
        if name or separator
    )


def _event(event: Event) -> Event:
    changed = _changed(event.attributes)
    return Event(event.name, {**(event.attributes or {}), **changed}, event.timestamp) if changed else event


def _link(link: Link) -> Link:
    changed = _changed(link.attributes)
    return Link(link.context, {**(link.attributes or {}), **changed}) if changed else link
