"""The same traces give the same tables, byte by byte, whichever program saved or keeps them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zipkin_support import zipkin_spans

from otel_kfs import cli
from otel_kfs.traces.formats import detect
from otel_kfs.traces.store import ReadWarnings
from otel_kfs.traces.stores.store_client import Answer, StoreClient

DATA = Path(__file__).parents[2] / "data"
TRACES = DATA / "traces"
LINES = [line for file in sorted(TRACES.glob("*.jsonl")) for line in file.read_bytes().splitlines()]


def recorded(name: str) -> dict[str, Any]:
    """The answers of a real store, by their paths."""
    return {entry["path"]: entry["body"] for entry in json.loads((DATA / "stores" / f"{name}.json").read_text())}


JAEGER = recorded("jaeger-v3")["/api/v3/traces"]
OLDER = recorded("jaeger-older")["/api/traces"]
TEMPO = {path: body for path, body in recorded("tempo").items() if "trace" in body}


def tables(query: str | Path) -> bytes:
    """What `tables --format json` prints."""
    command = [
        "-q",
        "tables",
        "--trace-query",
        str(query),
        "--format",
        "json",
        "--layout",
        "seed",
        "--layout",
        "segments",
    ]
    result = CliRunner().invoke(cli.main, command)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout_bytes


@pytest.fixture(scope="module")
def expected() -> bytes:
    """The tables of the files as their writers left them."""
    found = tables(TRACES)
    assert [row["transport"] for row in json.loads(found)["seed"]] == ["http", "kafka"]
    return found


SAVED: dict[str, Callable[[], bytes]] = {
    "OTLP-JSON lines": lambda: b"\n".join(LINES),
    "one OTLP-JSON document": lambda: json.dumps(
        {"resourceSpans": [one for line in LINES for one in json.loads(line)["resourceSpans"]]}, indent=2
    ).encode(),
    "an array": lambda: b"[" + b",\n".join(LINES) + b"]",
    "documents without line ends": lambda: b"".join(LINES),
    "gzip": lambda: gzip.compress(b"\n".join(LINES)),
    "zstd": lambda: zstd.compress(b"\n".join(LINES)),
    "Jaeger's v3 answer": lambda: json.dumps(JAEGER).encode(),
    "Jaeger's v3 answer, laid out": lambda: json.dumps(JAEGER, indent=4).encode(),
    "Jaeger's v3 traces without their wrapping": lambda: json.dumps(JAEGER["result"]).encode(),
    "Tempo's v2 answers": lambda: b"".join(json.dumps(body).encode() for body in TEMPO.values()),
    "Tempo's v2 answers, laid out": lambda: b"\n".join(json.dumps(body, indent=1).encode() for body in TEMPO.values()),
    "Tempo's v1 answers": lambda: json.dumps(
        [{"batches": body["trace"]["resourceSpans"]} for body in TEMPO.values()]
    ).encode(),
    "what Grafana downloads": lambda: b"\n".join(
        json.dumps({"batches": body["trace"]["resourceSpans"]})
        .replace('"scopeSpans"', '"instrumentationLibrarySpans"')
        .replace('"scope"', '"instrumentationLibrary"')
        .encode()
        for body in TEMPO.values()
    ),
    "some of each": lambda: b"\n".join(
        [*LINES, json.dumps(JAEGER).encode(), json.dumps(list(TEMPO.values())).encode()]
    ),
}


@pytest.mark.parametrize("form", SAVED)
def test_a_saved_file_gives_the_same_tables(tmp_path: Path, expected: bytes, form: str) -> None:
    (tmp_path / "saved").write_bytes(SAVED[form]())
    assert tables(tmp_path / "saved") == expected


@pytest.mark.parametrize(("scheme", "name"), [("jaeger", "jaeger-v3"), ("tempo", "tempo")])
def test_a_store_gives_the_same_tables(
    monkeypatch: pytest.MonkeyPatch, expected: bytes, scheme: str, name: str
) -> None:
    answers = recorded(name)
    monkeypatch.setattr(
        StoreClient, "_get", lambda _, path, *__: Answer(200, "application/json", json.dumps(answers[path]).encode())
    )
    assert tables(f"{scheme}:http://127.0.0.1:1") == expected


def in_microseconds() -> Iterator[bytes]:
    """The files' lines with times cut as in Jaeger's older JSON: start and duration, each to whole microseconds."""
    for line in LINES:
        document = json.loads(line)
        for resource in document["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
                    cut = start // 1000 * 1000
                    span["startTimeUnixNano"] = str(cut)
                    span["endTimeUnixNano"] = str(cut + (end - start) // 1000 * 1000)
        yield json.dumps(document).encode()


ZIPKINS = zipkin_spans(LINES)


@pytest.mark.parametrize(
    "saved",
    [
        OLDER,
        {**OLDER, "total": 0, "limit": 0, "errors": None},
        OLDER["data"],
        ZIPKINS,
        [[span for span in ZIPKINS if span["traceId"] == one] for one in {span["traceId"] for span in ZIPKINS}],
        [OLDER, *ZIPKINS],
    ],
    ids=[
        "Jaeger's older API's answer",
        "the download of Jaeger's page",
        "its traces without their wrapping",
        "Zipkin's trace",
        "Zipkin's traces",
        "both in an array",
    ],
)
def test_json_in_microseconds_gives_the_same_tables_to_the_microsecond(tmp_path: Path, saved: Any) -> None:
    (tmp_path / "cut.jsonl").write_bytes(b"\n".join(in_microseconds()))
    (tmp_path / "saved.json").write_text(json.dumps(saved, indent=2))
    assert tables(tmp_path / "saved.json") == tables(tmp_path / "cut.jsonl")


def test_a_run_gives_the_same_tables_from_files_and_stores(monkeypatch: pytest.MonkeyPatch, expected: bytes) -> None:
    (run,) = {
        pair["value"]["stringValue"]
        for body in TEMPO.values()
        for resource in body["trace"]["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
        for pair in span.get("attributes", [])
        if pair["key"] == "otel_kfs.run.id"
    }
    assert tables(f"{TRACES}?run={run}") == expected
    answers = recorded("jaeger-v3")
    monkeypatch.setattr(
        StoreClient, "_get", lambda _, path, *__: Answer(200, "application/json", json.dumps(answers[path]).encode())
    )
    assert tables(f"jaeger:http://127.0.0.1:1?run={run}") == expected


def keys_passed_over(document: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What both readers, which have to agree, say of a document's keys."""
    said = []
    for read in (detect.read_with_types, lambda *_: None):
        warnings, text = ReadWarnings(), json.dumps(document).encode()
        caplog.clear()
        typed = read(text, warnings, "t.json")
        found = list(detect.spans_of(document, warnings, "t.json")) if typed is None else [*chain(*typed[0])]
        warnings.say()
        said.append(([span.name for span in found], caplog.messages))
    assert said[0] == said[1]
    assert said[0][0] == ["a"]
    return caplog.messages


