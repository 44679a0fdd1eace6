"""Jaeger's older JSON, which its UI downloads, too: times are whole microseconds.

Source: Jaeger's `model/json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from otel_kfs import semconv
from otel_kfs.traces.batch import is_plain
from otel_kfs.traces.formats import known_keys, span_events
from otel_kfs.traces.formats.mistakes import in_words
from otel_kfs.traces.host_identity import host_of
from otel_kfs.traces.span import Key, Kind, Span

_ERROR = (True, "true")  # as a text: Envoy's
_KINDS = {kind.name.lower(): kind for kind in Kind}

Processes = Mapping[str, tuple[str, str]]  # an id, the service and the host


def readers(trace: dict[str, Any]) -> Iterator[Callable[[], Span]]:
    """For each span of one trace, what reads it.

    Raises:
        MalformedError: the trace or its processes are not as they should be.
    """
    with in_words(trace, _Trace):
        given, spans = trace.get("processes") or {}, trace["spans"] or []
    with in_words({"spans": [], "processes": given}, _Trace):
        processes = {
            key: _service_and_host(str(process.get("serviceName", "")), _tags(process.get("tags")))
            for key, process in given.items()
        }
    if not isinstance(spans, list):
        with in_words({"spans": spans}, _Trace):
            raise TypeError
    return (partial(_read, span, processes) for span in spans)


def unknown_keys(trace: dict[str, Any]) -> Iterator[str]:
    """Yield the keys of a trace that Jaeger's JSON does not have, and under which there is something."""
    yield from known_keys.unknown_keys(trace, _Trace)


def _read(span: dict[str, Any], processes: Processes) -> Span:
    with in_words(span, _SpanOf):
        return _span(span, processes)


def _span(span: dict[str, Any], processes: Processes) -> Span:
    attributes = _tags(span.get("tags"))
    service, host = processes.get(span.get("processID", ""), ("", ""))
    references = [(r["refType"], r["traceID"], r["spanID"]) for r in span.get("references") or ()]
    trace = _padded(span["traceID"], 32)
    parent, links = _parent_and_links(trace, references, span.get("parentSpanID"))
    start = _whole(span["startTime"]) * 1000
    status, error = attributes.pop("otel.status_code", None), attributes.pop("error", None)
    return Span(
        trace_id=trace,
        span_id=_padded(span["spanID"], 16),
        parent_id=parent,
        name=span["operationName"],
        kind=_KINDS.get(str(attributes.pop("span.kind", "")), Kind.INTERNAL),
        start=start,
        end=start + _whole(span["duration"]) * 1000,
        service=service,
        host=host,
        failed=status == "ERROR" or error in _ERROR,
        attributes=attributes,
        links=tuple(link for _, link in links),
        linked_traces=tuple(linked for linked, _ in links),
    )


def _parent_and_links(
    trace: str, references: Iterable[tuple[str, str, str]], parent_id: str | None
) -> tuple[str | None, list[Key]]:
    """Return the parent's id, and what else a span refers to; a reference is its type, a trace's id and a span's.

    `parent_id`: as older Jaegers have it, beside the references or in place of them.
    """
    parent = (trace, _padded(parent_id, 16)) if parent_id else None
    links: list[Key] = []
    for kind, trace_id, span_id in references:
        to = _padded(trace_id, 32), _padded(span_id, 16)
        if parent is None and kind == "CHILD_OF" and to[0] == trace:
            parent = to
        else:
            links.append(to)
    return parent and parent[1], [link for link in links if link != parent]


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise TypeError(f"{type(number).__name__} where a number of microseconds should be")
    return number


def _tags(tags: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in tags or ()}


# --- the same with types, for tables ---


_SKIPPED = msgspec.Raw(b"")

# At every level an unknown key makes a trace one that has to be looked at by parts.


