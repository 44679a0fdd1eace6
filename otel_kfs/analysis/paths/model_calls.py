"""Requests between processes: which of them an answer waited for, past which proxies, to which model server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from otel_kfs import semconv
from otel_kfs.analysis.paths.segment import ACTIVATOR, INGRESS, PROXY, QUEUE_PROXY
from otel_kfs.traces.span import Key, Kind, Span, SpanGraph

_OUTGOING = frozenset({Kind.CLIENT, Kind.PRODUCER})
_HIDES = frozenset({semconv.ENCODE, semconv.START_PROGRAM})
_STEPS = frozenset({semconv.RECEIVE, semconv.DECODE, *semconv.MODEL_STEPS})
# What Knative's programs call what they do with a request, since OpenTelemetry and before (knative/serving:
# pkg/queue/handler.go, pkg/activator/handler/handler.go). The queue-proxy has its Service's name, not its own.
_QUEUE_PROXY_SPANS = frozenset({"kn.queueproxy.proxy", "kn.queueproxy.wait", "queue_proxy", "queue_wait"})
_ACTIVATOR_SPANS = frozenset({"activator_proxy", "throttler_try"})


class Route(NamedTuple):
    """From a request to the model server that it reached: the spans of proxies between, outermost first."""

    proxies: Sequence[Span] = ()
    server: Span | None = None


class ModelCall(NamedTuple):
    """A request that was made once or more often, and where the last attempt led."""

    attempts: Sequence[Span]
    route: Route


class Proxy(NamedTuple):
    """A program that hands a request on: the span that it was asked in, and that in which it asks, if it has two."""

    name: str
    outer: Span
    inner: Span | None


def is_step(span: Span) -> bool:
    """Return whether it is what a model server does with a request."""
    return span.name in _STEPS


def is_step_or_request(span: Span) -> bool:
    """Return the same, or whether it is a request that the server makes."""
    return span.name in _STEPS or span.kind is Kind.CLIENT


def is_store(span: Span) -> bool:
    """Return whether a request is one to an object store: models are asked by POST or gRPC."""
    return span.name.startswith(("PUT", "GET", "HEAD", "S3."))


def first_named(spans: Iterable[Span], name: str) -> Span | None:
    """Return the first span of that name."""
    for span in spans:
        if span.name == name:
            return span
    return None


class ModelCalls:
    """The requests in a graph of spans, and where each led, which is looked up once."""

    def __init__(self, graph: SpanGraph) -> None:
        self.graph = graph
        self._routes: dict[Key, Route] = {}

    def outgoing_calls(self, below: Span) -> list[Span]:
        """Return the requests and records that left the process below a span, but for those that are part of a step.

        An image may be put into an object store while it is encoded, and fetched from it while it is preprocessed.
        """
        found = self.graph.nearest_descendants(below, _leaves_or_hides)
        return [span for span in found if span.kind in _OUTGOING]

    def requests(self, below: Span) -> list[Span]:
        """Return the requests alone."""
        return [span for span in self.outgoing_calls(below) if span.kind is Kind.CLIENT]

    def answered_call(self, requests: Sequence[Span]) -> ModelCall | None:
        """Return the request that a model server answered, and its earlier attempts; without such a server the last.

        What reached no model server, and went elsewhere, was something else: an object store, a look-up.
        """
        if not requests:
            return None
        routes = [self.route(request) for request in requests]
        reaching = [number for number, found in enumerate(routes) if found.server is not None]
        if reaching:
            answered = next((number for number in reaching if not requests[number].failed), reaching[-1])
        else:
            models = [number for number, one in enumerate(requests) if not is_store(one)]
            answered = models[-1] if models else len(requests) - 1
        request = requests[answered]
        return ModelCall(
            [*(one for one in requests[:answered] if _same_target(one, request)), request], routes[answered]
        )

    def blocking_calls(self, requests: Sequence[Span]) -> list[ModelCall]:
        """Return a model's requests that its answer waited for, in turn: of those side by side the last to end.

        Those that reached no model server are left out if others did; failed ones are attempts of the next.
        """
        routes = {request.key: self.route(request) for request in requests}
        targets = [one for one in requests if routes[one.key].server is not None]
        targets = targets or [one for one in requests if not is_store(one)][-1:]
        blocking: list[Span] = []
        for request in sorted(requests, key=lambda request: request.end, reverse=True):
            attempted = request in targets or (request.failed and any(_same_target(request, one) for one in targets))
            if attempted and (not blocking or request.end <= blocking[-1].start):
                blocking.append(request)
        calls: list[ModelCall] = []
        attempts: list[Span] = []
        for request in reversed(blocking):
            attempts.append(request)
            if not request.failed or request is blocking[0]:
                calls.append(ModelCall(attempts, routes[request.key]))
                attempts = []
        return calls

    def route(self, caller: Span) -> Route:
        """Return the route from a span to the model server below it: the first one, rather one that did not fail."""
        # Links can lead to one span from many, and by more routes than can be followed.
        found = self._routes.get(caller.key)
        if found is None:
            self._routes[caller.key] = Route()  # a span that is below itself leads nowhere
            found = self._routes[caller.key] = self._first(self.graph.nearest_descendants(caller, _is_hop))
        return found

    def route_from(self, server: Span) -> Route:
        """Return the same where the span itself is that server's, or a proxy's."""
        return self._first([server])

    def _first(self, spans: list[Span]) -> Route:
        if len(spans) > 1:
            spans.sort(key=lambda span: span.failed)
        found = Route()
        for span in spans:
            if span.kind is Kind.SERVER and self._has_steps(span):
                return Route((), span)
            further = self.route(span)
            if further.server is not None:
                return Route((span, *further.proxies), further.server)
            if not found.proxies:
                found = Route((span, *further.proxies))
        return found

    def _has_steps(self, server: Span) -> bool:
        """Return whether it is a model server's: it has steps above the next request's span; a proxy has only that."""
        if any(span.name in _STEPS for span in self.graph.children(server)):
            return True
        return any(span.name in _STEPS for span in self.graph.nearest_descendants(server, _is_step_or_hop))

    def proxies(self, caller: Span, route: Route) -> list[Proxy]:
        """Return the proxies that a request passed; the spans of a second instrumentation in one process are none."""
        passed: list[Proxy] = []
        before = caller
        for number, span in enumerate(route.proxies):
            after = route.proxies[number + 1] if number + 1 < len(route.proxies) else route.server
            if span.kind is Kind.CLIENT and before.kind is Kind.SERVER and _one_process(before, span):
                passed[-1] = passed[-1]._replace(inner=_somewhere(span))
            elif span.kind is Kind.CLIENT:
                if before.kind is not Kind.CLIENT or not _one_process(before, span):
                    passed.append(Proxy(self._proxy_name(span), _somewhere(span), None))
            elif after is None or after.kind is not Kind.SERVER or not _one_process(span, after):
                passed.append(Proxy(self._proxy_name(span), _somewhere(span), None))
            before = span
        return passed

    def _proxy_name(self, span: Span) -> str:
        """Name a proxy by what Knative's programs and Envoy (Istio, Kourier) write into their spans."""
        inside = {below.name for below in self.graph.nearest_descendants(span, _is_known_or_hop)}
        if inside & _QUEUE_PROXY_SPANS:
            return QUEUE_PROXY
        if span.service == ACTIVATOR or inside & _ACTIVATOR_SPANS:
            return ACTIVATOR
        if span.name == "ingress" or any(word in span.service for word in ("ingress", "gateway")):
            return INGRESS
        return PROXY


def _leaves_or_hides(span: Span) -> bool:
    return span.kind in _OUTGOING or span.kind is Kind.SERVER or span.name in _HIDES


def _is_hop(span: Span) -> bool:
    return span.kind is Kind.SERVER or span.kind is Kind.CLIENT


def _is_step_or_hop(span: Span) -> bool:
    return span.name in _STEPS or _is_hop(span)


def _is_known_or_hop(span: Span) -> bool:
    return span.kind is not Kind.INTERNAL or span.name in _QUEUE_PROXY_SPANS or span.name in _ACTIVATOR_SPANS


def _somewhere(span: Span) -> Span:
    """Proxies seldom name their host: it is another one than those that are named, and its clock an unknown one."""
    return span if span.host else replace(span, host=span.service)


def _same_target(one: Span, other: Span) -> bool:
    urls = [str(span.attributes.get(semconv.URL_FULL, "")).partition("?")[0] for span in (one, other)]
    return one.name == other.name and (urls[0] == urls[1] or "" in urls)


def _one_process(one: Span, other: Span) -> bool:
    return (one.service, one.host) == (other.service, other.host)
