"""Deliveries of a record: which spans say who took it from its topic, and what was done with it.

A consumer's instrumentation makes a CONSUMER span that lasts until the record is processed; one that only says that the
record was taken, beside or above such a one (franz-go's kotel, Sarama's, aiokafka's); or none that has a kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from otel_kfs import semconv
from otel_kfs.analysis.paths.model_calls import ModelCall, ModelCalls, failed
from otel_kfs.analysis.paths.server_spans import one_process
from otel_kfs.traces.span import Key, Kind, Span, SpanGraph


def takers(producer: Span, calls: ModelCalls) -> list[Span]:
    """Return what was done with a record after it was taken from its topic, by their start.

    They are CONSUMER spans, or the SERVER spans of programs that an event source posted it to. If only others asked a
    model for it, it is those; if nobody did, it is whoever took it.
    """
    found = calls.graph.nearest_descendants(producer, _takes_records)
    found = [one for taker in found for one in _processing(taker, producer, calls)]
    asked = {one.key for one in found if one.kind is Kind.CONSUMER and calls.asks_a_model(one)}
    if asked:
        return [one for one in found if failed(one) or one.key in asked or one.kind is Kind.SERVER]
    return _without_kind(producer, calls) or found


def _takes_records(span: Span) -> bool:
    return span.kind is Kind.CONSUMER or span.kind is Kind.SERVER


def _processing(taker: Span, producer: Span, calls: ModelCalls) -> list[Span]:
    """Return the consumer's spans below that of one which only took the record, if it is by them that it led further.

    Below one that took several records there are those of the others, too, which link to theirs.
    """
    found: dict[Key, Span] = {}
    waiting = [taker]
    for one in waiting:  # which grows meanwhile
        if one.kind is not Kind.CONSUMER or calls.asks_a_model(one):
            continue
        for inner in calls.graph.nearest_descendants(one, lambda span: span.kind in _OF_RECORDS):
            is_its = inner.kind is Kind.CONSUMER and (not inner.links or producer.span_id in inner.links)
            if is_its and inner.key not in found and calls.leads_to_model(inner):
                found[inner.key] = inner
                waiting.append(inner)
    return list(found.values()) or [taker]


_OF_RECORDS = frozenset({Kind.CONSUMER, Kind.PRODUCER})


def _without_kind(producer: Span, calls: ModelCalls) -> list[Span]:
    """Return what asked a model for a record without a consumer's span: the outermost that is no part of sending it."""
    found: dict[Key, Span] = {}
    passed: set[Key] = set()
    for request in calls.requests(producer):
        if not calls.asks_a_model(request):
            continue
        outermost, above = request, calls.graph.parent(request)
        while above is not None and above is not producer and above.key not in passed:
            passed.add(above.key)
            if not one_process(producer, above) or above.start >= producer.end:
                outermost = above
            above = calls.graph.parent(above)
        if above is None or above is producer:
            found[outermost.key] = outermost
    return sorted(found.values(), key=lambda span: (span.start, span.end, span.span_id))


def lasting(span: Span, model_calls: Sequence[ModelCall], graph: SpanGraph) -> Span:
    """Return the outermost span, from this one to the last request to a model, that lasts until it is answered.

    What only starts the work, or takes a record for it, may well be over before: a task in the background, a consumer
    that hands records on.
    """
    if span.name == semconv.SEND_IMAGE or not model_calls:
        return span
    asked = model_calls[-1].span
    if _outlasts(span, asked):
        return span
    between = {asked.key: asked}
    above = graph.parent(asked)
    while above is not None and above is not span and above.key not in between:
        between[above.key] = above
        above = graph.parent(above)
    return next(one for one in reversed(between.values()) if _outlasts(one, asked))


def _outlasts(span: Span, asked: Span) -> bool:
    """Return whether a span may have waited for a request to a model, as far as one clock tells."""
    # A server's span may end after its client has the answer.
    answered = span.host == asked.host and asked.kind is not Kind.SERVER
    return span is asked or span.end >= (asked.end if answered else asked.start)
