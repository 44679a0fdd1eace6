"""OTLP's JSON form of spans: what OpenTelemetry's file exporters write, one export a line.

Source: OTLP specification, JSON Protobuf encoding (ids in hex, 64-bit integers as strings), and the file exporter
specification (JSON lines).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from otel_kfs import names
from otel_kfs.traces.span import Kind, Span

_STATUS_ERROR = (2, "STATUS_CODE_ERROR")
_KINDS: dict[int | str | None, Kind] = {
    None: Kind.UNSPECIFIED,
    **{int(kind): kind for kind in Kind},
    **{f"SPAN_KIND_{kind.name}": kind for kind in Kind},
}
# The keys of the contract.
_KEYS = frozenset(
    value for name, value in vars(names).items() if name.isupper() and type(value) is str and "." in value
)
_IDS = re.compile("[0-9a-f]{48}(?:[0-9a-f]{16})?")  # a trace's, a span's, its parent's
_END_OF_TIME = 2**64  # OTLP's times are unsigned 64-bit integers


def read_line(line: bytes) -> list[Span] | None:
    """The spans of one export in JSON; None if any of it is not as OTLP wants it, and has to be looked at by parts.

    Only what is read of a span is made into objects: this takes a fraction of the time of `read_export`, whose spans
    have attributes of other programs, too.
    """
    found: list[Span] = []
    try:
        for resource_spans in _DECODER.decode(line).resourceSpans or ():
            _add_spans(resource_spans, found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return found


def read_export(export: dict[str, Any]) -> Iterator[Span]:
    """The spans of one export request (`{"resourceSpans": [...]}`).

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    for resource_spans in export["resourceSpans"] or ():
        resource = _attributes((resource_spans.get("resource") or {}).get("attributes"))
        service = str(resource.get(names.SERVICE_NAME, ""))
        host = str(resource.get(names.HOST_NAME, ""))
        for scope_spans in resource_spans.get("scopeSpans") or ():
            for span in scope_spans.get("spans") or ():
                links = span.get("links") or ()
                yield Span(
                    trace_id=_id(span["traceId"], 32),
                    span_id=_id(span["spanId"], 16),
                    parent_id=_id(span.get("parentSpanId") or "", 16) or None,
                    name=span.get("name") or "",
                    kind=_KINDS[span.get("kind")],
                    start=int(span.get("startTimeUnixNano") or 0),
                    end=int(span.get("endTimeUnixNano") or 0),
                    service=service,
                    host=host,
                    failed=(span.get("status") or {}).get("code") in _STATUS_ERROR,
                    attributes=_attributes(span.get("attributes")),
                    links=tuple(_id(link["spanId"], 16) for link in links),
                    linked_traces=tuple(_id(link.get("traceId") or "", 32) for link in links),
                )


def _id(text: str, digits: int) -> str:
    """An id as lower-case hex; Tempo writes protobuf's own JSON, whose bytes are base64."""
    return text.lower() if len(text) in {0, digits} else base64.b64decode(text, validate=True).hex()


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


class _Value(msgspec.Struct, gc=False):
    stringValue: str | None = None
    intValue: int | None = None
    boolValue: bool | None = None
    doubleValue: float | str | None = None  # "NaN", "Infinity"
    bytesValue: str | None = None
    arrayValue: Any = None


class _Pair(msgspec.Struct, gc=False):
    key: str
    value: _Value | None = None


class _Status(msgspec.Struct, gc=False):
    code: int | str | None = None


class _Link(msgspec.Struct, gc=False):
    spanId: str
    traceId: str | None = None


class _Span(msgspec.Struct, gc=False):
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


class _ScopeSpans(msgspec.Struct, gc=False):
    spans: list[_Span] | None = None


class _Resource(msgspec.Struct, gc=False):
    attributes: list[_Pair] | None = None


class _ResourceSpans(msgspec.Struct, gc=False):
    resource: _Resource | None = None
    scopeSpans: list[_ScopeSpans] | None = None


class _Export(msgspec.Struct, gc=False):
    resourceSpans: list[_ResourceSpans] | None


# Not strict: 64-bit integers are strings, or numbers where a program follows other rules.
_DECODER = msgspec.json.Decoder(_Export, strict=False)


def _add_spans(resource_spans: _ResourceSpans, found: list[Span]) -> None:
    resource = _typed(resource_spans.resource.attributes if resource_spans.resource else None)
    service = str(resource.get(names.SERVICE_NAME, ""))
    host = str(resource.get(names.HOST_NAME, ""))
    for scope_spans in resource_spans.scopeSpans or ():
        for span in scope_spans.spans or ():
            trace_id, span_id, parent_id = span.traceId, span.spanId, span.parentSpanId or ""
            if len(trace_id) != 32 or _IDS.fullmatch(trace_id + span_id + parent_id) is None:
                trace_id, span_id, parent_id = _id(trace_id, 32), _id(span_id, 16), _id(parent_id, 16)
                if len(trace_id) != 32 or _IDS.fullmatch(trace_id + span_id + parent_id) is None:
                    raise ValueError("a wrong id")
            start, end = span.startTimeUnixNano or 0, span.endTimeUnixNano or 0
            if not (0 <= start < _END_OF_TIME and 0 <= end < _END_OF_TIME):
                raise ValueError("a time that is none")
            made = Span(
                trace_id,
                span_id,
                parent_id or None,
                span.name or "",
                _KINDS[span.kind],
                start,
                end,
                service,
                host,
                span.status is not None and span.status.code in _STATUS_ERROR,
                _typed(span.attributes),
                tuple([_id(link.spanId, 16) for link in span.links]) if span.links else (),
                tuple([_id(link.traceId or "", 32) for link in span.links]) if span.links else (),
            )
            found.append(made)


def _typed(pairs: list[_Pair] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs or ():
        if pair.key not in _KEYS:
            continue
        value = pair.value
        if value is None:
            found[pair.key] = None
        elif value.stringValue is not None:
            found[pair.key] = value.stringValue
        elif value.intValue is not None:
            found[pair.key] = value.intValue
        else:
            found[pair.key] = _rare(value)
    return found


def _rare(value: _Value) -> Any:
    if value.arrayValue is not None:
        return _value({"arrayValue": value.arrayValue})
    for one in (value.boolValue, value.doubleValue, value.bytesValue):
        if one is not None:
            return one
    return None
