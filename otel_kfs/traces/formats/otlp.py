"""OTLP's JSON form of spans: what OpenTelemetry's file exporters write, one export a line.

Source: OTLP specification, JSON Protobuf encoding (ids in hex, 64-bit integers as strings), and the file exporter
specification (JSON lines).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from typing import Annotated, Any

import msgspec

from otel_kfs import semconv
from otel_kfs.traces.formats import known_keys, span_events
from otel_kfs.traces.formats.mistakes import in_words
from otel_kfs.traces.host_identity import IDENTITY, host_of
from otel_kfs.traces.span import Kind, Span

_STATUS_ERROR = (2, "STATUS_CODE_ERROR")
_KINDS: dict[int | str | None, Kind] = {
    None: Kind.UNSPECIFIED,
    **{int(kind): kind for kind in Kind},
    **{f"SPAN_KIND_{kind.name}": kind for kind in Kind},
}
# The second is what the first was called before OTLP 0.15; Grafana's download still has it.
SCOPES = ("scopeSpans", "instrumentationLibrarySpans")
_END_OF_TIME = 2**64  # OTLP's times are unsigned 64-bit integers


def read_line(line: bytes) -> list[Span] | None:
    """Return the spans of one export in JSON, or None if any of it does not follow OTLP.

    Such a line has to be looked at by parts. Only what is read of a span is made into objects: this takes a fraction of
    the time of `read_export`, whose spans have attributes of other programs, too.
    """
    try:
        export = _DECODER.decode(line)
        by_resource = [
            (
                one.resource,
                [
                    span
                    for scope in (*(one.scopeSpans or ()), *(one.instrumentationLibrarySpans or ()))
                    for span in scope.spans or ()
                ],
            )
            for one in export.resources()
        ]
        _check_ids([span for _, spans in by_resource for span in spans])
        return [span for resource, spans in by_resource for span in _spans(spans, *_service_and_host(resource))]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def read_export(export: dict[str, Any]) -> Iterator[Span]:
    """Yield the spans of one export request (`{"resourceSpans": [...]}`).

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    for resource_spans in export["resourceSpans"] or ():
        resource = _attributes((resource_spans.get("resource") or {}).get("attributes"))
        service = str(resource.get(semconv.SERVICE_NAME) or "")
        host = host_of(resource, service)
        for scope_spans in scopes_of(resource_spans):
            for span in scope_spans.get("spans") or ():
                links = span.get("links") or ()
                yield Span(
                    trace_id=_id(span["traceId"], 32),
                    span_id=_id(span["spanId"], 16),
                    parent_id=_id(span.get("parentSpanId") or "", 16) or None,
                    name=span.get("name") or "",
                    kind=_kind(span.get("kind")),
                    start=int(span.get("startTimeUnixNano") or 0),
                    end=int(span.get("endTimeUnixNano") or 0),
                    service=service,
                    host=host,
                    failed=(span.get("status") or {}).get("code") in _STATUS_ERROR,
                    attributes=_attributes(span.get("attributes")),
                    links=tuple(_id(link["spanId"], 16) for link in links),
                    linked_traces=tuple(_id(link.get("traceId") or "", 32) for link in links),
                    events=span_events.of_otlp(span.get("events")),
                )


def readers(export: dict[str, Any]) -> Iterator[Callable[[], Span]]:
    """Return a reader for each span of an export; that of something else raises what is wrong with it.

    Raises:
        MalformedError: the export is no list.
    """
    listed = export["resourceSpans"] or ()
    if not isinstance(listed, list | tuple):
        with in_words(export, _ResourceSpansAlone):
            raise TypeError
    for of_resource in listed:
        if not isinstance(of_resource, dict):
            yield partial(_read_alone, of_resource)
            continue
        resource = _small(of_resource.get("resource"))
        for key in SCOPES:
            of_scopes = of_resource.get(key) or ()
            if not isinstance(of_scopes, list | tuple):
                yield partial(_read_alone, {key: of_scopes})
                continue
            for of_scope in of_scopes:
                spans = (of_scope.get("spans") or ()) if isinstance(of_scope, dict) else None
                if not isinstance(spans, list | tuple):
                    yield partial(_read_alone, {key: [of_scope]})
                    continue
                for span in spans:
                    yield partial(_read_alone, {"resource": resource, key: [{"spans": [span]}]})


def _read_alone(of_resource: Any) -> Span:
    """Return the one span of a resource.

    Raises:
        MalformedError: it is none.
    """
    export = {"resourceSpans": [of_resource]}
    with in_words(export, _ResourceSpansAlone):
        (span,) = read_export(export)
    return span


