"""Zipkin's JSON, version 2: what its API answers and its page downloads, and what Envoy and others send to it.

Times are whole microseconds. A client's span and its server's may have one id (`shared`): `SpanGraph` tells them apart.

Sources: openzipkin/zipkin-api, `zipkin2-api.yaml`; OpenTelemetry specification, "OpenTelemetry to Zipkin
Transformation" (status and resource as tags); opentelemetry-collector-contrib, `pkg/translator/zipkin` (links as tags).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from otel_kfs import semconv
from otel_kfs.traces.batch import trimmed
from otel_kfs.traces.formats import known_keys, span_events
from otel_kfs.traces.formats.mistakes import in_words
from otel_kfs.traces.formats.text_values import value_of
from otel_kfs.traces.host_identity import host_of
from otel_kfs.traces.span import Key, Kind, Span

_KINDS: dict[str | None, Kind] = {None: Kind.INTERNAL, **{kind.name: kind for kind in Kind}}
_LINK = "otlp.link."
_STATUS, _ERROR, _KIND = "otel.status_code", "error", "span.kind"
_FURTHER = frozenset(
    {"localEndpoint", "timestamp", "duration", "kind", "name", "parentId", "annotations", "tags", "shared"}
)
_SKIPPED = msgspec.Raw(b"")


class _Endpoint(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    serviceName: str | None = None
    ipv4: msgspec.Raw = _SKIPPED
    ipv6: msgspec.Raw = _SKIPPED
    port: msgspec.Raw = _SKIPPED


class _SpanOf(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    traceId: str
    id: str
    parentId: str | None = None
    kind: str | None = None
    name: str | None = None
    timestamp: int | None = None
    duration: int | None = None
    localEndpoint: _Endpoint | None = None
    tags: dict[str, Any] | None = None
    remoteEndpoint: msgspec.Raw = _SKIPPED
    annotations: msgspec.Raw = _SKIPPED
    debug: msgspec.Raw = _SKIPPED
    shared: msgspec.Raw = _SKIPPED


_READ = frozenset({"traceId", "id", "parentId", "kind", "name", "timestamp", "duration", "localEndpoint", "tags"})
_DECODER = msgspec.json.Decoder(_SpanOf | list[_SpanOf | list[_SpanOf]])


def is_spans(document: Any) -> bool:
    """Whether a parsed document is a span, an array of spans, or an array of traces, which are arrays of spans."""
    return bool(document) and _is_spans(document, 2)


def _is_spans(document: Any, depth: int) -> bool:
    if isinstance(document, list):
        return depth > 0 and all(_is_spans(one, depth - 1) for one in document)
    # The older version's spans have `binaryAnnotations`, and in their annotations what is the kind here.
    return (
        isinstance(document, dict)
        and "traceId" in document
        and "id" in document
        and "binaryAnnotations" not in document
        and not _has_endpoints(document.get("annotations"))
        and not _FURTHER.isdisjoint(document)
    )


def _has_endpoints(annotations: Any) -> bool:
    """Return whether annotations say whose they are, as in version 1."""
    return isinstance(annotations, list) and any(isinstance(one, dict) and "endpoint" in one for one in annotations)


def begins_like_spans(text: bytes) -> bool:
    """Whether a text that begins so is certainly an array of spans, or of traces."""
    return _BEGINNING.match(text) is not None and _ID.search(text) is not None and b'"localEndpoint"' in text


_BEGINNING = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\[\s*){0,2}\{[^{}\[\]]*"traceId"\s*:\s*"(?:[0-9a-f]{16}){1,2}"')
_ID = re.compile(rb'"id"\s*:\s*"[0-9a-f]{16}"')


def readers(document: Any) -> Iterator[Callable[[], Span]]:
    """For each span of a document, what reads it."""
    if isinstance(document, list):
        for one in document:
            yield from readers(one)
    else:
        yield partial(_read, document)


def unknown_keys(document: Any) -> Iterator[str]:
    """Yield the keys that Zipkin's JSON does not have, and under which there is something."""
    if isinstance(document, list):
        for one in document:
            yield from unknown_keys(one)
    else:
        yield from known_keys.unknown_keys(document, _SpanOf)


def read_spans(text: bytes) -> list[Span] | None:
    """Return the spans of a document with the attributes that tables are made of.

    None, if anything in it is not as it should be: then it has to be looked at span by span.
    """
    try:
        found = _DECODER.decode(text)
        traces = (one if isinstance(one, list) else [one] for one in (found if isinstance(found, list) else [found]))
        return [trimmed(_span(span, for_tables=True)) for trace in traces for span in trace] or None
    except (ValueError, KeyError, RecursionError):
        return None


def _read(document: dict[str, Any]) -> Span:
    known = {key: document[key] for key in document.keys() & _READ}
    if isinstance(endpoint := known.get("localEndpoint"), dict):
        known["localEndpoint"] = {"serviceName": endpoint.get("serviceName")}
    with in_words(known, _SpanOf):
        read = _span(msgspec.convert(known, _SpanOf), for_tables=False)
    return replace(read, events=span_events.of_zipkin(document.get("annotations")))


def _span(span: _SpanOf, *, for_tables: bool) -> Span:
    """Return a span.

    Raises:
        ValueError: it has no time, or a kind that Zipkin does not know.
    """
    if span.timestamp is None or span.duration is None:
        raise ValueError("it has no timestamp or no duration: it may never have ended")
    if span.kind not in _KINDS:
        raise ValueError(f"{span.kind} is not a kind of span")
    tags = span.tags or {}
    links = _links(tags)
    service = (span.localEndpoint and span.localEndpoint.serviceName) or ""
    start = span.timestamp * 1000
    return Span(
        trace_id=_padded(span.traceId, 32),
        span_id=_padded(span.id, 16),
        parent_id=_padded(span.parentId, 16) if span.parentId else None,
        name=span.name or "",
        kind=_KINDS[span.kind],
        start=start,
        end=start + span.duration * 1000,
        service=service,
        host=host_of(tags, service),
        failed=str(tags.get(_STATUS, "")).upper() == "ERROR" or str(tags.get(_ERROR, "false")).lower() != "false",
        attributes={
            key: value_of(key, value) if isinstance(value, str) else value
            for key, value in tags.items()
            if _is_attribute(key) and (key in semconv.READ or not for_tables)
        },
        links=tuple(link for _, link in links),
        linked_traces=tuple(trace for trace, _ in links),
        events=span_events.of_zipkin(span_events.parsed(span.annotations)) if span.annotations else (),
    )


def _links(tags: dict[str, Any]) -> list[Key]:
    """Return what a span links to, which the Collector writes as `otlp.link.0: trace id|span id|...`.

    Raises:
        ValueError: it is written otherwise.
    """
    found = []
    number = 0
    while (text := tags.get(f"{_LINK}{number}")) is not None:
        trace_id, span_id, *_ = str(text).split("|")
        found.append((_padded(trace_id, 32), _padded(span_id, 16)))
        number += 1
    return found


def _is_attribute(key: str) -> bool:
    return key not in {_STATUS, _ERROR, _KIND} and not key.startswith(_LINK)


def _padded(text: str, digits: int) -> str:
    return text.lower().rjust(digits, "0")
