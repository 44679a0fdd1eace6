"""The part of a path between a record's sender and the span that took it from the topic: broker, redeliveries."""

from __future__ import annotations

from otel_kfs import semconv
from otel_kfs.analysis.paths.coverage import NOT_PROCESSED, LeftOut
from otel_kfs.analysis.paths.deliveries import takers
from otel_kfs.analysis.paths.model_calls import ModelCalls, failed, first_named
from otel_kfs.analysis.paths.path_builder import PathBuilder
from otel_kfs.analysis.paths.segment import (
    BROKER,
    DELIVER,
    DELIVER_AND_BROKER,
    HAND_OVER,
    REDELIVERIES,
    RETRIES,
    Place,
    segment_at,
)
from otel_kfs.traces.span import Kind, Span


def through_topic(
    path: PathBuilder, producer: Span | None, consumers: list[Span], sender: Place, calls: ModelCalls
) -> tuple[list[Span], int]:
    """Go through the topic; return what took the record from it: `process` spans, or an event source's server.

    And how often it was delivered: a bridge that was killed leaves no span, but the next one may know of it.

    The last of them is the one that counts: the first that did not fail. Those before it are failed deliveries of the
    same record to the same consumer group; what other groups did with it, and what came after the answer, is not on
    the path. Without the record's own span, `consumers` have it, and the topic is one stretch; without theirs, they are
    the requests that were made for it.
    """
    if producer is not None:
        if failed(producer):
            raise LeftOut("not delivered to the broker")
        if producer is not path.root:
            path.to(segment_at(sender), producer.start, producer)
        requests, consumers = consumers, takers(producer, calls)
        if not consumers:  # a request to a model may have lost the span of the record that it is for
            consumers = [call.span for call in calls.calls(requests, guess=False) if call.span.start >= producer.start]
    if not consumers:
        raise LeftOut(NOT_PROCESSED)
    consumers = calls.one_group(consumers)
    attempts = (one.attributes.get(semconv.DELIVERY_ATTEMPT) for one in consumers)
    known = max((attempt for attempt in attempts if isinstance(attempt, int)), default=1)
    answered = next((number for number, one in enumerate(consumers) if not failed(one)), len(consumers) - 1)
    consumers = consumers[: answered + 1]
    first, last = consumers[0], consumers[-1]
    # A batch that failed is tried again by the same consumer, a record at a time.
    alone = [one for one in consumers[:-1] if not one.batch]
    path.retries += len(consumers) - 1 - len(alone)
    topic = DELIVER_AND_BROKER
    if producer is not None:
        # The acknowledgement can reach the producer after a consumer has the record; it is then not on the path.
        acknowledged = producer.end
        if producer.host == first.host:
            acknowledged = min(acknowledged, first.start)
            # A server's span may start after its `receive`, which is below it.
            receive = first_named(calls.graph.children(first), semconv.RECEIVE) if first.kind is Kind.SERVER else None
            if receive is not None and receive.host == producer.host:
                acknowledged = min(acknowledged, receive.start)
        # Where the acknowledgement can't be seen, the span ends when the program that sends has the record.
        seen = _sees_acknowledgement(producer)
        path.to(DELIVER if seen else HAND_OVER, acknowledged, producer, gives_way=producer.host != first.host)
        topic = BROKER if seen else DELIVER_AND_BROKER
    if producer is not None:
        path.certain(producer.host, producer.start, last.host, last.start)
    if first.kind is Kind.CLIENT:
        path.miss("process")
    if first.kind is not Kind.SERVER:
        path.to(topic, first.start, first)
        if last is not first:
            path.to(REDELIVERIES if alone else RETRIES, last.start, last)
    return consumers, max(len(alone) + 1, known)


def _sees_acknowledgement(producer: Span) -> bool:
    """Return whether a record's span lasts until the broker has acknowledged it.

    Ours does unless it says otherwise. Of other programs' the Java agent's does, which then has the record's offset;
    those of contrib's kafka-python and aiokafka end when the client has the record, and know of none.
    """
    if isinstance(seen := producer.attributes.get(semconv.ACKNOWLEDGED), bool):
        return seen
    offsets = (semconv.MESSAGING_KAFKA_OFFSET, semconv.MESSAGING_KAFKA_MESSAGE_OFFSET)
    return producer.name.startswith(semconv.send("")) or any(key in producer.attributes for key in offsets)
