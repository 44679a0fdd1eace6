"""OTLP's JSON form of spans: what OpenTelemetry's file exporters write, one export a line.

Source: OTLP specification, JSON Protobuf encoding (ids in hex, 64-bit integers as strings), and the file exporter
specification (JSON lines).
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from otel_kfs import names
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.span import Kind, Span

_STATUS_ERROR = (2, "STATUS_CODE_ERROR")


def read_file(path: Path) -> Iterator[Span]:
    """The spans of one file of OTLP-JSON lines (`.gz`: compressed).

    Raises:
        TraceQueryError: the file can't be read, or a line is not OTLP-JSON; it names the file and line.
    """
    number = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007
                if line.strip():
                    yield from read_export(orjson.loads(line))
    except orjson.JSONDecodeError as error:
        raise TraceQueryError(
            f"{path}, line {number}: not JSON ({error.msg}); if its writer was stopped in mid-line, remove that line"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TraceQueryError(
            f"{path}, line {number}: JSON, but not OTLP spans ({type(error).__name__}: {error})"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise TraceQueryError(f"can't read {path}: {error}") from error


def read_export(export: dict[str, Any]) -> Iterator[Span]:
    """The spans of one export request (`{"resourceSpans": [...]}`)."""
    for resource_spans in export["resourceSpans"]:
        resource = _attributes(resource_spans.get("resource", {}).get("attributes", ()))
        service = str(resource.get(names.SERVICE_NAME, ""))
        host = str(resource.get(names.HOST_NAME, ""))
        for scope_spans in resource_spans.get("scopeSpans", ()):
            for span in scope_spans.get("spans", ()):
                yield Span(
                    trace_id=_id(span["traceId"], 32),
                    span_id=_id(span["spanId"], 16),
                    parent_id=_id(span.get("parentSpanId", ""), 16) or None,
                    name=span["name"],
                    kind=_kind(span.get("kind", 0)),
                    start=int(span["startTimeUnixNano"]),
                    end=int(span["endTimeUnixNano"]),
                    service=service,
                    host=host,
                    failed=span.get("status", {}).get("code") in _STATUS_ERROR,
                    attributes=_attributes(span.get("attributes", ())),
                    links=tuple(_id(link["spanId"], 16) for link in span.get("links", ())),
                )


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _id(text: str, digits: int) -> str:
    """An id as lower-case hex; Tempo writes protobuf's own JSON, whose bytes are base64."""
    return text.lower() if len(text) in {0, digits} else base64.b64decode(text, validate=True).hex()


def _kind(kind: int | str) -> Kind:
    return Kind[kind.removeprefix("SPAN_KIND_")] if isinstance(kind, str) else Kind(kind)


def _attributes(pairs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {pair["key"]: _value(pair.get("value", {})) for pair in pairs}


def _value(value: dict[str, Any]) -> Any:
    if "intValue" in value:
        return int(value["intValue"])
    if "arrayValue" in value:
        return [_value(item) for item in value["arrayValue"].get("values", ())]
    for kind in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
        if kind in value:
            return value[kind]
    return None
