"""Where the Kafka clients' spans and metrics go."""

from __future__ import annotations

from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import TracerProvider

from otel_kfs import __version__
from otel_kfs.kafka.metrics import Metrics
from otel_kfs.telemetry.provider import SCHEMA_URL

SCOPE = "otel_kfs.kafka"

# True while an asyncio client makes the blocking client inside of it: the outer one has the spans.
inner_client: ContextVar[bool] = ContextVar("otel_kfs_inner_client", default=False)


class ClientTelemetry:
    """The tracer and the metrics of this process's Kafka clients; the global providers' unless others are given."""

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self.tracer = trace.get_tracer(SCOPE, __version__, tracer_provider, SCHEMA_URL)
        self.metrics = Metrics(get_meter(SCOPE, __version__, meter_provider, SCHEMA_URL), meter_provider)


# The one in use; an instrumentor puts another one here while it is active.
current = ClientTelemetry()


def use(telemetry: ClientTelemetry) -> ClientTelemetry:
    """Let all clients of this process use another one; returns the one before."""
    global current
    before, current = current, telemetry
    return before
