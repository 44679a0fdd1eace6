"""Hosts that have one name and several clocks: what contradicts one clock, and how their spans are told apart then.

Containers and pods may have equal names, and a collector may write its own name into everybody's spans. Nothing says
so but the times: on one clock nothing begins before what caused it. The services of such a host count as a host each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import structs

from otel_kfs import semconv
from otel_kfs.analysis.clock_skew import Clocks
from otel_kfs.analysis.paths.model_calls import failed
from otel_kfs.traces.host_identity import name_before, named_apart
from otel_kfs.traces.span import Kind, Span, SpanGraph

_TRUNCATED = 2000  # ns: Jaeger's older JSON has starts and durations in whole microseconds


def contradicted(graph: SpanGraph) -> set[str]:
    """Return the hosts of which some spans can't be by one clock."""
    found = set()
    for caller, children in graph.families():
        for span in children:
            if span.service == caller.service or span.host != caller.host or span.host in found:
                continue
            if _says(span, caller) and _contradicts(span, caller, graph):
                found.add(span.host)
    return found


def _says(span: Span, parent: Span) -> bool:
    """Return whether a span itself names its parent: one that it was given, because its own is lost, proves nothing."""
    return span.parent_id == parent.span_id and span.trace_id == parent.trace_id


def _contradicts(span: Span, caller: Span, graph: SpanGraph) -> bool:
    began, answering = _began_and_answering(span, graph)
    if began < caller.start - _TRUNCATED and began < _sent(caller, graph) - _TRUNCATED:
        return True
    # A server's span may end after its client has the answer; what it does before it answers does not. A proxy need not
    # have a span of its own request: it has the answer in the one that it was asked in.
    late = answering > caller.end + _TRUNCATED
    return late and caller.kind in _REQUESTS and span.kind in _REQUESTS and not failed(caller)


def _began_and_answering(span: Span, graph: SpanGraph) -> tuple[int, int]:
    """Return when somebody who was asked certainly had the request, and had certainly not answered yet.

    Of what only hands a request on, it is when the one behind it had not answered.
    """
    began = answering = span.start
    seen = {span.key}
    while True:
        children = graph.children(span)
        steps = [one for one in children if one.name in _ANSWERED and one.host == span.host and _says(one, span)]
        for step in steps:
            began, answering = min(began, step.start), max(answering, step.end)
        onward = [one for one in children if one.kind in _REQUESTS and one.host == span.host and _says(one, span)]
        if steps or len(onward) != 1 or onward[0].key in seen:
            return began, answering
        (span,) = onward
        seen.add(span.key)


_REQUESTS = frozenset({Kind.CLIENT, Kind.SERVER})
_ANSWERED = frozenset({semconv.RECEIVE, semconv.DECODE, *semconv.MODEL_STEPS})


def _sent(caller: Span, graph: SpanGraph) -> int:
    """Return by when a request was not sent yet; a program's that another one runs is placed too late."""
    root = None if caller.parent_id is None else graph.get((caller.trace_id, caller.parent_id))
    placed = root is not None and semconv.PROCESS_EXECUTABLE_NAME in root.attributes
    return root.start if root is not None and placed else caller.start


def told_apart(spans: Sequence[Span], hosts: frozenset[str]) -> Sequence[Span]:
    """Return the spans, those of these hosts with a host for each service."""
    if not hosts:
        return spans
    return [
        structs.replace(span, host=named_apart(span.host, span.service)) if span.host in hosts else span
        for span in spans
    ]


def explained(hosts: Iterable[str], clocks: Clocks, pairs: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return those hosts whose contradictions are gone if their services have a clock each, steady or drifting.

    `clocks` and `pairs` are what was seen of the hosts that were told apart.
    """
    pairs = list(pairs)

    def fits(host: str) -> bool:
        own = [pair for pair in pairs if {name_before(one) for one in pair} == {host}]
        offsets = [clocks.offset(*pair) for pair in own]
        known = [offset for offset in offsets if offset is not None]
        return all(offset.bound is not None for offset in known)

    return frozenset(filter(fits, hosts))
