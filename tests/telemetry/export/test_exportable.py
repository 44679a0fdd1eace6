"""Spans that can't be encoded or are too large: every other one arrives, and of these what can be said of them."""

import json
import logging
import os
import shutil
import subprocess
import sys

import pytest
from collector_support import collecting, collecting_by_grpc
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.json.common.trace_encoder import encode_spans as encode_json
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode
from support import PHOTO, HttpServer, read_traces, run_python

from otel_kfs.telemetry.export.exportable import TextLimits, encoded_bytes, exportable
from otel_kfs.telemetry.export.exporter import CountingBatchProcessor, CountingExporter

LIMITS = TextLimits(100, 40)

texts = st.text(st.characters(), min_size=1, max_size=150)  # surrogates, too
scalars = st.one_of(texts, st.integers(), st.floats(), st.booleans(), st.binary(max_size=150), st.none())
values = st.recursive(scalars, lambda one: st.lists(one, max_size=4) | st.dictionaries(texts, one, max_size=4))
attributes = st.dictionaries(texts, values, max_size=5)
context = SpanContext(1, 2, is_remote=True)


def span_of(name="a span", attributes=None, events=(), links=(), description=None, scope="a test", resource=None):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource(resource or {}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    links = [Link(context, of) for of in links]
    span = provider.get_tracer(scope).start_span(name, attributes=attributes, links=links)
    for event, of in events:
        span.add_event(event, of)
    span.set_status(Status(StatusCode.ERROR, description))
    span.end()
    return exporter.get_finished_spans()[0]


@pytest.fixture(autouse=True)
def _unshowable_warnings(monkeypatch):
    """Before 1.45 the SDK warns of values that it does not take, and shows them, lone surrogates and all."""
    monkeypatch.setattr(logging.getLogger("opentelemetry.attributes"), "disabled", True)


@given(
    texts,
    attributes,
    st.lists(st.tuples(texts, attributes), max_size=2),
    st.lists(attributes, max_size=2),
    texts,
    texts,
    attributes,
)
def test_any_span_can_be_encoded_whole(name, attributes, events, links, description, scope, resource):
    span = span_of(name, attributes, events, links, description, scope, resource)
    result = exportable(span, LIMITS)
    message = encode_spans([result])
    assert json.loads(json.dumps(encode_json([result]).to_dict()).encode())["resourceSpans"]
    (of,) = message.resource_spans
    (encoded,) = of.scope_spans[0].spans
    # Nothing was left out in encoding.
    assert len(encoded.attributes) == len(result.attributes)
    assert [len(event.attributes) for event in encoded.events] == [len(event.attributes) for event in result.events]
    assert len(of.resource.attributes) == len(result.resource.attributes)
    assert len(encoded.name) <= 40
    assert len(encoded.status.message) <= 40
    assert all(len(pair.key) <= 100 and len(pair.value.string_value) <= 100 for pair in encoded.attributes)
    assert all(len(pair.value.string_value) <= 40 for event in encoded.events for pair in event.attributes)
    assert encoded.ByteSize() <= encoded_bytes(result)
    assert exportable(result, LIMITS) is result


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("text", "text"),
        ("größer 😀", "größer 😀"),
        ("unknown label \ud83d", "unknown label \ufffd"),
        ("\ud83d\ude00", "😀"),
        ("no\udcffutf8.jpg", "no\ufffdutf8.jpg"),
        ("x" * 101, "x" * 100),
        (("a\udcff", 1, None), ("a\ufffd", 1, None)),
        ({"k\udcff": ["v\udcff"]}, {"k\ufffd": ("v\ufffd",)}),
        (2**63 - 1, 2**63 - 1),
        (2**63, "9223372036854775808"),
        (-(2**64), "-18446744073709551616"),
    ],
)
def test_the_value_of_an_attribute(before, after):
    span = span_of(attributes={"key": before})
    kept = "key" in span.attributes  # before 1.45 the SDK itself took no collections of several types
    assert dict(exportable(span, LIMITS).attributes) == ({"key": after} if kept else {})


def test_integers_of_many_digits_are_written_down_in_linear_time():
    (value,) = exportable(span_of(attributes={"key": 10**100_000}), LIMITS).attributes.values()
    assert (value[:2], len(value)) == ("0x", 100)


