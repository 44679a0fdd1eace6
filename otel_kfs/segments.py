"""From the spans of one image's way to named segments: they follow one another without a gap from stamp 1 to stamp 4.

A way is a list of points in time, each an edge of a span, in the order in which an image meets them; a segment lies
between two neighbouring points. So the segments' lengths add up to 4-1 exactly, whatever spans there are. A segment
that is named only after a place ("client", "transformer") is time there that no span accounts for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from otel_kfs import names
from otel_kfs.traces.span import Forest, Kind, Span

# Every segment, in the order of the way. {} is a server's role: the first server is asked by the client or the bridge,
# the second by the first.
_SERVER_IN = ("{} request", "{} receive", "{}", "{} decode", "{} preprocess")
_SERVER_OUT = ("{} postprocess", "{} response")
_MODEL = ("{} predict", "{} explain")
ORDER = (
    "program start",
    "client",
    "encode",
    "deliver",
    "broker",
    "hand over",
    "deliver + broker",
    "redeliveries",
    "event source",
    "bridge",
    "retries",
    *(name.format(names.TRANSFORMER) for name in (*_SERVER_IN, "{} serialise", *_MODEL)),
    *(name.format(names.PREDICTOR) for name in (*_SERVER_IN, *_MODEL, *_SERVER_OUT)),
    *(name.format(names.TRANSFORMER) for name in _SERVER_OUT),
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one image's way, ns since the epoch; `crosses` says that its ends were read on two hosts' clocks."""

    name: str
    start: int
    end: int
    crosses: bool

    @property
    def length(self) -> int:
        """Nanoseconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Journey:
    """One image's way: its stamps 1 to 4 (ns since the epoch) and the segments between the first and the last."""

    trace_id: str
    transport: str
    image_size: int | None  # bytes
    payload_size: int | None  # bytes
    stamps: tuple[int, int, int, int]
    segments: tuple[Segment, ...]
    requests: int = 1  # HTTP requests it took; more than one: retries
    deliveries: int = 1  # times that the record was processed; more than one: redeliveries


@dataclass(slots=True)
class Account:
    """What became of every image's trace: measured, or left out for a named reason."""

    measured: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    redelivered: int = 0


class _LeftOut(Exception):
    """Why an image's trace can't be measured."""


def journeys(forest: Forest) -> tuple[list[Journey], Account]:
    """Every image's way among the spans, and the account of those that can't be measured."""
    found, account = [], Account()
    roots = [span for span in forest if span.name == names.SEND_IMAGE]
    for root in sorted(roots, key=lambda span: span.start):
        try:
            journey = _journey(root, forest)
        except _LeftOut as reason:
            account.left_out[str(reason)] += 1
            continue
        found.append(journey)
        account.measured += 1
        account.retried += journey.requests > 1
        account.redelivered += journey.deliveries > 1
    with_root = {root.trace_id for root in roots}
    orphans = {span.trace_id for span in forest if span.name == names.PREPROCESS} - with_root
    if orphans:
        # A process span in a trace of its own is reached by its link and belongs to its producer's image.
        of_images = {span.span_id for span in forest if span.trace_id in with_root}
        linked = {
            span.trace_id
            for span in forest
            if span.kind is Kind.CONSUMER and span.parent_id is None and not of_images.isdisjoint(span.links)
        }
        if rootless := len(orphans - linked):
            account.left_out[f"no `{names.SEND_IMAGE}` span"] = rootless
    return found, account


