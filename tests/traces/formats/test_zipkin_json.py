"""Zipkin's JSON: the same spans by either reader, in every form; what is no span is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces_builder import MS, at, spans

from otel_kfs import semconv
from otel_kfs.analysis.corrected_measurement import read
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query
from otel_kfs.traces.batch import trimmed
from otel_kfs.traces.formats import detect, zipkin_json
from otel_kfs.traces.span import Kind, Span, SpanGraph
from otel_kfs.traces.store import ReadWarnings

WHOLE = {
    "traceId": "5B8EFFF798038103D269B633813FC60C",
    "parentId": "ee9b7ec3c1b173",
    "id": "EE9B7EC3C1B174",
    "kind": "CONSUMER",
    "name": "process images",
    "timestamp": 1_600_000_000_000_001,
    "duration": 9,
    "localEndpoint": {"serviceName": "bridge", "ipv4": "10.0.0.7", "port": 8080},
    "remoteEndpoint": {"serviceName": "kafka", "port": 9092},
    "annotations": [{"timestamp": 1_600_000_000_000_002, "value": "polled"}],
    "tags": {
        "host.name": "one",
        "error": "the model is down",
        "otel.status_code": "ERROR",
        "otlp.link.0": "d|aa|state|{}|0",
        semconv.DELIVERY_ATTEMPT: "2",
        semconv.ROLE: "predictor",
        semconv.WARMUP: "false",
        "their.own": "x",
    },
    "debug": True,
    "shared": True,
}
READ = Span(
    trace_id="5b8efff798038103d269b633813fc60c",
    span_id="00ee9b7ec3c1b174",
    parent_id="00ee9b7ec3c1b173",
    name="process images",
    kind=Kind.CONSUMER,
    start=1_600_000_000_000_001_000,
    end=1_600_000_000_000_010_000,
    service="bridge",
    host="one",
    failed=True,
    attributes={"host.name": "one", semconv.DELIVERY_ATTEMPT: 2, semconv.ROLE: "predictor", semconv.WARMUP: False}
    | {"their.own": "x"},
    links=("00000000000000aa",),
    linked_traces=("0000000000000000000000000000000d",),
)
LEAST: dict[str, Any] = {"traceId": "a", "id": "b", "timestamp": 3, "duration": 1}


def with_types(document: Any) -> list[Span] | None:
    return zipkin_json.read_spans(json.dumps(document).encode())


def thoroughly(document: Any) -> list[Span]:
    return [read() for read in zipkin_json.readers(document)]


def test_a_span_with_everything_becomes_the_whole_span() -> None:
    assert thoroughly(WHOLE) == [READ]
    assert with_types(WHOLE) == [trimmed(READ)]


def test_a_span_with_only_what_it_must_have_gets_defaults() -> None:
    (span,) = thoroughly(LEAST)
    ids = "a".rjust(32, "0"), "b".rjust(16, "0")
    assert span == Span(*ids, None, "", Kind.INTERNAL, 3000, 4000, service="", host="", failed=False, attributes={})
    assert with_types([LEAST]) == [span]


@pytest.mark.parametrize("document", [WHOLE, [WHOLE], [[WHOLE]]], ids=["a span", "an array", "traces"])
def test_a_span_is_read_alone_in_an_array_and_in_traces(tmp_path: Path, document: Any) -> None:
    (tmp_path / "saved").write_text(json.dumps(document, indent=1))
    assert list(query.spans(str(tmp_path / "saved"))) == [READ]


def test_spans_of_lines_and_beside_other_exports_are_read(tmp_path: Path) -> None:
    other = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "a" * 32, "spanId": "b" * 16, "name": "c"}]}]}]}
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (WHOLE, [other, WHOLE], [WHOLE] * 2)))
    names = ["process images", "c", "process images", "process images", "process images"]
    assert [span.name for span in query.spans(str(tmp_path))] == names


@pytest.mark.parametrize("kind", list(Kind)[2:])
def test_a_kind_is_read_by_its_name(kind: Kind) -> None:
    (span,) = thoroughly({**LEAST, "kind": kind.name})
    assert span.kind is kind


@pytest.mark.parametrize(
    ("tags", "failed"),
    [
        ({}, False),
        ({"error": ""}, True),
        ({"error": "true"}, True),
        ({"error": "false"}, False),
        ({"otel.status_code": "OK"}, False),
        ({"otel.status_code": "Error"}, True),
    ],
)
def test_an_error_tag_or_status_is_a_failure(tags: dict[str, str], failed: bool) -> None:
    (span,) = thoroughly({**LEAST, "tags": tags})
    assert span.failed is failed
    assert with_types([{**LEAST, "tags": tags}]) == [span]


values = st.sampled_from(["true", "7", "x", "", "predictor", 7, 1.5, None, True, [1], {"a": 1}])
documents = st.fixed_dictionaries(
    {
        "traceId": st.sampled_from(["a", "B" * 32]),
        "id": st.sampled_from(["b", "C" * 16]),
        "timestamp": st.integers(0, 9),
    },
    optional={
        "parentId": st.sampled_from([None, "", "b"]),
        "kind": st.sampled_from([None, "CLIENT", "SERVER"]),
        "name": st.sampled_from([None, "post"]),
        "localEndpoint": st.sampled_from([None, {}, {"serviceName": "s"}, {"serviceName": None, "ipv6": "::1"}]),
        "tags": st.none()
        | st.dictionaries(
            st.sampled_from(["error", "otel.status_code", "host.name", semconv.ROLE, semconv.IMAGE_SIZE, "theirs"]),
            values,
        ),
        "shared": st.booleans(),
    },
).map(lambda span: {"duration": 3, **span})


@given(st.lists(documents, min_size=1, max_size=4))
def test_both_readers_read_the_same(drawn: list[dict[str, Any]]) -> None:
    assert with_types(drawn) == list(map(trimmed, thoroughly(drawn)))
    assert with_types([drawn]) == list(map(trimmed, thoroughly([drawn])))


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"timestamp": None}, "spans left out that can't be read"),
        ({"duration": None}, "spans left out that can't be read"),
        ({"timestamp": "1"}, "spans left out that can't be read"),
        ({"timestamp": 1.5}, "spans left out that can't be read"),
        ({"traceId": 5}, "spans left out that can't be read"),
        ({"id": None}, "spans left out that can't be read"),
        ({"kind": "SLOW"}, "spans left out that can't be read"),
        ({"kind": ["CLIENT"]}, "spans left out that can't be read"),
        ({"name": 3}, "spans left out that can't be read"),
        ({"localEndpoint": "app"}, "spans left out that can't be read"),
        ({"localEndpoint": {"serviceName": 3}}, "spans left out that can't be read"),
        ({"tags": ["a"]}, "spans left out that can't be read"),
        ({"tags": {"otlp.link.0": "aa"}}, "spans left out that can't be read"),
        ({"traceId": "x" * 32}, "spans left out for an invalid id"),
        ({"id": "a" * 17}, "spans left out for an invalid id"),
        ({"parentId": "soon"}, "spans left out for an invalid parent id"),
        ({"timestamp": -1}, "spans left out for an invalid time"),
        ({"timestamp": 1_600_000_000_000_000_000}, "spans left out for an invalid time"),
        ({"duration": 2**62}, "spans left out for an invalid time"),
    ],
)
def test_a_span_that_is_none_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any], what: str
) -> None:
    file = tmp_path / "t.json"
    file.write_text(json.dumps([{**LEAST, "name": "before"}, {**LEAST, **wrong}, {**LEAST, "name": "after"}]))
    for store in (
        query.open_store(str(file)).spans(),
        (s for p in query.open_store(str(file)).parts() for b in p() for s in b),
    ):
        caplog.clear()
        assert [span.name for span in store] == ["before", "after"]
        assert [message.split(" (")[0] for message in caplog.messages] == [f"{what}: 1, {file}, line 1"]
    with pytest.raises(TraceQueryError, match=what):
        list(query.spans(f"{file}?strict=1"))


def test_what_never_ended_is_said_to_be_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.json").write_text(json.dumps([{"traceId": "a", "id": "b", "timestamp": 1}]))
    assert list(query.spans(str(tmp_path))) == []
    assert caplog.messages[0].endswith("(it has no timestamp or no duration: it may never have ended)")


@pytest.mark.parametrize("text", [b"", b"3", b"[]", b"[[]]", b"[[[]]]", b"{}", b'[{"traceId": "a"}]', b"[" * 100_000])
def test_what_is_no_span_is_left_to_others(text: bytes) -> None:
    assert zipkin_json.read_spans(text) is None


@pytest.mark.parametrize(
    "document",
    [
        {"traceId": "a", "spanId": "b", "name": "c"},
        {"traceId": "a", "id": "b"},
        {"traceId": "a", "id": "b", "annotations": [], "binaryAnnotations": []},
        [],
        [[[WHOLE]]],
        [WHOLE, 3],
    ],
)
def test_what_is_not_all_zipkins_is_no_document_of_its(document: Any) -> None:
    assert not zipkin_json.is_spans(document)


@pytest.mark.parametrize(
    ("document", "certain"),
    [
        ([WHOLE | {"traceId": "a" * 16, "id": "b" * 16}], True),
        ([[WHOLE | {"traceId": "a" * 32, "id": "b" * 16}]], True),
        ([LEAST], False),
        ({"level": "info", "msg": "x", "traceId": "a" * 32}, False),
    ],
)
def test_a_file_of_any_name_is_read_if_it_certainly_begins_with_spans(document: Any, certain: bool) -> None:
    assert detect.begins_like_traces(json.dumps(document, indent=1).encode()) is certain


ENVOY = """
send image           INTERNAL    0 1000  id=root service=image-sender transport=http image=1100000
  encode             INTERNAL   10  110  id=encode service=image-sender
  POST               CLIENT    130  990  id=shared service=image-sender
    ingress          SERVER    140  980  id=shared service=envoy
      /v1/models     SERVER    200  970  id=model service=predictor
        receive      INTERNAL  150  200  id=receive service=predictor
        preprocess   INTERNAL  250  400  id=preprocess service=predictor
        predict      INTERNAL  410  940  id=predict service=predictor
