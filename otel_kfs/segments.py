"""From the spans of one image's way to named segments: they follow one another without a gap from stamp 1 to stamp 4.

A way is a list of points in time, each an edge of a span, in the order in which an image meets them; a segment lies
between two neighbouring points. So the segments' lengths add up to 4-1 exactly, whatever spans there are. A segment
that is named only after a place ("client", "transformer") is time there that no span accounts for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from otel_kfs import names
from otel_kfs.traces.span import Forest, Kind, Span

# Every segment, in the order of the way. {} is a server's role: the first server is asked by the client or the bridge,
# the second by the first.
_SERVER_IN = ("{} request", "{} receive", "{}", "{} decode", "{} preprocess")
_SERVER_OUT = ("{} postprocess", "{} response")
_MODEL = ("{} predict", "{} explain")
ORDER = (
    "client",
    "encode",
    "deliver",
    "broker",
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
        linked = {
            span.trace_id for span in forest if span.kind is Kind.CONSUMER and span.parent_id is None and span.links
        }
        if rootless := len(orphans - linked):
            account.left_out[f"no `{names.SEND_IMAGE}` span"] = rootless
    return found, account


class _Way:
    """The points of one way, as they are found."""

    def __init__(self, root: Span) -> None:
        self._at, self._host = root.start, root.host
        self._missing: list[str] = []
        self.segments: list[Segment] = []

    def to(self, segment: str, at: int, span: Span) -> None:
        """Go on to an edge of `span`; the time since the last point is `segment`."""
        if self._missing:
            segment = f"{segment} (no {', '.join(self._missing)} span)"
            self._missing.clear()
        crosses = self._host != span.host
        if at < self._at and not crosses:
            raise _LeftOut(f"`{span.name}` is out of order")
        self.segments.append(Segment(segment, self._at, at, crosses))
        self._at, self._host = at, span.host

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
    way.over("client", "encode", _named(forest.children(root), names.ENCODE))
    producers = forest.nearest(root, lambda span: span.kind is Kind.PRODUCER)
    if producers:
        asker, deliveries = _through_kafka(way, producers[-1], forest)
        place = "bridge"
    else:
        asker, deliveries, place = root, 1, "client"

    requests = forest.nearest(asker, lambda span: span.kind is Kind.CLIENT)
    if not requests:
        raise _LeftOut("sent nothing" if root.failed else "no request span")
    if len(requests) > 1:
        way.to(place, requests[0].start, requests[0])
        way.to("retries", requests[-1].start, requests[-1])
    else:
        way.to(place, requests[0].start, requests[0])
    request = requests[-1]
    if request.failed or asker.failed:
        raise _LeftOut("the request failed")
    body_complete, preprocessed, role = _through_server(way, request, forest, names.TRANSFORMER)
    way.to(f"{role} response", request.end, request)
    way.to(place, asker.end, asker)
    return Journey(
        trace_id=root.trace_id,
        transport=names.KAFKA if producers else names.HTTP,
        image_size=root.attributes.get(names.IMAGE_SIZE),
        payload_size=root.attributes.get(names.PAYLOAD_SIZE),
        stamps=(root.start, body_complete, preprocessed, asker.end),
        segments=_merged(way.segments),
        requests=len(requests),
        deliveries=deliveries,
    )


def _through_kafka(way: _Way, producer: Span, forest: Forest) -> tuple[Span, int]:
    """Go through the topic; returns the `process` span that answered, and how many there were."""
    if producer.failed:
        raise _LeftOut("not delivered to the broker")
    way.to("client", producer.start, producer)
    processes = forest.nearest(producer, lambda span: span.kind is Kind.CONSUMER)
    if not processes:
        raise _LeftOut("delivered, but not processed")
    process = processes[-1]
    # The acknowledgement can reach the producer after the consumer has the record; it is then not on the way.
    acknowledged = producer.end
    if producer.host == process.host:
        acknowledged = min(acknowledged, process.start)
    way.to("deliver", acknowledged, producer)
    way.to("broker", process.start, process)
    return process, len(processes)


def _through_server(way: _Way, request: Span, forest: Forest, role: str) -> tuple[int, int, str]:
    """Go through the server that `request` reached, and the predictor it asks.

    Returns when the body was complete, when the first model's preprocessing ended, and the server's role.
    """
    servers = forest.nearest(request, lambda span: span.kind is Kind.SERVER)
    if not servers:
        raise _LeftOut("no server span")
    steps = forest.nearest(servers[0], lambda span: span.name in _STEPS or span.kind is Kind.CLIENT)
    role = next((str(step.attributes[names.ROLE]) for step in steps if names.ROLE in step.attributes), role)

    receive = _named(steps, names.RECEIVE)
    preprocess = _named(steps, names.PREPROCESS)
    if receive is None:
        raise _LeftOut(f"no `{names.RECEIVE}` span in the {role}")
    if preprocess is None:
        raise _LeftOut(f"no `{names.PREPROCESS}` span in the {role}")
    way.over(f"{role} request", f"{role} receive", receive)
    way.over(role, f"{role} decode", _named(steps, names.DECODE))
    way.over(role, f"{role} preprocess", preprocess)
    model = _named(steps, names.PREDICT) or _named(steps, names.EXPLAIN)
    hops = forest.nearest(model, lambda span: span.kind is Kind.CLIENT) if model else []
    if model is not None and hops:
        way.to(role, model.start, model)
        way.to(f"{role} serialise", hops[-1].start, hops[-1])
        _, _, next_role = _through_server(way, hops[-1], forest, names.PREDICTOR)
        way.to(f"{next_role} response", hops[-1].end, hops[-1])
        way.to(role, model.end, model)
    else:
        way.over(role, f"{role} {model.name if model else names.PREDICT}", model)
    way.over(role, f"{role} postprocess", _named(steps, names.POSTPROCESS))
    return receive.end, preprocess.end, role


_STEPS = frozenset({names.RECEIVE, names.DECODE, *names.MODEL_STEPS})


def _named(spans: Iterable[Span], name: str) -> Span | None:
    return next((span for span in spans if span.name == name), None)


def _merged(segments: list[Segment]) -> tuple[Segment, ...]:
    """Without the empty ones, which say nothing."""
    return tuple(segment for segment in segments if segment.length)