class _Tag(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    key: str
    value: Any
    type: msgspec.Raw = _SKIPPED


class _Reference(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    refType: str
    traceID: str
    spanID: str


class _SpanOf(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    traceID: str
    spanID: str
    operationName: str
    startTime: int
    duration: int
    processID: str = ""
    references: list[_Reference] | None = None
    parentSpanID: str | None = None
    tags: list[_Tag] | None = None
    logs: msgspec.Raw = _SKIPPED
    warnings: msgspec.Raw = _SKIPPED
    flags: msgspec.Raw = _SKIPPED


class _Process(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    serviceName: str = ""
    tags: list[_Tag] | None = None


class _Trace(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    spans: list[_SpanOf] | None
    processes: dict[str, _Process] | None = None
    traceID: msgspec.Raw = _SKIPPED
    warnings: msgspec.Raw = _SKIPPED


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    data: list[msgspec.Raw] | None
    total: msgspec.Raw = _SKIPPED
    limit: msgspec.Raw = _SKIPPED
    offset: msgspec.Raw = _SKIPPED
    errors: msgspec.Raw = _SKIPPED
    structuredErrors: msgspec.Raw = _SKIPPED


_ANSWER = msgspec.json.Decoder(_Answer)
_NO_ERRORS = frozenset({b"", b"null", b"[]"})
_TRACE = msgspec.json.Decoder(_Trace)


def traces_in(text: bytes) -> list[msgspec.Raw] | None:
    """Return each trace of an answer (`{"data": [...]}`) as the bytes that it is; None if it is no such answer.

    Nor is it one with anything else than objects, or with errors, which are to be told.
    """
    try:
        answer = _ANSWER.decode(text)
    except (ValueError, RecursionError):
        return None
    found = answer.data or []
    is_one = bytes(answer.errors) in _NO_ERRORS and all(memoryview(trace)[:1].tobytes() == b"{" for trace in found)
    return found if is_one else None


def read_trace(trace: msgspec.Raw) -> list[Span] | None:
    """Return the spans of a trace with the attributes that tables are made of.

    None, if anything in it is not as it should be: then it has to be looked at span by span.
    """
    try:
        found = _TRACE.decode(trace)
    except (ValueError, RecursionError):
        return None
    processes = {
        key: _service_and_host(process.serviceName, {tag.key: tag.value for tag in process.tags or ()})
        for key, process in (found.processes or {}).items()
    }
    return [_typed(span, *processes.get(span.processID, ("", ""))) for span in found.spans or ()]


def _service_and_host(service: str, tags: Mapping[str, Any]) -> tuple[str, str]:
    return service, host_of(tags, service)


def _typed(span: _SpanOf, service: str, host: str) -> Span:
    kind, status, error, attributes = Kind.INTERNAL, None, None, {}
    for tag in span.tags or ():
        if tag.key == "error":
            error = tag.value
        elif tag.key in semconv.READ:
            if is_plain(tag.value):
                attributes[tag.key] = tag.value
            else:
                attributes.pop(tag.key, None)
        elif tag.key == "span.kind":
            kind = _KINDS.get(str(tag.value), Kind.INTERNAL)
        elif tag.key == "otel.status_code":
            status = tag.value
    trace = _padded(span.traceID, 32)
    references = [(r.refType, r.traceID, r.spanID) for r in span.references or ()]
    parent, links = _parent_and_links(trace, references, span.parentSpanID)
    start = span.startTime * 1000
    return Span(
        trace,
        _padded(span.spanID, 16),
        parent,
        span.operationName,
        kind,
        start,
        start + span.duration * 1000,
        service,
        host,
        status == "ERROR" or error in _ERROR,
        attributes,
        tuple([link for _, link in links]),
        tuple([linked for linked, _ in links]),
        span_events.of_jaeger(span_events.parsed(span.logs)) if span.logs else (),
    )


def _padded(text: str, digits: int) -> str:
    return text.lower().rjust(digits, "0")
