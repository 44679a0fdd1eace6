"""With which span each image begins: a sender's of ours, or the outermost one that leads to a model server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from otel_kfs import semconv
from otel_kfs.analysis.paths.model_calls import ModelCalls, failed, url_of
from otel_kfs.analysis.paths.server_spans import is_step
from otel_kfs.traces.span import Key, Kind, Span, SpanGraph


def image_roots(graph: SpanGraph, calls: ModelCalls) -> tuple[list[Span], int]:
    """Return the spans with which images begin, by their start, and how many images have lost theirs."""
    roots = [span for span in graph if span.name == semconv.SEND_IMAGE]
    ours = {root.trace_id for root in roots}
    others = [span for span in graph if span.trace_id not in ours]
    lost = {key: children for key, children in graph.orphans() if any(one.name in _OF_SENDERS for one in children)}
    for span in others:
        begins = graph.begins(span) and not _is_of_ours(span, calls) and _parent(span) not in lost
        if begins and calls.leads_to_model(span):
            roots += _records(span, calls) or _of_a_job(span, calls) or [span]
    if len(roots) > 1:
        roots.sort(key=lambda span: (span.start, span.trace_id, span.span_id))
    if not others and not lost:
        return roots, 0
    of_traces = Counter(
        key[0] for key, children in lost.items() if any(_is_of_image(child, graph) for child in children)
    )
    without = _without_root(others, graph, {root.trace_id for root in roots}) - of_traces.keys()
    return roots, len(without) + sum(of_traces.values())


def _records(root: Span, calls: ModelCalls) -> list[Span]:
    """Return the records that somebody sent to one topic, if a model was asked for several: each is an image.

    Nobody waits for what becomes of a record, so what sent them all is part of none.
    """
    if root.kind is Kind.PRODUCER:
        return []
    sent = [span for span in calls.leaving(root) if span.kind is Kind.PRODUCER]
    leading = [span for span in sent if calls.leads_to_model(span)]
    if len(leading) < 2 or (first := calls.record(leading, surely=True)) is None:
        return []
    if sum(span.name == first.name for span in leading) < 2:
        return []
    return [span for span in sent if span.name == first.name]


def _of_a_job(root: Span, calls: ModelCalls) -> list[Span]:
    """Return what a job did once for each of its images, if it asked one model for several: a span a request.

    They are of one name and lead to one URL. A chain of models has several, a retry one answer, and who talks with a
    generative model asks it several times for one thing.
    """
    passed = {root.key}
    leading = [root]
    while len(leading) == 1 and leading[0].kind in _WITHOUT_KIND:
        leading = [one for one in calls.graph.children(leading[0]) if calls.leads_to_model(one)]
        if not passed.isdisjoint(one.key for one in leading):
            return []  # parents in a circle
        passed.update(one.key for one in leading)
    if len({one.name for one in leading}) != 1 or sum(not failed(one) for one in leading) < 2:
        return []
    if any(one.kind not in _WITHOUT_KIND and one.kind is not Kind.CLIENT for one in leading):
        return []
    asked = [[one] if one.kind is Kind.CLIENT else calls.requests(one) for one in leading]
    to_model = [[span for span in spans if calls.leads_to_model(span)] for spans in asked]
    urls = {url_of(span) for spans in to_model for span in spans}
    is_talk = any(
        not semconv.CLIENTS_OF_MODELS.keys().isdisjoint(span.attributes) for spans in to_model for span in spans
    )
    return leading if len(urls) == 1 and "" not in urls and not is_talk else []


_WITHOUT_KIND = frozenset({Kind.INTERNAL, Kind.UNSPECIFIED})
_OF_SENDERS = frozenset({semconv.ENCODE, semconv.LATE_START, semconv.START_PROGRAM})


def _is_of_image(span: Span, graph: SpanGraph) -> bool:
    """Return whether below a span is something that images alone have."""
    return bool(graph.nearest_descendants(span, lambda below: is_step(below) or _is_process(below)))


def _parent(span: Span) -> Key | None:
    return None if span.parent_id is None else (span.trace_id, span.parent_id)


def _is_of_ours(span: Span, calls: ModelCalls) -> bool:
    """Return whether what a span has lost may well be an image's beginning of ours, whose total nothing tells then."""
    if (span.parent_id is None and not span.part_of) or span.service in calls.servers:
        return False
    return is_step(span) or _is_process(span) or (span.kind is Kind.SERVER and calls.is_model_server_of_ours(span))


def _without_root(spans: Iterable[Span], graph: SpanGraph, with_root: set[str]) -> set[str]:
    """Return the traces of images of which the root is missing, but something else is there that images alone have."""
    orphans = {
        span.trace_id for span in spans if span.trace_id not in with_root and (is_step(span) or _is_process(span))
    }
    if not orphans:
        return set()
    # A process span in a trace of its own belongs to its producer's image, even if of that trace nothing is left.
    producers: dict[str, set[str]] = {}
    for span in graph:
        if span.kind is Kind.CONSUMER and span.links:
            producers.setdefault(span.trace_id, set()).update({*span.linked_traces} - {"", span.trace_id})
    lost: set[str] = set()
    for trace_id in orphans:
        images = _first_of(trace_id, producers)
        if with_root.isdisjoint(images):
            lost |= images
    return lost


def _is_process(span: Span) -> bool:
    return span.kind is Kind.CONSUMER and span.name.startswith(semconv.process(""))


def _first_of(trace_id: str, producers: Mapping[str, set[str]]) -> set[str]:
    """Return the traces in which began what a trace is part of."""
    passed = [trace_id]
    for one in passed:  # which grows meanwhile
        passed += producers.get(one, set()).difference(passed)
    return {one for one in passed if not producers.get(one)} or {min(passed)}  # links in a circle are one image
