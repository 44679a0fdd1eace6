"""What a sampler of the SDK's own is certain to decide, so that it need not be asked.

A span that is certain to be dropped is not started: that costs as much as all else together, and nobody sees it. One
that is certain to be kept is started by a twin of its tracer that does not ask. (The SDK's count of its own spans, off
by default, lacks those that were never started.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    INVALID_SPAN_CONTEXT,
    Link,
    Span,
    SpanKind,
    TraceFlags,
    TraceState,
    get_current_span,
)

StartSpan = Callable[..., Span]  # as `trace.Tracer.start_span`

# What a SpanContext is a tuple of: ids, whether it is remote, flags, state, whether it is valid. (Making a real one
# costs as much as making the header.)
ContextFields = tuple[int, int, bool, TraceFlags, TraceState, bool]

# What to propagate in the place of a span that is certain to be dropped, else None and what starts it.
Foreseen = tuple[ContextFields | None, StartSpan]

_DEFAULT, _RANDOM = TraceFlags(0), TraceFlags(TraceFlags.RANDOM_TRACE_ID)

# Samplers that can be foreseen keep the traces whose ids' low bits are below a bound, be it none of them or all.
_LOW_BITS = (1 << 64) - 1
_NONE, _ALL = 0, 1 << 64


class Foresight:
    """What becomes of the spans that a tracer is to start."""

    def __init__(self, tracer: Tracer) -> None:
        self._ids = tracer.id_generator
        self._flags = _RANDOM if self._ids.is_trace_id_random() else _DEFAULT
        self._drawn = _Drawn(self._ids)
        self._ask: StartSpan = tracer.start_span
        self._keep: StartSpan = _sure_twin(tracer, self._ids).start_span
        self._keep_drawn: StartSpan = _sure_twin(tracer, self._drawn).start_span
        # By whether the parent is remote, then sampled.
        self._children = [
            [_bound(tracer.sampler, f"_{where}_parent_{what}") for what in ("not_sampled", "sampled")]
            for where in ("local", "remote")
        ]
        roots = _bound(tracer.sampler, "_root")
        self._roots = _ALL if roots is None else roots
        # The flags of roots that are all dropped and have ids of the SDK's own making: there is nothing to ask then.
        self.dropped_roots = self._flags if roots == _NONE and type(self._ids) is RandomIdGenerator else None
        # What starts any root; None where that is for `root` to say.
        self.start_root = {None: self._ask, _ALL: self._keep}.get(roots)

    def root(self) -> Foreseen:
        """What becomes of a root: a dropped one propagates new ids, and is not sampled."""
        if self.start_root is not None:
            return None, self.start_root
        ids = self._ids
        trace_id = ids.generate_trace_id()
        if trace_id & _LOW_BITS < self._roots:
            # The span must have this very id: with another one the ratio would be applied twice.
            self._drawn.trace_id = trace_id
            return None, self._keep_drawn
        return (trace_id, ids.generate_span_id(), False, self._flags, DEFAULT_TRACE_STATE, True), self._ask

    def child(self, parent: ContextFields) -> Foreseen:
        """What becomes of a child of `parent` (of a root, where that is invalid).

        A dropped child propagates its parent's ids, which lead to the same trace, and is not sampled.
        """
        trace_id, span_id, remote, flags, state, valid = parent
        if not valid:
            return self.root()
        bound = self._children[bool(remote)][flags & 1]
        if bound is None:
            return None, self._ask
        if trace_id & _LOW_BITS < bound:
            return None, self._keep
        return (trace_id, span_id, False, _RANDOM if flags & 2 else _DEFAULT, state, True), self._ask


def _bound(sampler: Any, arm: str) -> int | None:
    """The bound of what this sampler keeps, or this arm of a ParentBased one; None: it must be asked."""
    kind = type(sampler)
    if kind is StaticSampler:
        return {Decision.DROP: _NONE, Decision.RECORD_AND_SAMPLE: _ALL}.get(sampler.should_sample(None, 0, "").decision)
    if kind is TraceIdRatioBased:
        return int(sampler.bound)
    if getattr(kind, "should_sample", None) is ParentBased.should_sample:
        return _bound(getattr(sampler, arm), arm)
    return None


class _Kept(SamplingResult):
    """What a sampler that keeps all answers; making the SDK's own takes longer."""

    decision = Decision.RECORD_AND_SAMPLE

    def __init__(self, attributes: Any, trace_state: TraceState | None) -> None:
        self.attributes = attributes
        self.trace_state = trace_state


class _Sure(Sampler):
    """Keeps all, as another sampler is known to; the contexts that it gets are never None."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,  # noqa: ARG002
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Any = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """Yes."""
        parent = get_current_span(parent_context).get_span_context() if parent_context else INVALID_SPAN_CONTEXT
        return _Kept(attributes, parent.trace_state if parent.is_valid else None)

    def get_description(self) -> str:
        """For people."""
        return "Sure"


class _SureTracer(Tracer):
    """A tracer's twin: two attributes are its own, the others are the tracer's, also when they change, as in a fork."""

    __slots__ = ("id_generator", "sampler")


def _sure_twin(tracer: Tracer, ids: Any) -> Tracer:
    twin = _SureTracer.__new__(_SureTracer)
    twin.__dict__ = tracer.__dict__
    twin.sampler = _Sure()
    twin.id_generator = ids
    return twin


class _Drawn(threading.local):
    """An IdGenerator whose trace id is the one that its thread has drawn already."""

    def __init__(self, ids: IdGenerator) -> None:
        self.trace_id = 0
        self.generate_span_id = ids.generate_span_id
        self.is_trace_id_random = ids.is_trace_id_random

    def generate_trace_id(self) -> int:
        """That one."""
        return self.trace_id