"""


def test_a_client_and_a_proxy_that_share_an_id_are_both_on_the_path(tmp_path: Path) -> None:
    def name(text: str | None, digits: int) -> str | None:
        return text and text.encode().hex()[:digits].rjust(digits, "0")

    drawn = spans(ENVOY)
    saved = [
        {
            "traceId": "a" * 32,
            "id": name(span.span_id, 16),
            "parentId": name("root" if span.name == "ingress" else span.parent_id, 16),
            "name": span.name,
            "timestamp": span.start // 1000,
            "duration": (span.end - span.start) // 1000,
            "localEndpoint": {"serviceName": span.service},
            "tags": {key: str(value) for key, value in span.attributes.items()},
            **({} if span.kind is Kind.INTERNAL else {"kind": span.kind.name}),
            **({"shared": True} if span.name == "ingress" else {}),
        }
        for span in drawn
    ]
    (path,), _ = critical_paths(SpanGraph(drawn))
    assert [section.duration for section in path.sections if section.segment.place.name == "ingress"] == [
        10 * MS,
        10 * MS,
    ]
    for number, order in enumerate((saved, saved[::-1])):
        (tmp_path / f"{number}.json").write_text(json.dumps(order))
        (series,) = read(str(tmp_path / f"{number}.json"), processes=1).series
        assert (series.stamps[0][0], [*series.segments]) == (
            at(0),
            [*dict.fromkeys(one.segment for one in path.sections)],
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (semconv.REQUEST_QUEUE_TIME, 12),
        (semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, 0.25),
        *((key, 0.5) for key in semconv.GEN_AI_LATENCIES),
        *((key, 1_500_000) for key in semconv.BODY_SIZE_KEYS),
    ],
)
def test_a_number_that_a_path_is_made_of_is_a_number_again(key, value):
    (read,) = detect.spans_of(WHOLE | {"tags": {key: str(value)}}, ReadWarnings(), "here")
    assert read.attributes == {key: value}
