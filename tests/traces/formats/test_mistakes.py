"""What is said of documents that are nearly traces: where something is not as it should be, and what it is instead."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query
from otel_kfs.traces.formats import detect
from otel_kfs.traces.store import ReadWarnings

OTLP: dict[str, Any] = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeSpans": [
                {
                    "scope": {"name": "by hand"},
                    "spans": [
                        {
                            "traceId": "a" * 32,
                            "spanId": "b" * 16,
                            "parentSpanId": "c" * 16,
                            "name": "POST",
                            "kind": 3,
                            "startTimeUnixNano": "1",
                            "endTimeUnixNano": "2",
                            "attributes": [{"key": "http.request.body.size", "value": {"intValue": "3"}}],
                            "links": [{"traceId": "d" * 32, "spanId": "e" * 16}],
                            "status": {"code": 2},
                        }
                    ],
                }
            ],
        }
    ]
}
JAEGER: dict[str, Any] = {
    "data": [
        {
            "traceID": "a" * 32,
            "spans": [
                {
                    "traceID": "a" * 32,
                    "spanID": "b" * 16,
                    "operationName": "POST",
                    "references": [{"refType": "CHILD_OF", "traceID": "a" * 32, "spanID": "c" * 16}],
                    "startTime": 1,
                    "duration": 1,
                    "tags": [{"key": "span.kind", "type": "string", "value": "client"}],
                    "processID": "p1",
                }
            ],
            "processes": {"p1": {"serviceName": "shop", "tags": [{"key": "host.name", "value": "one"}]}},
        }
    ]
}
ZIPKIN: list[dict[str, Any]] = [
    {
        "traceId": "a" * 32,
        "id": "b" * 16,
        "parentId": "c" * 16,
        "kind": "CLIENT",
        "name": "post",
        "timestamp": 1,
        "duration": 1,
        "localEndpoint": {"serviceName": "shop"},
        "tags": {"http.method": "POST"},
    }
]
DOCUMENTS = [OTLP, JAEGER, ZIPKIN]
OF_PYTHON = ("Error", "NoneType", "'int'", "'str'", "'float'", "'bool'", "'list'", "'dict'", "object has no", "unpack")


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document below its top."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def changed(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    changed_ = copy.deepcopy(document)
    holder = changed_
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = value
    return changed_


EVERY_PLACE = [(document, at) for document in DOCUMENTS for at in places(document)]
ANY_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def said_of(text: str, file: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is said of a file with that text: warnings, and the error where it is one."""
    file.write_text(text)
    caplog.clear()
    try:
        list(query.spans(str(file)))
    except TraceQueryError as error:
        return [*caplog.messages, str(error)]
    return caplog.messages


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_said_to_be_that_wherever_it_is(tmp_path, caplog, number, end):
    file = tmp_path / "t.json"
    reason = "number is infinity when parsed as double" if number == "1e999" else f"{number} is no number in JSON"
    for document, at in EVERY_PLACE:
        text = json.dumps(changed(document, at, "@")).replace('"@"', number) + end
        assert said_of(text, file, caplog) == [f"{file}, line 1: not JSON ({reason})"], at


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.sampled_from(EVERY_PLACE), value=ANY_VALUE)
@example(place=(OTLP, ("resourceSpans", 0, "resource", "attributes", 0)), value={})
@example(place=(OTLP, ("resourceSpans", 0, "resource", "attributes")), value={"a": 1})
@example(place=(OTLP, ("resourceSpans", 0, "scopeSpans", 0, "spans", 0, "kind")), value="x")
@example(place=(JAEGER, ("data", 0, "processes")), value=[1])
@example(place=(ZIPKIN, (0, "tags")), value=1)
def test_nothing_that_is_said_of_a_wrong_value_is_in_python_s_words(tmp_path_factory, caplog, place, value):
    document, at = place
    said = said_of(json.dumps(changed(document, at, value)), tmp_path_factory.mktemp("t") / "t.json", caplog)
    assert not [line for line in said for word in OF_PYTHON if word in line.replace(repr(value), "")]
    assert not [line for line in said if "end in the middle" in line]


@pytest.mark.parametrize(
    ("at", "value", "what"),
    [
        (("resourceSpans", 0), 5, "`resourceSpans` is a whole number, not an object"),
        (("resourceSpans", 0, "resource"), "x", "`resourceSpans.resource` is text, not an object"),
        (("resourceSpans", 0, "scopeSpans"), {"a": 1}, "`resourceSpans.scopeSpans` is an object, not an array"),
        (
            ("resourceSpans", 0, "scopeSpans", 0, "spans", 0),
            [],
            "`resourceSpans.scopeSpans.spans` is an array, not an object",
        ),
        (
            ("resourceSpans", 0, "scopeSpans", 0, "spans", 0, "endTimeUnixNano"),
            "soon",
            "`resourceSpans.scopeSpans.spans.endTimeUnixNano` is text, not a whole number",
        ),
        (("resourceSpans", 0, "scopeSpans", 0, "spans", 0, "kind"), "x", "its kind, 'x', is none of OTLP's"),
    ],
)
def test_a_part_of_an_export_that_is_not_as_it_should_be_is_named_and_the_others_are_read(at, value, what):
    document = changed(OTLP, at, value)
    document["resourceSpans"] += OTLP["resourceSpans"]
    warnings = ReadWarnings()
    assert [span.name for span in detect.spans_of(document, warnings, "here")] == ["POST"]
    assert warnings.counts == {detect.MALFORMED: 1}
    with pytest.raises(TraceQueryError, match="left out that can't be read") as refused:
        list(detect.spans_of(document, ReadWarnings(strict=True), "here"))
    assert str(refused.value) == f"here: {detect.MALFORMED} ({what})"


@given(
    document=ANY_VALUE.map(lambda value: {"a": value}),
    data=st.data(),
    ascii_=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_a_document_that_ends_anywhere_before_its_end_is_known_to_be_cut(document, data, ascii_, indent):
    text = json.dumps(document, ensure_ascii=ascii_, indent=indent).encode("utf-8", "surrogatepass")
    with pytest.raises(detect.NotJson) as cut:
        list(detect.documents(text[: data.draw(st.integers(1, len(text) - 1))]))
    assert cut.value.is_cut
