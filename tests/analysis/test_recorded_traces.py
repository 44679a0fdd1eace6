"""Traces of programs that are not this project's, as deploy/services/record_traces.py recorded them.

Beside each file stands what `tables` prints of it, compared as a whole. That this is right is told here apart from the
package: by each path as the edges of spans that it passes, put down by hand and looked up in the file's JSON.
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from recorded_support import servers_of

from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.cli import main
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces import query
from otel_kfs.traces.span import SpanGraph

RECORDED = Path(__file__).parents[1] / "data" / "recorded"
NAMES = sorted(file.stem for file in RECORDED.glob("*.jsonl"))

SENDER, BRIDGE, TRANSFORMER, PREDICTOR = "image-sender", "kafka-bridge", "mobilenet-transformer", "mobilenet-predictor"
GATEWAY, SIDECAR, QUEUE_PROXY, MLSERVER = (
    "istio-ingressgateway.istio-system",
    "mobilenet-transformer.default",
    "mobilenet",
    "mlserver",
)
CLASSIFY, CHAT = "POST /classify", "POST /v1/chat/completions"
PREDICT, INFER = "POST /v1/models/{model_name}:predict", "POST /v2/models/{model_name}/infer"
START, END = "startTimeUnixNano", "endTimeUnixNano"
LAST = -1

# Each is a segment and the edge at which it ends: of which service's span of which name (the first below the one
# before it in the trace, unless a number says otherwise).
SEND = [
    ("client", SENDER, "encode", START),
    ("encode", SENDER, "encode", END),
    ("client", SENDER, "POST", START),
]
TO_PREDICTOR = [
    ("transformer request", TRANSFORMER, "receive", START),
    ("transformer receive", TRANSFORMER, "receive", END),
    ("transformer", TRANSFORMER, "decode", START),
    ("transformer decode", TRANSFORMER, "decode", END),
    ("transformer", TRANSFORMER, "preprocess", START),
    ("transformer preprocess", TRANSFORMER, "preprocess", END),
    ("transformer", TRANSFORMER, "predict", START),
    ("transformer serialise", TRANSFORMER, "POST", START),
]
AT_PREDICTOR = [
    ("predictor request", PREDICTOR, "receive", START),
    ("predictor receive", PREDICTOR, "receive", END),
    ("predictor", PREDICTOR, "decode", START),
    ("predictor decode", PREDICTOR, "decode", END),
    ("predictor", PREDICTOR, "preprocess", START),
    ("predictor preprocess", PREDICTOR, "preprocess", END),
    ("predictor", PREDICTOR, "predict", START),
    ("predictor predict", PREDICTOR, "predict", END),
    ("predictor", PREDICTOR, "postprocess", START),
    ("predictor postprocess", PREDICTOR, "postprocess", END),
]
FROM_PREDICTOR = [
    ("transformer", TRANSFORMER, "predict", END),
    ("transformer", TRANSFORMER, "postprocess", START),
    ("transformer postprocess", TRANSFORMER, "postprocess", END),
]
SERVERS = [*TO_PREDICTOR, *AT_PREDICTOR, ("predictor response", TRANSFORMER, "POST", END), *FROM_PREDICTOR]
ANSWERED = [("client", SENDER, "send image", END)]


def from_sender(there, back):
    """A path from our sender to our transformer, past what stands before that."""
    return [(None, SENDER, "send image", START), *SEND, *there, *SERVERS, *back, *ANSWERED]


def from_client(service):
    """A path from another program's client, whose request is all of it."""
    return [(None, service, "POST", START), *SERVERS, ("transformer response", service, "POST", END)]


def from_producer(service, span, topic):
    """A path from another program's producer through our bridge."""
    return [
        (None, service, span, START),
        (topic[0], service, span, END),
        (topic[1], BRIDGE, "process mobilenet", START),
        *FROM_BRIDGE,
    ]


FROM_BRIDGE = [
    ("bridge", BRIDGE, "POST", START),
    *SERVERS,
    ("transformer response", BRIDGE, "POST", END),
    ("bridge", BRIDGE, "process mobilenet", END),
]
ACKNOWLEDGED, NOT_SEEN = ("deliver", "broker"), ("hand over", "deliver + broker")
ENVOY_ROUTE = "mobilenet-transformer.default.svc.cluster.local:80/*"


