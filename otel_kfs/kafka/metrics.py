"""The four messaging metrics of the OpenTelemetry semantic conventions (v1.44) that Kafka clients have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.metrics import Meter, MeterProvider, get_meter_provider

OPERATION_DURATION: Final = "messaging.client.operation.duration"  # s: the `send` and `poll` spans'
SENT_MESSAGES: Final = "messaging.client.sent.messages"  # {message}: delivered, or given up after trying
CONSUMED_MESSAGES: Final = "messaging.client.consumed.messages"  # {message}: handed over by poll() or consume()
PROCESS_DURATION: Final = "messaging.process.duration"  # s: the `process` spans'

# Seconds; the conventions ask for these bounds.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

Attributes = Mapping[str, Any]


class Metrics:
    """The instruments of one meter; ask `enabled` first, so that nothing is computed where nobody listens."""

    def __init__(self, meter: Meter, provider: MeterProvider | None = None) -> None:
        """Create the instruments; `provider` is the meter's own where that is not the global one."""
        self._given = provider
        self._enabled = provider is not None and _counts(provider)
        self._ask_again = 0.0
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
        """Whether a meter provider is set: those of OpenTelemetry's API, stand-in and no-op, count nothing.

        The global one may be set at any time. Asking for it costs as much as a tenth of a span, so until there is one
        it is asked for once a second.
        """
        if not self._enabled and self._given is None and (now := time.monotonic()) >= self._ask_again:
            self._ask_again = now + 1
            self._enabled = _counts(get_meter_provider())
        return self._enabled

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


def _counts(provider: MeterProvider) -> bool:
    return not type(provider).__module__.startswith("opentelemetry.metrics")