def test_a_collection_holds_as_much_as_one_text_altogether():
    many = exportable(span_of(attributes={"texts": ["x" * 90] * 10_000, "numbers": [1.5] * 100_000}), LIMITS)
    assert encoded_bytes(many) < 60_000
    assert set(many.attributes["texts"]) == {"x" * 90}


def test_collections_within_collections_end_before_parsers_give_up():
    deep = "the end"
    for _ in range(200):
        deep = {"deeper": deep}
    message = encode_spans([exportable(span_of(attributes={"deep": deep}), LIMITS)])
    assert type(message).FromString(message.SerializeToString()) == message


def test_names_that_are_no_text_become_text():
    assert exportable(span_of(name=5), LIMITS).name == "5"


# --- the real exporters ---

START = r"""
import otel_kfs
from opentelemetry import trace
otel_kfs.configure("a-service")
tracer = trace.get_tracer("a test")

def fails(text):
    try:
        with tracer.start_as_current_span("fails"):
            raise ValueError(f"unknown label {text}")
    except ValueError:
        pass
"""
SURROGATES = (
    START
    + r"""
for number in range(120):
    tracer.start_span(f"span {number}").end()
fails("\ud83d")
tracer.start_span("named \udcff", attributes={"key \udcff": "value \udcff", "list": ["\udcff"]}).end()
trace.get_tracer("scope \udcff", "1\udcff").start_span("another's").end()
"""
)
NAMES = {f"span {number}" for number in range(120)} | {"fails", "named \ufffd", "another's"}


@pytest.mark.parametrize("how", ["http/protobuf", "grpc"])
def test_lone_surrogates_cost_no_span(how):
    with collecting_by_grpc() if how == "grpc" else collecting() as collector:
        ended = run_python(
            SURROGATES,
            **collector.settings,
            OTEL_RESOURCE_ATTRIBUTES="place=%ED%A0%BD",
        )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert {span.name for span in collector.spans()} == NAMES


def test_lone_surrogates_leave_a_traces_file_readable(tmp_path):
    ended = run_python(SURROGATES, OTEL_KFS_TRACES_FILE="spans.jsonl")
    assert ended.stderr == ""
    assert "\\ud8" not in (tmp_path / "spans.jsonl").read_text()
    assert {span.name for span in read_traces(tmp_path / "spans.jsonl")} == NAMES


def test_an_image_whose_name_is_not_utf_8_is_sent_and_traced(tmp_path):
    image = os.fsencode(tmp_path) + b"/no\xffutf8.jpg"
    shutil.copy(PHOTO, image)
    with HttpServer().running() as model:
        options = ["--transport", "http", "--url", model.url, "--model", "m", "--traces-file", "spans.jsonl"]
        command = [sys.executable, "-m", "otel_kfs.cli", "-q", "send", *options, "--image", image]
        done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert next(span.name for span in read_traces(tmp_path / "spans.jsonl")) == "send image"


BAD = (
    START
    + r"""
import os
for number in range(120):
    tracer.start_span(f"span {number}").end()
tracer.start_span("late").end(end_time=-1)
tracer.start_span("early", start_time=2**70).end()
"""
)


@pytest.mark.parametrize("how", ["http/protobuf", "grpc"])
def test_spans_beyond_encoding_are_counted_alone(how):
    with collecting_by_grpc() if how == "grpc" else collecting() as collector:
        ended = run_python(BAD, **collector.settings)
    assert {span.name for span in collector.spans()} == {f"span {number}" for number in range(120)}
    assert "2 of 122 spans were not exported to " in ended.stderr.splitlines()[-1]


class Picky(SpanExporter):
    """Raises on some spans, as an exporter of somebody else's may."""

    def __init__(self):
        self.names = []

    def export(self, spans):
        if any(span.name == "bad" for span in spans):
            raise KeyError("bad")
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


def test_an_exporter_that_raises_on_a_span_gets_the_others_one_by_one():
    exporter = Picky()
    counting = CountingExporter(lambda: exporter, "somewhere")
    assert counting.export([span_of("one"), span_of("bad"), span_of("two")]) is SpanExportResult.FAILURE
    assert (exporter.names, counting.exported, counting.failed) == (["one", "two"], 2, 1)


# --- sizes ---

