"""What a client's configuration says becomes attributes; a provider may be set at any time."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_kfs.kafka import client_telemetry
from otel_kfs.kafka.attributes import client_attributes, send_operation

pytestmark = pytest.mark.kafka


def test_before_a_provider_is_set_nothing_is_recorded_and_the_first_one_is_found(monkeypatch):
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    waiting = client_telemetry.ClientTelemetry()
    assert not waiting.tracer.start_span("a").is_recording()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    assert waiting.tracer.start_span("a").is_recording()


@pytest.mark.parametrize(
    ("servers", "address"),
    [
        ("broker:9093", ("broker", 9093)),
        ("broker", ("broker", 9092)),
        (" broker:9093 ,", ("broker", 9093)),
        ("SASL_SSL://broker:9093", ("broker", 9093)),
        ("[::1]:9093", ("::1", 9093)),
        ("one:1,two:2", None),
        ("", None),
        (None, None),
        ("broker:port", None),
    ],
)
def test_the_only_broker_is_the_server(servers, address):
    attributes = client_attributes({"bootstrap.servers": servers})
    expected = {} if address is None else {"server.address": address[0], "server.port": address[1]}
    assert attributes == expected


def test_group_and_client_id_are_attributes():
    assert client_attributes({"group.id": "g", "client.id": "c", "metadata.broker.list": "b"}) == {
        "messaging.consumer.group.name": "g",
        "messaging.client.id": "c",
        "server.address": "b",
        "server.port": 9092,
    }


def test_topics_are_remembered_within_bounds():
    operation = send_operation({})
    for number in range(3000):
        operation[f"t{number}"]
    assert len(operation) <= 1000
    assert operation["t0"].name == "send t0"