SPAN = {"traceId": "a" * 32, "spanId": "b" * 16, "name": "a", "startTimeUnixNano": "1", "endTimeUnixNano": "2"}


@pytest.mark.parametrize(
    ("resource_spans", "document", "key"),
    [
        ({}, {}, None),
        ({"schemaUrl": "http://s", "resource": {}}, {}, None),
        ({"scope_spans": []}, {}, None),
        ({"scope_spans": [{"spans": [SPAN]}]}, {}, "scope_spans"),
        ({}, {"batches": [{"scopeSpans": []}]}, "batches"),
        ({}, {"resource_spans": [1]}, "resource_spans"),
    ],
)
def test_a_key_around_the_spans_that_nobody_reads_is_counted(
    caplog: pytest.LogCaptureFixture, resource_spans: Any, document: Any, key: str | None
) -> None:
    whole = {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN], "scope": {"name": "x"}}], **resource_spans}]}
    expected = [] if key is None else [f"keys that are not read: 1, t.json ({key})"]
    assert keys_passed_over({**whole, **document}, caplog) == expected


def test_spans_of_scopes_and_of_libraries_are_read_beside_each_other() -> None:
    document = {
        "resourceSpans": [
            {"scopeSpans": [{"spans": [SPAN]}], "instrumentationLibrarySpans": [{"spans": [SPAN | {"name": "b"}]}]}
        ]
    }
    warnings = ReadWarnings(strict=True)
    typed = detect.read_with_types(json.dumps(document).encode(), warnings, "t.json")
    assert typed is not None
    assert [[span.name for span in batch] for batch in typed[0]] == [["a", "b"]]
    assert [span.name for span in detect.spans_of(document, warnings, "t.json")] == ["a", "b"]


JAEGERS = {"traceID": "a" * 32, "spanID": "b" * 16, "operationName": "a", "startTime": 1, "duration": 1}


@pytest.mark.parametrize(
    ("span", "trace", "document", "key"),
    [
        ({"flags": 1, "logs": [{"timestamp": 1}], "warnings": ["w"]}, {"traceID": "a"}, {"total": 1}, None),
        ({"parentSpanID": "c" * 16}, {}, {}, None),
        ({"process": {"serviceName": "s"}}, {}, {}, "process"),
        ({}, {"more": 1}, {}, "more"),
        ({}, {"processes": {"p1": {"serviceName": "s", "tags": [], "more": 1}}}, {}, "more"),
        ({}, {}, {"more": 1}, "more"),
    ],
)
def test_a_key_of_jaegers_that_nobody_reads_is_counted(
    caplog: pytest.LogCaptureFixture, span: Any, trace: Any, document: Any, key: str | None
) -> None:
    whole = {"data": [{"spans": [{**JAEGERS, **span}], "processes": {}, **trace}], **document}
    expected = [] if key is None else [f"keys that are not read: 1, t.json ({key})"]
    assert keys_passed_over(whole, caplog) == expected


