"""What tells a model server in a trace, whoever wrote its spans, and what these say that it did.

Our own model servers are known by their steps. Others are known by a route, by the name of a span of theirs, or because
the user names their service. The names of spans, events and attributes are those of

- Triton: `src/tracer.cc` of triton-inference-server/server (`InferRequest` > the model's name > `compute`, all SERVER)
- vLLM: `vllm/tracing/utils.py`, `vllm/v1/engine/output_processor.py` (`llm_request`, SERVER, with `gen_ai.latency.*`;
  `vllm.request.queue`, `.prefill`, `.decode` below)
- OpenTelemetry's ASGI instrumentation, which those of FastAPI and Starlette use: `... http receive`, `... http send`
- the Open Inference Protocol's gRPC service, `inference.GRPCInferenceService/ModelInfer`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from otel_kfs import semconv
from otel_kfs.analysis.paths.segment import GENERATE
from otel_kfs.traces.span import Key, Kind, Span, SpanGraph

_OF_CLIENTS = tuple(semconv.CLIENTS_OF_MODELS.items())
STEPS = frozenset({semconv.RECEIVE, semconv.DECODE, *semconv.MODEL_STEPS})

_ROUTE = re.compile(semconv.MODEL_ROUTE)
_OTHER_METHODS = re.compile(r"(?:HTTP )?(?:GET|HEAD|OPTIONS|DELETE)\b")  # models are asked by POST, or gRPC
_OF_MODEL_SERVERS = frozenset(semconv.MODEL_SERVERS_SPANS)

_COMPUTE = "compute"
_ASGI_EVENT = "asgi.event.type"
_VLLM = "vllm.request."
_NAMES = {"vllm.request.decode": GENERATE}  # of tokens: `decode` is what is done to a request's body


class Step(NamedTuple):
    """Something that a model server did, by a span of its, or by what that says: its name, start and end (ns)."""

    name: str
    start: int
    end: int
    span: Span


def is_step(span: Span) -> bool:
    """Return whether it is what a model server of ours does with a request."""
    return span.name in STEPS


def is_generation(span: Span) -> bool:
    """Return whether it is a model's call by an OpenAI route, within the model's server, by our own span of it."""
    return semconv.GEN_AI_OPERATION_NAME in span.attributes and semconv.ROLE in span.attributes


def names_a_model(span: Span) -> bool:
    """Return whether its name, route or URL is one by which models are asked, or its name one of a model server's.

    A client of a model by an API of its own names the operation, by the conventions for generative AI. A browser that
    asks by OPTIONS whether it may ask, or a list of models, is no request to one.
    """
    if _is_other(span.name):
        return False
    if span.name in _OF_MODEL_SERVERS or _is_route(span.name):
        return True
    if span.kind is Kind.CLIENT and any(span.attributes.get(key) in of for key, of in _OF_CLIENTS):
        return True
    texts = (span.attributes.get(key) for key in semconv.ROUTE_KEYS)
    return any(isinstance(text, str) and _is_route(text) for text in texts)


def is_model_servers(span: Span) -> bool:
    """Return whether a SERVER span is a model server's own, by its name or by its framework's route.

    A proxy has the URL that it was asked by; a route, with its variables in braces, is known to the program that has
    the function behind it. So it is with gRPC's methods, after which spans are named.
    """
    if span.name in _OF_MODEL_SERVERS:
        return True
    if _is_other(span.name):
        return False
    route = span.attributes.get(semconv.HTTP_ROUTE)
    named = "{" in span.name or "Service/" in span.name
    return (isinstance(route, str) and _is_route(route)) or (named and _is_route(span.name))


@lru_cache(4096)
def _is_route(text: str) -> bool:
    return _ROUTE.search(text) is not None


@lru_cache(4096)
def _is_other(name: str) -> bool:
    return _OTHER_METHODS.match(name) is not None


def one_process(one: Span, other: Span) -> bool:
    """Return whether two spans, of which one is above the other, are of one process."""
    return (one.service, one.host) == (other.service, other.host)


_Timed = TypeVar("_Timed", Span, Step)


def in_turn(timed: Iterable[_Timed]) -> list[_Timed]:
    """Return those that follow one another; of those that overlap, the last to end."""
    found: list[_Timed] = []
    for one in sorted(timed, key=_last_first):
        if not found or one.end <= found[-1].start:
            found.append(one)
    found.reverse()
    return found


def _last_first(one: Span | Step) -> tuple[int, int, str]:
    span = one if isinstance(one, Span) else one.span
    return -one.end, one.start, span.span_id


def own_steps(server: Span, graph: SpanGraph) -> list[Step]:
    """Return what a server's own spans say that it did, in turn: those in its process that have none below them."""
    found = _inside(server, graph, set())
    received = [step.end for step in found if step.name == semconv.RECEIVE]
    answered = [step.start for step in found if step.name == _ANSWER]
    steps = in_turn(step for step in found if step.name not in {semconv.RECEIVE, _ANSWER})
    if received:
        # From the headers, which are there when the span begins, to the last part of the body.
        end = max(received)
        started = min(server.start, *(step.start for step in found if step.name == semconv.RECEIVE))
        steps = [Step(semconv.RECEIVE, started, end, server), *(step for step in steps if step.start >= end)]
    if answered:
        start = max(min(answered), *(step.end for step in steps), server.start)
        steps.append(Step(_ANSWER, start, max(start, server.end), server))
    return steps


