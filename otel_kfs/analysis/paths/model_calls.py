"""Requests between processes: which of them an answer waited for, past which proxies, to which model servers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from otel_kfs import semconv
from otel_kfs.analysis.paths.segment import ACTIVATOR, INGRESS, PROXY, QUEUE_PROXY
from otel_kfs.analysis.paths.server_spans import (
    STEPS,
    in_turn,
    is_generation,
    is_model_servers,
    is_step,
    names_a_model,
    one_process,
)
from otel_kfs.traces.span import Key, Kind, Span, SpanGraph

_LEAVING = frozenset({Kind.CLIENT, Kind.PRODUCER})
_BETWEEN_PROCESSES = frozenset({*_LEAVING, Kind.SERVER, Kind.CONSUMER})
_HIDES = frozenset({semconv.ENCODE, semconv.START_PROGRAM})
# What Knative's programs call what they do with a request, since OpenTelemetry and before (knative/serving:
# pkg/queue/handler.go, pkg/activator/handler/handler.go). The queue-proxy has its Service's name, not its own.
_QUEUE_PROXY_SPANS = frozenset({"kn.queueproxy.proxy", "kn.queueproxy.wait", "queue_proxy", "queue_wait"})
_ACTIVATOR_SPANS = frozenset({"activator_proxy", "throttler_try"})
# Envoy's, and that of the endpoint picker of llm-d and the Gateway API's inference extension.
_INGRESS_SPANS = frozenset({"ingress", "gateway.request"})


class Route(NamedTuple):
    """From a request to the model server that it reached: the spans passed on the way, outermost first.

    Where several were asked in turn, `legs` are the ways to each. `known`: whether anything says that it is a model
    server; otherwise it is what nothing leaves. `tried`: how it was asked before in vain, if the client's span of that
    is one for all attempts, as gRPC's.
    """

    proxies: Sequence[ModelCall] = ()
    server: Span | None = None
    legs: Sequence[Route] = ()
    known: bool = False
    tried: Sequence[Span] = ()

    @property
    def reaches(self) -> bool:
        """Whether it leads to a server."""
        return self.server is not None or bool(self.legs)


class ModelCall(NamedTuple):
    """A request that was made once, or failed and was made again, and where the last attempt led."""

    attempts: Sequence[Span]
    route: Route

    @property
    def span(self) -> Span:
        """The last attempt."""
        return self.attempts[-1]


class Proxy(NamedTuple):
    """A program that hands a request on: the span that it was asked in, and that in which it asks, if it has two.

    `failed`: the attempts before the one that was answered.
    """

    name: str
    outer: Span
    inner: Span | None
    failed: Sequence[Span] = ()


def is_step_or_request(span: Span) -> bool:
    """Return whether it is a step of a model server of ours, or a request that the server makes."""
    return span.name in STEPS or span.kind is Kind.CLIENT or is_generation(span)


def is_store(span: Span) -> bool:
    """Return whether a request is one to an object store."""
    return span.name.startswith(("PUT", "S3."))


def _fetches(span: Span) -> bool:
    """Return whether a request is none to a model: those are asked by POST or gRPC."""
    return is_store(span) or span.name.startswith(("GET", "HEAD"))


def failed(span: Span) -> bool:
    """Return whether a span failed; Envoy says so by an attribute, without a status."""
    return span.failed or span.attributes.get("error") in {True, "true"}


def first_named(spans: Iterable[Span], name: str) -> Span | None:
    """Return the first span of that name."""
    for span in spans:
        if span.name == name:
            return span
    return None


class ModelCalls:
    """The requests in a graph of spans, and where each led, which is looked up once.

    `servers`: services that are model servers, because the user says so.
    """

    def __init__(self, graph: SpanGraph, servers: Collection[str] = ()) -> None:
        self.graph = graph
        self.servers = frozenset(servers)
        self._routes: dict[Key, Route] = {}
        self._leading: dict[Key, bool] = {}
        self._asking: dict[Key, bool] = {}

    def leaving(self, below: Span) -> list[Span]:
        """Return what left the process below a span, or came from it where no span says so, but for parts of a step.

        An image may be put into an object store while it is encoded, and fetched from it while it is preprocessed.
        Where others only took it in, who then sent a record of it, that record is what leaves.
        """
        begins = self._asks_by_itself(below) if below.kind is Kind.SERVER else below.kind not in _LEAVING
        if not begins and not self._wraps(below):
            found = [below]  # a trace that begins with it
        else:
            found = self.graph.nearest_descendants(below, lambda span: _leaves_or_hides(span) and not self._wraps(span))
            found = [span for span in found if span.kind in _BETWEEN_PROCESSES]
        if below.name == semconv.SEND_IMAGE or any(map(self._is_record_or_leads, found)):
            return found
        records = [one for span in found for one in self.graph.nearest_descendants(span, _is_record)]
        return [one for one in records if self.leads_to_model(one)] or found

    def _asks_by_itself(self, server: Span) -> bool:
        """Return whether it is the server of a program that asks a model as any other client does: no proxy."""
        route = self._from(server)
        return route.server is not server and self._proxy_name(server, route.server) == PROXY

    def _is_record_or_leads(self, span: Span) -> bool:
        return _is_record(span) or self._from(span).known

    def requests(self, below: Span) -> list[Span]:
        """Return the requests alone; those of a batch also lie below the spans of its other topics."""
        found = self.graph.nearest_descendants(
            below,
            lambda span: _leaves_or_hides(span) and not (below.batch and span.batch) and not self._wraps(span),
        )
        return [span for span in found if span.kind is Kind.CLIENT or span.kind is Kind.SERVER]

    def outgoing_requests(self, server: Span) -> list[Span]:
        """Return the requests of a model server, as it makes them or as others have them from it."""

        def leaves(span: Span) -> bool:
            if span.kind is Kind.CLIENT:
                return not self._wraps(span)
            return span.kind is Kind.SERVER and not one_process(server, span)

        return self.graph.nearest_descendants(server, leaves)

    def _wraps(self, span: Span) -> bool:
        """Return whether it is a client's call of a generative model, whose requests have spans of their own below.

        Source: OpenTelemetry's conventions for generative AI: it covers all retries of what it asks for.
        """
        if span.kind is not Kind.CLIENT or semconv.CLIENTS_OF_MODELS.keys().isdisjoint(span.attributes):
            return False
        below = self.graph.nearest_descendants(span, _is_hop)
        return any(one.kind is Kind.CLIENT and one_process(span, one) for one in below)

    def leads_to_model(self, span: Span) -> bool:
        """Return whether a model was asked for what a span is about, be it by way of records."""
        known = self._leading.get(span.key)
        if known is None:
            seen = {span.key}
            waiting = [span]
            for one in waiting:  # which grows meanwhile
                if _is_hop(one) and self._is_model_s(one):
                    break
                for child in self.graph.children(one):
                    if child.key not in seen and self._leading.get(child.key, True):
                        seen.add(child.key)
                        waiting.append(child)
            else:
                self._leading.update(dict.fromkeys(seen, False))
            known = self._leading.setdefault(span.key, True)
        return known

    def _is_model_s(self, hop: Span) -> bool:
        """Return whether a request is one to a model, by what it or its server says."""
        return names_a_model(hop) or (
            hop.kind is Kind.SERVER and (hop.service in self.servers or self.is_model_server_of_ours(hop))
        )

    def asks_a_model(self, span: Span) -> bool:
        """Return whether a request to a model was made within a span, or is what it is about."""
        known = self._asking.get(span.key)
        if known is None:
            requests = [span] if _is_hop(span) else self.requests(span)
            known = self._asking[span.key] = any(self._from(one).known for one in requests)
        return known

    def record(self, leaving: Sequence[Span], *, surely: bool) -> Span | None:
        """Return the record that leads to a model, of those that were sent; the first if none does.

        Unless the image was `surely` sent by a record, it is none if a request leads to a model and no record does.
        """
        producers = [span for span in leaving if span.kind is Kind.PRODUCER]
        if len(producers) < 2 and (surely or len(leaving) == 1 or not producers):
            return producers[0] if producers else None
        routes = [self.route(one) for one in producers]
        if (
            not surely
            and not any(map(self.leads_to_model, producers))
            and any(self._from(span).known for span in leaving if span.kind is Kind.CLIENT)
        ):
            return None

        def rank(number: int) -> tuple[bool, ...]:
            one, route = producers[number], routes[number]
            delivered = bool(self.graph.nearest_descendants(one, lambda span: span.kind is Kind.CONSUMER))
            leads = self.leads_to_model(one)
            return route.known, leads, route.reaches, bool(route.proxies), delivered, not failed(one)

        return producers[max(range(len(producers)), key=rank)]

    def record_after(self, consumer: Span) -> Span | None:
        """Return the record that a consumer sent on, if it is by that one that a model was asked."""
        if consumer.kind is not Kind.CONSUMER or any(self._from(span).known for span in self.requests(consumer)):
            return None
        records = [span for span in self.leaving(consumer) if span.kind is Kind.PRODUCER and self.leads_to_model(span)]
        return self.record(records, surely=True)

    def one_group(self, consumers: list[Span]) -> list[Span]:
        """Return those of the consumer group that first asked a model, or else of the first that had the record."""
        groups: dict[str, list[Span]] = {}
        for one in consumers:
            groups.setdefault(_group(one), []).append(one)
        if len(groups) == 1:
            return consumers
        routes = {
            group: [self._from(one) if one.kind is Kind.SERVER else self.route(one) for one in ones]
            for group, ones in groups.items()
        }
        if not any(route.known for found in routes.values() for route in found):
            for ones in groups.values():
                if any(map(self.leads_to_model, ones)):
                    return ones
        for leads in (lambda route: route.known, lambda route: route.reaches, lambda route: bool(route.proxies)):
            for group, ones in groups.items():
                if any(map(leads, routes[group])):
                    return ones
        return next(iter(groups.values()))

    def calls(self, requests: Sequence[Span], *, guess: bool = True) -> list[ModelCall]:
        """Return the requests that an answer waited for, in turn, each with the attempts of it that failed before.

        They are those that reached a model server. If none did, it is the last that is not one to an object store, if
        we may `guess`. What went elsewhere was something else: a look-up, a record of what was done.
        """
        if len(requests) == 1:
            route = self._from(requests[0])
            if route.reaches or route.known or (guess and not _fetches(requests[0])):
                return [ModelCall(requests, route)]
            return []
        routes = {}
        for one in requests:
            routes[one.key] = self._from(one)
        found = [one for one in requests if routes[one.key].known]
        found = found or [one for one in requests if routes[one.key].reaches]
        if not found and guess:
            found = [one for one in requests if not _fetches(one)][-1:]
        answered = [one for one in found if not failed(one)] or found[-1:]
        calls = []
        tried = iter([one for one in requests if failed(one)])
        next_tried = next(tried, None)
        since = 0
        for one in in_turn(answered) if len(answered) > 1 else answered:
            attempts = []
            while next_tried is not None and next_tried.start <= one.start:
                if next_tried is not one and next_tried.start >= since and _same(next_tried, one):
                    attempts.append(next_tried)
                next_tried = next(tried, None)
            calls.append(ModelCall([*attempts, one], routes[one.key]))
            since = one.end
        return calls

    def route(self, caller: Span) -> Route:
        """Return the route from a span to the model servers below it; for what becomes of a record nobody waits."""
        # Links can lead to one span from many, and by more routes than can be followed.
        found = self._routes.get(caller.key)
        if found is None:
            self._routes[caller.key] = found = Route()  # a span that is below itself leads nowhere
            hops = self.graph.nearest_descendants(
                caller, lambda span: _is_hop_or_record(span) and not self._wraps(span)
            )
            hops = [span for span in hops if _is_hop(span)]
            if len(hops) == 1:
                found = self.route_from(hops[0])
            elif hops:
                legs = [self._through(call) for call in self.calls(hops, guess=False)]
                if len(legs) > 1:
                    found = Route((), None, legs, any(leg.known for leg in legs))
                else:
                    found = legs[0] if legs else self.route_from(hops[0])
            self._routes[caller.key] = found
        return found

    def route_from(self, span: Span) -> Route:
        """Return the same where the span itself is a server's, or a proxy's."""
        route = self._from(span)
        return route if route.server is span else self._through(ModelCall([span], route))

    def _through(self, call: ModelCall) -> Route:
        """Return the route that leads through the span that was called, or ends there."""
        route = call.route
        if route.server is call.span:
            return route._replace(tried=call.attempts[:-1])
        return route._replace(proxies=(call, *route.proxies))

    def _from(self, span: Span) -> Route:
        """Return the route from a span on; of one that is a model server's own it is that alone."""
        if span.kind is not Kind.SERVER:
            route = self.route(span)
            return route if route.known or not names_a_model(span) else route._replace(known=True)
        if self.is_model_server_of_ours(span) or span.service in self.servers or is_model_servers(span):
            return Route((), span, (), True)
        route = self.route(span)
        if route.server is not None and not route.proxies and one_process(span, route.server):
            return Route((), span, (), route.known)  # the outer of two spans of one process
        known = route.known or names_a_model(span)
        # What nothing leaves is the server; one that is known for a proxy, or asks a model, leads to an untraced one.
        asks = bool(route.proxies) and route.known
        if not route.reaches and not asks and self._proxy_name(span, None) == PROXY:
            return Route((), span, (), known)
        return route._replace(known=known)

    def is_model_server_of_ours(self, server: Span) -> bool:
        """Return whether a server has steps above the next request's span; a proxy has none."""
        for span in self.graph.children(server):
            if span.name in STEPS:
                return True
        return any(span.name in STEPS for span in self.graph.nearest_descendants(server, _is_step_or_hop))

    def proxies(self, caller: Span, route: Route) -> list[Proxy]:
        """Return the proxies that a request passed; the spans of a second instrumentation in one process are none."""
        passed: list[Proxy] = []
        before = caller
        for call in route.proxies:
            span, attempts = call.span, call.attempts[:-1]
            if span is caller:
                passed.append(self._proxy(span, attempts, route.server))
            elif span.kind is Kind.CLIENT and before.kind is Kind.SERVER and one_process(before, span):
                if passed:
                    tried = [_somewhere(one) for one in attempts]
                    passed[-1] = passed[-1]._replace(inner=_somewhere(span), failed=tried)
            elif span.kind is Kind.CLIENT:
                if before.kind is not Kind.CLIENT or not one_process(before, span):
                    passed.append(self._proxy(span, attempts, route.server))
            elif before.kind is not Kind.SERVER or not one_process(before, span):
                passed.append(self._proxy(span, attempts, route.server))
            before = span
        return passed

    def _proxy(self, span: Span, attempts: Sequence[Span], server: Span | None) -> Proxy:
        return Proxy(self._proxy_name(span, server), _somewhere(span), None, [_somewhere(one) for one in attempts])

    def _proxy_name(self, span: Span, server: Span | None) -> str:
        """Name a proxy by what Knative's programs and Envoy (Istio, Kourier) write into their spans."""
        inside = {below.name for below in self.graph.nearest_descendants(span, _is_known_or_hop)}
        if inside & _QUEUE_PROXY_SPANS:
            return QUEUE_PROXY
        if span.service == ACTIVATOR or inside & _ACTIVATOR_SPANS:
            return ACTIVATOR
        if any(word in span.service for word in ("ingress", "gateway")):
            return INGRESS
        # A sidecar is called as what it stands beside: Istio's `mobilenet-predictor.default`.
        if span.name in _INGRESS_SPANS and (server is None or span.service.partition(".")[0] != server.service):
            return INGRESS
        return PROXY


