"""From the spans of one image's way to named segments: they follow one another without a gap from stamp 1 to stamp 4.

A way is a list of points in time, each an edge of a span, in the order in which an image meets them; a segment lies
between two neighbouring points. So the segments' lengths add up to 4-1 exactly, whatever spans there are. A segment
that is named only after a place ("client", "transformer") is time there that no span accounts for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from otel_kfs import semconv
from otel_kfs.analysis.model_calls import (
    ModelCall,
    Route,
    answered_call,
    blocking_calls,
    is_step,
    is_step_or_request,
    is_store,
    named,
    outgoing_calls,
    proxies,
    route,
)
from otel_kfs.traces.span import Kind, Span, SpanGraph

# Every segment, in the order of the way. {} is a server's role: the first server is asked by the client or the bridge,
# the second by the first. Proxies stand before the server that they lead to; "transformer activator" and the like are
# those before a second server. Who is met a second time is numbered, "predictor 2".
_NAMES = ("ingress", "activator", "queue-proxy", "proxy")
_PROXIES = tuple(f"{name}{what}" for name in _NAMES for what in (" request", ""))
_BACK = tuple(f"{name} response" for name in reversed(_NAMES))
_SERVER_IN = ("{} request", "{} receive", "{}", "{} decode", "{} preprocess")
_SERVER_OUT = ("{} postprocess", "{} response")
_MODEL = ("{} predict", "{} explain")
ORDER = (
    "late start",
    "program start",
    "client",
    "encode",
    "object store",
    "deliver",
    "broker",
    "hand over",
    "deliver + broker",
    "redeliveries",
    "event source",
    "bridge",
    "retries",
    *_PROXIES,
    *(name.format(semconv.TRANSFORMER) for name in (*_SERVER_IN, "{} retries", "{} serialise", *_MODEL)),
    *(f"{semconv.TRANSFORMER} {name}" for name in _PROXIES),
    *(f"{semconv.PREDICTOR} {name}" for name in _PROXIES),
    *(name.format(semconv.PREDICTOR) for name in (*_SERVER_IN, "{} retries", "{} serialise", *_MODEL, *_SERVER_OUT)),
    *(f"{semconv.PREDICTOR} {name}" for name in _BACK),
    *(f"{semconv.TRANSFORMER} {name}" for name in _BACK),
    *(name.format(semconv.TRANSFORMER) for name in _SERVER_OUT),
    *_BACK,
)


class Segment(NamedTuple):
    """A stretch of one image's way, ns since the epoch; `hosts`: the two whose clocks its ends were read on, if two."""

    name: str
    start: int
    end: int
    hosts: tuple[str, str] | None = None

    @property
    def length(self) -> int:
        """Nanoseconds."""
        return self.end - self.start


# A host and a moment by its clock, ns since the epoch, that came before a moment by another's.
HappensBefore = tuple[str, int, str, int]


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """One image's way: its stamps 1 to 4 (ns since the epoch) and the segments between the first and the last."""

    trace_id: str
    transport: str
    image_size: int | None  # bytes
    payload_size: int | None  # bytes
    stamps: tuple[int, int, int, int]
    segments: tuple[Segment, ...]
    requests: int = 1  # HTTP requests it took; more than one: retries
    deliveries: int = 1  # times that the record was processed; more than one: redeliveries
    encoding: str = ""  # as the sender named it; "" is base64 in JSON
    compression: str = ""
    cell: str = ""  # an experiment's label
    before: tuple[HappensBefore, ...] = ()  # what certainly came before what, on two hosts
    run: str = ""  # the measurement's id, as the sender named it
    linked: tuple[str, ...] = ()  # the other traces that it leads through: a consumer's own, linked to this one


@dataclass(slots=True)
class Coverage:
    """What became of every image's trace: measured, or left out for a named reason."""

    measured: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    redelivered: int = 0

    def merge(self, other: Coverage) -> None:
        """Count another's in."""
        self.measured += other.measured
        self.left_out.update(other.left_out)
        self.retried += other.retried
        self.redelivered += other.redelivered


NOT_PROCESSED = "delivered, but not processed"  # a reason to leave an image out


class _LeftOut(Exception):
    """Why an image's trace can't be measured."""


