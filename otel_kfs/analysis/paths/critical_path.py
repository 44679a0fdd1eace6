"""The critical path of an image: from its spans to sections that follow one another without a gap, stamp 1 to stamp 4.

A path goes from edge to edge of the spans, in the order in which the image meets them; each section lies between two
neighbouring edges, and is named by its segment. So the lengths add up to 4-1 exactly, whatever spans there are. A
segment without a step is time at its place that no span covers.

For example an image over HTTP, sent to a server that has the model itself; times in ms, from and to:

    send image              INTERNAL    0  100    [================================================]
      encode                INTERNAL    2   12     [===]
      POST                  CLIENT     16   96            [======================================]
        POST /v1/models     SERVER     24   90                [===============================]
          receive           INTERNAL   22   30               [==]
          decode            INTERNAL   34   42                     [==]
          preprocess        INTERNAL   46   58                           [====]
          predict           INTERNAL   60   78                                  [=======]
          postprocess       INTERNAL   80   86                                            [=]
    path                                          .eeeee..qqqrrrr..dddd..pppppp.PPPPPPPPP.ooosssss..

Its stamps are 0, 30 (the end of `receive`), 58 (of `preprocess`) and 100. Its sections, marked in the last line:

    . client 2, e encode 10, . client 4, q predictor request 6, r predictor receive 8, . predictor 4,
    d predictor decode 8, . predictor 4, p predictor preprocess 12, . predictor 2, P predictor predict 18,
    . predictor 2, o predictor postprocess 6, s predictor response 10, . client 4

The server has the whole request, `receive`, before its own span begins, and the answer is under way from the end of
`postprocess` to that of `POST`: so `predictor request` ends, and `predictor response` begins, at the edge of a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from otel_kfs import semconv
from otel_kfs.analysis.paths.coverage import NOT_PROCESSED, Coverage, LeftOut
from otel_kfs.analysis.paths.model_calls import (
    ModelCall,
    ModelCalls,
    Route,
    first_named,
    is_step,
    is_step_or_request,
    is_store,
)
from otel_kfs.analysis.paths.path_builder import HappensBefore, PathBuilder, Section
from otel_kfs.analysis.paths.segment import (
    BRIDGE,
    BROKER,
    CLIENT,
    DELIVER,
    DELIVER_AND_BROKER,
    EVENT_SOURCE,
    HAND_OVER,
    LATE_START,
    OBJECT_STORE,
    PROGRAM_START,
    REDELIVERIES,
    RETRIES,
    Place,
    Segment,
    segment_at,
)
from otel_kfs.traces.span import Key, Kind, Span, SpanGraph


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """One image's path: its stamps 1 to 4 (ns since the epoch) and the sections between the first and the last."""

    trace_id: str
    transport: str
    image_size: int | None  # bytes
    payload_size: int | None  # bytes
    stamps: tuple[int, int, int, int]
    sections: tuple[Section, ...]
    hosts: tuple[str, str, str, str] = ("", "", "", "")  # by whose clocks the stamps are
    requests: int = 1  # HTTP requests it took; more than one: retries
    deliveries: int = 1  # times that the record was processed; more than one: redeliveries
    encoding: str = ""  # as the sender named it; "" is base64 in JSON
    compression: str = ""
    cell: str = ""  # an experiment's label
    before: tuple[HappensBefore, ...] = ()  # what certainly came before what, on two hosts
    run: str = ""  # the measurement's id, as the sender named it
    linked: tuple[str, ...] = ()  # the other traces that it leads through: a consumer's own, linked to this one
    root_id: str = ""  # its root's span id, which tells it from other images of its trace

    @property
    def key(self) -> Key:
        """What tells the image from all others."""
        return self.trace_id, self.root_id


def critical_paths(graph: SpanGraph, run: str | None = None) -> tuple[list[CriticalPath], Coverage]:
    """Find every image's critical path among the spans, and count those images that have none.

    With `run`, only the images of that run: a trace may have some of another one, too.
    """
    found, coverage = [], Coverage()
    calls = ModelCalls(graph)
    roots = [span for span in graph if span.name == semconv.SEND_IMAGE]
    wanted = roots if run is None else [root for root in roots if root.attributes.get(semconv.RUN_ID) == run]
    for root in sorted(wanted, key=lambda span: (span.start, span.trace_id, span.span_id)):
        try:
            path = _critical_path(root, calls)
        except LeftOut as reason:
            coverage.left_out[str(reason)] += 1
            continue
        except RecursionError:
            coverage.left_out["too many servers, one behind the other"] += 1
            calls = ModelCalls(graph)  # some routes are half done
            continue
        found.append(path)
        coverage.measured += 1
        coverage.retried += path.requests > 1
        coverage.redelivered += path.deliveries > 1
    if rootless := _without_root(graph, {root.trace_id for root in roots}):
        coverage.left_out[f"no `{semconv.SEND_IMAGE}` span"] = rootless
    return found, coverage


