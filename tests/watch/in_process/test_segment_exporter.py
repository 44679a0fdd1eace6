"""Spans of the process's own, measured in it: the same as from a file, from any thread, in bounded memory."""

import re
import threading
from dataclasses import replace

import pytest
import traces_builder
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, StaticSampler
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from sdk_spans_support import play
from support import run_python, wait_until
from traces_builder import HTTP, KAFKA, STRAIGHT, spans

import otel_kfs
from otel_kfs.analysis import pipeline
from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.errors import OtelKfsError
from otel_kfs.traces.batch import trimmed
from otel_kfs.traces.formats import otlp_protobuf
from otel_kfs.traces.formats.sdk_spans import read_span
from otel_kfs.traces.store import ReadWarnings
from otel_kfs.watch.in_process.kept_spans import SegmentFigures

KEYS = st.sampled_from(["otel_kfs.image.size", "otel_kfs.transport", "url.path", "anything"])
VALUES = st.one_of(
    st.text(max_size=5), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.binary(),
    st.lists(st.integers(0, 9), max_size=3),
)  # fmt: skip
CONTEXTS = st.builds(
    SpanContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans(), st.just(TraceFlags(1))
)


class Ids(IdGenerator):
    """One trace and one span."""

    def generate_trace_id(self):
        return 2**127

    def generate_span_id(self):
        return 2**63


@st.composite
def ended_spans(draw):
    """A span of the SDK with whatever it may have."""
    resource = Resource(draw(st.dictionaries(st.sampled_from(["service.name", "host.name", "host.id"]), st.text())))
    tracer = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=Ids()).get_tracer("a test")
    parent = draw(st.none() | CONTEXTS)
    context = None if parent is None else trace.set_span_in_context(trace.NonRecordingSpan(parent))
    start = draw(st.integers(0, 2**63))
    span = tracer.start_span(
        draw(st.text(max_size=9)), context, draw(st.sampled_from(SpanKind)), draw(st.dictionaries(KEYS, VALUES)),
        [Link(one) for one in draw(st.lists(CONTEXTS, max_size=2))], start,
    )  # fmt: skip
    for name in draw(st.lists(st.sampled_from(["QUEUE_START", "COMPUTE_INPUT_END", "other"]), max_size=2)):
        span.add_event(name, timestamp=draw(st.integers(0, 2**63)))
    span.set_status(Status(draw(st.sampled_from(StatusCode))))
    span.end(start + draw(st.integers(0, 10**12)))
    return span


@pytest.fixture
def segments():
    return otel_kfs.SegmentProcessor()


@pytest.fixture
def provider(segments):
    provider = TracerProvider(resource=Resource({"service.name": "service", "host.name": "host"}))
    provider.add_span_processor(segments)
    yield provider
    provider.shutdown()


@given(ended_spans())
@settings(max_examples=50)
def test_a_span_of_the_sdk_is_read_as_by_way_of_otlp(span):
    over_the_wire = encode_spans([span]).SerializeToString()
    warnings = ReadWarnings(strict=True)
    assert read_span(span) == trimmed(*otlp_protobuf.spans_of(over_the_wire, warnings, "the test"))


@pytest.mark.parametrize("drawing", [HTTP, KAFKA, STRAIGHT], ids=["http", "kafka", "straight"])
def test_the_measurement_is_that_of_the_same_spans_read_from_a_store(provider, segments, drawing):
    for _ in range(3):
        play(drawing, provider)
    spans = list(segments.measurement().store.spans())
    stored = corrected(pipeline.read(traces_builder.Store(spans[::2], spans[1::2])))
    found = segments.measurement()
    assert found.coverage.measured == 3
    assert replace(found, store=None) == stored


def test_a_segment_s_figures_are_in_seconds(provider, segments):
    play(STRAIGHT, provider)
    assert segments.segment("encode") == SegmentFigures(1, 0.1, None, 0.1, None, None, None, 0.1)
    assert segments.total().max == 0.5


def test_a_step_s_name_is_enough_where_one_place_has_it(provider, segments):
    play(STRAIGHT, provider)
    assert segments.segment("decode") == segments.segment("predictor decode")


def test_a_name_that_several_places_share_is_an_error_that_names_them(provider, segments):
    play(HTTP, provider)
    with pytest.raises(LookupError, match="several segments 'decode': transformer decode, predictor decode"):
        segments.segment("decode")


