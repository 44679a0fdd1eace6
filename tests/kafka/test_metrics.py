"""The messaging metrics: names, units, bounds and attributes of the conventions, none without a meter."""

import pytest
from kafka_support import MOCK, UNREACHABLE
from opentelemetry.metrics import NoOpMeterProvider, get_meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.semconv._incubating.metrics import messaging_metrics as published

from otel_kfs.kafka import Consumer, Producer, metrics, process
from otel_kfs.telemetry import meter_watch

pytestmark = pytest.mark.kafka

SENT = {
    "messaging.system": "kafka",
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
    "messaging.destination.name": "t",
    "server.address": "mock",
    "server.port": 9092,
}


def points(metric):
    """Each point's attributes and count (or value)."""
    return [(dict(point.attributes), getattr(point, "count", None) or point.value) for point in metric.data.data_points]


@pytest.mark.parametrize(
    "name", ["CLIENT_OPERATION_DURATION", "CLIENT_SENT_MESSAGES", "CLIENT_CONSUMED_MESSAGES", "PROCESS_DURATION"]
)
def test_names_are_the_published_ones(name):
    assert getattr(metrics, name.removeprefix("CLIENT_")) == getattr(published, f"MESSAGING_{name}")


def test_instruments_are_described_as_published():
    ours, theirs = [], []
    for made in (ours, theirs):

        class Meter:
            def create_histogram(self, name, unit="", description="", made=made, **_):
                made.append((name, unit, description.rstrip(".")))

            create_counter = create_histogram

        if made is ours:
            metrics.Metrics(Meter())
        else:
            published.create_messaging_client_operation_duration(Meter())
            published.create_messaging_process_duration(Meter())
            published.create_messaging_client_sent_messages(Meter())
            published.create_messaging_client_consumed_messages(Meter())
    assert ours == theirs


def test_a_delivered_record_counts_and_its_duration_is_the_span_s(use):
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    exporter = use(meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    producer = Producer({**MOCK, "client.id": "one of many"})
    producer.produce("t", b"1", partition=0)
    producer.flush()
    (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
    found = {metric.name: metric for metric in scope.metrics}
    attributes = {**SENT, "messaging.destination.partition.id": "0"}
    assert {name: points(metric) for name, metric in found.items()} == {
        metrics.OPERATION_DURATION: [(attributes, 1)],
        metrics.SENT_MESSAGES: [(attributes, 1)],
    }
    (point,) = found[metrics.OPERATION_DURATION].data.data_points
    (span,) = exporter.get_finished_spans()
    assert span.attributes["messaging.client.id"] == "one of many"
    # Both end with the same reading of the clock; the span has begun just before.
    assert 0 < point.sum <= (span.end_time - span.start_time) / 1e9
    assert point.explicit_bounds == metrics.BUCKETS
    assert found[metrics.OPERATION_DURATION].unit == "s"
    assert found[metrics.SENT_MESSAGES].unit == "{message}"


def test_a_failed_record_counts_as_what_it_failed_of(measured):
    producer = Producer({**UNREACHABLE, "message.timeout.ms": 100})
    producer.produce("t", b"1")
    producer.flush()
    for name in (metrics.OPERATION_DURATION, metrics.SENT_MESSAGES):
        ((attributes, count),) = points(measured()[name])
        assert (attributes["error.type"], count) == ("_MSG_TIMED_OUT", 1)


@pytest.mark.parametrize("how", ["purged", "refused"])
def test_a_record_that_was_never_sent_is_not_counted_as_sent(measured, how):
    producer = Producer(UNREACHABLE)
    if how == "purged":
        producer.produce("t", b"1")
        producer.purge()
        producer.flush()
    else:
        with pytest.raises(TypeError):
            producer.produce("t", 1)
    found = measured()
    assert metrics.SENT_MESSAGES not in found
    ((attributes, _),) = points(found[metrics.OPERATION_DURATION])
    assert attributes["error.type"] == {"purged": "_PURGE_QUEUE", "refused": "TypeError"}[how]


def test_a_batch_counts_record_by_record_and_lasts_once(measured):
    producer = Producer(MOCK)
    producer.produce_batch("t", [{"value": b"1"}, {"value": b"2"}, {"value": bytes(2_000_000)}])
    producer.flush()
    found = measured()
    assert points(found[metrics.SENT_MESSAGES]) == [(SENT, 2)]
    ((attributes, count),) = points(found[metrics.OPERATION_DURATION])
    assert (attributes, count) == ({**SENT, "error.type": "MSG_SIZE_TOO_LARGE"}, 1)


def test_records_of_an_unsampled_trace_count_all_the_same(use, measured):
    from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

    producer = Producer(MOCK)
    with use_span(NonRecordingSpan(SpanContext(0xA1, 0xB2, is_remote=False))):
        producer.produce("t", b"1")
    producer.flush()
    assert [count for _, count in points(measured()[metrics.SENT_MESSAGES])] == [1]


def test_records_are_counted_when_received_and_timed_when_processed(measured, broker, open_consumer, topic):
    producer = Producer({"bootstrap.servers": broker})
    for _ in range(3):
        producer.produce(topic, b"1")
    producer.flush()
    consumer = open_consumer(topic)
    assert isinstance(consumer, Consumer)
    records = consumer.consume(3, 30)
    with process(records[0], consumer=consumer):
        pass
    with pytest.raises(ValueError, match="no"), process(records[1], consumer=consumer):
        raise ValueError("no")
    found = measured()
    host, port = broker.split(":")
    shared = {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.consumer.group.name": consumer.group,
        "server.address": host,
        "server.port": int(port),
    }
    polled = {**shared, "messaging.operation.name": "poll", "messaging.operation.type": "receive"}
    done = {**shared, "messaging.operation.name": "process", "messaging.operation.type": "process"}
    done["messaging.destination.partition.id"] = "0"
    assert points(found[metrics.CONSUMED_MESSAGES]) == [(polled, 3)]
    assert (polled, 1) in points(found[metrics.OPERATION_DURATION])
    assert points(found[metrics.PROCESS_DURATION]) == [(done, 1), ({**done, "error.type": "ValueError"}, 1)]
    assert found[metrics.PROCESS_DURATION].unit == "s"
    assert found[metrics.PROCESS_DURATION].data.data_points[0].explicit_bounds == metrics.BUCKETS


@pytest.mark.parametrize(
    ("provider", "enabled"),
    [(None, False), (NoOpMeterProvider(), False), (MeterProvider(shutdown_on_exit=False), True)],
)
def test_metrics_are_on_where_a_provider_is_set(provider, enabled):
    assert metrics.Metrics(get_meter("x", meter_provider=provider), provider).enabled is enabled


def test_a_global_provider_that_is_set_later_is_found_within_a_second(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(meter_watch.time, "monotonic", lambda: now[0])
    made = metrics.Metrics(get_meter("x"))
    assert not made.enabled
    monkeypatch.setattr(meter_watch, "get_meter_provider", lambda: MeterProvider(shutdown_on_exit=False))
    now[0] += 1
    assert made.enabled
