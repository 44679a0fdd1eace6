"""The four messaging metrics of the OpenTelemetry semantic conventions (v1.44) that Kafka clients have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.metrics import Meter, MeterProvider

from otel_kfs.telemetry.meter_watch import MeterWatch

OPERATION_DURATION: Final = "messaging.client.operation.duration"  # s: the `send` and `poll` spans'
SENT_MESSAGES: Final = "messaging.client.sent.messages"  # {message}: delivered, or given up after trying
CONSUMED_MESSAGES: Final = "messaging.client.consumed.messages"  # {message}: handed over by poll() or consume()
PROCESS_DURATION: Final = "messaging.process.duration"  # s: the `process` spans'

# Seconds; the conventions ask for these bounds.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

Attributes = Mapping[str, Any]


class Metrics:
    """The instruments of one meter; ask `enabled` first, so that nothing is computed without a reader."""

    def __init__(self, meter: Meter, provider: MeterProvider | None = None) -> None:
        """Create the instruments; `provider` is the meter's own where that is not the global one."""
        self._watch = MeterWatch(provider)
        self._operation = meter.create_histogram(
            OPERATION_DURATION,
            "s",
            "Duration of messaging operation initiated by a producer or consumer client.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._process = meter.create_histogram(
            PROCESS_DURATION, "s", "Duration of processing operation.", explicit_bucket_boundaries_advisory=BUCKETS
        )
        self._sent = meter.create_counter(
            SENT_MESSAGES, "{message}", "Number of messages producer attempted to send to the broker."
        )
        self._consumed = meter.create_counter(
            CONSUMED_MESSAGES, "{message}", "Number of messages that were delivered to the application."
        )

    @property
    def enabled(self) -> bool:
        """Whether a meter provider is set."""
        return self._watch.enabled

    def operation(self, nanoseconds: int, attributes: Attributes) -> None:
        """Record how long a `send` or `poll` took."""
        self._operation.record(nanoseconds / 1e9, attributes)

    def process(self, nanoseconds: int, attributes: Attributes) -> None:
        """Record how long it took to process one record."""
        self._process.record(nanoseconds / 1e9, attributes)

    def sent(self, attributes: Attributes) -> None:
        """Count one record that was delivered, or given up after trying."""
        self._sent.add(1, attributes)

    def consumed(self, count: int, attributes: Attributes) -> None:
        """Count records that were handed over."""
        self._consumed.add(count, attributes)
