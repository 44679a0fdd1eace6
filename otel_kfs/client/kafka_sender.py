"""The client sender through Kafka: one image, one root span, one record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otel_kfs import semconv
from otel_kfs.client.sender import Sender

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from otel_kfs.client.kafka_access.record_publisher import Delivered
    from otel_kfs.client.payload_options import PayloadKeywords


class KafkaSender(Sender["Delivered"]):
    """Sends images as records of a topic; `send` returns once the broker has acknowledged, with where they lie."""

    transport = semconv.KAFKA
    transport_compresses = True

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        config: Mapping[str, Any] | None = None,
        timeout: float = 60.0,
        run_id: str | None = None,
        **options: Unpack[PayloadKeywords],
    ) -> None:
        """Make a sender to a topic.

        `config` holds further librdkafka settings; `timeout` (seconds) bounds one record's delivery. Unless `config`
        says otherwise, records of up to 100 MB leave this client; the broker's and the topic's limits are theirs.

        A record's headers say what its value is (`content-type`, `ce_...`), as a bridge needs it for its request.

        Further keywords: `encoding` ("json"), `compression`, `resize`, `cell`; see `Sender`. Here `compression` is the
        producer's own (`compression.type`): the broker's clients undo it, and the model gets the payload as it was.
        """
        from otel_kfs.client.kafka_access.record_publisher import RecordPublisher

        super().__init__(run_id, **options)
        compression = self._options.compression
        settings = {**(config or {}), **({"compression.type": compression} if compression else {})}
        self._topic = topic
        self._publisher = RecordPublisher(bootstrap_servers, timeout, settings)

    def _deliver(self, payload: bytes, headers: Mapping[str, str]) -> Delivered:
        record_headers = [(_record_header(name), value.encode()) for name, value in headers.items()]
        return self._publisher.publish(self._topic, payload, record_headers)


def _record_header(name: str) -> str:
    """Spell an HTTP header as Kafka has it. Source: CloudEvents' Kafka protocol binding, `ce_`."""
    return f"ce_{name[3:]}" if name.startswith("ce-") else name
