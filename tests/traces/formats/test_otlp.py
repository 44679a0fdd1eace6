"""OTLP-JSON: whole spans out of good exports by either reader, and none by the fast one out of doubtful ones."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from traces_builder import spans_in

from otel_kfs import semconv
from otel_kfs.analysis import pipeline
from otel_kfs.traces import query
from otel_kfs.traces.batch import trimmed
from otel_kfs.traces.formats import otlp
from otel_kfs.traces.span import Kind, Span

SPAN = {
    "traceId": "5B8EFFF798038103D269B633813FC60C",
    "spanId": "EEE19B7EC3C1B174",
    "parentSpanId": "EEE19B7EC3C1B173",
    "name": "send image",
    "kind": 4,
    "startTimeUnixNano": "1600000000000000001",
    "endTimeUnixNano": "1600000000000000009",
    "attributes": [
        {"key": "text", "value": {"stringValue": "cat"}},
        {"key": "large", "value": {"intValue": "9007199254740993"}},
        {"key": "small", "value": {"intValue": 7}},
        {"key": "flag", "value": {"boolValue": False}},
        {"key": "share", "value": {"doubleValue": 0.5}},
        {"key": "bytes", "value": {"bytesValue": "aGk="}},
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "b"}]}}},
        {"key": "empty list", "value": {"arrayValue": {}}},
        {"key": "nothing", "value": {}},
        {"key": "no value"},
    ],
    "links": [{"traceId": "5B8EFFF798038103D269B633813FC60D", "spanId": "AAE19B7EC3C1B170"}],
    "status": {"code": 2, "message": "it broke"},
}
RESOURCE = {
    "attributes": [
        {"key": "service.name", "value": {"stringValue": "image-sender"}},
        {"key": "host.name", "value": {"stringValue": "one"}},
    ]
}
WHOLE = Span(
    trace_id="5b8efff798038103d269b633813fc60c",
    span_id="eee19b7ec3c1b174",
    parent_id="eee19b7ec3c1b173",
    name="send image",
    kind=Kind.PRODUCER,
    start=1600000000000000001,
    end=1600000000000000009,
    service="image-sender",
    host="one",
    failed=True,
    attributes={
        "text": "cat",
        "large": 9007199254740993,
        "small": 7,
        "flag": False,
        "share": 0.5,
        "bytes": "aGk=",
        "list": [1, "b"],
        "empty list": [],
        "nothing": None,
        "no value": None,
    },
    links=("aae19b7ec3c1b170",),
    linked_traces=("5b8efff798038103d269b633813fc60d",),
)
LEAST = {"traceId": "a" * 32, "spanId": "b" * 16, "name": "n", "startTimeUnixNano": 1, "endTimeUnixNano": 2}


def export(*spans, resource=RESOURCE):
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]}


def line(*spans, resource=RESOURCE):
    return json.dumps(export(*spans, resource=resource)).encode()


def both(*spans, resource=RESOURCE):
    """The spans as both readers read them, which has to be the same."""
    slow = list(otlp.read_export(export(*spans, resource=resource)))
    assert otlp.read_line(line(*spans, resource=resource)) == list(map(trimmed, slow))
    return slow


def test_an_export_with_everything_becomes_the_whole_span():
    assert list(otlp.read_export(export(SPAN))) == [WHOLE]


def test_a_line_becomes_the_same_span_with_the_attributes_of_tables_alone():
    theirs = {"key": "user_agent.original", "value": {"stringValue": "curl"}}
    ours = [
        {"key": semconv.ROLE, "value": {"stringValue": "predictor"}},
        {"key": semconv.IMAGE_SIZE, "value": {"intValue": "9007199254740993"}},
        {"key": semconv.PAYLOAD_SIZE, "value": {"intValue": 7}},
        {"key": semconv.WARMUP, "value": {"boolValue": False}},
        {"key": semconv.DELIVERY_ATTEMPT, "value": {"doubleValue": 0.5}},
        {"key": semconv.URL_FULL, "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "b"}]}}},
        {"key": semconv.CELL, "value": {"bytesValue": "aGk="}},
        {"key": semconv.ENCODING, "value": {}},
        {"key": semconv.COMPRESSION},
    ]
    both(SPAN | {"attributes": [*ours, theirs]})
    (read,) = otlp.read_line(line(SPAN | {"attributes": [*ours, theirs]}))
    attributes = {
        semconv.ROLE: "predictor",
        semconv.WARMUP: False,
        semconv.DELIVERY_ATTEMPT: 0.5,
        semconv.CELL: "aGk=",
        semconv.IMAGE_SIZE: 9007199254740993,
        semconv.PAYLOAD_SIZE: 7,
    }
    assert read == replace(WHOLE, attributes=attributes)


VALUES = [
    {"value": {"stringValue": "cat"}},
    {"value": {"intValue": "7"}},
    {"value": {"boolValue": True}},
    {"value": {"arrayValue": {"values": [{"intValue": "1"}]}}},
    {"value": {}},
    {},
]
KEYS = [semconv.CELL, semconv.ROLE, semconv.URL_FULL, semconv.IMAGE_SIZE, semconv.PAYLOAD_SIZE, "theirs"]


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=8), st.booleans())
def test_of_attributes_with_one_key_the_last_counts(drawn, many):
    others = [{"key": f"their.{number}", "value": {"intValue": "1"}} for number in range(200 if many else 0)]
    both(LEAST | {"attributes": [*others, *({"key": key} | value for key, value in drawn)]})


@pytest.mark.parametrize("key", [semconv.CELL, semconv.IMAGE_SIZE, "distinct.{}"])
def test_a_million_attributes_of_one_span_are_read(tmp_path, key):
    attributes = (f'{{"key":"{key.format(number)}","value":{{"intValue":"{number}"}}}}' for number in range(1_000_000))
    whole = json.dumps(export(LEAST | {"name": "send image", "attributes": ["them"]}))
    file = tmp_path / "traces.jsonl"
    file.write_text(whole.replace('"them"', ",".join(attributes)))
    last = {"key": key.format(999_999), "value": {"intValue": "999999"}}
    once = list(otlp.read_export(export(LEAST | {"name": "send image", "attributes": [last]})))
    assert spans_in(query.open_store(str(file)).parts()) == list(map(trimmed, once))
    assert pipeline.read(query.open_store(str(file)), processes=1).coverage.left_out == {"no request span": 1}


@pytest.mark.parametrize(("kind", "parent"), [("CONSUMER", None), ("CONSUMER", "b" * 16), ("CLIENT", None)])
def test_only_a_consumer_is_part_of_the_traces_that_it_links_to(kind, parent):
    links = [{"traceId": "c" * 32, "spanId": "d" * 16}, {"traceId": "", "spanId": "e" * 16}]
    both(LEAST | {"kind": f"SPAN_KIND_{kind}", "parentSpanId": parent, "links": links})
    (span,) = otlp.read_line(line(LEAST | {"kind": f"SPAN_KIND_{kind}", "parentSpanId": parent, "links": links}))
    assert span.part_of == (("c" * 32,) if kind == "CONSUMER" else ())


def test_a_span_with_only_what_it_must_have_gets_defaults():
    assert both(LEAST, resource=None) == [
        Span("a" * 32, "b" * 16, None, "n", Kind.UNSPECIFIED, 1, 2, service="", host="", failed=False, attributes={})
    ]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_is_read_by_number(kind):
    (span,) = both(LEAST | {"kind": int(kind)})
    assert span.kind is kind


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_is_read_by_name(kind):
    (span,) = both(LEAST | {"kind": f"SPAN_KIND_{kind.name}"})
    assert span.kind is kind


@pytest.mark.parametrize(
    ("status", "failed"),
    [
        ({}, False),
        ({"code": 0}, False),
        ({"code": 1}, False),
        ({"code": 2}, True),
        ({"code": "STATUS_CODE_OK"}, False),
        ({"code": "STATUS_CODE_ERROR"}, True),
    ],
)
def test_only_an_error_status_is_a_failure(status, failed):
    (span,) = both(LEAST | {"status": status})
    assert span.failed is failed


@pytest.mark.parametrize("parent", [{}, {"parentSpanId": ""}])
def test_a_root_has_no_parent_however_that_is_written(parent):
    (span,) = both(LEAST | parent)
    assert span.parent_id is None


def test_each_resource_gives_its_own_spans_their_service_and_host():
    two = {"attributes": [{"key": "service.name", "value": {"stringValue": "bridge"}}]}
    exports = {"resourceSpans": export(LEAST)["resourceSpans"] + export(LEAST, resource=two)["resourceSpans"]}
    assert otlp.read_line(json.dumps(exports).encode()) == list(map(trimmed, otlp.read_export(exports)))
    assert [(span.service, span.host) for span in otlp.read_export(exports)] == [
        ("image-sender", "one"),
        ("bridge", "bridge's host"),
    ]


@pytest.mark.parametrize("absent", ["name", "kind", "startTimeUnixNano", "endTimeUnixNano"])
def test_a_field_that_json_leaves_out_has_the_value_that_protobuf_leaves_out(absent):
    (span,) = both({key: value for key, value in LEAST.items() if key != absent})
    assert getattr(span, {"startTimeUnixNano": "start", "endTimeUnixNano": "end"}.get(absent, absent)) in {"", 0}


@pytest.mark.parametrize("field", ["kind", "parentSpanId", "attributes", "links", "status"])
def test_null_is_nothing(field):
    assert both(LEAST | {field: None}) == both(LEAST)


def test_ids_in_base64_are_read_as_the_bytes_that_they_are():
    encoded = {"traceId": b64(bytes(range(16))), "spanId": b64(bytes(8)), "parentSpanId": b64(bytes(range(8)))}
    (span,) = both(LEAST | encoded)
    assert (span.trace_id, span.span_id, span.parent_id) == (bytes(range(16)).hex(), "0" * 16, bytes(range(8)).hex())


def b64(raw):
    return base64.b64encode(raw).decode()


def test_a_link_brings_the_trace_that_it_leads_to():
    (span,) = both(SPAN | {"attributes": []})
    assert (span.links, span.linked_traces) == (("aae19b7ec3c1b170",), ("5b8efff798038103d269b633813fc60d",))


DEEP = b'{"resourceSpans": [{"scopeSpans": [{"spans": [' + b"[" * 100_000


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"3",
        b"[1]",
        b"{}",
        b'{"resourceMetrics": []}',
        b'{"resourceSpans": 1}',
        b"\xff\xfe\x00",
        DEEP,
        line({"name": "n"}),
        line(LEAST | {"startTimeUnixNano": "soon"}),
        line(LEAST | {"startTimeUnixNano": float("nan")}),
        line(LEAST | {"startTimeUnixNano": -1}),
        line(LEAST | {"endTimeUnixNano": str(2**64)}),
        line(LEAST | {"endTimeUnixNano": "9" * 5000}),
        line(LEAST | {"kind": 9}),
        line(LEAST | {"kind": "SPAN_KIND_SLOW"}),
        line(LEAST | {"kind": []}),
        line(LEAST | {"spanId": 5}),
        line(LEAST | {"spanId": "x" * 16}),
        line(LEAST | {"spanId": "b" * 32}),
        line(LEAST | {"spanId": " " + "b" * 15}),
        line(LEAST | {"spanId": "_" + "b" * 15}),
        line(LEAST, LEAST | {"traceId": "a" * 31}),
        line(LEAST | {"parentSpanId": "a" * 15}),
        line(LEAST | {"name": ["n"]}),
        line(LEAST | {"attributes": {"key": 1}}),
        line(LEAST | {"links": [{}]}),
        line(SPAN)[:-3],
    ],
)
def test_a_line_of_which_anything_is_not_as_it_should_be_is_left_to_be_looked_at_by_parts(bad):
    assert otlp.read_line(bad) is None


@pytest.mark.parametrize(("start", "end"), [(5, 2), (0, 2**64 - 1), (16_725_225_600 * 10**9, 16_725_225_601 * 10**9)])
def test_times_that_make_no_sense_are_times_still(start, end):
    (span,) = both(LEAST | {"startTimeUnixNano": str(start), "endTimeUnixNano": end})
    assert (span.start, span.end) == (start, end)