def _without_root(graph: SpanGraph, with_root: set[str]) -> int:
    """Count the images of which the root is missing, but something else is there that images alone have."""
    orphans = {
        span.trace_id for span in graph if span.trace_id not in with_root and (is_step(span) or _is_process(span))
    }
    if not orphans:
        return 0
    # A process span in a trace of its own belongs to its producer's image, even if of that trace nothing is left.
    producers: dict[str, set[str]] = {}
    for span in graph:
        if span.kind is Kind.CONSUMER and span.parent_id is None and span.links:
            producers.setdefault(span.trace_id, set()).update({*span.linked_traces} - {"", span.trace_id})
    lost: set[str] = set()
    for trace_id in orphans:
        images = _first_of(trace_id, producers)
        if with_root.isdisjoint(images):
            lost |= images
    return len(lost)


def _is_process(span: Span) -> bool:
    return span.kind is Kind.CONSUMER and span.name.startswith(semconv.process(""))


def _first_of(trace_id: str, producers: Mapping[str, set[str]]) -> set[str]:
    """Return the traces in which began what a trace is part of."""
    passed = [trace_id]
    for one in passed:  # which grows meanwhile
        passed += producers.get(one, set()).difference(passed)
    return {one for one in passed if not producers.get(one)} or {min(passed)}  # links in a circle are one image


class _Served(NamedTuple):
    """What the first server did: when it had the whole body, when its preprocessing ended."""

    body_complete: int
    preprocessed: int
    host: str


def _critical_path(root: Span, calls: ModelCalls) -> CriticalPath:
    if root.attributes.get(semconv.WARMUP):
        raise LeftOut("warm-up")
    path = PathBuilder(root)
    outgoing = calls.outgoing_calls(root)
    requests = [span for span in outgoing if span.kind is Kind.CLIENT]
    by_http = root.attributes.get(semconv.TRANSPORT) == semconv.HTTP
    producers = [] if by_http else [span for span in outgoing if span.kind is Kind.PRODUCER]
    call = None if producers else calls.answered_call(requests)
    _through_sender(path, root, call, calls.graph)
    consumers: list[Span] = []
    deliveries = 1
    if not producers:
        last = root
        served = _through_request(path, last, CLIENT, requests, call, calls)
    else:
        producer = producers[-1]
        _through_stores(path, requests, producer.start, CLIENT)
        consumers, deliveries = _through_topic(path, producer, calls.graph)
        last = consumers[-1]
        path.certain(producer.host, producer.start, last.host, last.start)
        if last.kind is Kind.SERVER:
            # An event source (Knative's) posted the record: nobody waits for the answer, so it is back when it is sent.
            if last.failed:
                raise LeftOut("the request failed")
            served = _through_servers(path, calls.route_from(last), last, calls, arrival=EVENT_SOURCE)
        else:
            requests = calls.requests(last)
            call = calls.answered_call(requests)
            served = _through_request(path, last, BRIDGE, requests, call, calls)
    path.check_sums()
    return CriticalPath(
        trace_id=root.trace_id,
        transport=semconv.KAFKA if producers else semconv.HTTP,
        image_size=_size_in_bytes(root, semconv.IMAGE_SIZE),
        payload_size=_size_in_bytes(root, semconv.PAYLOAD_SIZE),
        stamps=(root.start, served.body_complete, served.preprocessed, last.end),
        hosts=(root.host, served.host, served.host, last.host),
        sections=tuple(path.sections),
        requests=sum(max(1, len(_uploads(one, calls.graph))) for one in call.attempts) if call else 1,
        deliveries=deliveries,
        encoding=_text(root, semconv.ENCODING),
        compression=_text(root, semconv.COMPRESSION),
        cell=_text(root, semconv.CELL),
        before=tuple(path.before),
        run=_text(root, semconv.RUN_ID),
        linked=tuple(dict.fromkeys(one.trace_id for one in consumers if one.trace_id != root.trace_id)),
        root_id=root.span_id,
    )


