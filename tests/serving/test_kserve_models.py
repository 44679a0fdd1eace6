"""Kinds of KServe models, in worker processes, which get their models pickled: traced by opentelemetry-instrument."""

import http.client
import uuid

import pytest
from contract import EXPORT, INSTRUMENTED, NO_EXPORTERS, STEPS, Server, shape, traceparent
from support import LIMIT, SERVER, read_traces, wait_until

from otel_kfs.demo.processes import Processes, python

pytestmark = pytest.mark.kserve

MODELS = (
    EXPORT
    + """
import kserve

class Streams(kserve.Model):
    async def predict(self, payload, headers=None):
        async def pieces():
            for number in range(3):
                yield f"{number};"
        return pieces()

class Generates(kserve.Model):
    async def predict(self, payload, headers=None):
        for number in range(3):
            yield f"{number};"
    async def postprocess(self, result, headers=None): return result

class Adds(kserve.Model):
    def __init__(self, name): super().__init__(name, return_response_headers=True)
    async def predict(self, payload, headers=None, response_headers=None):
        response_headers["x-model"] = headers["x-who"]
        return {"predictions": payload["instances"]}

class WithoutHeaders(kserve.Model):
    def predict(self, payload): return {"predictions": payload["instances"]}

class FunctionSet(kserve.Model):
    pass

def predict(payload, headers=None): return {"predictions": payload["instances"]}

export()
if __name__ == "__main__":
    # A worker that has not begun after 5 s is killed; on a busy machine none would ever begin.
    from kserve.protocol.rest.multiprocess.server import RESTServerProcess
    RESTServerProcess.is_alive.__defaults__ = (60,)
    models = [Streams("streams"), Generates("generates"), Adds("adds"), WithoutHeaders("without"), FunctionSet("set")]
    for model in models:
        model.load()
    models[-1].predict = predict
    kserve.ModelServer().start(models)
"""
)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """The traced server with two workers, the untraced one, and where the spans go."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "models.py").write_text(MODELS)
    traced, plain = Server("traced"), Server("plain")
    options = ["--enable_grpc", "false", "--event-loop", "asyncio"]
    environment = {**NO_EXPORTERS, "OTEL_KFS_TRACES_FILE": f"{folder}/traces/t.jsonl", "OTEL_SERVICE_NAME": "traced"}
    with Processes(folder / "logs") as processes:
        script = ["-m", "otel_kfs.demo.loopback", str(folder / "models.py"), *options, "--http_port"]
        processes.start("traced", [*INSTRUMENTED, *python(*script, str(traced.port), "--workers", "2")], environment)
        processes.start("plain", python(*script, str(plain.port)))
        for server in (traced, plain):
            processes.wait_until(server.service, lambda server=server: ready(server), LIMIT)
        yield traced, plain, folder / "traces"


def ready(server):
    try:
        return server.ask("GET", "/v1/models/adds")[0] == 200
    except OSError:
        return False


def ask(server, model, trace_id):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Content-Type": "application/json", "x-who": "me", "traceparent": traceparent(trace_id)}
    connection.request("POST", f"/v1/models/{model}:predict", b'{"instances": [1]}', headers)
    answer = connection.getresponse()
    found = answer.status, answer.getheader("x-model"), answer.read()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("streams", (200, None, b"0;1;2;")),
        ("generates", (200, None, b"0;1;2;")),
        ("adds", (200, "me", b'{"predictions":[1]}')),
        ("set", (200, None, b'{"predictions":[1]}')),
        ("without", None),
    ],
)
def test_it_is_answered_as_by_the_untraced_server_and_traced(started, model, expected):
    traced, plain, traces = started
    trace_id = uuid.uuid4().hex
    answer = ask(traced, model, trace_id)
    assert answer == ask(plain, model, trace_id)
    assert expected is None or answer == expected

    def written():
        spans = [span for span in read_traces(traces) if span.trace_id == trace_id]
        return spans if any(span.kind == SERVER for span in spans) else None

    spans = shape(wait_until("the spans of a request", written))
    assert spans == (STEPS if expected else STEPS[:-1])
