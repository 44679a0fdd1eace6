"""OTLP's binary form of spans, as Tempo answers and the Collector's file exporter writes with `format: proto`.

Source: opentelemetry/proto/trace/v1/trace.proto, and Tempo's pkg/tempopb/tempo.proto for the answer around it.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_kfs import semconv
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.formats import span_events
from otel_kfs.traces.formats.detect import MALFORMED, UNREAD
from otel_kfs.traces.host_identity import host_of
from otel_kfs.traces.span import Kind, Span
from otel_kfs.traces.store import ReadWarnings, valid_spans

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

# Of ResourceSpans: opentelemetry-proto 0.15 to 0.19, for what had been field 2 until then.
_LIBRARY_SPANS = 1000
_PARTIAL = 1  # tempopb.PartialStatus
_STATUS_ERROR = 2
_TRACE_ID, _SPAN_ID, _PARENT_ID = 16, 8, (0, 8)  # bytes
_SCALARS = frozenset({"string_value", "bool_value", "int_value", "double_value"})
_KINDS = {int(kind): kind for kind in Kind}


class TempoAnswer(NamedTuple):
    """What Tempo says of one trace."""

    trace: bytes  # TracesData
    partial: bool
    message: str


def tempo_answer(content: bytes) -> TempoAnswer:
    """Return a `tempopb.TraceByIDResponse`, its trace still unread.

    Raises:
        ValueError: it is none.
    """
    from google.protobuf.message import DecodeError

    try:
        answer = _trace_by_id_response().FromString(content)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return TempoAnswer(answer.trace, answer.status == _PARTIAL, answer.message)


def spans_of(content: bytes, warnings: ReadWarnings, where: object) -> Iterator[Span]:
    """Return the spans of a TracesData, or of an ExportTraceServiceRequest, which is the same in bytes.

    Raises:
        ValueError: it is none.
    """
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    try:
        data = TracesData.FromString(content)
        whole = data.ByteSize()
        data.DiscardUnknownFields()
        if data.ByteSize() < whole:
            data = TracesData.FromString(content)
            for what in _unknown_fields(data):
                warnings.add(UNREAD, where, what)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return valid_spans(_read(data, warnings, where), warnings, where)


def exported_spans(content: bytes) -> tuple[list[Span], Counter[str]]:
    """Return the trimmed spans of an ExportTraceServiceRequest, and how many others are left out for which reason.

    They are those of `spans_of`, in a part of its time: what this version of OTLP does not know is passed over, and
    attributes that tables are not made of are not looked at.

    Raises:
        ValueError: it is none.
    """
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    try:
        data = TracesData.FromString(content)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    found: list[Span] = []
    left_out: Counter[str] = Counter()
    warnings = ReadWarnings()
    for resource_spans in data.resource_spans:
        service, host = _service_and_host(resource_spans.resource.SerializeToString())
        # Exporters write spans under the one name or under the other.
        for scope_spans in resource_spans.scope_spans or _libraries(resource_spans, warnings, ""):
            for span in scope_spans.spans:
                trace_id, span_id, parent_id = span.trace_id, span.span_id, span.parent_span_id
                attributes, links, events = span.attributes, span.links, span.events
                kind = _KINDS.get(span.kind)
                if len(trace_id) != _TRACE_ID or len(span_id) != _SPAN_ID or len(parent_id) not in _PARENT_ID:
                    left_out["an invalid id"] += 1
                elif kind is None:
                    left_out["an unknown kind"] += 1
                else:
                    found.append(
                        Span(
                            trace_id.hex(),
                            span_id.hex(),
                            parent_id.hex() or None,
                            span.name,
                            kind,
                            span.start_time_unix_nano,
                            span.end_time_unix_nano,
                            service,
                            host,
                            span.HasField("status") and span.status.code == _STATUS_ERROR,
                            _read_attributes(attributes) if attributes else {},
                            tuple([link.span_id.hex() for link in links]) if links else (),
                            tuple([link.trace_id.hex() for link in links]) if links else (),
                            span_events.wanted([(event.name, event.time_unix_nano) for event in events])
                            if events
                            else (),
                        )
                    )
    if malformed := warnings.counts.total():
        left_out["a form that can't be read"] = malformed
    return found, left_out


def begins_like_traces(head: bytes) -> bool:
    """Whether some bytes may be the beginning of a TracesData: what a length announces fits into what is around it.

    Text may begin with the same byte, a line's end.
    """
    tag, rest = head[:1], head[1:]
    whole, rest = _length(rest)
    if tag != b"\x0a" or not rest:
        return False
    if rest[:1] == b"\x12":  # its spans
        return True
    inner, inside = _length(rest[1:])
    # A resource begins with attributes, their number, or entities; an empty one is followed by its spans.
    expected = {b"\x12"} if inner == 0 else {b"\x0a", b"\x10", b"\x1a"}
    return rest[:1] == b"\x0a" and inner < whole and inside[:1] in expected


def _length(content: bytes) -> tuple[int, bytes]:
    """Return a number as protobuf writes it, and what follows it; nothing if it does not end within 5 bytes."""
    value = 0
    for place, byte in enumerate(content[:5]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, content[place + 1 :]
    return value, b""


def is_traces(content: bytes) -> bool:
    """Whether bytes are certainly a TracesData: they have spans, all with ids of the right length."""
    spans = []
    with suppress(ValueError, TraceQueryError):
        spans = list(spans_of(content, ReadWarnings(strict=True), ""))
    return bool(spans)


def _read(data: Any, warnings: ReadWarnings, where: object) -> Iterator[Span]:
    for resource_spans in data.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        service = str(resource.get(semconv.SERVICE_NAME, ""))
        host = host_of(resource, service)
        for scope_spans in (*resource_spans.scope_spans, *_libraries(resource_spans, warnings, where)):
            for span in scope_spans.spans:
                try:
                    yield Span(
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex() or None,
                        name=span.name,
                        kind=Kind(span.kind),
                        start=span.start_time_unix_nano,
                        end=span.end_time_unix_nano,
                        service=service,
                        host=host,
                        failed=span.status.code == _STATUS_ERROR,
                        attributes=_attributes(span.attributes),
                        links=tuple(link.span_id.hex() for link in span.links),
                        linked_traces=tuple(link.trace_id.hex() for link in span.links),
                        events=span_events.wanted((event.name, event.time_unix_nano) for event in span.events),
                    )
                except (ValueError, RecursionError) as error:
                    warnings.add(MALFORMED, where, f"{type(error).__name__}: {error}")


def _libraries(resource_spans: ResourceSpans, warnings: ReadWarnings, where: object) -> Iterator[ScopeSpans]:
    """Yield what this version of OTLP has no name for: spans by library, as exporters of 2021 and 2022 wrote them."""
    from google.protobuf.message import DecodeError
    from google.protobuf.unknown_fields import UnknownFieldSet
    from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

    for field in UnknownFieldSet(resource_spans):
        if field.field_number != _LIBRARY_SPANS:
            continue
        try:
            yield ScopeSpans.FromString(field.data)
        except (DecodeError, TypeError) as error:
            warnings.add(MALFORMED, where, str(error))


def _unknown_fields(message: Message) -> Iterator[str]:
    """Yield what this version of OTLP has no name for, in a message and all that are in it."""
    from google.protobuf.message import Message
    from google.protobuf.unknown_fields import UnknownFieldSet

    kind = message.DESCRIPTOR.name
    for field in UnknownFieldSet(message):
        if (kind, field.field_number) != ("ResourceSpans", _LIBRARY_SPANS):
            yield f"field {field.field_number} of {kind}"
    for _, value in message.ListFields():
        for inner in [value] if isinstance(value, Message) else value if isinstance(value, Sequence) else ():
            if isinstance(inner, Message):
                yield from _unknown_fields(inner)


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


@lru_cache(1000)
def _service_and_host(resource: bytes) -> tuple[str, str]:
    """Return the service and the host that a resource names: each process sends the same one again and again."""
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    found = _attributes(Resource.FromString(resource).attributes)
    service = str(found.get(semconv.SERVICE_NAME, ""))
    return service, host_of(found, service)


def _read_attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Return those of `semconv.READ` that are text, numbers or booleans."""
    found: dict[str, Any] = {}
    wanted = semconv.READ
    for pair in pairs:
        if (key := pair.key) in wanted:
            value = pair.value
            kind = value.WhichOneof("value")
            if kind in _SCALARS:
                found[key] = getattr(value, kind)
            elif kind == "bytes_value":
                found[key] = _value(value)
            else:
                found.pop(key, None)
    return found


def _value(value: AnyValue) -> Any:
    """Return a value as OTLP-JSON has it: bytes in base64."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind) if kind in _SCALARS else None


@cache
def _trace_by_id_response() -> Any:
    """Return the message's class; the trace in it is declared as bytes, which protobuf writes alike."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="otel_kfs_tempo.proto", package="otel_kfs", syntax="proto3")
    message = file.message_type.add(name="TraceByIDResponse")
    for name, number, kind in (
        ("trace", 1, field.TYPE_BYTES),
        ("status", 3, field.TYPE_INT32),
        ("message", 4, field.TYPE_STRING),
    ):
        message.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("otel_kfs.TraceByIDResponse"))