def _through_sender(path: PathBuilder, root: Span, call: ModelCall | None, graph: SpanGraph) -> None:
    """Go through what comes before the request or the record."""
    steps = graph.children(root)
    if (late := first_named(steps, semconv.LATE_START)) is not None:
        path.to(LATE_START, late.end, late)
    if semconv.PROCESS_EXECUTABLE_NAME not in root.attributes:
        path.over(CLIENT, semconv.ENCODE, first_named(steps, semconv.ENCODE))
        return
    # Another program's payload was encoded before. Its request is placed by when its report of it arrived, which is
    # always a moment too late: all that is certain is that it was not sent before the program began. Where the server
    # is on the same host, it was sent by when the server had it.
    path.sent = root.start
    if call is not None and call.route.server is not None and not call.route.proxies:
        receive = first_named(graph.children(call.route.server), semconv.RECEIVE)
        if receive is not None and receive.host == root.host:
            path.latest = max(root.start, receive.start)
    if (start := first_named(steps, semconv.START_PROGRAM)) is not None:
        path.through(segment_at(CLIENT), PROGRAM_START, start)


def _through_request(
    path: PathBuilder, last: Span, caller: Place, requests: Sequence[Span], call: ModelCall | None, calls: ModelCalls
) -> _Served:
    """Go from the caller's span, `last`, through the request that was answered, to that span's end."""
    if call is None:
        raise LeftOut("sent nothing" if last.failed else "no request span")
    first, answered = call.attempts[0], call.attempts[-1]
    _through_stores(path, requests, first.start, caller)
    path.to(segment_at(caller), first.start, first)
    if answered is not first:
        path.to(RETRIES, answered.start, answered)
    uploads = _uploads(answered, calls.graph)
    if len(uploads) > 1:
        path.to(RETRIES, uploads[-1].start, uploads[-1])
    if answered.failed or last.failed:
        raise LeftOut("the request failed")
    served = _through_servers(path, call.route, answered, calls)
    path.to(segment_at(caller), last.end, last)
    return served


def _uploads(request: Span, graph: SpanGraph) -> list[Span]:
    """Return the uploads of a request: several where the client's own transport tried again, within one span."""
    return [span for span in graph.children(request) if span.name == semconv.UPLOAD and span.host == request.host]


def _through_stores(path: PathBuilder, requests: Sequence[Span], until: int, caller: Place) -> None:
    """Go over the requests to an object store that came before the model was asked."""
    for request in requests:
        if is_store(request) and request.host == path.host and path.at <= request.start and request.end <= until:
            path.through(segment_at(caller), OBJECT_STORE, request)


def _through_topic(path: PathBuilder, producer: Span, graph: SpanGraph) -> tuple[list[Span], int]:
    """Go through the topic; return what took the record from it: `process` spans, or an event source's server.

    And how often it was delivered: a bridge that was killed leaves no span, but the next one may know of it.

    The last of them is the one that counts: the first that did not fail. Those before it are failed deliveries of the
    same record to the same consumer group; what other groups did with it, and what came after the answer, is not on
    the path.
    """
    if producer.failed:
        raise LeftOut("not delivered to the broker")
    path.to(segment_at(CLIENT), producer.start, producer)
    consumers = graph.nearest_descendants(producer, lambda span: span.kind in {Kind.CONSUMER, Kind.SERVER})
    if not consumers:
        raise LeftOut(NOT_PROCESSED)
    consumers = _of_one_group(consumers, graph)
    attempts = (one.attributes.get(semconv.DELIVERY_ATTEMPT) for one in consumers)
    known = max((attempt for attempt in attempts if isinstance(attempt, int)), default=1)
    answered = next((number for number, one in enumerate(consumers) if not one.failed), len(consumers) - 1)
    consumers = consumers[: answered + 1]
    first, last = consumers[0], consumers[-1]
    # The acknowledgement can reach the producer after a consumer has the record; it is then not on the path.
    acknowledged = producer.end
    if producer.host == first.host:
        acknowledged = min(acknowledged, first.start)
        # A server's span may start after its `receive`, which is below it.
        receive = first_named(graph.children(first), semconv.RECEIVE) if first.kind is Kind.SERVER else None
        if receive is not None and receive.host == producer.host:
            acknowledged = min(acknowledged, receive.start)
    # Where the acknowledgement can't be seen, the span ends when the program that sends has the record.
    seen = producer.attributes.get(semconv.ACKNOWLEDGED, True)
    path.to(DELIVER if seen else HAND_OVER, acknowledged, producer, gives_way=producer.host != first.host)
    if first.kind is Kind.CONSUMER:
        path.to(BROKER if seen else DELIVER_AND_BROKER, first.start, first)
        if last is not first:
            path.to(REDELIVERIES, last.start, last)
    return consumers, max(len(consumers), known)


