"""Where the Kafka clients' spans and metrics go."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.sdk.trace import Tracer
from opentelemetry.trace import INVALID_SPAN, Span, TraceFlags, TracerProvider

from otel_kfs import __version__
from otel_kfs.kafka.foresight import ContextFields, Foreseen, Foresight, StartSpan
from otel_kfs.kafka.metrics import Metrics
from otel_kfs.telemetry.provider import SCHEMA_URL, report_failure

SCOPE = "otel_kfs.kafka"

# True while an asyncio client makes the blocking client inside of it: the outer one has the spans.
inner_client: ContextVar[bool] = ContextVar("otel_kfs_inner_client", default=False)


class ClientTelemetry:
    """The tracer and the metrics of this process's Kafka clients; the global providers' unless others are given."""

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._given = tracer_provider
        self.metrics = Metrics(get_meter(SCOPE, __version__, meter_provider, SCHEMA_URL))
        self._resolve()

    def _resolve(self) -> None:
        provider = self._given or trace.get_tracer_provider()
        self._tracer: Any = provider.get_tracer(SCOPE, __version__, schema_url=SCHEMA_URL)
        # As `trace.Tracer.start_span`: a new span, not current; it raises whatever the tracer raises.
        self.start_span: StartSpan = self._tracer.start_span
        if isinstance(provider, trace.ProxyTracerProvider):
            self.start_span = self._start_span_and_look
        # What starts any root, or None: `root` tells; `child` tells of those that have a parent.
        self.start_root: StartSpan | None = self.start_span
        self.dropped_roots: TraceFlags | None = None  # as Foresight's
        self.root: Callable[[], Foreseen] = self._unforeseen
        self.child: Callable[[ContextFields], Foreseen] = self._unforeseen
        # Whatever else a provider hands out, such as a wrapper of another package's, is asked.
        if type(self._tracer) is Tracer:
            try:
                foresight = Foresight(self._tracer)
                self.start_root, self.root, self.child = foresight.start_root, foresight.root, foresight.child
                self.dropped_roots = foresight.dropped_roots
            except Exception:
                report_failure("Kafka's sampling")

    def _unforeseen(self, _: ContextFields | None = None) -> Foreseen:
        return None, self.start_span

    def _start_span_and_look(self, *args: Any, **kwargs: Any) -> Span:
        """Until the process has a provider its tracer is a stand-in, and the first valid span tells that it has one."""
        span: Span = self._tracer.start_span(*args, **kwargs)
        if span.get_span_context().is_valid:
            self._resolve()
        return span


def carries_more(context: Context, span: Span) -> bool:
    """Whether a context holds anything besides its current span: baggage, a mark of suppression, somebody's own."""
    return len(context) != (span is not INVALID_SPAN)


# The one in use; an instrumentor puts another one here while it is active.
current = ClientTelemetry()


def use(telemetry: ClientTelemetry) -> ClientTelemetry:
    """Let all clients of this process use another one; returns the one before."""
    global current
    before, current = current, telemetry
    return before
