"""From a parsed document to spans, whichever program saved it: OTLP-JSON, Jaeger's, Tempo's or Zipkin's JSON.

A document that is none of these is an error; a single span in it that can't be read is left out and counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import orjson

from otel_kfs.traces.batch import trimmed
from otel_kfs.traces.formats import jaeger_json, other_formats, otlp, zipkin_json
from otel_kfs.traces.printable import excerpt
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import NOT_TRACES, ReadWarnings, valid_spans, why_malformed

_MICROSECOND = 1000  # ns
_BLANKS = re.compile(r"[ \t\r\n]*")
# Of a value that ends too soon: what a decoder can't go on with.
_BEGUN = re.compile(r"(?:t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?|-|\.|[eE][+-]?|\\?u?[0-9a-fA-F]{0,4})?\s*")

MALFORMED = "spans left out that can't be read"
INCOMPLETE = "traces of which Tempo had only a part"
ERRORS = "answers in which Jaeger told of an error"
OTHER_SIGNALS = "exports of logs, metrics or profiles skipped"

UNREAD = "keys that are not read"

# How traces begin that are certainly such, whatever their file is called.
_BEGINNING = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\[?\s*\{\s*"(?:resource(?:Spans|_spans)"|result"\s*:\s*\{\s*"resourceSpans"'
    rb'|(?:batches"|trace"\s*:\s*\{\s*"(?:resourceSpans|batches)")\s*:\s*\[\s*\{\s*"(?:resource|scopeSpans)"'
    rb'|data"\s*:\s*\[\s*\{\s*"traceID")'
)
_OF_RESOURCES = ("resourceSpans", "batches")
_SCOPES = frozenset(otlp.SCOPES)
_SIGNALS = ("resourceMetrics", "resourceLogs", "resourceProfiles")


# What a document of each shape has besides its spans.
_CONTAINERS = {
    "resourceSpans": (),
    "result": (),
    "batches": (),
    "trace": ("status", "message", "metrics"),
    "data": ("total", "limit", "offset", "errors", "structuredErrors"),
}


class UnknownFormatError(ValueError):
    """A JSON document that is no traces: what it is."""

    def __init__(self, document: Any) -> None:
        super().__init__(f"JSON, but not traces ({other_formats.described(document)})")


class NotJson(ValueError):
    """What is no JSON document: why, where it begins, and whether it only ends too soon."""

    def __init__(self, reason: str, at: int, *, is_cut: bool = False) -> None:
        super().__init__(f"not JSON ({reason})")
        self.reason, self.at, self.is_cut = reason, at, is_cut


def spans_of(document: Any, warnings: ReadWarnings, where: object) -> Iterator[Span]:
    """Yield the spans of one document, or of an array of such.

    - `{"resourceSpans": [...]}`: OTLP-JSON; also with keys in snake_case
    - `{"result": {...}}`: an answer of Jaeger's v3 API
    - `{"data": [...]}`: an answer of its older one, and what its UI downloads; or one trace of those
    - `{"trace": {...}}`, `{"batches": [...]}`: answers of Tempo's v2 and v1 API
    - `{"resource": {...}, "scopeSpans": [...]}`: what is in those, and in OTLP-JSON, without what is around it
    - a span of Zipkin's, an array of them, or an array of such arrays

    Raises:
        UnknownFormatError: it is none of these.
        NOT_TRACES: it is damaged.
    """
    if zipkin_json.is_spans(document):
        yield from _zipkin_spans(document, warnings, where)
        return
    for one in document if isinstance(document, list) else (document,):
        if zipkin_json.is_spans(one):
            yield from _zipkin_spans(one, warnings, where)
            continue
        if isinstance(one, dict) and _is_in_snake_case(one):
            one = otlp.in_camel_case(one)  # noqa: PLW2901
        if not is_known(one):
            raise UnknownFormatError(one)
        _note_unread(one, warnings, where)
        export = _export_in(one, warnings, where)
        if export is not None:
            yield from otlp_spans(export, warnings, where)
        elif "data" in one:
            for error in one.get("errors") or ():
                warnings.add(ERRORS, where, excerpt(str(error.get("msg") if isinstance(error, dict) else error)))
            for trace in one["data"] or ():
                yield from older_spans(trace, warnings, where)
        elif "spans" in one:
            yield from older_spans(one, warnings, where)


def _export_in(document: dict[str, Any], warnings: ReadWarnings, where: object) -> dict[str, Any] | None:
    """Return the OTLP export that a document of a known shape is or holds; None if its traces are Jaeger's."""
    if "resourceSpans" in document:
        return {"resourceSpans": document["resourceSpans"]}
    if "result" in document:
        return {"resourceSpans": (), **document["result"]}
    if "batches" in document:
        return {"resourceSpans": document["batches"]}
    if "trace" in document:
        if document.get("status") == "PARTIAL":
            warnings.add(INCOMPLETE, where, str(document.get("message", "")))
        trace = document["trace"]
        # Older Tempos have `batches` in here, too.
        key = "resourceSpans" if "resourceSpans" in trace else "batches"
        return {**{name: value for name, value in trace.items() if name != key}, "resourceSpans": trace.get(key)}
    return None if _SCOPES.isdisjoint(document) else {"resourceSpans": [document]}