def critical_paths(forest: SpanGraph) -> tuple[list[CriticalPath], Coverage]:
    """Every image's way among the spans, and the account of those that can't be measured."""
    found, account = [], Coverage()
    roots = [span for span in forest if span.name == semconv.SEND_IMAGE]
    for root in sorted(roots, key=lambda span: (span.start, span.trace_id, span.span_id)):
        try:
            journey = _journey(root, forest)
        except _LeftOut as reason:
            account.left_out[str(reason)] += 1
            continue
        except RecursionError:
            account.left_out["too many servers, one behind the other"] += 1
            forest.notes.clear()  # some are half done
            continue
        found.append(journey)
        account.measured += 1
        account.retried += journey.requests > 1
        account.redelivered += journey.deliveries > 1
    if rootless := _without_root(forest, {root.trace_id for root in roots}):
        account.left_out[f"no `{semconv.SEND_IMAGE}` span"] = rootless
    return found, account


def _without_root(forest: SpanGraph, with_root: set[str]) -> int:
    """How many images there are of which the root is missing, but something else is there that images alone have."""
    orphans = {span.trace_id for span in forest if is_step(span) or _is_process(span)} - with_root
    if not orphans:
        return 0
    # A process span in a trace of its own belongs to its producer's image, even if of that trace nothing is left.
    trace_of = {span.span_id: span.trace_id for span in forest}
    producers: dict[str, set[str]] = {}
    for span in forest:
        if span.kind is Kind.CONSUMER and span.parent_id is None and span.links:
            linked = {*span.linked_traces, *(trace_of[link] for link in span.links if link in trace_of)}
            producers.setdefault(span.trace_id, set()).update(linked - {"", span.trace_id})
    lost: set[str] = set()
    for trace_id in orphans:
        images = _first_of(trace_id, producers)
        if with_root.isdisjoint(images):
            lost |= images
    return len(lost)


def _is_process(span: Span) -> bool:
    return span.kind is Kind.CONSUMER and span.name.startswith(semconv.process(""))


def _first_of(trace_id: str, producers: Mapping[str, set[str]]) -> set[str]:
    """The traces in which began what a trace is part of."""
    passed = [trace_id]
    for one in passed:  # which grows meanwhile
        passed += producers.get(one, set()).difference(passed)
    return {one for one in passed if not producers.get(one)} or {min(passed)}  # links in a circle are one image


_NUMBER = re.compile(r" \d+")
_PLACE = {name: number for number, name in enumerate(ORDER)}


def on_the_way(name: str) -> tuple[float, int, int, str]:
    """Sorts segments' names by the order of the way."""
    plain = name.partition(" (no ")[0]
    number = _NUMBER.search(plain)
    if number is not None:
        plain = _NUMBER.sub("", plain, count=1)
    place = _PLACE.get(plain, len(ORDER))
    block: float = place
    # What a second server does comes in one block: a predictor's after the first's, a transformer's before those.
    if number is not None and plain.startswith(semconv.PREDICTOR):
        block = _PLACE[f"{semconv.PREDICTOR} {_BACK[-1]}"] + 0.5
    elif number is not None and plain.startswith(semconv.TRANSFORMER):
        block = _PLACE[f"{semconv.PREDICTOR} {_PROXIES[0]}"] - 0.5
    return (block, int(number[0]) if number else 1, place, name)


