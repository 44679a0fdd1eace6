"""The part of a path from a request to its answer: retries, proxies, a model server's steps, the servers it asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from otel_kfs import semconv
from otel_kfs.analysis.paths.coverage import LeftOut
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
from otel_kfs.analysis.paths.path_builder import PathBuilder
from otel_kfs.analysis.paths.segment import (
    CLIENT,
    FIRST_TOKEN,
    GENERATE,
    OBJECT_STORE,
    RETRIES,
    UNTRACED,
    UPLOAD,
    Place,
    Segment,
    segment_at,
)
from otel_kfs.analysis.paths.server_spans import Step, is_generation, is_step, own_steps, role_of, unanswered
from otel_kfs.traces.span import Kind, Span, SpanGraph


class Served(NamedTuple):
    """What a server did: when it had the whole body (or `spanned`: its span began), when preprocessing ended.

    `hosts`: by whose clocks these two are. `answering`: when it had certainly not answered yet, by its span alone; None
    where that is the end of its last step.
    """

    server: Span | None = None
    arrived: int | None = None
    spanned: bool = False
    preprocessed: int | None = None
    hosts: tuple[str, str] | None = None
    answering: int | None = None


def through_requests(
    path: PathBuilder,
    last: Span,
    caller: Place,
    requests: Sequence[Span],
    model_calls: Sequence[ModelCall],
    calls: ModelCalls,
) -> Served:
    """Go from the caller's span, `last`, through the requests that it waited for, to that span's end."""
    if not model_calls:
        raise LeftOut("sent nothing" if failed(last) else "no request span")
    through_stores(path, requests, model_calls[0].attempts[0].start, caller)
    served: Served | None = None
    for call in model_calls:
        answered = call.span
        if answered.kind is Kind.SERVER:  # the request has no span
            found = through_servers(path, calls.route_from(answered), last, calls, first=served is None, back=False)
        else:
            if answered is not last or path.at != call.attempts[0].start:
                path.until(segment_at(caller), RETRIES, call.attempts)
            uploads: list[Span] = []
            for attempt in call.attempts:
                uploads = _uploads(attempt, calls.graph)
                path.retries += max(0, len(uploads) - 1)
            if len(uploads) > 1:
                path.to(RETRIES, uploads[-1].start, uploads[-1])
            if failed(answered) or failed(last):
                raise LeftOut("the request failed")
            found = through_servers(path, call.route, answered, calls, first=served is None, by_client=True)
        served = served or found
    if failed(last):
        raise LeftOut("the request failed")
    if model_calls[-1].span is not last:
        path.to(segment_at(caller), last.end, last)
    return served or Served()


def _uploads(request: Span, graph: SpanGraph) -> list[Span]:
    """Return the uploads of a request: several where the client's own transport tried again, within one span."""
    return [span for span in graph.children(request) if span.name == semconv.UPLOAD and span.host == request.host]


def through_stores(path: PathBuilder, requests: Sequence[Span], until: int, caller: Place) -> None:
    """Go over the requests to an object store that came before the model was asked."""
    for request in requests:
        if is_store(request) and request.host == path.host and path.at <= request.start and request.end <= until:
            path.through(segment_at(caller), OBJECT_STORE, request)


def through_servers(
    path: PathBuilder,
    route: Route,
    caller: Span,
    calls: ModelCalls,
    *,
    arrival: Segment | None = None,
    first: bool = True,
    back: bool = True,
    by_client: bool = False,
) -> Served:
    """Go past the proxies to a model server, through it, and back to the end of the caller's span, unless told not to.

    `arrival` is the time until the first of them has the request; the `first` server is taken for a transformer, the
    next for a predictor, if their spans do not say. `by_client`: no model server asks it, so it is no predictor of one.
    """
    if route.legs and not route.proxies:
        return _through_legs(path, route, caller, calls, first=first, back=back)
    steps = calls.graph.nearest_descendants(route.server, is_step_or_request) if route.server else []
    ours = bool(steps) and (is_step(steps[0]) or any(map(is_step, steps)))
    server = path.meet(_role(route, steps, ours, first, calls))
    passed = _past_proxies(path, calls.proxies(caller, route), None if first else server, arrival)
    arrival = None if passed else arrival
    served = Served()
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
        arrival = arrival or segment_at(server, "request")
        _through_attempts(path, route, steps, arrival)
        served = through(path, route.server, steps, server, arrival, caller, calls)
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


