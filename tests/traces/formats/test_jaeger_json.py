"""Jaeger's JSON: the same spans by either reader, and all that is not as it should be is left to the thorough one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kfs import semconv
from otel_kfs.traces.batch import trimmed
from otel_kfs.traces.formats import jaeger_json
from otel_kfs.traces.span import Kind, Span

TRACE = "5b8efff798038103d269b633813fc60c"
WHOLE = {
    "traceID": TRACE.upper(),
    "spanID": "EE9B7EC3C1B174",
    "operationName": "process images",
    "startTime": 1_600_000_000_000_001,
    "duration": 9,
    "processID": "p1",
    "references": [
        {"refType": "CHILD_OF", "traceID": TRACE.upper(), "spanID": "ee9b7ec3c1b173"},
        {"refType": "FOLLOWS_FROM", "traceID": "d", "spanID": "aa"},
    ],
    "tags": [
        {"key": "span.kind", "type": "string", "value": "consumer"},
        {"key": "otel.status_code", "type": "string", "value": "ERROR"},
        {"key": semconv.DELIVERY_ATTEMPT, "type": "int64", "value": 2},
        {"key": semconv.ROLE, "type": "string", "value": "predictor"},
        {"key": semconv.URL_FULL, "value": ["no", "plain", "value"]},
        {"key": "their.own", "type": "string", "value": "x"},
    ],
    "logs": [],
    "warnings": None,
}
PROCESSES = {"p1": {"serviceName": "bridge", "tags": [{"key": "host.name", "type": "string", "value": "one"}]}}


def with_types(trace: dict[str, Any]) -> list[Span] | None:
    return jaeger_json.read_trace(msgspec.Raw(json.dumps(trace).encode()))


def thoroughly(trace: dict[str, Any]) -> list[Span]:
    return [trimmed(read()) for read in jaeger_json.readers(trace)]


def test_a_span_with_everything_becomes_the_whole_span() -> None:
    trace = {"traceID": TRACE, "spans": [WHOLE], "processes": PROCESSES}
    assert (
        with_types(trace)
        == thoroughly(trace)
        == [
            Span(
                trace_id=TRACE,
                span_id="00ee9b7ec3c1b174",
                parent_id="00ee9b7ec3c1b173",
                name="process images",
                kind=Kind.CONSUMER,
                start=1_600_000_000_000_001_000,
                end=1_600_000_000_000_010_000,
                service="bridge",
                host="one",
                failed=True,
                attributes={semconv.DELIVERY_ATTEMPT: 2, semconv.ROLE: "predictor"},
                links=("00000000000000aa",),
                linked_traces=("0000000000000000000000000000000d",),
            )
        ]
    )


ids = st.sampled_from(["a", "b", TRACE, TRACE.upper()])
references = st.fixed_dictionaries(
    {"refType": st.sampled_from(["CHILD_OF", "FOLLOWS_FROM"]), "traceID": ids, "spanID": ids}
)
tags = st.fixed_dictionaries(
    {
        "key": st.sampled_from(
            ["span.kind", "error", "otel.status_code", "host.name", semconv.ROLE, semconv.IMAGE_SIZE, "their.own"]
        ),
        "value": st.sampled_from(["server", "ERROR", "x", True, False, 1, 2**63, 1.5, None, [1], {"a": 1}]),
    }
)
spans = st.fixed_dictionaries(
    {"traceID": ids, "spanID": ids, "operationName": st.just("POST"), "startTime": st.integers(0, 9)},
    optional={
        "references": st.none() | st.lists(references, max_size=4),
        "parentSpanID": st.none() | st.just("") | ids,
        "tags": st.none() | st.lists(tags, max_size=6),
        "processID": st.sampled_from(["p1", "p2", "p3"]),
    },
).map(lambda span: {"duration": 3, **span})
processes = st.dictionaries(
    st.sampled_from(["p1", "p2"]),
    st.fixed_dictionaries({}, optional={"serviceName": st.just("s"), "tags": st.none() | st.lists(tags, max_size=3)}),
)


@given(st.fixed_dictionaries({"spans": st.none() | st.lists(spans, max_size=4)}, optional={"processes": processes}))
def test_both_readers_read_the_same(trace: dict[str, Any]) -> None:
    assert with_types(trace) == thoroughly(trace)


@pytest.mark.parametrize(
    "wrong",
    [
        {"startTime": "1"},
        {"startTime": 1.5},
        {"duration": None},
        {"spanID": 5},
        {"operationName": None},
        {"references": [{"refType": "CHILD_OF"}]},
        {"tags": [{"key": "x"}]},
        {"tags": {"key": "x"}},
    ],
)
def test_a_trace_of_which_anything_is_not_as_it_should_be_is_left_to_be_looked_at_by_parts(
    wrong: dict[str, Any],
) -> None:
    assert with_types({"spans": [WHOLE, WHOLE | wrong], "processes": PROCESSES}) is None


@pytest.mark.parametrize("text", [b"", b"3", b"[]", b"{}", b'{"data": 1}', b'{"data": [', b"[" * 100_000])
def test_what_is_no_answer_is_left_to_others(text: bytes) -> None:
    assert jaeger_json.traces_in(text) is None


def test_a_link_to_a_span_of_another_trace_with_the_parent_s_id_is_kept() -> None:
    both = [
        {"refType": "CHILD_OF", "traceID": TRACE, "spanID": "aa"},
        {"refType": "FOLLOWS_FROM", "traceID": "d", "spanID": "aa"},
    ]
    trace = {"spans": [WHOLE | {"references": both}], "processes": PROCESSES}
    (span,) = thoroughly(trace)
    assert (span.parent_id, span.links, span.linked_traces) == (
        "aa".rjust(16, "0"),
        ("aa".rjust(16, "0"),),
        ("d".rjust(32, "0"),),
    )
    assert with_types(trace) == [span]


@pytest.mark.parametrize("references", [[], None, [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": "aa"}]])
def test_a_parent_is_read_where_older_jaegers_have_it(references: Any) -> None:
    trace = {"spans": [WHOLE | {"references": references, "parentSpanID": "aa"}], "processes": PROCESSES}
    (span,) = thoroughly(trace)
    assert (span.parent_id, span.links) == ("aa".rjust(16, "0"), ())
    assert with_types(trace) == [span]