def _leaves_or_hides(span: Span) -> bool:
    return span.kind in _BETWEEN_PROCESSES or span.name in _HIDES


def _is_hop(span: Span) -> bool:
    return span.kind is Kind.SERVER or span.kind is Kind.CLIENT


def _is_record(span: Span) -> bool:
    return span.kind is Kind.PRODUCER or span.kind is Kind.CONSUMER


def _is_hop_or_record(span: Span) -> bool:
    return _is_hop(span) or span.kind is Kind.PRODUCER


def _is_step_or_hop(span: Span) -> bool:
    return is_step(span) or _is_hop(span)


def _is_known_or_hop(span: Span) -> bool:
    return span.kind is not Kind.INTERNAL or span.name in _QUEUE_PROXY_SPANS or span.name in _ACTIVATOR_SPANS


def _somewhere(span: Span) -> Span:
    """Proxies seldom name their host: it is another one than those that are named, and its clock an unknown one."""
    return span if span.host else replace(span, host=span.service)


def _same(one: Span, other: Span) -> bool:
    """Return whether two are the same request: one name, and one URL as far as they have one."""
    urls = {url for url in (url_of(one), url_of(other)) if url}
    return one.name == other.name and len(urls) < 2


def _group(consumer: Span) -> str:
    """Return the group that a record was delivered to; of what names none, its service."""
    found = consumer.attributes.get(semconv.MESSAGING_CONSUMER_GROUP_NAME)
    found = found or consumer.attributes.get("messaging.kafka.consumer.group")  # its name until 2024
    return str(found or consumer.service)


def url_of(span: Span) -> str:
    """Return the URL that was asked, without its query; "" if the span has none."""
    url = span.attributes.get(semconv.URL_FULL) or span.attributes.get(semconv.HTTP_URL)
    return str(url or "").partition("?")[0]
