"""What a client's configuration says about it, and the names and attributes that all its spans of a topic share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from confluent_kafka import KafkaException

from otel_kfs import semconv
from otel_kfs.telemetry.provider import report_failure

_DEFAULT_PORT = 9092  # librdkafka's, where bootstrap.servers names none
_MOST_TOPICS = 1000  # remembered at a time


class Shared(NamedTuple):
    """What the spans of one operation on one topic have in common, and what their metrics do."""

    name: str
    attributes: dict[str, Any]
    metric_attributes: dict[str, Any]


class Operation(dict[str, Shared]):
    """`operation[topic]`: made when a topic is first seen, remembered for a bounded number of topics."""

    def __init__(self, name: str, kind: str, span_name: Callable[[str], str], client: Mapping[str, Any]) -> None:
        super().__init__()
        self._span_name = span_name
        self._attributes = {
            semconv.MESSAGING_SYSTEM: semconv.KAFKA,
            semconv.MESSAGING_OPERATION_NAME: name,
            semconv.MESSAGING_OPERATION_TYPE: kind,
            **client,
        }

    def __missing__(self, topic: str) -> Shared:
        if len(self) >= _MOST_TOPICS:
            self.clear()
        attributes = {**self._attributes, semconv.MESSAGING_DESTINATION_NAME: topic}
        # A client's id tells processes apart: on a metric it would make a series of each.
        measured = {key: value for key, value in attributes.items() if key != semconv.MESSAGING_CLIENT_ID}
        shared = self[topic] = Shared(self._span_name(topic), attributes, measured)
        return shared


def send_operation(config: Mapping[str, Any]) -> Operation:
    """Return a producer's operation: `produce()` to the delivery report."""
    return Operation("send", "send", semconv.send, client_attributes(config))


def poll_operation(config: Mapping[str, Any]) -> Operation:
    """Return a consumer's operation: one `poll()` or `consume()`."""
    return Operation("poll", "receive", semconv.poll, client_attributes(config))


def process_operation(config: Mapping[str, Any]) -> Operation:
    """Return the operation of handling one record of a consumer."""
    return Operation("process", "process", semconv.process, client_attributes(config))


def configuration(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a client was made with: a dict, keywords, or both, of which keywords win.

    As in the client, those of `default.topic.config` win over both.
    """
    config = {**(args[0] if args and isinstance(args[0], dict) else {}), **kwargs}
    if isinstance(config.get("default.topic.config"), dict):
        config.update(config.pop("default.topic.config"))
    return config


def client_attributes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the group, client id and broker of a configuration; the broker only if it names exactly one."""
    attributes: dict[str, Any] = {}
    try:
        if config.get("group.id") is not None:
            attributes[semconv.MESSAGING_CONSUMER_GROUP_NAME] = str(config["group.id"])
        if config.get("client.id") is not None:
            attributes[semconv.MESSAGING_CLIENT_ID] = str(config["client.id"])
        address = _only_broker(config.get("bootstrap.servers") or config.get("metadata.broker.list"))
        if address is not None:
            attributes[semconv.SERVER_ADDRESS], attributes[semconv.SERVER_PORT] = address
    except Exception:
        report_failure("Kafka's configuration")
    return attributes


def _only_broker(servers: Any) -> tuple[str, int] | None:
    """Return host and port of `host[:port]` or `PROTOCOL://host[:port]`; None for several, or what is no address."""
    brokers = [broker.strip() for broker in str(servers or "").split(",") if broker.strip()]
    if len(brokers) != 1:
        return None
    try:
        parts = urlsplit("//" + brokers[0].rpartition("://")[2])
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return (host, port or _DEFAULT_PORT) if host else None


def error_type(error: BaseException) -> str:
    """Return Kafka's own name of an error ("MSG_SIZE_TOO_LARGE"), else its class's, as the conventions ask."""
    if isinstance(error, KafkaException) and error.args and hasattr(error.args[0], "name"):
        return str(error.args[0].name())
    return type(error).__qualname__