def from_httpx(service, *received):
    """A path from httpx to a server with a route of its own; ASGI's instrumentation says when it had the body."""
    answered = (f"{CLASSIFY} http send", START) if received else (CLASSIFY, END)
    return [
        (None, "httpx-client", "POST", START),
        ("predictor request", service, CLASSIFY, START),
        *received,
        ("predictor", service, *answered),
        ("predictor response", "httpx-client", "POST", END),
    ]


def from_httpx_by_asgi(service):
    return from_httpx(service, ("predictor receive", service, f"{CLASSIFY} http receive", END, LAST))


PATHS = {
    # One SERVER span a request: there is no time inside that its spans tell of.
    "envoy-before-transformer": from_sender(
        [("ingress request", "envoy", "ingress", START)],
        [("transformer response", "envoy", "ingress", END), ("ingress response", SENDER, "POST", END)],
    ),
    "envoy-before-predictor": [
        (None, SENDER, "send image", START),
        *SEND,
        *TO_PREDICTOR,
        ("predictor ingress request", GATEWAY, "ingress", START),
        *AT_PREDICTOR,
        ("predictor response", GATEWAY, "ingress", END),
        ("predictor ingress response", TRANSFORMER, "POST", END),
        *FROM_PREDICTOR,
        ("transformer response", SENDER, "POST", END),
        *ANSWERED,
    ],
    "envoy-upstream-span": from_sender(
        [("ingress request", GATEWAY, "ingress", START), ("ingress", GATEWAY, "router up egress", START)],
        [
            ("transformer response", GATEWAY, "router up egress", END),
            ("ingress", GATEWAY, "ingress", END),
            ("ingress response", SENDER, "POST", END),
        ],
    ),
    # The gateway's span is of kind CLIENT, as of one that sends. The sidecar's span is `ingress`, but not its service.
    "envoy-gateway-and-sidecar": from_sender(
        [("ingress request", GATEWAY, "egress *", START), ("proxy request", SIDECAR, "ingress", START)],
        [
            ("transformer response", SIDECAR, "ingress", END),
            ("proxy response", GATEWAY, "egress *", END),
            ("ingress response", SENDER, "POST", END),
        ],
    ),
    "envoy-sidecar-decorated": from_sender(
        [("proxy request", SIDECAR, ENVOY_ROUTE, START), ("proxy", SIDECAR, "router up egress", START)],
        [
            ("transformer response", SIDECAR, "router up egress", END),
            ("proxy", SIDECAR, ENVOY_ROUTE, END),
            ("proxy response", SENDER, "POST", END),
        ],
    ),
    # The first attempt finds nobody (error=true, status unset); the time until the second begins is retries.
    "envoy-retry": from_sender(
        [
            ("ingress request", "gateway", "ingress", START),
            ("ingress", "gateway", "router up egress", START),
            ("ingress retries", "gateway", "router up egress", START, LAST),
        ],
        [
            ("transformer response", "gateway", "router up egress", END, LAST),
            ("ingress", "gateway", "ingress", END),
            ("ingress response", SENDER, "POST", END),
        ],
    ),
    "queue-proxy": from_sender(
        [("queue-proxy request", QUEUE_PROXY, "queue", START), ("queue-proxy", QUEUE_PROXY, "HTTP POST", START)],
        [
            ("transformer response", QUEUE_PROXY, "HTTP POST", END),
            ("queue-proxy", QUEUE_PROXY, "queue", END),
            ("queue-proxy response", SENDER, "POST", END),
        ],
    ),
    # MLServer's span begins when it has the headers, and the last of many `http receive`s ends when it has the body;
    # the first `http send` is the answer's beginning. Its span ends later than its caller has that.
    "mlserver-below-transformer": [
        (None, SENDER, "send image", START),
        *SEND,
        *TO_PREDICTOR,
        ("predictor request", MLSERVER, INFER, START),
        ("predictor receive", MLSERVER, f"{INFER} http receive", END, LAST),
        ("predictor", MLSERVER, f"{INFER} http send", START),
        ("predictor response", TRANSFORMER, "POST", END),
        *FROM_PREDICTOR,
        ("transformer response", SENDER, "POST", END),
        *ANSWERED,
    ],
    "mlserver-rest": [
        (None, SENDER, "send image", START),
        *SEND,
        ("predictor request", MLSERVER, INFER, START),
        ("predictor receive", MLSERVER, f"{INFER} http receive", END, LAST),
        ("predictor", MLSERVER, f"{INFER} http send", START),
        ("predictor response", SENDER, "POST", END),
        *ANSWERED,
    ],
    # By gRPC it has one span, and that is all that there is.
    "mlserver-grpc": [
        (None, SENDER, "send image", START),
        ("client", SENDER, "encode", START),
        ("encode", SENDER, "encode", END),
        ("client", SENDER, "/inference.GRPCInferenceService/ModelInfer", START),
        ("predictor request", MLSERVER, "/inference.GRPCInferenceService/ModelInfer", START),
        ("predictor", MLSERVER, "/inference.GRPCInferenceService/ModelInfer", END),
        ("predictor response", SENDER, "/inference.GRPCInferenceService/ModelInfer", END),
        *ANSWERED,
    ],
    **{f"node-{client}": from_client("node-client") for client in ("fetch", "undici", "http")},
    "kafkajs-message": [
        (None, "kafkajs-producer", "send mobilenet", START),
        ("deliver", "kafkajs-producer", "send mobilenet", END),
        ("broker", "kafkajs-consumer", "process mobilenet", START),
        ("bridge", "kafkajs-consumer", "POST", START),
        *SERVERS,
        ("transformer response", "kafkajs-consumer", "POST", END),
        ("bridge", "kafkajs-consumer", "process mobilenet", END),
    ],
    "httpx": from_client("httpx-client"),
    "aiohttp": from_client("aiohttp-client"),
    # The agent's span lasts until the acknowledgement, a second of the console producer's linger included.
    "java-console-producer": from_producer("kafka-console-producer", "mobilenet publish", ACKNOWLEDGED),
    # exec's spans alone, since the record has their context; of the later image there is no start of the program.
    "java-console-producer-under-exec": [
        (None, SENDER, "send image", START),
        ("client", SENDER, "start program?", START),
        ("program start", SENDER, "start program?", END),
        ("client", SENDER, "send mobilenet", START),
        ("hand over", SENDER, "send mobilenet", END),
        ("deliver + broker", BRIDGE, "process mobilenet", START),
        *FROM_BRIDGE,
    ],
    # contrib's spans of a record end when the client has taken it, which is not when the broker has it.
    "kafka-python-producer": from_producer("kafka-python-producer", "mobilenet send", NOT_SEEN),
    "aiokafka-producer": from_producer("aiokafka-producer", "mobilenet send", NOT_SEEN),
    # Routes that their users wrote, so that they have to be named by `--server`.
    "flask": from_httpx("flask"),
    "fastapi": from_httpx_by_asgi("fastapi"),
    "litserve": from_httpx_by_asgi("litserve"),
    "bentoml": from_httpx_by_asgi("bentoml"),
    # OpenAI's client: a span of the call, by the conventions for generative AI, around that of its request.
    "openai-client": [
        (None, "openai-client", "chat vision", START),
        ("client", "openai-client", "POST", START),
        ("predictor request", "chat", CHAT, START),
        ("predictor receive", "chat", f"{CHAT} http receive", END, LAST),
        ("predictor", "chat", f"{CHAT} http send", START),
        ("predictor response", "openai-client", "POST", END),
        ("client", "openai-client", "chat vision", END),
    ],
    # contrib's consumers do not make their span current while the record is handled: the request is a trace of its own.
    "kafka-python-consumer": from_client("kafka-python-consumer"),
    "aiokafka-consumer": from_client("aiokafka-consumer"),
}
# Records that nobody asked a model with.
NO_MODEL = {"java-console-consumer"}
# Whose paths lead from several traces into one.
TOGETHER = {"kafkajs-batch"}


