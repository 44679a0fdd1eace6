"""Worlds: spans of several images, of programs that nobody foresaw, and of clocks that are wrong, drawn at random."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace
from traces_builder import EPOCH, EVENT_SOURCE, HTTP, KAFKA, MS, STRAIGHT, linked, spans, with_options

from otel_kfs.traces.span import Kind, Span

SECOND = 1000 * MS

# A model asked by its API, one by another program's client, and one for a record of another program's.
CHAT = """
POST /chat                        SERVER    0  900  service=web
  chat qwen                       CLIENT  100  800  service=web .gen_ai.operation.name=chat
    POST                          CLIENT  110  790  service=web
      POST /v1/chat/completions   SERVER  150  780  service=vllm
"""
FOREIGN = """
checkout                          INTERNAL    0 1000  service=shop
  orders publish                  PRODUCER   10   40  service=shop
    orders process                CONSUMER  100  900  service=worker group=g
      POST                        CLIENT    150  800  service=worker url=http://x/v1/models/m:predict
        POST /v1/models/m:predict  SERVER   200  790  service=triton
          InferRequest            INTERNAL  210  780  service=triton
"""
IMAGES = (
    *(HTTP, KAFKA, STRAIGHT, EVENT_SOURCE, CHAT, FOREIGN),
    with_options(HTTP, "send image", "warmup"),
    with_options(HTTP, "POST", "failed"),
    with_options(STRAIGHT, "POST /", "@pod"),
    with_options(HTTP, "send image", "run=one"),
    HTTP[HTTP.index("  POST") :],
)
NAMES = (
    *("GET /", "POST", "POST /v1/models/m:predict", "process orders", "orders publish", "handle", "predict", "decode"),
    *("send image", "encode", "receive", "InferRequest", "chat gpt", "S3.GetObject", "ingress", "queue_proxy"),
)
ATTRIBUTES = (
    *(("url.full", "http://x/v2/models/m/infer"), ("gen_ai.operation.name", "chat"), ("otel_kfs.role", "predictor")),
    *(("http.request.body.size", 5000), ("gen_ai.response.time_to_first_chunk", 0.125)),
)


def world(draw: Random) -> list[Span]:
    """The spans of a world; every id is one that OTLP can have."""
    found: list[Span] = []
    clocks: dict[str, tuple[int, int]] = {}
    are_wrong, drift = draw.random() < 0.5, draw.random() < 0.5
    for _ in range(draw.randint(1, 10)):
        drawn = draw.choice((_one, _one, _one, _linked, _together, _tree))(draw)
        if draw.random() < 0.3:
            drawn = _one_id_for_client_and_server(drawn)
        if are_wrong or draw.random() < 0.3:
            hosts: dict[str, str] = {}
            drawn = [replace(one, host=hosts.setdefault(one.service, draw.choice(("a", "b", "")))) for one in drawn]
        if draw.random() < 0.25:
            drawn = draw.sample(drawn, draw.randint(1, len(drawn)))  # the others are lost
        later, factor = draw.randint(0, 600) * SECOND, draw.choice((1, 1.5, 0.125))
        for one in drawn:
            offset = draw.choice((0, 20 * MS, -300 * SECOND)) if are_wrong else 0
            clock = clocks.setdefault(one.host, (offset, draw.randint(-50_000, 50_000) if drift else 0))
            start, end = (_shown(later + round(factor * (at - EPOCH)), *clock) for at in (one.start, one.end))
            found.append(replace(one, start=start, end=end))
    return found


def repeated(drawn: list[Span], draw: Random) -> list[Span]:
    """The spans in any order, some of them twice, and some once more when they say more."""
    found = list(drawn)
    for one in draw.sample(drawn, len(drawn) // draw.choice((3, 10))):
        said = {**one.attributes, "otel_kfs.cell": "later"}
        found.append(one if draw.random() < 0.7 else replace(one, end=one.end + 2 * MS, attributes=said))
    if draw.random() < 0.7:
        draw.shuffle(found)
    return found


def request(drawn: list[Span]) -> bytes:
    """The spans as an export in protobuf, those of each process with its resource."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = ExportTraceServiceRequest()
    scopes = {}
    for one in drawn:
        if (one.service, one.host) not in scopes:
            resource = found.resource_spans.add()
            for key, value in (("service.name", one.service), ("host.name", one.host)):
                if value:
                    resource.resource.attributes.add(key=key).value.string_value = value
            scopes[one.service, one.host] = resource.scope_spans.add()
        span = scopes[one.service, one.host].spans.add(
            trace_id=bytes.fromhex(one.trace_id),
            span_id=bytes.fromhex(one.span_id),
            parent_span_id=bytes.fromhex(one.parent_id or ""),
            name=one.name,
            kind=int(one.kind),
            start_time_unix_nano=one.start,
            end_time_unix_nano=one.end,
        )
        span.status.code = 2 if one.failed else 0
        for key, value in one.attributes.items():
            kind = {bool: "bool_value", int: "int_value", float: "double_value"}.get(type(value), "string_value")
            setattr(span.attributes.add(key=key).value, kind, value)
        for link, trace in zip(one.links, one.linked_traces, strict=True):
            span.links.add(trace_id=bytes.fromhex(trace), span_id=bytes.fromhex(link))
    return found.SerializeToString()


