"""Spans of programs that set up OpenTelemetry by themselves or by `opentelemetry-instrument` leave without secrets."""

import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import LIMIT, HttpServer, start

from otel_kfs.telemetry import safe_tracer
from otel_kfs.telemetry.redaction_instrumentor import RedactionInstrumentor

SECRET = "http://me:s@host/?token=s"
CLEAN = "http://host/?token=REDACTED"


@pytest.fixture
def provider():
    made = TracerProvider(shutdown_on_exit=False)
    yield made
    RedactionInstrumentor().uninstrument()
    made.shutdown()


def exported(provider, *exporters):
    """What exporters got of one span."""
    for exporter in exporters:
        exporter.clear()
    provider.get_tracer("t").start_span("s", attributes={"url.full": SECRET}).end()
    provider.force_flush()
    return [[span.attributes["url.full"] for span in exporter.get_finished_spans()] for exporter in exporters]


def test_exporters_that_are_there_and_those_added_later_get_spans_without_secrets(provider):
    simple, batch, later = InMemorySpanExporter(), InMemorySpanExporter(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(simple))
    provider.add_span_processor(BatchSpanProcessor(batch))
    RedactionInstrumentor().instrument(tracer_provider=provider)
    provider.add_span_processor(span_processor=SimpleSpanProcessor(later))
    assert exported(provider, simple, batch, later) == [[CLEAN]] * 3


def test_exporters_of_processors_that_hold_others_get_spans_without_secrets(provider):
    exporter, several = InMemorySpanExporter(), ConcurrentMultiSpanProcessor()
    several.add_span_processor(SimpleSpanProcessor(exporter))
    provider.add_span_processor(several)
    RedactionInstrumentor().instrument(tracer_provider=provider)
    assert exported(provider, exporter) == [[CLEAN]]


def test_a_provider_made_later_is_looked_at_too(provider):
    RedactionInstrumentor().instrument(tracer_provider=provider)
    another, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    another.add_span_processor(SimpleSpanProcessor(exporter))
    assert exported(another, exporter) == [[CLEAN]]


def test_uninstrument_leaves_everything_as_it_was(provider):
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    RedactionInstrumentor().instrument(tracer_provider=provider)
    RedactionInstrumentor().uninstrument()
    later = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(later))
    assert exported(provider, exporter, later) == [[SECRET]] * 2


def test_processors_that_export_nothing_stay_as_they_are(provider):
    ended = []

    class Watching(SpanProcessor):
        def on_end(self, span):
            ended.append(span.attributes["url.full"])

    provider.add_span_processor(Watching())
    RedactionInstrumentor().instrument(tracer_provider=provider)
    assert exported(provider) == []
    assert ended == [SECRET]


class Strange(SpanExporter):
    """An exporter of somebody's own."""

    def __init__(self):
        self.got = []

    def export(self, spans):
        self.got.append(list(spans))
        raise OSError("its own")


def test_what_an_exporter_raises_and_returns_is_its_own(provider):
    exporter = Strange()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    RedactionInstrumentor().instrument(tracer_provider=provider)
    with pytest.raises(OSError, match="its own"):
        exporter.export(())
    assert exporter.got == [[]]


def test_a_span_beyond_redaction_is_lost_rather_than_told_and_said_once(provider, caplog, monkeypatch):
    monkeypatch.setattr(safe_tracer, "_failed", set())
    exporter = Strange()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    RedactionInstrumentor().instrument(tracer_provider=provider)
    assert [exporter.export(["no span"]), exporter.export(spans=["no span"])] == [SpanExportResult.FAILURE] * 2
    assert exporter.got == []
    assert [record.getMessage() for record in caplog.records] == [
        "telemetry failed (taking secrets out of spans); the program continues, and this is logged only once"
    ]


def test_an_exporter_that_can_not_be_wrapped_breaks_nothing(provider, caplog, monkeypatch):
    monkeypatch.setattr(safe_tracer, "_failed", set())

    class Closed:
        __slots__ = ()

        def export(self, spans):
            return SpanExportResult.SUCCESS

        def shutdown(self):
            """Nothing."""

    provider.add_span_processor(SimpleSpanProcessor(Closed()))
    RedactionInstrumentor().instrument(tracer_provider=provider)
    provider.add_span_processor(SimpleSpanProcessor(Closed()))
    assert exported(provider) == []
    assert len(caplog.records) == 1


# A call by `requests`, instrumented by nobody here; and an exporter that the program adds by itself.
APP = """
import requests, sys
from opentelemetry import trace
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr)))
requests.get(sys.argv[1])
trace.get_tracer("t").start_span("s", attributes={"why": "no answer from " + sys.argv[1]}).end()
"""


def run(**env: str) -> tuple[str, str]:
    """What the distribution's exporter and the program's own printed of a GET of a URL with secrets."""
    Path("app.py").write_text(APP)
    command = [f"{sys.prefix}/bin/opentelemetry-instrument", sys.executable, "app.py"]
    exporters = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    with HttpServer().running() as server:
        # It knows no GET, and says so; what it answers does not matter here.
        url = server.url.replace("://", "://me:a-password@") + "/p?token=a-token"
        with start([*command, url], **exporters, **env) as process:
            output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    return output, errors


def test_opentelemetry_instrument_exports_spans_without_secrets():
    for printed in run():
        assert printed.count("/p?token=REDACTED") == 2
        assert [secret for secret in ("a-password", "a-token") if secret in printed] == []


def test_it_can_be_disabled_by_its_name():
    for printed in run(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="otel_kfs_redaction"):
        assert "/p?token=a-token" in printed