# What is known, and not read, whatever is in it; and what has keys of any name.
UNREAD_BY_DESIGN = {"events", "scope", "instrumentationLibrary", "arrayValue", "kvlistValue", "logs", "annotations"}
UNREAD_BY_DESIGN |= {"remoteEndpoint", "errors", "warnings", "metrics"}
ANY_KEYS = {"processes", "tags"}
EVERYTHING: dict[str, Any] = {
    "traceState": "a=b",
    "flags": 256,
    "kind": 3,
    "status": {"code": 2, "message": "m"},
    "attributes": [{"key": "otel_kfs.role", "value": {"stringValue": "predictor"}}],
    "events": [{"name": "e", "timeUnixNano": "1", "attributes": [{"key": "k", "value": {}}]}],
    "links": [{"traceId": "c" * 32, "spanId": "d" * 16, "attributes": [], "flags": 768}],
    "droppedAttributesCount": 1,
    "droppedEventsCount": 1,
    "droppedLinksCount": 1,
}
RESOURCE_SPANS = {
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}], "droppedAttributesCount": 1},
    "scopeSpans": [{"scope": {"name": "x"}, "spans": [{**SPAN, **EVERYTHING}], "schemaUrl": "http://s"}],
    "schemaUrl": "http://s",
}
KNOWN: dict[str, Any] = {
    "OTLP": {"resourceSpans": [RESOURCE_SPANS]},
    "Jaeger's v3": {"result": {"resourceSpans": [RESOURCE_SPANS]}},
    "Tempo's v1": {"batches": [RESOURCE_SPANS]},
    "Tempo's v2": {"trace": {"resourceSpans": [RESOURCE_SPANS]}, "status": "COMPLETE", "message": "", "metrics": {}},
    "Tempo's v2, with batches": {"trace": {"batches": [RESOURCE_SPANS]}},
    "Grafana's": {
        "batches": [{"instrumentationLibrarySpans": [{"spans": [SPAN], "instrumentationLibrary": {"name": "x"}}]}]
    },
    "Jaeger's older": {
        "data": [
            {
                "traceID": "a",
                "spans": [
                    {
                        **JAEGERS,
                        "references": [{"refType": "FOLLOWS_FROM", "traceID": "c", "spanID": "d"}],
                        "tags": [{"key": "span.kind", "type": "string", "value": "client"}],
                        "logs": [{"timestamp": 1, "fields": []}],
                        "processID": "p1",
                        "flags": 1,
                        "warnings": None,
                    }
                ],
                "processes": {"p1": {"serviceName": "s", "tags": [{"key": "a", "type": "string", "value": "b"}]}},
                "warnings": None,
            }
        ],
        "total": 0,
        "limit": 0,
        "offset": 0,
        "errors": None,
    },
    "Zipkin's": [ZIPKINS[0] | {"name": "a", "remoteEndpoint": {"ipv4": "10.0.0.8"}, "shared": True, "debug": True}],
}


def objects(document: Any, name: str = "") -> Iterator[dict[str, Any]]:
    """The objects in a document of which the keys are those of its format."""
    if isinstance(document, list):
        for one in document:
            yield from objects(one, name)
    elif isinstance(document, dict):
        if name not in ANY_KEYS:
            yield document
        for key, inner in document.items():
            if key not in UNREAD_BY_DESIGN and not (key == "attributes" and name == "links"):
                yield from objects(inner, key)


@pytest.mark.parametrize("form", KNOWN)
def test_a_document_with_all_keys_of_its_format_has_none_that_is_not_read(
    caplog: pytest.LogCaptureFixture, form: str
) -> None:
    assert keys_passed_over(KNOWN[form], caplog) == []


@pytest.mark.parametrize("form", KNOWN)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_unknown_key_is_counted_at_whatever_level_it_stands(
    caplog: pytest.LogCaptureFixture, form: str, data: st.DataObject
) -> None:
    document = json.loads(json.dumps(KNOWN[form]))
    where = data.draw(st.sampled_from(list(objects(document))))
    key = data.draw(st.sampled_from(["parent_span_id", "trace_id", "spanID2", "more", "resource_spans"]))
    where[key] = data.draw(st.sampled_from([1, "x", True, [1], {"a": 1}, [{"spans": [SPAN]}]]))
    assert keys_passed_over(document, caplog) == [f"keys that are not read: 1, t.json ({key})"]