_ANSWER = "response"


def unanswered(server: Span, steps: Iterable[Step], outgoing: Iterable[Span]) -> int:
    """Return the last moment at which a server's client certainly had not all of the answer yet.

    Its span may end after that: so this is when its own steps and its requests to others were done, or when it began
    to send.
    """
    done = [step.start if step.name == _ANSWER else step.end for step in steps]
    return max([server.start, *(end for end in (*done, *(one.end for one in outgoing)) if end <= server.end)])


def _inside(span: Span, graph: SpanGraph, seen: set[Key]) -> list[Step]:
    seen.add(span.key)
    below = [
        child
        for child in graph.children(span)
        if child.kind in {Kind.INTERNAL, Kind.SERVER, Kind.UNSPECIFIED}
        and one_process(span, child)
        and child.key not in seen
    ]
    computed = next((child for child in below if child.name == _COMPUTE and child.kind is Kind.SERVER), None)
    if computed is not None:
        return _of_triton(span, computed)
    found = _received(span)
    if not any(child.name.startswith(_VLLM) for child in below):
        found += _of_vllm(span)
    of_models = [(child, _inside(child, graph, seen)) for child in below]
    models = [child for child, steps in of_models if any(step.name == _COMPUTE for step in steps)]
    for child, steps in of_models:
        if len(models) > 1 and child in models:  # an ensemble's
            found += [step._replace(name=f"{child.name} {step.name}") for step in steps]
        else:
            found += steps or [_leaf(child)]
    return found


def _leaf(span: Span) -> Step:
    kind = span.attributes.get(_ASGI_EVENT)
    if kind == "http.request":
        name = semconv.RECEIVE
    elif isinstance(kind, str) and kind.startswith("http.response"):
        name = _ANSWER
    else:
        name = _NAMES.get(span.name) or span.name.removeprefix(_VLLM).replace("_", " ")
    return Step(name, span.start, span.end, span)


def _received(span: Span) -> list[Step]:
    """Return when a front end of Triton's had the request, and began to answer it."""
    at = dict(span.events)
    start, end = at.get("HTTP_RECV_START"), at.get("HTTP_RECV_END")
    found = [Step(semconv.RECEIVE, start, end, span)] if start is not None and end is not None else []
    if (sent := at.get("HTTP_SEND_START")) is not None:
        found.append(Step(_ANSWER, sent, sent, span))
    return found


def _of_triton(model: Span, compute: Span) -> list[Step]:
    """Return what Triton did for one model: its events part the queue from the input, the model and the output."""
    at = dict((*model.events, *compute.events))
    queued = at.get("QUEUE_START")
    first = at.get("COMPUTE_INPUT_END", compute.start)
    last = at.get("COMPUTE_OUTPUT_START", compute.end)
    steps = [
        Step("queue and input", model.start, compute.start, model)
        if queued is None
        else Step("queue", queued, compute.start, model),
        Step("input", compute.start, first, compute),
        Step(_COMPUTE, first, last, compute),
        Step("output", last, compute.end, compute),
    ]
    return [step for step in steps if step.end > step.start or step.name == _COMPUTE]


def _of_vllm(request: Span) -> list[Step]:
    """Return the phases of which `llm_request` says how long they took (seconds).

    They follow one another; the first token, with which the prefill ends, is placed by its time since the arrival.
    """
    queue, prefill, decode, first = (_seconds(request, key) for key in semconv.GEN_AI_LATENCIES)
    if prefill is None:
        return []
    until = request.start + ((queue or 0) + prefill if first is None else first)
    edges = [until - prefill - (queue or 0), until - prefill, until, until + (decode or 0)]
    within = [min(max(edge, request.start), request.end) for edge in edges]
    return [
        Step(name, start, end, request)
        for name, start, end in zip(("queue", "prefill", GENERATE), within, within[1:], strict=False)
        if end > start
    ]


def _seconds(span: Span, key: str) -> int | None:
    """Return nanoseconds, if it has such an attribute."""
    value = span.attributes.get(key)
    return round(value * 1e9) if isinstance(value, int | float) and 0 <= value < 1e9 else None


def role_of(steps: Sequence[Span]) -> str:
    """Return what the steps say that their server is; "" if they do not."""
    for step in steps:
        role = step.attributes.get(semconv.ROLE)
        if role and isinstance(role, str):
            return role
    return ""
