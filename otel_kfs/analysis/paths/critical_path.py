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

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from otel_kfs import semconv
from otel_kfs.analysis.paths.coverage import Coverage, LeftOut
from otel_kfs.analysis.paths.deliveries import lasting
from otel_kfs.analysis.paths.image_roots import image_roots
from otel_kfs.analysis.paths.model_calls import ModelCall, ModelCalls, failed, first_named
from otel_kfs.analysis.paths.path_builder import HappensBefore, PathBuilder, Section
from otel_kfs.analysis.paths.path_through_servers import Served, through_requests, through_servers, through_stores
from otel_kfs.analysis.paths.path_through_topic import through_topic
from otel_kfs.analysis.paths.segment import (
    BRIDGE,
    CLIENT,
    EVENT_SOURCE,
    LATE_START,
    PROGRAM_START,
    UNNAMED_SYSTEM,
    segment_at,
)
from otel_kfs.analysis.paths.server_spans import own_steps
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


_OF_KAFKA = "messaging.kafka."

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
    deliveries = 1
    consumers = [root] if root.kind is Kind.CONSUMER else []
    if producer is None and not by_http and not consumers:
        consumers = [span for span in leaving if span.kind is Kind.CONSUMER]  # their records' spans are not there
        consumers = [] if any(calls.route_from(span).reaches for span in requests) else consumers
    if producer is None and not consumers:
        model_calls = calls.calls(requests)
        last = lasting(root, model_calls, calls.graph)
        _through_sender(path, root, model_calls, calls.graph)
        served = through_requests(path, last, CLIENT, requests, model_calls, calls)
    else:
        consumers, deliveries, last, served = _through_records(path, producer, consumers, requests, calls)
    if path.at != last.end:  # spans of other kinds than their names have
        raise LeftOut(f"`{last.name}` is out of order")
    stamps = (began, served.arrived, served.preprocessed, last.end)
    hosts = (root.host, *(served.hosts or (root.host, root.host)), last.host)
    path.check_stamps(stamps, hosts)
    path.check_sums()
    ours = root.name == semconv.SEND_IMAGE
    payload = _size_in_bytes(root, semconv.PAYLOAD_SIZE)
    batch = _shared_by(consumers[-1]) if consumers else 1
    if not ours:
        passed_on = [call.span for one in leaving for call in calls.route_from(one).proxies]
        asked = [*consumers, served.server] if batch == 1 else []  # the bodies of others may be among theirs
        payload = _body_size(root, *leaving, *passed_on, *asked, graph=calls.graph)
    return CriticalPath(
        trace_id=root.trace_id,
        transport=_messaging_system(root, producer, *consumers) if consumers else semconv.HTTP,
        image_size=_size_in_bytes(root, semconv.IMAGE_SIZE),
        payload_size=payload,
        stamps=stamps,
        hosts=hosts,
        sections=tuple(path.sections),
        requests=1 + path.retries,
        deliveries=deliveries,
        batch=batch,
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


def _through_records(
    path: PathBuilder, producer: Span | None, consumers: list[Span], requests: list[Span], calls: ModelCalls
) -> tuple[list[Span], int, Span, Served]:
    """Go through the topic, and through those behind it, to the model that the last record was sent to.

    Return the spans that took the record from the last topic, the most deliveries from any topic, with which span's end
    the path ends, and what the model's server did.
    """
    root, deliveries = path.root, 1
    _through_sender(path, root, [], calls.graph)
    if root.kind is not Kind.CONSUMER:
        through_stores(path, requests, (producer or consumers[0]).start, CLIENT)
        consumers, deliveries = through_topic(path, producer, consumers or requests, CLIENT, calls)
    passed = set[Key]()
    while (further := calls.record_after(consumers[-1])) is not None and further.key not in passed:
        passed.add(further.key)
        consumers, again = through_topic(path, further, [], BRIDGE, calls)
        deliveries = max(deliveries, again)
    last = consumers[-1]
    if last.kind is Kind.SERVER:
        # An event source (Knative's) posted the record: nobody waits for the answer, so it is back when it is sent.
        if failed(last):
            raise LeftOut("the request failed")
        served = through_servers(path, calls.route_from(last), last, calls, arrival=EVENT_SOURCE)
        return consumers, deliveries, last, served
    requests = [last] if last.kind is Kind.CLIENT else calls.requests(last)
    model_calls = calls.calls(requests)
    if failed(last) and model_calls:
        raise LeftOut("the request failed")
    last = lasting(last, model_calls, calls.graph)
    return consumers, deliveries, last, through_requests(path, last, BRIDGE, requests, model_calls, calls)


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


def _body_size(*spans: Span | None, graph: SpanGraph) -> int | None:
    """Return how large a request's or a record's body is, by the first span that says so."""
    for span in filter(None, spans):
        for one in (span, *graph.children(span)):
            for key in semconv.BODY_SIZE_KEYS:
                if (size := _size_in_bytes(one, key)) is not None:
                    return size
    return None


def _shared_by(consumer: Span) -> int:
    """Return how many records were processed together, by their count or, where none is given, by its links."""
    return max(1, consumer.batch or len(consumer.links))


def _messaging_system(root: Span, *spans: Span | None) -> str:
    """Return by what a record was sent: our senders use Kafka; the conventions want others' spans to say what."""
    of_record = [span for span in spans if span is not None]
    named = (_text(span, semconv.MESSAGING_SYSTEM).lower() for span in of_record)
    if system := next(filter(None, named), ""):
        return system
    of_kafka = any(key.startswith(_OF_KAFKA) for span in of_record for key in span.attributes)
    return semconv.KAFKA if root.name == semconv.SEND_IMAGE or of_kafka else UNNAMED_SYSTEM


def _size_in_bytes(span: Span, key: str) -> int | None:
    value = span.attributes.get(key)
    return value if type(value) is int and 0 <= value < 2**63 else None


def _text(span: Span, key: str) -> str:
    value = span.attributes.get(key)
    return value if isinstance(value, str) else ""
