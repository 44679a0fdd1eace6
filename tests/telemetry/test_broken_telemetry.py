"""Telemetry that is broken beneath the senders: an image is sent as without it, and the failure is in the log once."""

import gc

import pytest
from broken_telemetry_support import BrokenFields, BrokenSampler, fail, processor
from grpc_support import Servicer
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from support import JPG, HttpServer, run_python

import otel_kfs
from otel_kfs.errors import InputError, SendError
from otel_kfs.programs.program_span import ProgramSpans, headers
from otel_kfs.telemetry import provider as telemetry_provider
from otel_kfs.telemetry import safe_tracer

PARTS = {
    "sampler": {"sampler": BrokenSampler()},
    "span start": {"processor": processor(on_start=fail)},
    "span end": {"processor": processor(on_end=fail)},
    "propagator": {"propagator": BrokenFields()},
}


def use(monkeypatch, processor=None, sampler=ALWAYS_ON, propagator=None):
    """Let this process's global telemetry be such, as if nothing had been set up before."""
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    if processor is not None:
        provider.add_span_processor(processor)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", propagator or propagate.get_global_textmap())
    monkeypatch.setattr(safe_tracer, "_failed", set())
    telemetry_provider.tracer.cache_clear()
    RequestsInstrumentor().uninstrument()


@pytest.fixture
def restored():
    """What was set up before the test is so after it."""
    yield
    telemetry_provider.tracer.cache_clear()
    RequestsInstrumentor().uninstrument()


@pytest.fixture(params=PARTS)
def broken(request, restored, monkeypatch):
    """Breaks one part."""
    use(monkeypatch, **PARTS[request.param])
    yield request.param
    # Before the provider is put back: what is instrumented must be so by that one.
    RequestsInstrumentor().uninstrument()


@pytest.fixture
def server():
    with HttpServer().running() as running:
        yield running


def failures(caplog):
    return [record.getMessage().split(";")[0] for record in caplog.records if record.name.startswith("otel_kfs")]


START, END = "telemetry failed (the start of a span)", "telemetry failed (the end of a span)"
WRITING = "telemetry failed (writing trace context)"
OF_HTTP = {"sampler": [START], "span start": [START], "span end": [END], "propagator": [WRITING]}


def test_an_image_is_sent_over_http(broken, server, caplog):
    sender = otel_kfs.HttpSender(server.url, model="m")
    assert [sender.send(JPG) for _ in range(3)] == [{"predictions": [1]}] * 3
    assert failures(caplog) == OF_HTTP[broken]


def test_an_image_is_sent_over_grpc(broken, caplog):
    with Servicer().running() as target:
        sender = otel_kfs.GrpcSender(target, "m")
        assert [sender.send(JPG) for _ in range(3)] == [{"model_name": "m", "outputs": []}] * 3
    assert failures(caplog) == OF_HTTP[broken]


def test_a_store_s_own_answer_is_what_the_sender_hears(broken, server, caplog, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    BotocoreInstrumentor().uninstrument()
    store = otel_kfs.ClaimStore("bucket", endpoint_url=server.url)
    for _ in range(3):
        with pytest.raises(SendError, match=r"can't store the image in bucket bucket .*501"):
            store.put(JPG, "image/jpeg")
    BotocoreInstrumentor().uninstrument()
    # What botocore's instrumentation writes, is AWS's own header.
    assert failures(caplog) == {**OF_HTTP, "propagator": []}[broken]


@pytest.mark.kafka
def test_an_image_is_sent_through_kafka(broken, broker, topic, caplog):
    from otel_kfs.kafka import client_telemetry

    before = client_telemetry.use(client_telemetry.ClientTelemetry())
    try:
        sender = otel_kfs.KafkaSender(broker, topic)
        assert [sender.send(JPG) for _ in range(3)] == [(topic, 0, offset) for offset in range(3)]
    finally:
        client_telemetry.use(before)
    in_kafka = "telemetry failed (Kafka's send)"
    expected = {"sampler": START, "span start": START, "span end": END, "propagator": in_kafka}
    # The span within Kafka's client fails at the same place, so that its failure is no news.
    assert failures(caplog) == [expected[broken]]


def test_an_image_s_span_bounds_whatever_sends_it(broken, caplog):
    for _ in range(3):
        with otel_kfs.image_span(compression="gzip") as image:
            assert image.encode(JPG)[:2] == b"\x1f\x8b"
    assert failures(caplog) == {**OF_HTTP, "propagator": []}[broken]


def test_another_program_is_run_and_its_headers_are_asked_for(broken, caplog):
    made = ProgramSpans()
    for number in range(3):
        root = made.root(1, "http", "curl", "a run", number)
        post = made.child(root, "POST", 1, promised=made.promise(root))
        expected = {"traceparent"} if broken == "span end" else set()
        assert set(headers(post.get_span_context())) == expected
        post.end()
        root.end(2)
    assert failures(caplog) == OF_HTTP[broken]


def test_the_user_s_exception_is_the_one_that_is_raised(broken, server):
    error = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError) as raised, otel_kfs.image_span():
        raise error
    assert raised.value is error
    with pytest.raises(InputError, match="these bytes are not an image"):
        otel_kfs.HttpSender(server.url, model="m").send(b"no image")