class _PathBuilder:
    """The points of one way, as they are found."""

    def __init__(self, root: Span) -> None:
        self.at, self.host = root.start, root.host
        self._missing: list[str] = []
        self._met: Counter[str] = Counter()
        self._entered: set[str] = set()
        self.segments: list[Segment] = []
        self.before: list[HappensBefore] = []
        self.crossed = False
        self.latest: int | None = None  # points are not later, whatever their spans say

    def to(self, segment: str, at: int, span: Span) -> None:
        """Go on to an edge of `span`; the time since the last point is `segment`."""
        host = span.host
        if self._missing:
            segment = f"{segment} (no {', '.join(self._missing)} span)"
            self._missing.clear()
        if self.latest is not None:
            at = min(at, self.latest)
        if host == self.host:
            if at < self.at:
                raise _LeftOut(f"`{span.name}` is out of order")
            self.segments.append(Segment(segment, self.at, at))
        else:
            self.segments.append(Segment(segment, self.at, at, (self.host, host)))
            self.host, self.crossed = host, True
        self.at = at

    def over(self, place: str, segment: str, span: Span | None) -> None:
        """Go over a whole span: what lies before it belongs to `place`. A missing one names what swallows it."""
        if span is None:
            self._missing.append(segment)
        else:
            self.to(place, span.start, span)
            self.to(segment, span.end, span)

    def meet(self, name: str) -> str:
        """What to call somebody on the way: by name, and with a number from the second of that name on."""
        self._met[name] += 1
        return name if self._met[name] == 1 else f"{name} {self._met[name]}"

    def enter(self, server: Span) -> None:
        """Go into a server; spans that are linked to several requests could lead into one again and again."""
        if server.span_id in self._entered:
            raise _LeftOut(f"`{server.name}` is out of order")
        self._entered.add(server.span_id)

    def certain(self, host: str, at: int, other: str, later: int) -> None:
        """What happened at `at` by one host's clock came before what happened at `later` by the other's."""
        if host != other:
            self.before.append((host, at, other, later))


def _journey(root: Span, forest: SpanGraph) -> CriticalPath:
    if root.attributes.get(semconv.WARMUP):
        raise _LeftOut("warm-up")
    way = _PathBuilder(root)
    left = outgoing_calls(root, forest)
    requests = [span for span in left if span.kind is Kind.CLIENT]
    by_http = root.attributes.get(semconv.TRANSPORT) == semconv.HTTP
    producers = [] if by_http else [span for span in left if span.kind is Kind.PRODUCER]
    request = answered_call(requests, forest) if requests and not producers else None
    _through_sender(way, root, request, forest)
    deliveries, takers = 1, list[Span]()
    if not producers:
        last = root
        served = _through_request(way, last, "client", requests, request, forest)
    else:
        producer = producers[-1]
        _through_stores(way, requests, producer.start, "client")
        takers, deliveries = _through_topic(way, producer, forest)
        last = takers[-1]
        way.certain(producer.host, producer.start, last.host, last.start)
        if last.kind is Kind.SERVER:
            # An event source (Knative's) posted the record: nobody waits for the answer, so it is back when it is sent.
            if last.failed:
                raise _LeftOut("the request failed")
            served = _through_servers(way, route(last, forest, itself=True), last, forest, "event source")
        else:
            requests = [span for span in outgoing_calls(last, forest) if span.kind is Kind.CLIENT]
            request = answered_call(requests, forest) if requests else None
            served = _through_request(way, last, "bridge", requests, request, forest)
    if not _can_be_added_up(way):
        raise _LeftOut("times that are too far apart")
    return CriticalPath(
        trace_id=root.trace_id,
        transport=semconv.KAFKA if producers else semconv.HTTP,
        image_size=size_in_bytes(root.attributes.get(semconv.IMAGE_SIZE)),
        payload_size=size_in_bytes(root.attributes.get(semconv.PAYLOAD_SIZE)),
        stamps=(root.start, served.body_complete, served.preprocessed, last.end),
        segments=tuple(way.segments),
        requests=len(request.tries) if request else 1,
        deliveries=deliveries,
        encoding=_text(root, semconv.ENCODING),
        compression=_text(root, semconv.COMPRESSION),
        cell=_text(root, semconv.CELL),
        before=tuple(way.before),
        run=_text(root, semconv.RUN_ID),
        linked=tuple(dict.fromkeys(taker.trace_id for taker in takers if taker.trace_id != root.trace_id)),
    )


def _through_sender(way: _PathBuilder, root: Span, request: ModelCall | None, forest: SpanGraph) -> None:
    """Go through what comes before the request or the record."""
    steps = forest.children(root)
    if (late := named(steps, semconv.LATE_START)) is not None:
        way.to("late start", late.end, late)
    start = named(steps, semconv.START_PROGRAM)
    if semconv.PROCESS_EXECUTABLE_NAME not in root.attributes:
        way.over("client", "encode", named(steps, semconv.ENCODE))
        return
    # Another program's payload was encoded before. Its request is placed by when its report of it arrived, which is
    # always a moment too late: where the server is on the same host, the request was sent by when the server had it.
    if request is not None and request.route.server is not None and not request.route.proxies:
        receive = named(forest.children(request.route.server), semconv.RECEIVE)
        if receive is not None and receive.host == root.host:
            way.latest = max(root.start, receive.start)
    if start is not None:
        way.over("client", "program start", start)


