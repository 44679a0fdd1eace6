"""What the tests of the Kafka clients share: reading a topic from its start, without a group's slow join."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import confluent_kafka
import pytest
from bridge_support import SOON_JOINED
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import HttpServer, wait_until

from otel_kfs.kafka import Bridge, Consumer, Producer, telemetry
from otel_kfs.telemetry import safe_tracer

GROUP = "a group"


@pytest.fixture
def open_consumer(broker: str) -> Iterator[Callable[..., Consumer]]:
    """Opens a Consumer of some topics' first partitions, from their start."""
    opened = []

    def open_(*topics: str, config: Mapping[str, Any] | None = None) -> Consumer:
        settings = {"bootstrap.servers": broker, "group.id": GROUP, "fetch.wait.max.ms": 10, **(config or {})}
        opened.append(Consumer(settings))
        opened[-1].assign([confluent_kafka.TopicPartition(topic, 0, 0) for topic in topics])
        return opened[-1]

    yield open_
    for consumer in opened:
        consumer.close()


@pytest.fixture
def fetch(broker: str) -> Callable[..., list[Any]]:
    """The first `count` records of a topic, read by confluent_kafka's own consumer: it makes no spans."""

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


@pytest.fixture(autouse=True)
def _failures_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test hears of the first failure, which is logged once in a process."""
    monkeypatch.setattr(safe_tracer, "_failed", set())


@pytest.fixture
def use() -> Iterator[Callable[..., InMemorySpanExporter]]:
    """Lets the Kafka clients use a tracer provider with these settings; returns where their spans end up."""
    first = telemetry.current

    def use_(*, processor: Any = None, meter_provider: Any = None, **settings: Any) -> InMemorySpanExporter:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False, **settings)
        provider.add_span_processor(processor or SimpleSpanProcessor(exporter))
        telemetry.use(telemetry.Telemetry(provider, meter_provider))
        return exporter

    yield use_
    telemetry.use(first)


@pytest.fixture
def measured(use: Callable[..., InMemorySpanExporter]) -> Callable[[], dict[str, Any]]:
    """Turns metrics on; returns what reads them: each metric's data by its name."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    use(meter_provider=provider)

    def read() -> dict[str, Any]:
        data = reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    return read


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """What a bridge takes for a model."""
    with HttpServer().running() as running:
        yield running


@pytest.fixture
def send(broker: str, topic: str) -> Callable[..., None]:
    """Sends values to the test's topic, in a trace each."""
    producer = Producer({"bootstrap.servers": broker})

    def send_(*values: bytes | None, **more: Any) -> None:
        for value in values:
            producer.produce(topic, value, **more)
        producer.flush()

    return send_


@pytest.fixture
def group() -> str:
    """A consumer group, the test's own."""
    return f"g-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def bridge(broker: str, topic: str, group: str) -> Callable[..., Bridge]:
    """Makes a bridge from the test's topic to a URL."""

    def make(url: str, **options: Any) -> Bridge:
        return Bridge(broker, [topic], url, group=group, **{"config": SOON_JOINED, **options})

    return make


@pytest.fixture
def committed(broker: str, topic: str, group: str) -> Iterator[Callable[[], Any]]:
    """The group's committed offset, and its metadata."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": group})
    yield lambda: consumer.committed([confluent_kafka.TopicPartition(topic, 0)], timeout=10)[0]
    consumer.close()


@pytest.fixture
def send_raw(broker: str, topic: str) -> Callable[..., None]:
    """Sends a value with just these headers to the test's topic."""
    producer = confluent_kafka.Producer({"bootstrap.servers": broker})

    def send_(value: bytes | None, headers: Mapping[str, Any]) -> None:
        producer.produce(topic, value, headers=dict(headers))
        producer.flush()

    return send_