def _small(resource: Any) -> Any:
    """Return what is read of a resource, since each span brings it along; of a malformed one what shows that it is."""
    if not isinstance(resource, dict):
        return resource[:1] if isinstance(resource, list | str) else resource
    attributes = resource.get("attributes") or ()
    if isinstance(attributes, dict | str):
        return {"attributes": [*attributes][:1]}
    if not isinstance(attributes, list | tuple):
        return {"attributes": attributes}
    odd = [pair for pair in attributes if not isinstance(pair, dict) or isinstance(pair.get("key"), list | dict)]
    return {"attributes": odd[:1] or [pair for pair in attributes if pair.get("key") in _OF_RESOURCE]}


def in_camel_case(export: Any) -> Any:
    """Return an export whose keys are in snake_case, as protobuf's libraries write them if told so, with OTLP's own."""
    if isinstance(export, list):
        return [in_camel_case(one) for one in export]
    if isinstance(export, dict):
        return {_camel_case(key): in_camel_case(value) for key, value in export.items()}
    return export


def _camel_case(key: str) -> str:
    first, *others = key.split("_")
    return first + "".join(map(str.capitalize, others))


def scopes_of(resource_spans: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what an export has of each scope of a resource."""
    for key in SCOPES:
        yield from resource_spans.get(key) or ()


def unknown_keys(export: dict[str, Any]) -> Iterator[str]:
    """Yield the keys of an export that OTLP does not have, and under which there is something."""
    yield from known_keys.unknown_keys(export, _ResourceSpansAlone)


@lru_cache(10_000)  # a trace's is in each of its spans, and a span's in all of its children
def _id(text: str, digits: int) -> str:
    """Return an id as lower-case hex; Tempo writes protobuf's own JSON, whose bytes are base64."""
    with suppress(ValueError):  # the check of ids reports those that are none
        return text.lower() if len(text) in {0, digits} else base64.b64decode(text, validate=True).hex()
    return text


def _kind(kind: int | str | None) -> Kind:
    """Return a span's kind.

    Raises:
        ValueError: OTLP has no such.
    """
    found = _KINDS.get(kind)
    if found is None:
        raise ValueError(f"its kind, {kind!r}, is none of OTLP's")
    return found


def _attributes(pairs: Iterable[dict[str, Any]] | None) -> dict[str, Any]:
    return {pair["key"]: _value(pair.get("value") or {}) for pair in pairs or ()}


def _value(value: dict[str, Any]) -> Any:
    if "intValue" in value:
        return int(value["intValue"])
    if "arrayValue" in value:
        return [_value(item) for item in value["arrayValue"].get("values", ())]
    for kind in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
        if kind in value:
            return value[kind]
    return None


# --- the same with types, for speed ---


_SKIPPED = msgspec.Raw(b"")

# At every level an unknown key makes a line one that has to be looked at by parts.


class _Value(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    stringValue: str | None = None
    intValue: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    boolValue: bool | None = None
    doubleValue: float | str | None = None  # "NaN", "Infinity"
    bytesValue: str | None = None
    arrayValue: msgspec.Raw = _SKIPPED
    kvlistValue: msgspec.Raw = _SKIPPED


class _Pair(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    key: str
    value: _Value | None = None


class _Status(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    code: int | str | None = None
    message: msgspec.Raw = _SKIPPED
    deprecatedCode: msgspec.Raw = _SKIPPED


class _Link(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    spanId: str
    traceId: str | None = None
    traceState: msgspec.Raw = _SKIPPED
    attributes: msgspec.Raw = _SKIPPED
    droppedAttributesCount: msgspec.Raw = _SKIPPED
    flags: msgspec.Raw = _SKIPPED


class _Span(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    traceId: str
    spanId: str
    parentSpanId: str | None = None
    name: str | None = None
    kind: int | str | None = None
    startTimeUnixNano: int | None = None
    endTimeUnixNano: int | None = None
    attributes: list[_Pair] | None = None
    links: list[_Link] | None = None
    status: _Status | None = None
    traceState: msgspec.Raw = _SKIPPED
    flags: msgspec.Raw = _SKIPPED
    events: msgspec.Raw = _SKIPPED
    droppedAttributesCount: msgspec.Raw = _SKIPPED
    droppedEventsCount: msgspec.Raw = _SKIPPED
    droppedLinksCount: msgspec.Raw = _SKIPPED


class _ScopeSpans(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    spans: list[_Span] | None = None
    scope: msgspec.Raw = _SKIPPED
    instrumentationLibrary: msgspec.Raw = _SKIPPED
    schemaUrl: msgspec.Raw = _SKIPPED


class _Resource(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    attributes: list[_Pair] | None = None
    droppedAttributesCount: msgspec.Raw = _SKIPPED
    entityRefs: msgspec.Raw = _SKIPPED


class _ResourceSpans(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    resource: _Resource | None = None
    scopeSpans: list[_ScopeSpans] | None = None
    instrumentationLibrarySpans: list[_ScopeSpans] | None = None
    schemaUrl: msgspec.Raw = _SKIPPED


class _ResourceSpansAlone(msgspec.Struct):
    resourceSpans: list[_ResourceSpans] | None = None


class _Export(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An export, or an answer of a store: of Jaeger (`result`) or Tempo (`batches` of its v1 API, `trace` of v2)."""

    resourceSpans: list[_ResourceSpans] | msgspec.UnsetType | None = msgspec.UNSET
    result: _Export | msgspec.UnsetType = msgspec.UNSET
    batches: list[_ResourceSpans] | msgspec.UnsetType | None = msgspec.UNSET
    trace: _Export | msgspec.UnsetType = msgspec.UNSET
    status: str | msgspec.UnsetType = msgspec.UNSET
    message: msgspec.Raw = _SKIPPED
    metrics: msgspec.Raw = _SKIPPED

    def resources(self) -> list[_ResourceSpans]:
        """Return what it has of each resource.

        Raises:
            KeyError: it is no whole answer, or has spans in several places.
        """
        if sum(one is not msgspec.UNSET for one in (self.resourceSpans, self.result, self.batches, self.trace)) != 1:
            raise KeyError("resourceSpans")
        if self.resourceSpans is not msgspec.UNSET:
            return self.resourceSpans or []
        if self.result is not msgspec.UNSET:
            return self.result.resources()
        if self.batches is not msgspec.UNSET:
            return self.batches or []
        if self.trace is not msgspec.UNSET and self.status != "PARTIAL":
            return self.trace.resources()
        raise KeyError("resourceSpans")


_OF_RESOURCE = frozenset({semconv.SERVICE_NAME, *IDENTITY})
# Not strict: 64-bit integers are strings, or numbers where a program follows other rules.
_DECODER = msgspec.json.Decoder(_Export, strict=False)


def _service_and_host(resource: _Resource | None) -> tuple[str, str]:
    pairs = (resource and resource.attributes) or ()
    found = {pair.key: _plain(pair.value) for pair in pairs if pair.key in _OF_RESOURCE}
    service = str(found.get(semconv.SERVICE_NAME) or "")
    return service, host_of(found, service)


def _spans(spans: list[_Span], service: str, host: str) -> list[Span]:
    """Return some spans of one resource.

    Raises:
        ValueError, KeyError: one of them can't be read.
    """
    found = []
    for span in spans:
        start, end, links, status = span.startTimeUnixNano or 0, span.endTimeUnixNano or 0, span.links, span.status
        if not (0 <= start < _END_OF_TIME and 0 <= end < _END_OF_TIME):
            raise ValueError("an invalid time")
        found.append(
            Span(
                span.traceId,
                span.spanId,
                span.parentSpanId or None,
                span.name or "",
                _KINDS[span.kind],
                start,
                end,
                service,
                host,
                status is not None and status.code in _STATUS_ERROR,
                _read(span.attributes) if span.attributes else {},
                tuple([_id(link.spanId, 16) for link in links]) if links else (),
                tuple([_id(link.traceId or "", 32) for link in links]) if links else (),
                span_events.of_otlp(span_events.parsed(span.events)) if span.events else (),
            )
        )
    return found


def _check_ids(spans: list[_Span]) -> None:
    """Write all ids as lower-case hex.

    Raises:
        ValueError: one of them is no id.
    """
    if not spans or _are_ids(spans):
        return
    for span in spans:
        span.traceId, span.spanId = _id(span.traceId, 32), _id(span.spanId, 16)
        span.parentSpanId = _id(span.parentSpanId or "", 16)
    if not _are_ids(spans):
        raise ValueError("an invalid id")


def _are_ids(spans: list[_Span]) -> bool:
    """Return whether all ids are lower-case hex of the right length."""
    traces, ids = [span.traceId for span in spans], [span.spanId for span in spans]
    parents = [span.parentSpanId for span in spans if span.parentSpanId]
    if {*map(len, traces)} != {32} or {*map(len, ids), *map(len, parents)} != {16}:
        return False
    text = "".join([*traces, *ids, *parents])
    # Faster than a regular expression; `fromhex` takes capitals and passes over blanks.
    return text == text.lower() and 2 * len(bytes.fromhex(text)) == len(text)


def _read(pairs: list[_Pair]) -> dict[str, Any]:
    """Return the attributes of `semconv.READ`, of several with one key the last; none that has no plain value."""
    found: dict[str, Any] = {}
    for pair in pairs:
        if pair.key in semconv.READ:
            value = _plain(pair.value)
            if value is not None:
                found[pair.key] = value
            else:
                found.pop(pair.key, None)
    return found


def _plain(value: _Value | None) -> Any:
    """Return a value, if it is text, a number or a boolean."""
    if value is None:
        return None
    if value.stringValue is not None:
        return value.stringValue
    if value.intValue is not None:
        return value.intValue
    if value.boolValue is not None:
        return value.boolValue
    return value.bytesValue if value.doubleValue is None else value.doubleValue