def test_an_exception_that_can_t_be_written_down_passes_unchanged(spans, caplog, monkeypatch):
    monkeypatch.setattr(safe_tracer, "_failed", set())

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    error = Mute()
    with pytest.raises(Mute) as raised, otel_kfs.image_span():
        raise error
    assert raised.value is error
    assert failures(caplog) == []
    (span,) = spans.get_finished_spans()
    events = [dict(event.attributes) for event in span.events]
    assert (span.status.description, events) == ("Mute", [{"exception.type": Mute.__qualname__}])


def test_a_second_part_that_fails_is_logged_too(restored, server, caplog, monkeypatch):
    def fail_elsewhere(*_, **__):
        raise RuntimeError("broken in another place")

    broken = type("Broken", (BrokenFields,), {"inject": fail_elsewhere})()
    use(monkeypatch, processor=processor(on_end=fail), propagator=broken)
    sender = otel_kfs.HttpSender(server.url, model="m")
    assert [sender.send(JPG) for _ in range(3)] == [{"predictions": [1]}] * 3
    assert failures(caplog) == [END, WRITING]


def test_spans_of_a_healthy_tracer_are_what_the_sdk_makes_but_for_the_error_s_type(restored, monkeypatch):
    exporter = InMemorySpanExporter()
    use(monkeypatch, SimpleSpanProcessor(exporter))
    sdk = trace.get_tracer_provider().get_tracer(
        "otel_kfs", otel_kfs.__version__, schema_url=telemetry_provider.SCHEMA_URL
    )
    for tracer in (sdk, telemetry_provider.tracer()):
        with pytest.raises(ZeroDivisionError), tracer.start_as_current_span("a", attributes={"b": 1}):
            raise ZeroDivisionError("c")
        with tracer.start_as_current_span("d", end_on_exit=False) as span:
            pass
        span.end(1)
    first, second = (
        [
            (
                span.name,
                dict(span.attributes),
                span.status.description,
                [(event.name, event.attributes["exception.type"]) for event in span.events],
                span.instrumentation_scope,
                span.end_time == 1,
            )
            for span in spans
        ]
        for spans in (exporter.get_finished_spans()[:2], exporter.get_finished_spans()[2:])
    )
    assert second == [("a", {"b": 1, "error.type": "ZeroDivisionError"}, *first[0][2:]), first[1]]


@pytest.mark.kafka
def test_a_broken_propagator_lets_the_kafka_clients_be_imported():
    script = """
from opentelemetry import propagate
from opentelemetry.propagators.textmap import TextMapPropagator

def broken(*_): raise RuntimeError("broken")

class Broken(TextMapPropagator):
    extract = inject = broken
    fields = property(broken)

propagate.set_global_textmap(Broken())
import otel_kfs
print(otel_kfs.kafka.Producer.__name__)
"""
    ended = run_python(script)
    assert (ended.stdout, ended.stderr) == ("Producer\n", "")


def test_a_span_that_has_ended_leaves_nothing_for_the_garbage_collector(spans):
    tracer = telemetry_provider.tracer()
    for _ in range(2):  # the first one fills caches
        gc.collect()
        gc.disable()
        try:
            tracer.start_span("one").end()
            with tracer.start_as_current_span("two"):
                pass
            left = gc.collect()
        finally:
            gc.enable()
    assert (left, len(spans.get_finished_spans())) == (0, 4)
