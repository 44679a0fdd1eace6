"""The four messaging metrics of the OpenTelemetry semantic conventions (v1.44) that Kafka clients have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.metrics import Meter, NoOpHistogram

OPERATION_DURATION: Final = "messaging.client.operation.duration"  # s: the `send` and `poll` spans'
SENT_MESSAGES: Final = "messaging.client.sent.messages"  # {message}: delivered, or given up after trying
CONSUMED_MESSAGES: Final = "messaging.client.consumed.messages"  # {message}: handed over by poll() or consume()
PROCESS_DURATION: Final = "messaging.process.duration"  # s: the `process` spans'

# Seconds; the conventions ask for these bounds.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

Attributes = Mapping[str, Any]


class Metrics:
    """The instruments of one meter; ask `enabled` first, so that nothing is computed where nobody listens."""

    def __init__(self, meter: Meter) -> None:
        self._operation = meter.create_histogram(
            OPERATION_DURATION,
            "s",
            "Duration of messaging operation initiated by a producer or consumer client.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._listened = not isinstance(self._operation, NoOpHistogram)
        self._stand_in: Any = self._operation if hasattr(self._operation, "_real_instrument") else None
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
        """Whether a meter provider is set: before, instruments are stand-ins without a real one behind them."""
        return self._listened if self._stand_in is None else self._stand_in._real_instrument is not None

    def operation(self, nanoseconds: int, attributes: Attributes) -> None:
        """One `send` or `poll` took so long."""
        self._operation.record(nanoseconds / 1e9, attributes)

    def process(self, nanoseconds: int, attributes: Attributes) -> None:
        """Processing one record took so long."""
        self._process.record(nanoseconds / 1e9, attributes)

    def sent(self, attributes: Attributes) -> None:
        """One record was delivered, or given up after trying."""
        self._sent.add(1, attributes)

    def consumed(self, count: int, attributes: Attributes) -> None:
        """So many records were handed over."""
        self._consumed.add(count, attributes)
