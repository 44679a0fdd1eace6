"""Makes the contract's fixtures known, and its asserts as telling as a test module's."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_kfs.serving import model_spans

pytest.register_assert_rewrite("contract")

from contract import trace_id  # noqa: E402

__all__ = ["trace_id"]


@pytest.fixture(autouse=True)
def untraced():
    """Leaves no class of models traced for the next test."""
    yield
    model_spans.untrace_all()


@pytest.fixture
def spans_of_models():
    """The exporter of a provider that models alone have."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    model_spans.use_provider(provider)
    yield exporter
    model_spans.use_provider(None)