def test_an_unknown_segment_is_an_error_that_names_those_that_there_are(provider, segments):
    play(STRAIGHT, provider)
    with pytest.raises(LookupError, match="no image has a segment 'decoding': client, encode, predictor request"):
        segments.segment("decoding")


def test_where_nothing_was_measured_the_error_says_why(provider, segments):
    with provider.get_tracer("a test").start_as_current_span("send image"):
        pass
    with pytest.raises(LookupError, match="no such image: 0 images measured; 1 left out: no request span"):
        segments.total()


def test_images_of_one_transport_or_size_can_be_looked_at_alone(provider, segments):
    play(HTTP, provider)
    play(KAFKA, provider)
    assert segments.total().n == 2
    assert segments.total(transport="kafka", size="1.1MB").n == 1
    with pytest.raises(LookupError, match=r"2 images measured \(HTTP 1.1MB, Kafka 1.1MB\)"):
        segments.total(size="5MB")


def test_an_exporter_behind_a_batch_processor_measures_the_same(provider, segments):
    exporter = otel_kfs.SegmentExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    play(HTTP, provider)
    assert provider.force_flush()
    assert replace(exporter.measurement(), store=None) == replace(segments.measurement(), store=None)


def test_all_threads_spans_are_kept(provider, segments):
    threads = [threading.Thread(target=lambda: [play(STRAIGHT, provider) for _ in range(10)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        segments.measurement()
    assert segments.measurement().coverage.measured == 80


def test_the_oldest_traces_give_way_whole_and_are_counted():
    segments = otel_kfs.SegmentProcessor(max_spans=30)
    provider = TracerProvider()
    provider.add_span_processor(segments)
    for _ in range(10):
        play(STRAIGHT, provider)  # 9 spans
    assert segments.measurement().coverage.measured == 3
    assert segments.given_up == 10 * 9 - 3 * 9


def test_what_was_cleared_is_forgotten(provider, segments):
    play(STRAIGHT, provider)
    segments.clear()
    play(KAFKA, provider)
    assert [one.labels.transport for one in segments.measurement().series] == ["kafka"]


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, StaticSampler(Decision.RECORD_ONLY)], ids=["off", "record only"])
def test_what_is_not_sampled_is_not_kept(sampler, segments):
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(segments)
    play(STRAIGHT, provider)
    assert not list(segments.measurement().store.spans())
    assert not segments.measurement().coverage.left_out


def test_waiting_ends_when_the_server_s_span_has_ended_after_its_answer(provider, segments):
    """Until then the server is one stretch without spans: measured, and yet not all that is to be known."""
    tracer = provider.get_tracer("a test")
    with tracer.start_as_current_span("send image"):
        post = tracer.start_span("POST", kind=SpanKind.CLIENT)
        server = tracer.start_span(
            "POST /v1/models/m:predict",
            trace.set_span_in_context(post),
            SpanKind.SERVER,
            {"http.route": "/v1/models/m:predict"},
        )
        post.end()
    late = threading.Timer(0.1, server.end)
    late.start()
    measured = segments.wait(images=1)
    assert not late.is_alive() or server.end_time is not None
    assert measured.coverage.measured == 1
    assert segments.segment("predictor").n == 1


def test_a_span_around_the_caller_is_not_waited_for(provider, segments):
    tracer = provider.get_tracer("a test")
    with tracer.start_as_current_span("the test"), tracer.start_as_current_span("its call"):
        play(STRAIGHT, provider)
        assert segments.wait(images=1).coverage.measured == 1


def test_what_does_not_come_is_an_error_that_says_what_came(provider, segments):
    play(STRAIGHT, provider)
    with pytest.raises(TimeoutError, match=r"waited 0\.05 s for 2 images: 1 image measured$"):
        segments.wait(images=2, timeout=0.05)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["of another test"], "1 span has not ended: `of another test`"),
        (["one", "two", "two"], "3 spans have not ended: `one`, `two`"),
        (["one", "two", "three", "four"], "4 spans have not ended: `one`, `two`, `three`, ..."),
    ],
)
def test_the_spans_that_are_waited_for_in_vain_are_named(provider, segments, names, told):
    tracer = provider.get_tracer("a test")
    still = [tracer.start_span(name) for name in names]
    play(STRAIGHT, provider)
    with pytest.raises(TimeoutError, match=f": 1 image measured; {re.escape(told)}$"):
        segments.wait(images=1, timeout=0.05)
    for span in still:
        span.end()