def spans_of(name):
    """The spans of each trace as the file has them, by their start, each with its service."""
    traces = {}
    for line in (RECORDED / f"{name}.jsonl").read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            (service,) = [
                each["value"]["stringValue"]
                for each in resource["resource"]["attributes"]
                if each["key"] == "service.name"
            ]
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    traces.setdefault(span["traceId"], []).append((int(span[START]), service, span))
    return {trace: sorted(found, key=lambda one: one[0]) for trace, found in traces.items()}


def edge(found, service, name, which, number=0):
    """The moment of an edge in a trace; None if a name that ends with `?` is there in none of its spans."""
    fits = re.compile(re.escape(name.removesuffix("?")).replace(r"\*", ".*"))
    named = [span for _, of, span in found if of == service and fits.fullmatch(span["name"])]
    if not named and name.endswith("?"):
        return None
    return int(named[number][which])


def queue_time(found, service):
    """How long a request waited for a server's event loop before it could be received, ns; the server says so in ms."""
    (received,) = [span for _, of, span in found if (of, span["name"]) == (service, "receive")]
    told = [each for each in received.get("attributes", []) if each["key"] == "otel_kfs.request.queue_time"]
    return int(told[0]["value"]["intValue"]) * 10**6 if told else 0


def by_hand(name):
    """How long each image was in each segment, ns, by trace."""
    lengths = {}
    (_, *beginning), *steps = PATHS[name]
    for trace, found in spans_of(name).items():
        if not any(service == beginning[0] and span["name"].startswith(beginning[1]) for _, service, span in found):
            continue
        at = edge(found, *beginning)
        of_image = lengths[trace] = Counter()
        for segment, *where in steps:
            if (moment := edge(found, *where)) is not None:
                queued = queue_time(found, where[0]) if segment.endswith(" request") and where[1] == "receive" else 0
                of_image[segment] += moment - queued - at
                if queued:
                    of_image[segment.replace(" request", " queue")] += queued
                at = moment
    return lengths


