"""Another instrumentation of the same server, turned on before ours or after it: still one SERVER span a request."""

import uuid

import pytest
import test_kfserving
import test_kserve
from contract import STEPS, Server, Servers, is_ready, shape
from support import SERVER, read_traces, wait_until

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
            processes.wait_until(name, lambda server=server: is_ready(server), 120)
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