def is_known(document: Any) -> bool:
    """Whether a parsed document is of a shape that is read, or another signal of OpenTelemetry."""
    if not isinstance(document, dict):
        return zipkin_json.is_spans(document)
    if (shape := _container(document)) is not None:
        return _holds_traces(shape, document[shape])
    return (
        ("spans" in document and "processes" in document)
        or not _SCOPES.isdisjoint(document)
        or not document.keys().isdisjoint(_SIGNALS)
        or zipkin_json.is_spans(document)
        or _is_in_snake_case(document)
    )


def _is_in_snake_case(document: dict[str, Any]) -> bool:
    return "resource_spans" in document and _container(document) is None


def _container(document: dict[str, Any]) -> str | None:
    """Return the key under which a document has its traces."""
    return next((key for key in _CONTAINERS if key in document), None)


def _holds_traces(key: str, inner: Any) -> bool:
    """Whether under a key is what a container has there: other programs have `data`, a `trace` or a `result`, too."""
    if key == "data":
        return not inner or (isinstance(inner, list) and any(isinstance(one, dict) and "spans" in one for one in inner))
    if key in {"result", "trace"}:
        return isinstance(inner, dict) and (not inner or not inner.keys().isdisjoint(_OF_RESOURCES))
    return True


def begins_like_traces(text: bytes) -> bool:
    """Whether a text that begins so is certainly traces in JSON."""
    return _BEGINNING.match(text) is not None or zipkin_json.begins_like_spans(text)


def parsed(text: bytes) -> Any:
    """Return a JSON document; None if it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def is_json(text: bytes) -> bool:
    """Whether a text is a JSON document, of which nothing is made."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _note_unread(document: dict[str, Any], warnings: ReadWarnings, where: object) -> None:
    """Count what a document has besides its traces, which is not read."""
    shape = _container(document)
    if shape is None and document.keys().isdisjoint(_SIGNALS):
        return  # the traces themselves, whose reader says what it does not know
    for key in document.keys() - ({shape, *_CONTAINERS[shape]} if shape else set()):
        if key in _SIGNALS:
            warnings.note(OTHER_SIGNALS, where)
        elif document[key]:
            warnings.add(UNREAD, where, key)


def read_with_types(text: bytes, warnings: ReadWarnings, where: object) -> tuple[Iterator[list[Span]], int] | None:
    """Read the spans of one document as `spans_of` does, in a fraction of its time; None: it has to be read by parts.

    They have the attributes that tables are made of, and no others. With them comes `unit_of` the document.
    """
    if (spans := otlp.read_line(text)) is not None:
        return iter([spans]), 1
    if (traces := jaeger_json.traces_in(text)) is not None:
        return (_older_trace(trace, warnings, where) for trace in traces), _MICROSECOND
    if (spans := zipkin_json.read_spans(text)) is not None:
        return iter([list(valid_spans(spans, warnings, where))]), _MICROSECOND
    return None