class _Way:
    """The points of one way, as they are found."""

    def __init__(self, root: Span) -> None:
        self._at, self._host = root.start, root.host
        self._missing: list[str] = []
        self._program = names.PROCESS_EXECUTABLE_NAME in root.attributes
        self.segments: list[Segment] = []

    def to(self, segment: str, at: int, span: Span) -> None:
        """Go on to an edge of `span`; the time since the last point is `segment`."""
        if self._missing:
            segment = f"{segment} (no {', '.join(self._missing)} span)"
            self._missing.clear()
        crosses = self._host != span.host
        if at < self._at and self._program and not crosses:
            self._end_sooner(at)
        if at < self._at and not crosses:
            raise _LeftOut(f"`{span.name}` is out of order")
        self.segments.append(Segment(segment, self._at, at, crosses))
        self._at, self._host = at, span.host

    def _end_sooner(self, at: int) -> None:
        """Let a program under `exec` have sent its request by `at`, when the server had it.

        The request is placed by when the program's report of it arrived, which is always a moment too late.
        """
        if self.segments[0].start <= at and self.segments[-1].name == "client":
            self.segments = [
                Segment(one.name, min(one.start, at), min(one.end, at), one.crosses) for one in self.segments
            ]
            self._at = at

    def over(self, place: str, segment: str, span: Span | None) -> None:
        """Go over a whole span: what lies before it belongs to `place`. A missing one names what swallows it."""
        if span is None:
            self._missing.append(segment)
        else:
            self.to(place, span.start, span)
            self.to(segment, span.end, span)


def _journey(root: Span, forest: Forest) -> Journey:
    if root.attributes.get(names.WARMUP):
        raise _LeftOut("warm-up")
    way = _Way(root)
    steps = forest.children(root)
    if (start := _named(steps, names.START_PROGRAM)) is not None:
        way.over("client", "program start", start)
    elif names.PROCESS_EXECUTABLE_NAME not in root.attributes:  # another program's payload was encoded before
        way.over("client", "encode", _named(steps, names.ENCODE))
    producers = forest.nearest(root, lambda span: span.kind is Kind.PRODUCER)
    takers = _through_topic(way, producers[-1], forest) if producers else []
    if takers and takers[-1].kind is Kind.SERVER:
        # An event source (Knative's) posted the record: nobody waits for the answer, so it is back when it is sent.
        requests, last = [], takers[-1]
        if last.failed:
            raise _LeftOut("the request failed")
        server = _through_server(way, last, forest, "event source", names.TRANSFORMER)
        way.to(f"{server.role} response", last.end, last)
    else:
        place, last = ("bridge", takers[-1]) if takers else ("client", root)
        requests = forest.nearest(last, lambda span: span.kind is Kind.CLIENT)
        if not requests:
            raise _LeftOut("sent nothing" if root.failed else "no request span")
        way.to(place, requests[0].start, requests[0])
        request = requests[-1]
        if len(requests) > 1:
            way.to("retries", request.start, request)
        if request.failed or last.failed:
            raise _LeftOut("the request failed")
        first = _server(request, forest)
        if first is None:
            raise _LeftOut("no server span")
        server = _through_server(way, first, forest, "{} request", names.TRANSFORMER)
        way.to(f"{server.role} response", request.end, request)
        way.to(place, last.end, last)
    return Journey(
        trace_id=root.trace_id,
        transport=names.KAFKA if producers else names.HTTP,
        image_size=_bytes(root, names.IMAGE_SIZE),
        payload_size=_bytes(root, names.PAYLOAD_SIZE),
        stamps=(root.start, server.body_complete, server.preprocessed, last.end),
        segments=tuple(way.segments),
        requests=max(1, len(requests)),
        deliveries=max(1, len(takers)),
    )