def _shown(after: int, offset: int, drift: int) -> int:
    return EPOCH + after + offset + drift * after // SECOND


def _one(draw: Random) -> list[Span]:
    """One image, or several in a trace."""
    trace = _id(draw, 32)
    images = [draw.choice(IMAGES) for _ in range(draw.choice((1, 1, 1, 3)))]
    return [one for image in images for one in _with_new_ids(spans(image), draw, trace)]


def _linked(draw: Random) -> list[Span]:
    return _with_new_ids(linked(), draw)


def _together(draw: Random) -> list[Span]:
    """Several images' records that one span processes, which links to them."""
    lines = [line for line in KAFKA.splitlines() if line.strip()]
    senders = [_with_new_ids(spans("\n".join(lines[:3])), draw) for _ in range(draw.randint(2, 4))]
    count = f".messaging.batch.message_count={len(senders)}"
    beyond = with_options("\n".join(line[4:] for line in lines[3:]), "process images", count)
    process, *below = _with_new_ids(spans(beyond), draw)
    records = [sender[2] for sender in senders]
    links = tuple(one.span_id for one in records), tuple(one.trace_id for one in records)
    process = replace(process, links=links[0], linked_traces=links[1])
    return [*(one for sender in senders for one in sender), process, *below]


def _tree(draw: Random) -> list[Span]:
    """Spans of no program that we know, below one another."""
    trace = _id(draw, 32)
    found: list[Span] = []
    for _ in range(draw.randint(1, 12)):
        above = draw.choice(found) if found and draw.random() < 0.95 else None
        low, high = (above.start, above.end) if above else (EPOCH, EPOCH + SECOND)
        start = draw.randint(low, high)
        end = draw.randint(start, high)
        lost = _id(draw, 16) if draw.random() < 0.2 else None
        found.append(
            Span(
                trace,
                _id(draw, 16),
                above.span_id if above else lost,
                draw.choice(NAMES),
                draw.choice([*Kind]),
                start - (draw.randint(0, SECOND) if draw.random() < 0.05 else 0),
                end,
                draw.choice(("a", "b", "shop")),
                draw.choice(("a", "b", "")),
                draw.random() < 0.05,
                dict(pair for pair in ATTRIBUTES if draw.random() < 0.1),
            )
        )
    return found


def _one_id_for_client_and_server(drawn: list[Span]) -> list[Span]:
    """The spans with a server's under its client's id, as Zipkin's libraries have it."""
    by_id = {one.span_id: one for one in drawn}
    for number, server in enumerate(drawn):
        client = by_id.get(server.parent_id or "")
        if server.kind is Kind.SERVER and client is not None and client.kind is Kind.CLIENT:
            found = [
                replace(one, parent_id=client.span_id) if one.parent_id == server.span_id else one for one in drawn
            ]
            found[number] = replace(
                server, span_id=client.span_id, parent_id=client.parent_id, service=f"{server.service} 2"
            )
            return found
    return drawn


def _with_new_ids(drawn: list[Span], draw: Random, trace: str | None = None) -> list[Span]:
    """The spans with ids as OTLP has them, all in one `trace` if it is given."""
    traces, ids = {"": ""}, {None: None}
    for one in drawn:
        traces.setdefault(one.trace_id, trace or _id(draw, 32))
        ids.setdefault(one.span_id, _id(draw, 16))
    return [
        replace(
            one,
            trace_id=traces[one.trace_id],
            span_id=ids[one.span_id],
            parent_id=ids.setdefault(one.parent_id, _id(draw, 16)),
            links=tuple(ids.setdefault(link, _id(draw, 16)) for link in one.links),
            linked_traces=tuple(traces.setdefault(linked_, _id(draw, 32)) for linked_ in one.linked_traces),
        )
        for one in drawn
    ]


def _id(draw: Random, digits: int) -> str:
    return f"{draw.getrandbits(4 * digits) or 1:0{digits}x}"
