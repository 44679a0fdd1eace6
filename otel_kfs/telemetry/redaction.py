"""Takes out of a span, before it is exported, what may be a secret: URLs' users and query values, tokens, cookies.

Instrumentations write the URLs they see, and recorded exceptions hold those of libraries in their messages and stack
traces; OpenTelemetry's own redaction knows a handful of query parameters. All strings of a span are looked at where it
leaves the process, in the exporter's thread.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link

from otel_kfs.telemetry.span_copy import changed_parts, copied, plain, with_attributes

REDACTED = "REDACTED"  # the semantic conventions' word

# Attributes that are URLs, or parts of one, as the semantic conventions call them now and called them before.
_URLS = {"url.full", "url.original", "http.url", "http.target", "http.route", "http.referer"}
_QUERIES = {"url.query", "url.fragment"}

# Secrets are known by the names of their fields, whatever they look like: a header's, a setting's, a parameter's.
# `password` is `sasl.password` and `ssl.keystore.password`, too.
_HEADERS = r"(?:proxy-)?authorization|(?:set-)?cookie2?"
_FIELDS = (
    r"passw(?:or)?d|passphrase|pwd|secret(?:[-_.]?(?:access[-_.]?)?key)?|(?<!unexpected )token|api[-_.]?key"
    r"|access[-_.]?key(?:[-_.]?id)?|private[-_.]?key|credentials?|jaas[-_.]?config"
)
_SECRET_KEY = re.compile(rf"(?:.*[^a-z])?(?:{_HEADERS.replace('-', '[-_.]')}|{_FIELDS})", re.IGNORECASE)

# Each of these reads a text once: what is repeated is bounded, or can't begin within itself.
_USER = re.compile(r"(?<=://)(?:[^/\s\"<>]{0,500}@|[^/\s\"<>:@]{1,200}:(?!\d{1,5}[/?#])[^\s\"<>]{0,500}@)")
_QUERY = r"[?#](?=[^\s?#=&]{0,200}=)[^\s\"<>]+"
_SIGNS = re.compile(r"[:=,?#]")  # what each match of the next but one has in it
_QUERY_VALUE = re.compile(r"(?<==)[^&#]+")
_BETWEEN = r"[\\'\"]{0,4}\s{0,20}(?:=>|[:=]|,(?=\s{0,20}b?['\"]))\s{0,20}"
_QUOTED = r"b?\"(?:[^\"\\]|\\.)*\"|b?'(?:[^'\\]|\\.)*'|\\\"(?:[^\"\\]|\\[^\"])*\\\""
_FIELD_OR_QUERY = re.compile(
    rf"(?P<query>{_QUERY})|(?P<before>(?:(?P<header>\b(?:{_HEADERS}))|{_FIELDS}){_BETWEEN})"
    rf"(?P<value>{_QUOTED}|(?(header)[^\r\n]+|[^\s]+))",
    re.IGNORECASE | re.DOTALL,
)
_SCHEME = re.compile(r"(?P<quote>\\?b?[\"']?)(?P<scheme>bearer|basic|digest|negotiate|apikey|token)\s+", re.IGNORECASE)
# A token behind its scheme's name, without the header's. In plain English other words follow that name.
_CREDENTIALS = re.compile(
    r"\b(?P<scheme>bearer|basic)\s{1,20}"
    r"(?!(?:tokens?|auth\w*|access|realm|error|scheme|credentials?|is|was|or|and|not|of|for|in|the|REDACTED)\b)"
    r"[\w.~+/=-]+",
    re.IGNORECASE,
)


_last_resource: tuple[Resource | None, Resource] = (None, Resource.get_empty())


def without_secrets(span: ReadableSpan, resource: Resource | None = None) -> ReadableSpan:
    """Return the span itself, or one that is the same without what may be a secret, or of another resource."""
    description = span.status.description
    return copied(
        span,
        name=text(span.name),
        description=description and text(description),
        resource=_resource(resource or span.resource),
        scope=span.instrumentation_scope,
        attributes=_attributes(span.attributes),
        events=changed_parts(span.events, _event),
        links=changed_parts(span.links, _link),
    )


def text(value: str) -> str:
    """Return a text without the users and query values of the URLs in it, and without the values of secret fields."""
    if "@" in value:
        value = _USER.sub("", value)
    if _SIGNS.search(value):  # most attributes are words or numbers
        value = _FIELD_OR_QUERY.sub(_without_value, value)
    return _CREDENTIALS.sub(rf"\g<scheme> {REDACTED}", value) if " " in value else value


def _without_value(field: re.Match[str]) -> str:
    if field["query"] is not None:
        return _QUERY_VALUE.sub(REDACTED, field["query"])
    value = field["value"]
    scheme = _SCHEME.match(value)
    quote = value[-1] if value[-1] in "\"'" and len(value) > 1 else ""
    if scheme is not None:
        return f"{field['before']}{scheme[0]}{REDACTED}{quote}"
    opening = value[: value.index(quote) + 1] if quote else ""
    return f"{field['before']}{opening}{REDACTED}{quote}"


def _resource(resource: Resource) -> Resource:
    """Return a resource without secrets: a detector writes down a process's whole command line, for example."""
    global _last_resource  # noqa: PLW0603 - a process has one resource, and its spans are many
    seen, clean = _last_resource
    if seen is not resource:
        attributes = _attributes(resource.attributes)
        clean = resource if attributes is None else Resource(attributes, resource.schema_url)
        _last_resource = resource, clean
    return clean


def _attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return attributes without what may be a secret; None where none is."""
    if not attributes:
        return None
    old = plain(attributes)
    changed = {key: new for key, value in old.items() if (new := _value(key, value)) != value}
    return {**old, **changed} if changed else None


@functools.lru_cache(maxsize=1000)
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.fullmatch(key) is not None


def _value(key: str, value: Any) -> Any:
    if isinstance(value, str):
        if key in _URLS:
            return _url(value)
        if key in _QUERIES:
            return _query(value)
        return REDACTED if _is_secret(key) else text(value)
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
    attributes = _attributes(event.attributes)
    return event if attributes is None else Event(event.name, attributes, event.timestamp)


def _link(link: Link) -> Link:
    return with_attributes(link, _attributes(link.attributes))
