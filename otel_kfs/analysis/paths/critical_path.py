"""The critical path of an image: from its spans to sections that follow one another without a gap, stamp 1 to stamp 4.

A path goes from edge to edge of the spans, in the order in which the image meets them; each section lies between two
neighbouring edges, and is named by its segment. So the durations add up to 4-1 exactly, whatever spans there are. A
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

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from otel_kfs import semconv
from otel_kfs.analysis.paths.coverage import NOT_PROCESSED, Coverage, LeftOut
from otel_kfs.analysis.paths.image_roots import image_roots
from otel_kfs.analysis.paths.model_calls import (
    ModelCall,
    ModelCalls,
    Proxy,
    Route,
    failed,
    first_named,
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
    FIRST_TOKEN,
    GENERATE,
    HAND_OVER,
    LATE_START,
    OBJECT_STORE,
    PROGRAM_START,
    REDELIVERIES,
    RETRIES,
    UNTRACED,
    UPLOAD,
    Place,
    Segment,
    segment_at,
)
from otel_kfs.analysis.paths.server_spans import Step, is_generation, is_step, own_steps, role_of, unanswered
from otel_kfs.traces.span import Key, Kind, Span, SpanGraph


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """One image's path: its stamps 1 to 4 (ns since the epoch) and the sections between the first and the last.

    Stamps 2 and 3 are None where no span says when they were.
    """

    trace_id: str
    transport: str
    image_size: int | None  # bytes
    payload_size: int | None  # bytes
    stamps: tuple[int, int | None, int | None, int]
    sections: tuple[Section, ...]
    hosts: tuple[str, str, str, str] = ("", "", "", "")  # by whose clocks the stamps are
    requests: int = 1  # HTTP requests it took; more than one: retries
    batch: int = 1  # images that shared the request, each of which has all of its time
    deliveries: int = 1  # times that the record was processed; more than one: redeliveries
    encoding: str = ""  # as the sender named it; "" is base64 in JSON
    compression: str = ""
    cell: str = ""  # an experiment's label
    before: tuple[HappensBefore, ...] = ()  # what certainly came before what, on two hosts
    run: str = ""  # the measurement's id, as the sender named it
    linked: tuple[str, ...] = ()  # the other traces that it leads through: a consumer's own, linked to this one
    root_id: str = ""  # its root's span id, which tells it from other images of its trace
    root: str = ""  # what it began with, if that was no sender of ours: a span's name and service
    second_is_spans: bool = False  # stamp 2 is the start of the server's span, because no span says when it had all
    row: str = ""  # the label of a size that is not one in bytes, or in place of one
    total_bound: float = 0  # how far off 4-1 may be, ns, once the clocks are corrected

    @property
    def key(self) -> Key:
        """What tells the image from all others."""
        return self.trace_id, self.root_id


PathFinder = Callable[[SpanGraph], tuple[list[CriticalPath], Coverage]]


def critical_paths(
    graph: SpanGraph, run: str | None = None, servers: Collection[str] = ()
) -> tuple[list[CriticalPath], Coverage]:
    """Find every image's critical path among the spans, and count those images that have none.

    With `run`, only the images of that run: a trace may have some of another one, too. `servers`: services that are
    model servers, because the user says so.
    """
    found, coverage = [], Coverage()
    calls = ModelCalls(graph, servers)
    roots, rootless = image_roots(graph, calls)
    wanted = roots if run is None else [root for root in roots if root.attributes.get(semconv.RUN_ID) == run]
    for root in wanted:
        try:
            path = _critical_path(root, calls)
        except LeftOut as reason:
            coverage.left_out[str(reason)] += 1
            continue
        except RecursionError:
            coverage.left_out["too many servers, one behind the other"] += 1
            calls = ModelCalls(graph, servers)  # some routes are half done
            continue
        found.append(path)
        coverage.measured += 1
        coverage.retried += path.requests > 1
        coverage.redelivered += path.deliveries > 1
        coverage.in_batches += path.batch > 1
        if path.root:
            coverage.roots[path.root] += 1
    if rootless:
        coverage.left_out[f"no `{semconv.SEND_IMAGE}` span"] = rootless
    return found, coverage


class _Served(NamedTuple):
    """What a server did: when it had the whole body (or `spanned`: its span began), when preprocessing ended.

    `answering`: when it had certainly not answered yet, by its span alone; None where that is the end of its last step.
    """

    server: Span | None = None
    arrived: int | None = None
    spanned: bool = False
    preprocessed: int | None = None
    answering: int | None = None


def _critical_path(root: Span, calls: ModelCalls) -> CriticalPath:
    if root.attributes.get(semconv.WARMUP):
        raise LeftOut("warm-up")
    path = PathBuilder(root)
    began = path.at = _beginning(root, calls.graph)
    leaving = calls.leaving(root)
    transport = root.attributes.get(semconv.TRANSPORT)
    by_http = transport == semconv.HTTP
    producer = None if by_http else calls.record(leaving, surely=transport == semconv.KAFKA)
    requests = [span for span in leaving if span.kind is Kind.CLIENT or span.kind is Kind.SERVER]
    consumers, deliveries = [root] if root.kind is Kind.CONSUMER else [], 1
    if producer is None and not by_http and not consumers:
        consumers = [span for span in leaving if span.kind is Kind.CONSUMER]  # their records' spans are not there
        consumers = [] if any(calls.route_from(span).reaches for span in requests) else consumers
    if producer is None and not consumers:
        last = root
        model_calls = calls.calls(requests)
        _through_sender(path, root, model_calls, calls.graph)
        served = _through_requests(path, last, CLIENT, requests, model_calls, calls)
    else:
        _through_sender(path, root, [], calls.graph)
        if root.kind is not Kind.CONSUMER:
            _through_stores(path, requests, (producer or consumers[0]).start, CLIENT)
            consumers, deliveries = _through_topic(path, producer, consumers or requests, CLIENT, calls)
        passed = set[Key]()
        while (further := calls.record_after(consumers[-1])) is not None and further.key not in passed:
            passed.add(further.key)
            producer = further
            consumers, again = _through_topic(path, producer, [], BRIDGE, calls)
            deliveries = max(deliveries, again)
        last = consumers[-1]
        if last.kind is Kind.SERVER:
            # An event source (Knative's) posted the record: nobody waits for the answer, so it is back when it is sent.
            if failed(last):
                raise LeftOut("the request failed")
            served = _through_servers(path, calls.route_from(last), last, calls, arrival=EVENT_SOURCE)
        else:
            requests = [last] if last.kind is Kind.CLIENT else calls.requests(last)
            served = _through_requests(path, last, BRIDGE, requests, calls.calls(requests), calls)
    if path.at != last.end:  # spans of other kinds than their names have
        raise LeftOut(f"`{last.name}` is out of order")
    path.check_sums()
    ours = root.name == semconv.SEND_IMAGE
    payload = _size_in_bytes(root, semconv.PAYLOAD_SIZE)
    if not ours:
        passed_on = [call.span for one in leaving for call in calls.route_from(one).proxies]
        payload = _body_size(root, *leaving, *passed_on, *consumers, served.server, graph=calls.graph)
    return CriticalPath(
        trace_id=root.trace_id,
        transport=semconv.KAFKA if consumers else semconv.HTTP,
        image_size=_size_in_bytes(root, semconv.IMAGE_SIZE),
        payload_size=payload,
        stamps=(began, served.arrived, served.preprocessed, last.end),
        hosts=(root.host, (served.server or root).host, (served.server or root).host, last.host),
        sections=tuple(path.sections),
        requests=1 + path.retries,
        deliveries=deliveries,
        batch=max(1, last.batch),
        encoding=_text(root, semconv.ENCODING),
        compression=_text(root, semconv.COMPRESSION),
        cell=_text(root, semconv.CELL),
        before=tuple(path.before),
        run=_text(root, semconv.RUN_ID),
        linked=tuple(dict.fromkeys(one.trace_id for one in consumers if one.trace_id != root.trace_id)),
        root_id=root.span_id,
        root="" if ours else f"`{root.name}` ({root.service or 'a service without a name'})",
        second_is_spans=served.spanned,
    )


def _beginning(root: Span, graph: SpanGraph) -> int:
    """Return when an image began: a server may have received a request before its own span."""
    received = next(iter(own_steps(root, graph)), None) if root.kind is Kind.SERVER else None
    is_first = received is not None and received.name == semconv.RECEIVE and received.span.host == root.host
    return min(root.start, received.start) if received is not None and is_first else root.start


def _through_sender(path: PathBuilder, root: Span, model_calls: Sequence[ModelCall], graph: SpanGraph) -> None:
    """Go through what comes before the request or the record, if a sender of ours made it."""
    if root.name != semconv.SEND_IMAGE:
        return
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
    if model_calls and model_calls[0].route.server is not None and not model_calls[0].route.proxies:
        receive = first_named(graph.children(model_calls[0].route.server), semconv.RECEIVE)
        if receive is not None and receive.host == root.host:
            path.latest = max(root.start, receive.start)
    if (start := first_named(steps, semconv.START_PROGRAM)) is not None:
        path.through(segment_at(CLIENT), PROGRAM_START, start)


def _through_requests(
    path: PathBuilder,
    last: Span,
    caller: Place,
    requests: Sequence[Span],
    model_calls: Sequence[ModelCall],
    calls: ModelCalls,
) -> _Served:
    """Go from the caller's span, `last`, through the requests that it waited for, to that span's end."""
    if not model_calls:
        raise LeftOut("sent nothing" if failed(last) else "no request span")
    _through_stores(path, requests, model_calls[0].attempts[0].start, caller)
    served: _Served | None = None
    for call in model_calls:
        answered = call.span
        if answered.kind is Kind.SERVER:  # the request has no span
            found = _through_servers(path, calls.route_from(answered), last, calls, first=served is None, back=False)
        else:
            if answered is not last:
                path.until(segment_at(caller), RETRIES, call.attempts)
            uploads: list[Span] = []
            for attempt in call.attempts:
                uploads = _uploads(attempt, calls.graph)
                path.retries += max(0, len(uploads) - 1)
            if len(uploads) > 1:
                path.to(RETRIES, uploads[-1].start, uploads[-1])
            if failed(answered) or failed(last):
                raise LeftOut("the request failed")
            found = _through_servers(path, call.route, answered, calls, first=served is None, by_client=True)
        served = served or found
    if failed(last):
        raise LeftOut("the request failed")
    if model_calls[-1].span is not last:
        path.to(segment_at(caller), last.end, last)
    return served or _Served()


def _uploads(request: Span, graph: SpanGraph) -> list[Span]:
    """Return the uploads of a request: several where the client's own transport tried again, within one span."""
    return [span for span in graph.children(request) if span.name == semconv.UPLOAD and span.host == request.host]