def _through_request(
    way: _PathBuilder, last: Span, place: str, requests: Sequence[Span], request: ModelCall | None, forest: SpanGraph
) -> _Served:
    """Go from the span of who asks, `last`, through the request that was answered, to its end."""
    if request is None:
        raise _LeftOut("sent nothing" if last.failed else "no request span")
    first, answered = request.tries[0], request.tries[-1]
    _through_stores(way, requests, first.start, place)
    way.to(place, first.start, first)
    if answered is not first:
        way.to("retries", answered.start, answered)
    if answered.failed or last.failed:
        raise _LeftOut("the request failed")
    served = _through_servers(way, request.route, answered, forest)
    way.to(place, last.end, last)
    return served


def _through_stores(way: _PathBuilder, requests: Sequence[Span], until: int, place: str) -> None:
    """Go over the requests to an object store that came before the model was asked."""
    for request in requests:
        if is_store(request) and request.host == way.host and way.at <= request.start and request.end <= until:
            way.over(place, "object store", request)


def _through_topic(way: _PathBuilder, producer: Span, forest: SpanGraph) -> tuple[list[Span], int]:
    """Go through the topic; returns what took the record from it: `process` spans, or an event source's server.

    And how often it was delivered: a bridge that was killed leaves no span, but the next one may know of it.

    The last of them is the one that counts: the first that did not fail. Those before it are failed deliveries of the
    same record to the same consumer group; what other groups did with it, and what came after the answer, is not on
    the way.
    """
    if producer.failed:
        raise _LeftOut("not delivered to the broker")
    way.to("client", producer.start, producer)
    takers = forest.nearest_descendants(producer, lambda span: span.kind in {Kind.CONSUMER, Kind.SERVER})
    if not takers:
        raise _LeftOut(NOT_PROCESSED)
    takers = _of_one_group(takers, forest)
    attempts = (taker.attributes.get(semconv.DELIVERY_ATTEMPT) for taker in takers)
    known = max((attempt for attempt in attempts if isinstance(attempt, int)), default=1)
    answered = next((number for number, taker in enumerate(takers) if not taker.failed), len(takers) - 1)
    takers = takers[: answered + 1]
    # The acknowledgement can reach the producer after a consumer has the record; it is then not on the way.
    acknowledged = producer.end
    if producer.host == takers[0].host:
        acknowledged = min(acknowledged, takers[0].start)
        # A server's span may start after its `receive`, which is below it.
        receive = named(forest.children(takers[0]), semconv.RECEIVE) if takers[0].kind is Kind.SERVER else None
        if receive is not None and receive.host == producer.host:
            acknowledged = min(acknowledged, receive.start)
    # Where the acknowledgement can't be seen, the span ends when the program that sends has the record.
    seen = producer.attributes.get(semconv.ACKNOWLEDGED, True)
    way.to("deliver" if seen else "hand over", acknowledged, producer)
    if takers[0].kind is Kind.CONSUMER:
        way.to("broker" if seen else "deliver + broker", takers[0].start, takers[0])
        if len(takers) > 1:
            way.to("redeliveries", takers[-1].start, takers[-1])
    return takers, max(len(takers), known)


def _of_one_group(takers: list[Span], forest: SpanGraph) -> list[Span]:
    """Those of the consumer group that asked a model: the first one that did, or else the first that had the record."""
    groups: dict[object, list[Span]] = {}
    for taker in takers:
        groups.setdefault(str(taker.attributes.get(semconv.MESSAGING_CONSUMER_GROUP_NAME)), []).append(taker)
    if len(groups) == 1:
        return takers
    asking = (group for group in groups.values() if any(forest.nearest_descendants(one, is_step) for one in group))
    return next(asking, next(iter(groups.values())))


class _Served(NamedTuple):
    """What a server did: when it had the whole body, when its preprocessing ended."""

    body_complete: int
    preprocessed: int