def _past_proxies(
    path: PathBuilder, proxies: Sequence[Proxy], behind: Place | None, arrival: Segment | None
) -> list[tuple[Place, Proxy]]:
    """Go with the request to the last of the proxies; return each with its place.

    `behind`: the server that they stand before, if that is not the first; `arrival`: the time until the outermost has
    the request.
    """
    passed = []
    for proxy in proxies:
        place = path.meet(proxy.name, behind)
        before, retries = arrival or segment_at(place, "request"), segment_at(place, "retries")
        if proxy.inner is None:
            path.until(before, retries, [*proxy.failed, proxy.outer])
        else:
            path.to(before, proxy.outer.start, proxy.outer)
            path.until(segment_at(place), retries, [*proxy.failed, proxy.inner])
        passed.append((place, proxy))
        arrival = None
    return passed


def _through_attempts(path: PathBuilder, route: Route, steps: Sequence[Span], arrival: Segment) -> None:
    """Go to when a server had the attempt that it answered, if there were others within one request."""
    if route.server is None or not route.tried:
        return
    received = first_named(steps, semconv.RECEIVE)
    had = received if received is not None and received.start < route.server.start else route.server
    path.until(arrival, RETRIES, [*route.tried, had])


def _back_past(path: PathBuilder, passed: Sequence[tuple[Place, Proxy]], waiting: Segment, caller: Span) -> Segment:
    """Go with the answer past the proxies; return what the time behind the outermost one is."""
    asked = [caller, *(span for _, proxy in passed for span in (proxy.outer, proxy.inner) if span is not None)]
    for place, proxy in reversed(passed):
        for span in filter(None, (proxy.inner, proxy.outer)):
            asked.pop()
            # A proxy's span may end after whoever asked it has the answer: another proxy, or the caller.
            gives_way = any(one.host != span.host for one in asked)
            path.to(waiting, _not_after(span, *asked), span, gives_way=gives_way)
            waiting = segment_at(place)
        waiting = segment_at(place, "response")
    return waiting


def _through_legs(
    path: PathBuilder, route: Route, caller: Span, calls: ModelCalls, *, first: bool, back: bool
) -> Served:
    """Go through servers that were asked in turn by somebody whose requests have no spans: an InferenceGraph's router.

    The time between them is that of the next one's request.
    """
    served: Served | None = None
    for leg in route.legs:
        last = back and leg is route.legs[-1]
        found = through_servers(path, leg, caller, calls, first=first and served is None, back=last)
        served = served or found
    return served or Served()


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
) -> Served:
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
    return Served(
        span,
        span.start if receive is None else receive.end,
        receive is None,
        None if preprocess is None else preprocess.end,
        ((receive or span).host, (preprocess or receive or span).host),
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
        through_servers(path, calls.route_from(call.span), asker, calls, first=False, back=False)
    else:
        path.until(before, segment_at(server, "retries"), call.attempts)
        through_servers(path, call.route, call.span, calls, first=False)


def _through_own_steps(
    path: PathBuilder,
    span: Span,
    steps: Sequence[Span],  # noqa: ARG001
    server: Place,
    arrival: Segment,
    caller: Span,
    calls: ModelCalls,
) -> Served:
    """Go through a model server that is not ours: what its own spans say that it did, and the servers that it asked."""
    model_calls = calls.calls(calls.outgoing_requests(span), guess=False)
    begun = [call.attempts[0].start for call in model_calls]
    done = []
    for step in own_steps(span, calls.graph):
        before = bisect_left(begun, step.end)  # so many calls began before it ended
        if not before or model_calls[before - 1].span.end <= step.start:
            done.append(step)
    received = next((step for step in done if step.name == semconv.RECEIVE), None)
    start = min(span.start, received.start if received else span.start)
    end = _not_after(span, caller, *path.handed_on)
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
    arrived = received.end if received else span.start
    return Served(span, arrived, received is None, hosts=(span.host, span.host), answering=answering)


def _start(one: Step | ModelCall) -> int:
    return one.start if isinstance(one, Step) else one.attempts[0].start


def _not_after(span: Span, *asked_by: Span) -> int:
    """Return the end of a span that was asked, which may come after those who asked have the answer."""
    return min([span.end, *(one.end for one in asked_by if one.host == span.host)])