def _of_one_group(consumers: list[Span], graph: SpanGraph) -> list[Span]:
    """Return those of the consumer group that first asked a model, or else of the first that had the record."""
    groups: dict[object, list[Span]] = {}
    for one in consumers:
        groups.setdefault(str(one.attributes.get(semconv.MESSAGING_CONSUMER_GROUP_NAME)), []).append(one)
    if len(groups) == 1:
        return consumers
    asking = (group for group in groups.values() if any(graph.nearest_descendants(one, is_step) for one in group))
    return next(asking, next(iter(groups.values())))


def _through_servers(
    path: PathBuilder,
    route: Route,
    caller: Span,
    calls: ModelCalls,
    *,
    arrival: Segment | None = None,
    first: bool = True,
) -> _Served:
    """Go past the proxies to a model server, through it, and back to the end of the caller's span.

    `arrival` is the time until the first of them has the request; the `first` server is taken for a transformer, the
    next for a predictor, if their spans do not say.
    """
    if route.server is None and first:
        raise LeftOut("no server span")
    steps = calls.graph.nearest_descendants(route.server, is_step_or_request) if route.server else []
    server = path.meet(_role(steps) or (semconv.TRANSFORMER if first else semconv.PREDICTOR))
    passed = []
    for proxy in calls.proxies(caller, route):
        place = path.meet(proxy.name, None if first else server)
        passed.append((place, proxy))
        path.to(arrival or segment_at(place, "request"), proxy.outer.start, proxy.outer)
        arrival = None
        if proxy.inner is not None:
            path.to(segment_at(place), proxy.inner.start, proxy.inner)
    served = _Served(0, 0, "")
    back = segment_at(server)
    if route.server is not None:
        path.enter(route.server)
        path.latest = None
        served = _through_steps(path, steps, server, arrival or segment_at(server, "request"), caller, calls)
        path.certain(path.host, path.at, caller.host, caller.end)
        back = segment_at(server, "response")
    for place, proxy in reversed(passed):
        for span in filter(None, (proxy.inner, proxy.outer)):
            # A proxy's span may end after the caller has the answer.
            one_host = span.host == caller.host
            path.to(back, min(span.end, caller.end) if one_host else span.end, span, gives_way=not one_host)
            back = segment_at(place)
        back = segment_at(place, "response")
    if not passed or passed[0][1].outer is not caller:
        path.to(back, caller.end, caller)
    return served


def _role(steps: Sequence[Span]) -> str:
    """Return what the steps say that their server is; "" if they do not."""
    for step in steps:
        role = step.attributes.get(semconv.ROLE)
        if role and isinstance(role, str):
            return role
    return ""


def _through_steps(
    path: PathBuilder, steps: Sequence[Span], server: Place, arrival: Segment, caller: Span, calls: ModelCalls
) -> _Served:
    """Go through a model server's steps, and through the servers that its model asks."""
    of_name = {step.name: step for step in reversed(steps)}
    receive, preprocess = of_name.get(semconv.RECEIVE), of_name.get(semconv.PREPROCESS)
    if receive is None:
        raise LeftOut(f"no `{semconv.RECEIVE}` span in the {server.label}")
    if preprocess is None:
        raise LeftOut(f"no `{semconv.PREPROCESS}` span in the {server.label}")
    path.certain(caller.host, caller.start if path.sent is None else path.sent, receive.host, receive.start)
    path.sent = None
    path.through(arrival, segment_at(server, semconv.RECEIVE), receive)
    path.over(server, semconv.DECODE, of_name.get(semconv.DECODE))
    path.over(server, semconv.PREPROCESS, preprocess)
    model = of_name.get(semconv.PREDICT) or of_name.get(semconv.EXPLAIN)
    requests = calls.requests(model) if model is not None else []
    blocking = calls.blocking_calls(requests) if requests else []
    if model is not None and blocking:
        path.to(segment_at(server), model.start, model)
        before = segment_at(server, "serialise")
        for attempts, route in blocking:
            path.to(before, attempts[0].start, attempts[0])
            if len(attempts) > 1:
                path.to(segment_at(server, "retries"), attempts[-1].start, attempts[-1])
            # A predictor that is not traced (Triton, say) is one stretch.
            _through_servers(path, route, attempts[-1], calls, first=False)
            before = segment_at(server)
        path.to(segment_at(server), model.end, model)
    else:
        path.over(server, model.name if model else semconv.PREDICT, model)
    path.over(server, semconv.POSTPROCESS, of_name.get(semconv.POSTPROCESS))
    return _Served(receive.end, preprocess.end, receive.host)


def _size_in_bytes(span: Span, key: str) -> int | None:
    value = span.attributes.get(key)
    return value if type(value) is int and 0 <= value < 2**63 else None


def _text(span: Span, key: str) -> str:
    value = span.attributes.get(key)
    return value if isinstance(value, str) else ""