def _through_servers(
    way: _PathBuilder,
    found: Route,
    asker: Span,
    forest: SpanGraph,
    arrival: str | None = None,
    server: str = semconv.TRANSFORMER,
) -> _Served:
    """Go past the proxies to a model server, through it, and back to the end of the span of who asks.

    `arrival` names the time until the first of them has the request; `server` is what the model server is taken for if
    its spans do not say.
    """
    if found.server is None and server != semconv.PREDICTOR:
        raise _LeftOut("no server span")
    steps = forest.nearest_descendants(found.server, is_step_or_request) if found.server else []
    roles = (span.attributes.get(semconv.ROLE) for span in steps)
    label = way.meet(next((role for role in roles if role and isinstance(role, str)), server))
    passed = []
    for proxy in proxies(asker, found, forest):
        name = way.meet(proxy.name if server == semconv.TRANSFORMER else f"{label} {proxy.name}")
        passed.append((name, proxy))
        way.to(arrival or f"{name} request", proxy.outer.start, proxy.outer)
        arrival = None
        if proxy.inner is not None:
            way.to(name, proxy.inner.start, proxy.inner)
    served = _Served(0, 0)
    back = label
    if found.server is not None:
        way.enter(found.server)
        way.latest = None
        served = _through_steps(way, steps, label, arrival or f"{label} request", asker, forest)
        way.certain(way.host, way.at, asker.host, asker.end)
        back = f"{label} response"
    for name, proxy in reversed(passed):
        for span in filter(None, (proxy.inner, proxy.outer)):
            # A proxy's span may end after who asked has the answer.
            way.to(back, min(span.end, asker.end) if span.host == asker.host else span.end, span)
            back = name
        back = f"{name} response"
    if not passed or passed[0][1].outer is not asker:
        way.to(back, asker.end, asker)
    return served


def _through_steps(
    way: _PathBuilder, steps: Sequence[Span], label: str, arrival: str, asker: Span, forest: SpanGraph
) -> _Served:
    """Go through a model server's steps, and through the servers that its model asks."""
    of_name = {step.name: step for step in reversed(steps)}
    receive, preprocess = of_name.get(semconv.RECEIVE), of_name.get(semconv.PREPROCESS)
    if receive is None:
        raise _LeftOut(f"no `{semconv.RECEIVE}` span in the {label}")
    if preprocess is None:
        raise _LeftOut(f"no `{semconv.PREPROCESS}` span in the {label}")
    way.certain(asker.host, asker.start, receive.host, receive.start)
    way.over(arrival, f"{label} receive", receive)
    way.over(label, f"{label} decode", of_name.get(semconv.DECODE))
    way.over(label, f"{label} preprocess", preprocess)
    model = of_name.get(semconv.PREDICT) or of_name.get(semconv.EXPLAIN)
    hops = [span for span in outgoing_calls(model, forest) if span.kind is Kind.CLIENT] if model else []
    waited = blocking_calls(hops, forest) if hops else []
    if model is not None and waited:
        way.to(label, model.start, model)
        before = f"{label} serialise"
        for tries, found in waited:
            way.to(before, tries[0].start, tries[0])
            if len(tries) > 1:
                way.to(f"{label} retries", tries[-1].start, tries[-1])
            # A predictor that is not traced (Triton, say) is one stretch.
            _through_servers(way, found, tries[-1], forest, server=semconv.PREDICTOR)
            before = label
        way.to(label, model.end, model)
    else:
        way.over(label, f"{label} {model.name if model else semconv.PREDICT}", model)
    way.over(label, f"{label} postprocess", of_name.get(semconv.POSTPROCESS))
    return _Served(receive.end, preprocess.end)


def _can_be_added_up(way: _PathBuilder) -> bool:
    """Whether all times and their sums fit 64 bits; clocks can be wrong by centuries."""
    if not way.crossed:
        return way.at < 2**63
    far = max(abs(way.segments[0].start), *(abs(one.end) for one in way.segments))
    return far < 2**63 and sum(abs(one.end - one.start) for one in way.segments) < 2**63


def size_in_bytes(value: object) -> int | None:
    """What stands in an attribute for a size, if it is one."""
    return value if type(value) is int and 0 <= value < 2**63 else None


def _text(span: Span, key: str) -> str:
    value = span.attributes.get(key)
    return value if isinstance(value, str) else ""