def unit_of(document: Any) -> int:
    """Return in what unit the times of a known document are, ns."""
    is_older = isinstance(document, dict) and (_container(document) == "data" or "spans" in document)
    return _MICROSECOND if is_older or zipkin_json.is_spans(document) else 1


def _older_trace(trace: msgspec.Raw, warnings: ReadWarnings, where: object) -> list[Span]:
    spans = jaeger_json.read_trace(trace)
    if spans is None:
        return list(map(trimmed, older_spans(orjson.loads(bytes(trace)), warnings, where)))
    return list(valid_spans(spans, warnings, where))


def otlp_spans(export: dict[str, Any], warnings: ReadWarnings, where: object) -> Iterator[Span]:
    """Return the spans of an OTLP export in JSON.

    Raises:
        NOT_TRACES: it is none.
    """
    for key in _unknown(otlp.unknown_keys(export)):
        warnings.add(UNREAD, where, key)
    try:
        spans: Iterable[Span] = list(otlp.read_export(export))
    except NOT_TRACES:
        spans = _one_by_one(otlp.readers(export), warnings, where)
    return valid_spans(spans, warnings, where)


def older_spans(trace: dict[str, Any], warnings: ReadWarnings, where: object) -> Iterator[Span]:
    """Return the spans of one trace in Jaeger's older JSON.

    Raises:
        NOT_TRACES: it is none.
    """
    readers = jaeger_json.readers(trace)
    for key in _unknown(jaeger_json.unknown_keys(trace)):
        warnings.add(UNREAD, where, key)
    return valid_spans(_one_by_one(readers, warnings, where), warnings, where)


def _zipkin_spans(document: Any, warnings: ReadWarnings, where: object) -> Iterator[Span]:
    for key in _unknown(zipkin_json.unknown_keys(document)):
        warnings.add(UNREAD, where, key)
    return valid_spans(_one_by_one(zipkin_json.readers(document), warnings, where), warnings, where)


def _unknown(keys: Iterator[str]) -> Iterator[str]:
    """Yield keys up to where the document is malformed, which its reader reports."""
    with suppress(*NOT_TRACES):
        yield from keys


def documents(text: bytes) -> Iterator[tuple[Any, int]]:
    """Yield the JSON documents that stand in a text one after the other, each with the number of the line it begins in.

    Raises:
        NotJson: what follows the last of them is no JSON.
    """
    # A byte a character, so that a position in one is a position in the other.
    decoder, letters = json.JSONDecoder(parse_constant=_no_number), text.decode("latin-1")
    line, counted, at = 1, 0, 0
    while (begin := _BLANKS.match(letters, at).end()) < len(letters):  # type: ignore[union-attr]
        if letters[begin] not in "{[":
            raise NotJson("Expecting value", begin)  # a log's line may well begin with a number
        try:
            _, at = decoder.raw_decode(letters, begin)
        except json.JSONDecodeError as error:
            raise NotJson(error.msg, begin, is_cut=_is_cut(error)) from error
        except (ValueError, RecursionError) as error:
            raise NotJson(str(error), begin) from error
        try:
            document = orjson.loads(text[begin:at])  # the stricter one: text is UTF-8, and no number is infinite
        except json.JSONDecodeError as error:
            raise NotJson(error.msg, begin) from error
        line, counted = line + text.count(b"\n", counted, begin), begin
        yield document, line


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _is_cut(error: json.JSONDecodeError) -> bool:
    """Return whether a text that is no JSON is the beginning of some."""
    return error.msg.startswith("Unterminated") or _BEGUN.fullmatch(error.doc, error.pos) is not None


def _one_by_one(readers: Iterable[Callable[[], Span]], warnings: ReadWarnings, where: object) -> Iterator[Span]:
    for read in readers:
        try:
            yield read()
        except NOT_TRACES as error:
            warnings.add(MALFORMED, where, why_malformed(error))
