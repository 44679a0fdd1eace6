"""Where the Kafka clients' spans and metrics go."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_CONTEXT, Span, SpanContext, TracerProvider

from otel_kfs import __version__
from otel_kfs.kafka.metrics import Metrics

SCOPE = "otel_kfs.kafka"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

# True while an asyncio client makes the blocking client inside of it: the outer one has the spans.
inner_client: ContextVar[bool] = ContextVar("otel_kfs_inner_client", default=False)

_DEFAULT, _RANDOM = trace.TraceFlags(0), trace.TraceFlags(trace.TraceFlags.RANDOM_TRACE_ID)

# What a SpanContext is a tuple of: ids, whether it is remote, flags, state, whether it is valid. (Making a real one
# costs as much as making the header.)
ContextFields = tuple[int, int, bool, trace.TraceFlags, trace.TraceState, bool]


class Telemetry:
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
        self._follows_unsampled, self.drops_roots = _certainties(getattr(self._tracer, "sampler", None))
        # As `trace.Tracer.start_span`: a new span, not current; it raises whatever the tracer raises.
        self.start_span: Callable[..., Span] = self._tracer.start_span
        if isinstance(provider, trace.ProxyTracerProvider):
            self.start_span = self._start_span_and_look

    def _start_span_and_look(self, *args: Any, **kwargs: Any) -> Span:
        """Until the process has a provider its tracer is a stand-in, and the first valid span tells that it has one."""
        span: Span = self._tracer.start_span(*args, **kwargs)
        if span.get_span_context().is_valid:
            self._resolve()
        return span

    def dropped(self, parent: SpanContext) -> ContextFields | None:
        """What to propagate where a child of `parent` is certain to be dropped, else None: ask the sampler.

        Starting such a span costs as much as all else together, and nobody sees it: the sampler is known to follow an
        unsampled parent, or to drop whatever has none. Below an unsampled parent the parent's own context travels on,
        which leads to the same trace. (The SDK's count of its own unsampled spans, off by default, lacks those.)
        """
        if parent is INVALID_SPAN_CONTEXT:
            return self._new_root() if self.drops_roots else None
        _, _, _, flags, _, valid = parent
        return parent if valid and not flags & 1 and self._follows_unsampled else None

    def _new_root(self) -> ContextFields:
        ids = self._tracer.id_generator
        flags = _RANDOM if ids.is_trace_id_random() else _DEFAULT
        return ids.generate_trace_id(), ids.generate_span_id(), False, flags, trace.DEFAULT_TRACE_STATE, True


def _certainties(sampler: Any) -> tuple[bool, bool]:
    """Whether a sampler drops for sure: what has an unsampled parent, and what has no parent."""
    if sampler is None:
        return False, False
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

    if sampler is ALWAYS_OFF:
        return True, True
    if getattr(type(sampler), "should_sample", None) is not ParentBased.should_sample:
        return False, False
    arms = {getattr(sampler, f"_{where}_parent_not_sampled", None) for where in ("local", "remote")}
    return arms == {ALWAYS_OFF}, getattr(sampler, "_root", None) is ALWAYS_OFF


def carries_more(context: Context, span: Span) -> bool:
    """Whether a context holds anything besides its current span: baggage, a mark of suppression, somebody's own."""
    return len(context) != (span is not INVALID_SPAN)


# The one in use; an instrumentor puts another one here while it is active.
current = Telemetry()


def use(telemetry: Telemetry) -> Telemetry:
    """Let all clients of this process use another one; returns the one before."""
    global current
    before, current = current, telemetry
    return before
