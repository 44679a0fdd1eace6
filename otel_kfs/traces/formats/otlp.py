"""OTLP's JSON form of spans: what OpenTelemetry's file exporters write, one export a line.

Source: OTLP specification, JSON Protobuf encoding (ids in hex, 64-bit integers as strings), and the file exporter
specification (JSON lines).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from otel_kfs import semconv
from otel_kfs.traces.batch import Attribute, Batch, Else
from otel_kfs.traces.span import Kind, Span

_STATUS_ERROR = (2, "STATUS_CODE_ERROR")
_KINDS: dict[int | str | None, Kind] = {
    None: Kind.UNSPECIFIED,
    **{int(kind): kind for kind in Kind},
    **{f"SPAN_KIND_{kind.name}": kind for kind in Kind},
}
_NUMBERS = {written: int(kind) for written, kind in _KINDS.items()}
_READ = semconv.READ
_USUAL = 128  # attributes: no SDK writes more, unless it is told to
_END_OF_TIME = 2**64  # OTLP's times are unsigned 64-bit integers


def read_line(line: bytes, batch: Batch) -> bool:
    """Take in the spans of one export in JSON; False, and nothing taken, if any of it is not as OTLP wants it.

    Such a line has to be looked at by parts. Only what is read of a span is made into objects: this takes a fraction of
    the time of `read_export`, whose spans have attributes of other programs, too.
    """
    try:
        export = _DECODER.decode(line)
        found = [
            (_service_and_host(resource_spans.resource), scope_spans.spans, _columns(scope_spans.spans))
            for resource_spans in export.resourceSpans or ()
            for scope_spans in resource_spans.scopeSpans or ()
            if scope_spans.spans
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    for place, spans, columns in found:
        _add(place, spans, columns, batch)
    return True


def read_export(export: dict[str, Any]) -> Iterator[Span]:
    """The spans of one export request (`{"resourceSpans": [...]}`).

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    for resource_spans in export["resourceSpans"] or ():
        resource = _attributes((resource_spans.get("resource") or {}).get("attributes"))
        service = str(resource.get(semconv.SERVICE_NAME, ""))
        host = str(resource.get(semconv.HOST_NAME, ""))
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


_Columns = tuple[list[str], list[str], list[str], list[int], list[int]]  # ids of trace, span, parent; start, end


def _service_and_host(resource: _Resource | None) -> tuple[str, str]:
    found = {pair.key: _plain(pair.value)[1] for pair in (resource and resource.attributes) or () if pair.value}
    return str(found.get(semconv.SERVICE_NAME) or ""), str(found.get(semconv.HOST_NAME) or "")


def _columns(spans: list[_Span]) -> _Columns:
    """Some spans' ids and times.

    Raises:
        ValueError, KeyError: one of them can't be read.
    """
    ids = _ids(spans)
    if not _are_ids(ids):
        for span in spans:
            span.traceId, span.spanId = _id(span.traceId, 32), _id(span.spanId, 16)
            span.parentSpanId = _id(span.parentSpanId or "", 16)
        ids = _ids(spans)
        if not _are_ids(ids):
            raise ValueError("a wrong id")
    starts = [span.startTimeUnixNano or 0 for span in spans]
    ends = [span.endTimeUnixNano or 0 for span in spans]
    if not (min(starts) >= 0 <= min(ends) and max(starts) < _END_OF_TIME > max(ends)):
        raise ValueError("a time that is none")
    if not {span.kind for span in spans} <= _KINDS.keys():
        raise ValueError("a kind that is none")
    for span in spans:
        for link in span.links or ():
            link.spanId, link.traceId = _id(link.spanId, 16), _id(link.traceId or "", 32)
    return *ids, starts, ends


def _ids(spans: list[_Span]) -> tuple[list[str], list[str], list[str]]:
    return (
        [span.traceId for span in spans],
        [span.spanId for span in spans],
        [span.parentSpanId or "" for span in spans],
    )


def _are_ids(ids: tuple[list[str], list[str], list[str]]) -> bool:
    traces, spans, parents = (set(map(len, column)) for column in ids)
    if traces != {32} or spans != {16} or not parents <= {0, 16}:
        return False
    text = "".join(map("".join, ids))
    # Faster than a regular expression; `fromhex` takes capitals and passes over blanks.
    return text == text.lower() and 2 * len(bytes.fromhex(text)) == len(text)


def _add(place: tuple[str, str], spans: list[_Span], columns: _Columns, batch: Batch) -> None:
    """What `Batch.add` does, without a Span for each."""
    traces, numbers = batch.traces, batch.numbers
    service, host = place
    for trace_id, span_id, parent_id, start, end, span in zip(*columns, spans, strict=True):
        more: Else | None = None
        common: tuple[Attribute, ...] = ()
        attributes = span.attributes or ()
        if len(attributes) > _USUAL:
            attributes = list({pair.key: pair for pair in attributes}.values())
        for pair in attributes:
            if (key := pair.key) in _READ:
                kind, value = _plain(pair.value) if pair.value is not None else ("", None)
                if key == semconv.IMAGE_SIZE:
                    more = (value, more and more[1], (), ())
                elif key == semconv.PAYLOAD_SIZE:
                    more = (more and more[0], value, (), ())
                else:
                    common += ((key, kind, value),)
        if common and (len(common) > 1 or common[0][2] is None):
            common = _last_of_each(common)
        if span.links:
            linked_traces = [link.traceId or "" for link in span.links]
            linked = batch.note_links(trace_id, parent_id or None, _KINDS[span.kind], linked_traces)
            more = (*(more or (None, None))[:2], tuple([link.spanId for link in span.links]), linked)
        failed = (status := span.status) is not None and status.code in _STATUS_ERROR
        what = (span.name or "", _NUMBERS[span.kind], service, host, failed, common)
        number = numbers.get(what)
        if number is None:
            number = batch.number(what)
        traces[trace_id] += (span_id, parent_id or None, start, end, number, more)
    batch.size += len(spans)


def _last_of_each(attributes: Iterable[Attribute]) -> tuple[Attribute, ...]:
    """Of several attributes with one key the last, as in a dictionary; none that has no value."""
    last = {attribute[0]: attribute for attribute in attributes}
    return tuple([attribute for attribute in last.values() if attribute[2] is not None])


def _plain(value: _Value) -> tuple[str, Any]:
    """A value, if it is text or a number, and its type's name."""
    if value.stringValue is not None:
        return "str", value.stringValue
    if value.intValue is not None:
        return "int", value.intValue
    if value.boolValue is not None:
        return "bool", value.boolValue
    if value.doubleValue is not None:
        return type(value.doubleValue).__name__, value.doubleValue
    return "str", value.bytesValue