def _through_topic(way: _Way, producer: Span, forest: Forest) -> list[Span]:
    """Go through the topic; returns what took the record from it: `process` spans, or an event source's server.

    The last of them is the one that counts: the first that did not fail. Those before it are failed deliveries of the
    same record to the same consumer group; what other groups did with it, and what came after the answer, is not on
    the way.
    """
    if producer.failed:
        raise _LeftOut("not delivered to the broker")
    way.to("client", producer.start, producer)
    takers = forest.nearest(producer, lambda span: span.kind in {Kind.CONSUMER, Kind.SERVER})
    if not takers:
        raise _LeftOut("delivered, but not processed")
    group = takers[0].attributes.get(names.MESSAGING_CONSUMER_GROUP_NAME)
    takers = [taker for taker in takers if taker.attributes.get(names.MESSAGING_CONSUMER_GROUP_NAME) == group]
    answered = next((number for number, taker in enumerate(takers) if not taker.failed), len(takers) - 1)
    takers = takers[: answered + 1]
    # The acknowledgement can reach the producer after a consumer has the record; it is then not on the way.
    acknowledged = producer.end
    if producer.host == takers[0].host:
        # A server's span may start after its `receive`, which is below it.
        there = (span.start for span in forest.children(takers[0]) if span.host == producer.host)
        acknowledged = min(acknowledged, takers[0].start, *there)
    # Where the acknowledgement can't be seen, the span ends when the program that sends has the record.
    seen = producer.attributes.get(names.ACKNOWLEDGED, True)
    way.to("deliver" if seen else "hand over", acknowledged, producer)
    if takers[0].kind is Kind.CONSUMER:
        way.to("broker" if seen else "deliver + broker", takers[0].start, takers[0])
        if len(takers) > 1:
            way.to("redeliveries", takers[-1].start, takers[-1])
    return takers


class _Served(NamedTuple):
    """What a server did: when it had the whole body, when its preprocessing ended, and what it is."""

    body_complete: int
    preprocessed: int
    role: str


def _through_server(way: _Way, server: Span, forest: Forest, before: str, role: str) -> _Served:
    """Go through a server, and through the predictor that it asks; `before` names the time until its headers are seen.

    `role` is what it is taken for if its spans do not say.
    """
    steps = forest.nearest(server, lambda span: span.name in _STEPS or span.kind is Kind.CLIENT)
    role = next((str(step.attributes[names.ROLE]) for step in steps if names.ROLE in step.attributes), role)
    receive = _named(steps, names.RECEIVE)
    preprocess = _named(steps, names.PREPROCESS)
    if receive is None:
        raise _LeftOut(f"no `{names.RECEIVE}` span in the {role}")
    if preprocess is None:
        raise _LeftOut(f"no `{names.PREPROCESS}` span in the {role}")
    way.over(before.format(role), f"{role} receive", receive)
    way.over(role, f"{role} decode", _named(steps, names.DECODE))
    way.over(role, f"{role} preprocess", preprocess)
    model = _named(steps, names.PREDICT) or _named(steps, names.EXPLAIN)
    hops = forest.nearest(model, lambda span: span.kind is Kind.CLIENT) if model else []
    if model is not None and hops:
        hop = hops[-1]
        way.to(role, model.start, model)
        way.to(f"{role} serialise", hop.start, hop)
        predictor = _server(hop, forest)
        if predictor is None:
            # A predictor that is not traced (Triton, say) is one stretch.
            way.to(names.PREDICTOR, hop.end, hop)
        else:
            next_role = _through_server(way, predictor, forest, "{} request", names.PREDICTOR).role
            way.to(f"{next_role} response", hop.end, hop)
        way.to(role, model.end, model)
    else:
        way.over(role, f"{role} {model.name if model else names.PREDICT}", model)
    way.over(role, f"{role} postprocess", _named(steps, names.POSTPROCESS))
    return _Served(receive.end, preprocess.end, role)


def _server(request: Span, forest: Forest) -> Span | None:
    """The span of the model server that a request reached, past the proxies between (an ingress, a mesh), if any."""
    found = None
    while servers := forest.nearest(found or request, _is_server):
        found = servers[0]
        # A model server has steps above the next server's span; a proxy has nothing but its own request.
        if any(_is_step(span) for span in forest.nearest(found, lambda span: _is_step(span) or _is_server(span))):
            break
    return found


def _is_server(span: Span) -> bool:
    return span.kind is Kind.SERVER


def _is_step(span: Span) -> bool:
    return span.name in _STEPS


_STEPS = frozenset({names.RECEIVE, names.DECODE, *names.MODEL_STEPS})


def _named(spans: Iterable[Span], name: str) -> Span | None:
    return next((span for span in spans if span.name == name), None)


def _bytes(span: Span, key: str) -> int | None:
    value = span.attributes.get(key)
    return value if type(value) is int else None