def test_what_is_kept_says_how_much_it_is(provider, segments):
    play(STRAIGHT, provider)
    assert repr(segments) == f"<SegmentProcessor of {len(spans(STRAIGHT))} spans>"


FORK = """
import os, threading, otel_kfs
from opentelemetry.sdk.trace import TracerProvider
segments, provider = otel_kfs.SegmentProcessor(), TracerProvider()
provider.add_span_processor(segments)
ended, held = threading.Event(), threading.Event()
def hold():
    with segments._changed:
        held.set()
        ended.wait()
threading.Thread(target=hold).start()
held.wait()
if (child := os.fork()) == 0:
    one = threading.Thread(target=provider.get_tracer("x").start_span("a span").end, daemon=True)
    one.start()
    one.join(20)
    os._exit(one.is_alive())
status = os.waitpid(child, 0)[1]
ended.set()
print(status)
"""


def test_a_forked_child_can_end_a_span_whatever_its_parent_s_threads_hold():
    assert run_python(FORK).stdout == "0\n"


def test_what_goes_wrong_with_a_span_stays_with_telemetry(provider, segments, monkeypatch, caplog):
    monkeypatch.setattr("otel_kfs.watch.in_process.kept_spans.read_span", lambda _: 1 / 0)
    play(STRAIGHT, provider)
    assert segments.measurement().coverage.measured == 0
    assert "the program continues" in caplog.text


def test_a_reading_is_that_of_otel_kfs_read(provider, segments, tmp_path):
    file = tmp_path / "traces.jsonl"
    with file.open("w") as stream:
        provider.add_span_processor(SimpleSpanProcessor(FileSpanExporter(stream=stream)))
        play(STRAIGHT, provider)
        provider.force_flush()
    stored = otel_kfs.read(file)
    assert segments.read().segments() == stored.segments()
    assert len(list(segments.read().images())) == len(list(stored.images()))


def test_a_reading_without_images_is_an_error_that_says_why(provider, segments):
    with provider.get_tracer("a test").start_as_current_span("send image"):
        pass
    with pytest.raises(OtelKfsError, match="no request span"):
        segments.read()


def durations(reader):
    """The number of durations and their sum by segment, as a meter provider has them."""
    data = reader.get_metrics_data()
    return {
        point.attributes["otel_kfs.segment"]: (point.count, round(point.sum, 6))
        for of_resource in (data.resource_metrics if data else ())
        for metric in of_resource.scope_metrics[0].metrics
        if metric.name == "otel_kfs.segment.duration"
        for point in metric.data.data_points
    }


@pytest.mark.sketch
@pytest.mark.parametrize("how", ["processor", "exporter"])
def test_a_meter_provider_is_told_of_every_image(how):
    reader, provider = InMemoryMetricReader(), TracerProvider()
    meters = MeterProvider([reader])
    if how == "processor":
        provider.add_span_processor(otel_kfs.SegmentProcessor(meter_provider=meters))
    else:
        provider.add_span_processor(BatchSpanProcessor(otel_kfs.SegmentExporter(meter_provider=meters)))
    for _ in range(3):
        play(STRAIGHT, provider)
    provider.force_flush()
    if how == "processor":
        assert durations(reader)["predictor decode"] == (3, 0.09)
    else:  # the SDK flushes an exporter only when it is shut down
        wait_until("the images", lambda: durations(reader).get("predictor decode") == (3, 0.09))
    provider.shutdown()
    assert {count for count, _ in durations(reader).values()} == {3}


@pytest.mark.sketch
def test_at_the_end_what_is_not_complete_is_told_too():
    reader, provider = InMemoryMetricReader(), TracerProvider()
    provider.add_span_processor(otel_kfs.SegmentProcessor(meter_provider=MeterProvider([reader])))
    root = provider.get_tracer("x").start_span("send image", attributes={"otel_kfs.transport": "http"})
    post = provider.get_tracer("x").start_span("POST", trace.set_span_in_context(root), kind=SpanKind.CLIENT)
    post.end()
    root.end()
    provider.shutdown()
    assert durations(reader)
