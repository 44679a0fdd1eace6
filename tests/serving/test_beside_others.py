"""Another instrumentation of the same server, turned on before ours or after it: still one SERVER span a request."""

import uuid

import pytest
import test_kfserving
import test_kserve
from contract import STEPS, Server, Servers, is_ready, shape
from support import LIMIT, SERVER, printed_json, read_traces, wait_until

from otel_kfs.demo.processes import Processes, python

TORNADO = "from opentelemetry.instrumentation.tornado import TornadoInstrumentor; TornadoInstrumentor().instrument()"
FASTAPI = "from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor; FastAPIInstrumentor"
FASTAPI_APP = f"import kserve.model_server; {FASTAPI}.instrument_app(kserve.model_server.app)"
OURS = "if not args.plain:\n    otel_kfs.configure"  # after the models are traced

OTHERS = {
    "kfserving": {
        "tornado first": (TORNADO, ""),
        "tornado later": ("", TORNADO),
    },
    "kserve": {
        "fastapi first": (f"{FASTAPI}().instrument()", ""),
        "fastapi later": ("", f"{FASTAPI}().instrument()"),
        "its app first": (FASTAPI_APP, ""),
        "its app later": ("", FASTAPI_APP),
        "httpx first": (
            "from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor as H; H().instrument()",
            "",
        ),
    },
}


@pytest.fixture(scope="module", params=[pytest.param(sdk, marks=getattr(pytest.mark, sdk)) for sdk in OTHERS])
def started(request, tmp_path_factory):
    """A predictor of one SDK for each other instrumentation, and a folder of traces."""
    models = {"kfserving": test_kfserving, "kserve": test_kserve}[request.param]
    folder = tmp_path_factory.mktemp("others")
    servers = {}
    with Processes(folder / "logs") as processes:
        for number, (name, (first, later)) in enumerate(OTHERS[request.param].items()):
            script = folder / f"models{number}.py"
            assert OURS in models.MODELS
            script.write_text(f"{first}\n" + models.MODELS.replace(OURS, f"{later}\n{OURS}"))
            server = servers[name] = Server(name)
            options = ["--http_port", str(server.port), *getattr(models, "OPTIONS", [])]
            environment = {"OTEL_KFS_TRACES_FILE": f"{folder}/traces/{number}.jsonl", "OTEL_SERVICE_NAME": name}
            processes.start(name, python("-m", "otel_kfs.demo.loopback", str(script), *options), environment)
        for name, server in servers.items():
            processes.wait_until(name, lambda server=server: is_ready(server), LIMIT)
        yield Servers(folder / "traces"), servers


def test_one_server_span_with_the_steps_below_it(started):
    all_servers, servers = started
    traces = {name: uuid.uuid4().hex for name in servers}
    for name, server in servers.items():
        assert server.predict("sync", traces[name])[0] == 200

    def written():
        spans = read_traces(all_servers.traces)
        done = {span.trace_id for span in spans if span.kind == SERVER}
        return spans if done >= set(traces.values()) else None

    spans = wait_until("the spans of every server", written)
    shapes = {name: shape([span for span in spans if span.trace_id == trace]) for name, trace in traces.items()}
    assert shapes == dict.fromkeys(servers, STEPS)
    # Readiness was asked for before, of each of them.
    assert {span.trace_id for span in spans} == set(traces.values())


IN_PROCESS = """
import asyncio, json
import httpx, kserve, otel_kfs
from kserve.model_repository import ModelRepository
from kserve.model_server import app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from opentelemetry import context, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
seen = []

class Model(kserve.Model):
    async def predict(self, payload, headers=None):
        seen.append(context.get_value("tenant"))
        return {"predictions": payload["instances"]}

model = Model("m")
model.load()
models = ModelRepository()
models.update(otel_kfs.trace_model(model))
RESTServer(app, DataPlane(models), ModelRepositoryExtension(models), 0).create_application()

async def ask(asgi):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://kserve") as client:
        assert (await client.post("/v1/models/m:predict", json={"instances": [1]})).status_code == 200
    found = spans.get_finished_spans()
    spans.clear()
    return [sum(span.kind is trace.SpanKind.SERVER for span in found), len({s.context.trace_id for s in found}),
            [span.name for span in found if span.name == "predict"]]
"""


@pytest.mark.kserve
def test_an_asgi_instrumentation_around_kserve_s_app_has_the_one_server_span():
    script = """
print(json.dumps(asyncio.run(ask(OpenTelemetryMiddleware(app, exclude_spans=["receive", "send"])))))
"""
    assert printed_json(IN_PROCESS + script) == [1, 1, ["predict"]]


@pytest.mark.kserve
def test_steps_go_where_the_server_span_of_kserve_s_own_instrumentation_goes():
    before = """
from kserve.model_server import app
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
own, own_spans = TracerProvider(), InMemorySpanExporter()
own.add_span_processor(SimpleSpanProcessor(own_spans))
FastAPIInstrumentor.instrument_app(app, tracer_provider=own)
"""
    script = """
spans = own_spans
print(json.dumps(asyncio.run(ask(app))))
"""
    assert printed_json(before + IN_PROCESS + script) == [1, 1, ["predict"]]


@pytest.mark.kserve
def test_what_a_middleware_around_kserve_s_app_attaches_reaches_the_model():
    script = """
async def with_tenant(scope, receive, send):
    token = context.attach(context.set_value("tenant", scope["path"]))
    await app(scope, receive, send)
    context.detach(token)

print(json.dumps([asyncio.run(ask(with_tenant)), seen]))
"""
    assert printed_json(IN_PROCESS + script) == [[1, 1, ["predict"]], ["/v1/models/m:predict"]]


@pytest.mark.kserve
def test_a_span_in_which_kserve_s_server_was_started_is_no_request_s_parent():
    script = """
async def serve():
    await app({"type": "lifespan"}, started.wait, None)

async def main():
    global started
    started = asyncio.Event()
    lifespan = asyncio.create_task(serve())
    await asyncio.sleep(0)
    asked = await ask(app)
    lifespan.cancel()
    return asked

with trace.get_tracer("a test").start_as_current_span("main"):
    print(json.dumps(asyncio.run(main())))
"""
    assert printed_json(IN_PROCESS + script) == [1, 1, ["predict"]]