LARGE = (
    START
    + r"""
for number in range(240):
    tracer.start_span(f"span {number}").end()
for _ in range(5):
    fails("x" * 2_000_000)
"""
)


@pytest.mark.parametrize("how", ["http/protobuf", "grpc"])
def test_exceptions_that_quote_megabytes_cost_no_span(how):
    with collecting_by_grpc() if how == "grpc" else collecting() as collector:
        ended = run_python(LARGE, **collector.settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(collector.spans()) == 245
    assert sum(collector.sizes()) < 1_000_000


def test_the_standard_variable_bounds_texts(tmp_path):
    script = START + 'fails("x" * 1000); tracer.start_span("a span", attributes={"key": "x" * 1000}).end()'
    run_python(script, OTEL_KFS_TRACES_FILE="spans.jsonl", OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="60")
    texts = [
        pair["value"]["stringValue"]
        for line in (tmp_path / "spans.jsonl").read_text().splitlines()
        for scope in json.loads(line)["resourceSpans"][0]["scopeSpans"]
        for span in scope["spans"]
        for of in [span, *span.get("events", [])]
        for pair in of.get("attributes", [])
    ]
    assert max(map(len, texts)) == 60
    assert len(texts) == 5


MANY_LARGE = (
    START
    + r"""
for number in range(200):
    tracer.start_span(f"span {number}", attributes={f"key {n}": "x" * 16_000 for n in range(4)}).end()
"""
)


@pytest.mark.parametrize("how", ["http/protobuf", "grpc"])
def test_a_batch_larger_than_what_servers_accept_leaves_in_several_requests(how):
    with collecting_by_grpc() if how == "grpc" else collecting() as collector:
        ended = run_python(MANY_LARGE, **collector.settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert {span.name for span in collector.spans()} == {f"span {number}" for number in range(200)}
    assert max(collector.sizes()) <= 4 * 1024 * 1024


def test_what_is_refused_for_its_size_is_split():
    with collecting() as collector:
        refused = lambda request, _: (413, b"") if len(request.body) > 1_000_000 else (200, b"")  # noqa: E731
        collector.answer = refused
        ended = run_python(MANY_LARGE, **collector.settings)
        collector.requests = [one for one in collector.requests if len(one.body) <= 1_000_000]
    assert ended.returncode == 0
    assert sorted(span.name for span in collector.spans()) == sorted(f"span {number}" for number in range(200))
    assert "spans were not exported" not in ended.stderr


class Limited(SpanExporter):
    """Takes what is small enough, or nothing while it is down."""

    def __init__(self, most=0):
        self.most, self.tried, self.names = most, 0, []

    def export(self, spans):
        self.tried += 1
        if sum(map(encoded_bytes, spans)) > self.most:
            return SpanExportResult.FAILURE
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


def test_one_span_that_is_too_large_is_counted_alone():
    exporter = Limited(1_000_000)
    counting = CountingExporter(lambda: exporter, "somewhere")
    large = {f"key {number}": "x" * 16_000 for number in range(100)}
    spans = [span_of(f"span {number}", attributes=large if number in (3, 70) else {}) for number in range(100)]
    counting.export(spans)
    assert sorted(exporter.names) == sorted(f"span {number}" for number in range(100) if number not in (3, 70))
    assert (counting.exported, counting.failed) == (98, 2)


@pytest.mark.parametrize(("characters", "tries"), [(10, 1), (16_000, 2)])
def test_where_nobody_is_there_a_batch_is_tried_no_more_than_twice(characters, tries):
    exporter = Limited()
    counting = CountingExporter(lambda: exporter, "somewhere")
    counting.export([span_of(attributes={"key": "x" * characters}) for _ in range(500)])
    assert (exporter.tried, counting.failed) == (tries, 500)


def test_what_waits_to_be_exported_holds_little_more_than_what_leaves(monkeypatch):
    exporter = InMemorySpanExporter()
    processor = CountingBatchProcessor(CountingExporter(lambda: exporter, "memory"))
    seen = []
    monkeypatch.setattr(CountingExporter, "export", lambda self, spans: seen.extend(spans))
    processor.on_end(span_of(description="x" * 3_000_000, attributes={"key": "x" * 3_000_000}))
    processor.force_flush()
    assert [encoded_bytes(span) < 200_000 for span in seen] == [True]