def _through_stores(path: PathBuilder, requests: Sequence[Span], until: int, caller: Place) -> None:
    """Go over the requests to an object store that came before the model was asked."""
    for request in requests:
        if is_store(request) and request.host == path.host and path.at <= request.start and request.end <= until:
            path.through(segment_at(caller), OBJECT_STORE, request)


def _through_topic(
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
        requests, consumers = consumers, calls.graph.nearest_descendants(producer, _takes_records)
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


def _takes_records(span: Span) -> bool:
    return span.kind is Kind.CONSUMER or span.kind is Kind.SERVER


def _through_servers(
    path: PathBuilder,
    route: Route,
    caller: Span,
    calls: ModelCalls,
    *,
    arrival: Segment | None = None,
    first: bool = True,
    back: bool = True,
    by_client: bool = False,
) -> _Served:
    """Go past the proxies to a model server, through it, and back to the end of the caller's span, unless told not to.

    `arrival` is the time until the first of them has the request; the `first` server is taken for a transformer, the
    next for a predictor, if their spans do not say. `by_client`: no model server asks it, so it is no predictor of one.
    """
    if route.legs and not route.proxies:
        return _through_legs(path, route, caller, calls, first=first, back=back)
    steps = calls.graph.nearest_descendants(route.server, is_step_or_request) if route.server else []
    ours = bool(steps) and (is_step(steps[0]) or any(map(is_step, steps)))
    server = path.meet(_role(route, steps, ours, first, calls))
    passed = []
    for proxy in calls.proxies(caller, route) if route.proxies else ():
        place = path.meet(proxy.name, None if first else server)
        passed.append((place, proxy))
        before, retries = arrival or segment_at(place, "request"), segment_at(place, "retries")
        if proxy.inner is None:
            path.until(before, retries, [*proxy.failed, proxy.outer])
        else:
            path.to(before, proxy.outer.start, proxy.outer)
            path.until(segment_at(place), retries, [*proxy.failed, proxy.inner])
        arrival = None
    served = _Served()
    waiting = segment_at(server)
    if route.legs:
        inner = passed[-1][1].inner or passed[-1][1].outer if passed else caller
        served = _through_legs(path, route, inner, calls, first=first, back=False)
        waiting = segment_at(passed[-1][0]) if passed else waiting
    elif route.server is not None:
        path.enter(route.server)
        path.latest = None
        handed_on = [
            proxy.inner or proxy.outer for _, proxy in passed if (proxy.inner or proxy.outer).key != caller.key
        ]
        path.handed_on = handed_on
        through = _through_steps if ours else _through_own_steps
        served = through(path, route.server, steps, server, arrival or segment_at(server, "request"), caller, calls)
        answering = path.at if served.answering is None else served.answering
        path.handed_on = handed_on
        path.answered(caller, answering)
        waiting = segment_at(server, "response")
    elif first or by_client:
        waiting = UNTRACED
        for upload in _uploads(caller, calls.graph)[-1:] if not passed else ():
            path.through(segment_at(CLIENT), UPLOAD, upload)
    if passed:
        waiting = _back_past(path, passed, waiting, caller)
    if back:
        if not passed or passed[0][1].outer.key != caller.key:
            path.to(waiting, caller.end, caller)
    elif route.server is not None and not passed and (end := _not_after(route.server, caller)) > path.at:
        path.to(waiting, end, route.server)
    return served


def _back_past(path: PathBuilder, passed: Sequence[tuple[Place, Proxy]], waiting: Segment, caller: Span) -> Segment:
    """Go with the answer past the proxies; return what the time behind the outermost one is."""
    for place, proxy in reversed(passed):
        for span in filter(None, (proxy.inner, proxy.outer)):
            # A proxy's span may end after the caller has the answer.
            path.to(waiting, _not_after(span, caller), span, gives_way=span.host != caller.host)
            waiting = segment_at(place)
        waiting = segment_at(place, "response")
    return waiting


def _through_legs(
    path: PathBuilder, route: Route, caller: Span, calls: ModelCalls, *, first: bool, back: bool
) -> _Served:
    """Go through servers that were asked in turn by somebody whose requests have no spans: an InferenceGraph's router.

    The time between them is that of the next one's request.
    """
    served: _Served | None = None
    for leg in route.legs:
        last = back and leg is route.legs[-1]
        found = _through_servers(path, leg, caller, calls, first=first and served is None, back=last)
        served = served or found
    return served or _Served()


def _queue_time(receive: Span, caller: Span) -> int:
    """Return for how long a request had been there before its server looked, ns; no longer than all of it took."""
    milliseconds = receive.attributes.get(semconv.REQUEST_QUEUE_TIME)
    if not isinstance(milliseconds, int) or milliseconds <= 0:
        return 0
    return min(milliseconds * 1_000_000, max(0, caller.end - caller.start))


def _role(route: Route, steps: Sequence[Span], ours: bool, first: bool, calls: ModelCalls) -> str:
    """Return the role that a server's steps name, or else what stands at its place on the path."""
    if role := role_of(steps):
        return role
    # Of a server that is not ours it can be seen whether it asks another one.
    if first and (ours or route.server is None or calls.calls(calls.outgoing_requests(route.server), guess=False)):
        return semconv.TRANSFORMER
    return semconv.PREDICTOR


def _through_steps(
    path: PathBuilder,
    span: Span,
    steps: Sequence[Span],
    server: Place,
    arrival: Segment,
    caller: Span,
    calls: ModelCalls,
) -> _Served:
    """Go through a model server's steps, and through the servers that its model asks."""
    of_name = {step.name: step for step in reversed(steps)}
    receive, preprocess = of_name.get(semconv.RECEIVE), of_name.get(semconv.PREPROCESS)
    if receive is None:
        path.arrived(caller, span, span.start)
        path.to(arrival, span.start, span)
        path.miss(semconv.RECEIVE)
    else:
        path.arrived(caller, receive, receive.start)
        if queued := _queue_time(receive, caller):
            path.back_from(receive, queued, arrival)
            arrival = segment_at(server, "queue")
        path.through(arrival, segment_at(server, semconv.RECEIVE), receive)
    path.over(server, semconv.DECODE, of_name.get(semconv.DECODE))
    generation = next(filter(is_generation, steps), None)
    if preprocess is not None or generation is None:  # an OpenAI model has no such step
        path.over(server, semconv.PREPROCESS, preprocess)
    model = of_name.get(semconv.PREDICT) or of_name.get(semconv.EXPLAIN) or generation
    model_calls = calls.calls(requests) if model is not None and (requests := calls.requests(model)) else []
    if model is not None and model_calls:
        path.to(segment_at(server), model.start, model)
        before = segment_at(server, "serialise")
        for call in model_calls:
            _through_call(path, call, before, server, model, calls)
            before = segment_at(server)
        path.to(segment_at(server), model.end, model)
    else:
        _through_model(path, server, model)
    postprocess = of_name.get(semconv.POSTPROCESS)
    in_pieces = model is not None and (model is generation or _first_piece(model) is not None)
    # An OpenAI model has no such step, and of an answer in pieces it is over before they are made.
    if not in_pieces or (postprocess is not None and model is not None and postprocess.start >= model.end):
        path.over(server, semconv.POSTPROCESS, postprocess)
    return _Served(
        span,
        span.start if receive is None else receive.end,
        receive is None,
        None if preprocess is None else preprocess.end,
    )


def _through_model(path: PathBuilder, server: Place, model: Span | None) -> None:
    """Go through what the model itself does; an answer in pieces is the time to the first one, and the others."""
    first = _first_piece(model) if model is not None else None
    if model is None or (first is None and not is_generation(model)):
        path.over(server, model.name if model else semconv.PREDICT, model)
        return
    path.to(segment_at(server), model.start, model)
    if first is not None:
        path.to(segment_at(server, FIRST_TOKEN), first, model)
    path.to(segment_at(server, GENERATE), model.end, model)


def _first_piece(model: Span) -> int | None:
    """Return when the first piece of a model's answer was there, if it came in pieces."""
    seconds = model.attributes.get(semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK)
    if not isinstance(seconds, int | float) or not 0 <= seconds * 1e9 <= model.end - model.start:
        return None
    return model.start + round(seconds * 1e9)


def _through_call(
    path: PathBuilder, call: ModelCall, before: Segment, server: Place, asker: Span, calls: ModelCalls
) -> None:
    """Go through a request of a model server to another one; one that is not traced is one stretch."""
    if call.span.kind is Kind.SERVER:  # the request has no span
        _through_servers(path, calls.route_from(call.span), asker, calls, first=False, back=False)
    else:
        path.until(before, segment_at(server, "retries"), call.attempts)
        _through_servers(path, call.route, call.span, calls, first=False)


def _through_own_steps(
    path: PathBuilder,
    span: Span,
    steps: Sequence[Span],  # noqa: ARG001
    server: Place,
    arrival: Segment,
    caller: Span,
    calls: ModelCalls,
) -> _Served:
    """Go through a model server that is not ours: what its own spans say that it did, and the servers that it asked."""
    model_calls = calls.calls(calls.outgoing_requests(span), guess=False)
    begun = [call.attempts[0].start for call in model_calls]
    done = []
    for step in own_steps(span, calls.graph):
        before = bisect_left(begun, step.end)  # so many calls began before it ended
        if not before or model_calls[before - 1].span.end <= step.start:
            done.append(step)
    received = next((step for step in done if step.name == semconv.RECEIVE), None)
    start, end = min(span.start, received.start if received else span.start), _not_after(span, caller)
    path.arrived(caller, span, start)
    path.to(arrival, start, span)
    met: list[Step | ModelCall] = [*done, *model_calls]
    for one in sorted(met, key=_start):
        if isinstance(one, Step):
            path.to(segment_at(server), min(max(one.start, path.at), end), span)
            path.to(segment_at(server, one.name), min(max(one.end, path.at), end), span)
        else:
            _through_call(path, one, segment_at(server), server, span, calls)
    path.to(segment_at(server), max(end, path.at) if path.host == span.host else end, span)
    answering = unanswered(span, done, [call.span for call in model_calls])
    return _Served(span, received.end if received else span.start, received is None, answering=answering)


def _start(one: Step | ModelCall) -> int:
    return one.start if isinstance(one, Step) else one.attempts[0].start


def _not_after(span: Span, caller: Span) -> int:
    """Return the end of a span that was asked, which may come after its caller has the answer."""
    return min(span.end, caller.end) if span.host == caller.host else span.end


def _body_size(*spans: Span | None, graph: SpanGraph) -> int | None:
    """Return how large a request's or a record's body is, by the first span that says so."""
    for span in filter(None, spans):
        for one in (span, *graph.children(span)):
            for key in semconv.BODY_SIZE_KEYS:
                if (size := _size_in_bytes(one, key)) is not None:
                    return size
    return None


def _size_in_bytes(span: Span, key: str) -> int | None:
    value = span.attributes.get(key)
    return value if type(value) is int and 0 <= value < 2**63 else None


def _text(span: Span, key: str) -> str:
    value = span.attributes.get(key)
    return value if isinstance(value, str) else ""