def test_every_recording_is_told_of():
    assert set(NAMES) == {*PATHS, *NO_MODEL, *TOGETHER}


@pytest.mark.parametrize("name", sorted(PATHS))
def test_every_segment_lies_between_the_edges_that_a_person_finds_in_the_file(name):
    file = RECORDED / f"{name}.jsonl"
    paths, coverage = critical_paths(SpanGraph(query.spans(str(file))), servers=servers_of(file))
    found = {}
    for path in paths:
        of_image = found[path.trace_id] = Counter()
        for section in path.sections:
            of_image[segment_name(section.segment)] += section.end - section.start
    assert found == by_hand(name)
    assert (coverage.measured, dict(coverage.left_out)) == (2, {})


def test_each_record_of_a_batch_is_an_image_from_when_it_was_sent_until_all_are_processed():
    traces = spans_of("kafkajs-batch").values()
    (polled,) = [span for found in traces for _, _, span in found if span["name"] == "poll mobilenet"]
    sent = [span for found in traces for _, _, span in found if span["name"] == "send mobilenet"]
    paths, coverage = critical_paths(SpanGraph(query.spans(str(RECORDED / "kafkajs-batch.jsonl"))))
    assert sorted((path.stamps[0], path.stamps[3]) for path in paths) == sorted(
        (int(span[START]), int(polled[END])) for span in sent
    )
    assert (coverage.measured, coverage.in_batches, dict(coverage.left_out)) == (2, 2, {})


@pytest.mark.parametrize("name", NAMES)
def test_tables_prints_what_stands_beside_the_recording(name):
    arguments = ["tables", "--trace-query", str(RECORDED / f"{name}.jsonl")]
    for server in servers_of(RECORDED / f"{name}.jsonl"):
        arguments += ["--server", server]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments)
    printed = result.output.replace(str(RECORDED), "recorded")
    assert printed == (RECORDED / f"{name}.txt").read_text("utf-8")


def test_the_files_say_nothing_of_the_machine_they_come_from():
    keys, hosts = set(), set()
    for name in NAMES:
        text = (RECORDED / f"{name}.jsonl").read_text()
        assert "/root" not in text
        assert "/home" not in text
        for line in text.splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                attributes = {each["key"]: each["value"] for each in resource["resource"]["attributes"]}
                keys.update(attributes)
                hosts.add(attributes.get("host.name", {}).get("stringValue"))
    assert hosts == {"host-a", None}
    assert not {key for key in keys if key.startswith("process.")} - {"process.runtime.name"}
