"""Where the Kafka clients' spans and metrics go."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, TracerProvider

from otel_kfs import __version__
from otel_kfs.kafka.metrics import Metrics

SCOPE = "otel_kfs.kafka"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

# True while an asyncio client makes the blocking client inside of it: the outer one has the spans.
inner_client: ContextVar[bool] = ContextVar("otel_kfs_inner_client", default=False)

_DEFAULT, _RANDOM = trace.TraceFlags(0), trace.TraceFlags(trace.TraceFlags.RANDOM_TRACE_ID)
_LOW_BITS = (1 << 64) - 1  # those of a trace id that a ratio looks at

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
        # Roots are kept whose trace id's low bits are below the bound; None: ask the sampler.
        self._follows_unsampled, self._bound = _certainties(getattr(self._tracer, "sampler", None))
        self.draws_roots = self._bound is not None
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
        unsampled parent, whose own context travels on instead, which leads to the same trace. (The SDK's count of its
        own unsampled spans, off by default, lacks those, and dropped roots.)
        """
        _, _, _, flags, _, valid = parent
        return parent if valid and not flags & 1 and self._follows_unsampled else None

    def draw_root(self) -> tuple[ContextFields | None, Callable[..., Span]]:
        """Draw a new trace's id, where `draws_roots`: what to propagate if it is dropped, else what starts its span.

        A span that is kept has the very id that was drawn: with another one the ratio would be applied twice.
        """
        tracer, bound = self._tracer, self._bound
        ids = tracer.id_generator
        trace_id = ids.generate_trace_id()
        if bound is None or trace_id & _LOW_BITS < bound:
            tracer = copy.copy(tracer)
            tracer.id_generator = _Drawn(ids, trace_id)
            return None, tracer.start_span
        flags = _RANDOM if ids.is_trace_id_random() else _DEFAULT
        return (trace_id, ids.generate_span_id(), False, flags, trace.DEFAULT_TRACE_STATE, True), self.start_span


class _Drawn:
    """An IdGenerator whose trace id is drawn already."""

    def __init__(self, ids: Any, trace_id: int) -> None:
        self.generate_span_id = ids.generate_span_id
        self.is_trace_id_random = ids.is_trace_id_random
        self.generate_trace_id = lambda: trace_id


def _certainties(sampler: Any) -> tuple[bool, int | None]:
    """Whether a sampler drops all that has an unsampled parent, and the bound below which it keeps what has none."""
    if sampler is None:
        return False, None
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

    if sampler is ALWAYS_OFF:
        return True, 0
    if getattr(type(sampler), "should_sample", None) is not ParentBased.should_sample:
        return False, _bound(sampler)
    arms = {getattr(sampler, f"_{where}_parent_not_sampled", None) for where in ("local", "remote")}
    return arms == {ALWAYS_OFF}, _bound(getattr(sampler, "_root", None))


def _bound(root: Any) -> int | None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased

    if root is ALWAYS_OFF:
        return 0
    # A ratio of 1 keeps all: there is nothing to draw for.
    return root.bound if type(root) is TraceIdRatioBased and root.bound <= _LOW_BITS else None


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
