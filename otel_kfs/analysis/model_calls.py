"""Requests between processes: which of them an answer waited for, past which proxies, to which model server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from otel_kfs import semconv
from otel_kfs.traces.span import Kind, Span, SpanGraph

INGRESS, ACTIVATOR, QUEUE_PROXY, PROXY = "ingress", "activator", "queue-proxy", "proxy"

_LEAVES = frozenset({Kind.CLIENT, Kind.PRODUCER})
_HIDES = frozenset({semconv.ENCODE, semconv.START_PROGRAM})
_STEPS = frozenset({semconv.RECEIVE, semconv.DECODE, *semconv.MODEL_STEPS})
# What Knative's programs call what they do with a request, since OpenTelemetry and before (knative/serving:
# pkg/queue/handler.go, pkg/activator/handler/handler.go). The queue-proxy has its Service's name, not its own.
_QUEUE_PROXY_S = frozenset({"kn.queueproxy.proxy", "kn.queueproxy.wait", "queue_proxy", "queue_wait"})
_ACTIVATOR_S = frozenset({"activator_proxy", "throttler_try"})


class Route(NamedTuple):
    """From a request to the model server that it reached: the spans of proxies between, outermost first."""

    proxies: Sequence[Span] = ()
    server: Span | None = None


class ModelCall(NamedTuple):
    """A request, the tries before it, and where it led."""

    tries: Sequence[Span]  # it is the last of them
    route: Route


class Proxy(NamedTuple):
    """A program that hands a request on: the span that it was asked in, and that in which it asks, if it has two."""

    name: str
    outer: Span
    inner: Span | None


def is_step(span: Span) -> bool:
    """Whether it is what a model server does with a request."""
    return span.name in _STEPS


def is_step_or_request(span: Span) -> bool:
    """The same, or a request that the server makes."""
    return span.name in _STEPS or span.kind is Kind.CLIENT


def outgoing_calls(below: Span, forest: SpanGraph) -> list[Span]:
    """The requests and records that left the process below a span, but for those that were part of a step.

    An image may be put into an object store while it is encoded, and fetched from it while it is preprocessed.
    """
    return [span for span in forest.nearest_descendants(below, _leaves_or_hides) if span.kind in _LEAVES]


def answered_call(requests: Sequence[Span], forest: SpanGraph) -> ModelCall:
    """The request that a model server answered, and what was tried before it; without such a server the last one.

    What reached no model server, and went elsewhere, was something else: an object store, a look-up.
    """
    routes = [route(request, forest) for request in requests]
    reaching = [number for number, found in enumerate(routes) if found.server is not None]
    if reaching:
        answered = next((number for number in reaching if not requests[number].failed), reaching[-1])
    else:
        models = [number for number, one in enumerate(requests) if not is_store(one)]
        answered = models[-1] if models else len(requests) - 1
    request = requests[answered]
    tries = [one for one in requests[:answered] if _same_target(one, request)] if answered else []
    return ModelCall([*tries, request], routes[answered])


def blocking_calls(hops: Sequence[Span], forest: SpanGraph) -> list[ModelCall]:
    """The requests of a model that its answer waited for, one after another: of those side by side the last to end.

    Those that reached no model server are left out if others did; failed ones are tries of the next.
    """
    if len(hops) == 1:
        found = route(hops[0], forest)
        return [ModelCall(hops, found)] if found.server is not None or not is_store(hops[0]) else []
    routes = {hop.span_id: route(hop, forest) for hop in hops}
    reaching = [hop for hop in hops if routes[hop.span_id].server is not None]
    targets = reaching or [hop for hop in hops if not is_store(hop)][-1:]
    considered = [hop for hop in hops if hop in targets or (hop.failed and any(_same_target(hop, t) for t in targets))]
    chain: list[Span] = []
    for hop in sorted(considered, key=lambda hop: hop.end, reverse=True):
        if not chain or hop.end <= chain[-1].start:
            chain.append(hop)
    waited: list[ModelCall] = []
    tries: list[Span] = []
    for hop in reversed(chain):
        tries.append(hop)
        if not hop.failed or hop is chain[0]:
            waited.append(ModelCall(tries, routes[hop.span_id]))
            tries = []
    return waited


def route(asker: Span, forest: SpanGraph, *, itself: bool = False) -> Route:
    """The way from a span to the model server below it: the first one, rather one that did not fail.

    `itself`: the span may be that server's, or a proxy's.
    """
    return _first([asker], forest) if itself else _below(asker, forest)


def _below(asker: Span, forest: SpanGraph) -> Route:
    # Links can lead to one span from many, and by more ways than can be gone.
    found: Route | None = forest.notes.get(asker.span_id)
    if found is None:
        forest.notes[asker.span_id] = Route()  # a span that is below itself leads nowhere
        found = forest.notes[asker.span_id] = _first(forest.nearest_descendants(asker, _is_hop), forest)
    return found


def _first(spans: list[Span], forest: SpanGraph) -> Route:
    if len(spans) > 1:
        spans.sort(key=lambda span: span.failed)
    found = Route()
    for span in spans:
        if span.kind is Kind.SERVER and _has_steps(span, forest):
            return Route((), span)
        further = _below(span, forest)
        if further.server is not None:
            return Route((span, *further.proxies), further.server)
        if not found.proxies:
            found = Route((span, *further.proxies))
    return found


def proxies(asker: Span, found: Route, forest: SpanGraph) -> list[Proxy]:
    """The proxies that a request passed; the spans of a second instrumentation in one process are none."""
    passed: list[Proxy] = []
    before = asker
    for number, span in enumerate(found.proxies):
        after = found.proxies[number + 1] if number + 1 < len(found.proxies) else found.server
        if span.kind is Kind.CLIENT and before.kind is Kind.SERVER and _one_process(before, span):
            passed[-1] = passed[-1]._replace(inner=_somewhere(span))
        elif span.kind is Kind.CLIENT:
            if before.kind is not Kind.CLIENT or not _one_process(before, span):
                passed.append(Proxy(_name(span, forest), _somewhere(span), None))
        elif after is None or after.kind is not Kind.SERVER or not _one_process(span, after):
            passed.append(Proxy(_name(span, forest), _somewhere(span), None))
        before = span
    return passed


def _somewhere(span: Span) -> Span:
    """Proxies seldom name their host: it is another one than those that are named, and its clock an unknown one."""
    return span if span.host else replace(span, host=span.service)


def is_store(span: Span) -> bool:
    """Whether a request is one to an object store: models are asked by POST or gRPC."""
    return span.name.startswith(("PUT", "GET", "HEAD", "S3."))


def _leaves_or_hides(span: Span) -> bool:
    return span.kind in _LEAVES or span.name in _HIDES or span.kind is Kind.SERVER


def _is_hop(span: Span) -> bool:
    return span.kind is Kind.SERVER or span.kind is Kind.CLIENT


def _has_steps(server: Span, forest: SpanGraph) -> bool:
    """Whether it is a model server's: it has steps above the next request's span; a proxy has nothing but that."""
    if any(span.name in _STEPS for span in forest.children(server)):
        return True
    return any(
        span.name in _STEPS for span in forest.nearest_descendants(server, lambda span: is_step(span) or _is_hop(span))
    )


def _same_target(one: Span, other: Span) -> bool:
    urls = [str(span.attributes.get(semconv.URL_FULL, "")).partition("?")[0] for span in (one, other)]
    return one.name == other.name and (urls[0] == urls[1] or "" in urls)


def _one_process(one: Span, other: Span) -> bool:
    return (one.service, one.host) == (other.service, other.host)


def _name(span: Span, forest: SpanGraph) -> str:
    """What a proxy is, by what Knative's programs and Envoy (Istio, Kourier) write into their spans."""
    inside = {
        below.name
        for below in forest.nearest_descendants(span, lambda one: one.kind is not Kind.INTERNAL or _is_known(one))
    }
    if inside & _QUEUE_PROXY_S:
        return QUEUE_PROXY
    if span.service == ACTIVATOR or inside & _ACTIVATOR_S:
        return ACTIVATOR
    if span.name == "ingress" or any(word in span.service for word in ("ingress", "gateway")):
        return INGRESS
    return PROXY


def _is_known(span: Span) -> bool:
    return span.name in _QUEUE_PROXY_S or span.name in _ACTIVATOR_S


def named(spans: Iterable[Span], name: str) -> Span | None:
    """The first of that name."""
    return next((span for span in spans if span.name == name), None)
