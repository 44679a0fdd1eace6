"""Whether the images among some spans are there as a whole, or more of them has still to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otel_kfs.analysis.paths.coverage import NOT_PROCESSED, Coverage
from otel_kfs.analysis.paths.critical_path import CriticalPath
from otel_kfs.analysis.paths.model_calls import is_store
from otel_kfs.traces.span import Kind, Span, SpanGraph


@dataclass(frozen=True, slots=True)
class Completeness:
    """What is there of the images among some spans."""

    spans: int
    whole: int  # images that were measured, with all that their spans refer to
    settled: int  # images that are left out, whatever else may come: they failed
    pending: dict[str, int]  # why others could not be measured, and how many
    torn: int  # images of which a span refers to a parent that is not there
    first_torn: str
    open_ends: int  # requests that lead to no server's span, and roots whose parents are not there, if not ours

    @property
    def may_grow(self) -> bool:
        """Whether something says that more spans are to come."""
        return bool(self.pending or self.torn or self.open_ends)


def completeness(graph: SpanGraph, paths: Sequence[CriticalPath], coverage: Coverage) -> Completeness:
    """Return how complete the images found in a graph are."""
    pending = {reason: count for reason, count in coverage.left_out.items() if is_pending(reason)}
    traces = {trace for path in paths for trace in _traces(path)}
    roots = {path.key: path for path in paths}
    torn: dict[str, str] = {}
    open_ends = 0
    for span in graph:
        if span.parent_id is not None and graph.get((span.trace_id, span.parent_id)) is None:
            if span.key not in roots:
                torn.setdefault(span.trace_id, span.name)
            elif roots[span.key].root:
                open_ends += 1
        elif span.trace_id in traces and is_unanswered(span, graph):
            open_ends += 1
    whole = [path for path in paths if torn.keys().isdisjoint(_traces(path))]
    return Completeness(
        len(graph),
        len(whole),
        _settled(coverage),
        pending,
        len(paths) - len(whole),
        next((f"`{torn[trace]}` in trace {trace}" for path in paths for trace in _traces(path) if trace in torn), ""),
        open_ends,
    )


def is_unanswered(span: Span, graph: SpanGraph) -> bool:
    """Return whether a span is of a request of which nothing shows where it arrived."""
    if span.kind is not Kind.CLIENT or span.failed or is_store(span):
        return False
    return not graph.nearest_descendants(span, lambda below: below.kind in {Kind.SERVER, Kind.CONSUMER})


def _traces(path: CriticalPath) -> tuple[str, ...]:
    return (path.trace_id, *path.linked)


def is_pending(reason: str) -> bool:
    """Whether an image that is left out for that reason may be measured once more of it is there."""
    return reason == NOT_PROCESSED or reason.startswith("no ")


def _settled(coverage: Coverage) -> int:
    return sum(count for reason, count in coverage.left_out.items() if reason != "warm-up" and not is_pending(reason))
