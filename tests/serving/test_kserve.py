"""The contract of traced servers, held by KServe's ModelServer."""

import http.client

import pytest
from contract import EXPORT, INSTRUMENTED, Contract, running, traceparent
from support import SERVER

pytestmark = pytest.mark.kserve

MODELS = (
    EXPORT
    + """
import argparse, kserve
from kserve.errors import InvalidInput
from kserve.predictor_config import PredictorConfig

class Sync(kserve.Model):
    def preprocess(self, payload, headers=None): return payload
    def predict(self, payload, headers=None): return {"predictions": payload["instances"]}
    def postprocess(self, result, headers=None): return result

class Async(kserve.Model):
    async def predict(self, payload, headers=None): return {"predictions": payload["instances"]}

class Length(kserve.Model):
    def predict(self, payload, headers=None): return {"predictions": [len(text) for text in payload["instances"]]}

class Refuses(kserve.Model):
    def preprocess(self, payload, headers=None): raise InvalidInput("no picture")

class Fails(kserve.Model):
    def predict(self, payload, headers=None): raise ZeroDivisionError("broken")

class NoText(Exception):
    def __str__(self): raise RuntimeError("no text")

class Unprintable(kserve.Model):
    def predict(self, payload, headers=None): raise NoText

class Echo(kserve.Model):
    def predict(self, payload, headers=None):
        outputs = [kserve.InferOutput(i.name, i.shape, i.datatype, i.data) for i in payload.inputs]
        return kserve.InferResponse(payload.id, self.name, outputs)

class Explains(kserve.Model):
    async def explain(self, payload, headers=None): return {"explanations": payload["instances"]}

class Headers(kserve.Model):
    def predict(self, payload, headers=None): return {"predictions": [sorted(headers.items())]}

class Blocks(kserve.Model):
    # Keeps the server's event loop, from `started` on until `go` is in the folder that it is given.
    def predict(self, payload, headers=None):
        import os, time
        (folder,) = payload["instances"]
        open(folder + "/started", "w").close()
        while not os.path.exists(folder + "/go"):
            time.sleep(0.01)
        return {"predictions": [1]}

class Transformer(kserve.Model):
    pass

parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
parser.add_argument("--plain", action="store_true")
args, _ = parser.parse_known_args()
classes = {
    "sync": Sync, "async": Async, "twice": Sync, "length": Length, "refuses": Refuses, "fails": Fails, "echo": Echo,
    "unprintable": Unprintable,
    "explains": Explains, "unready": Sync, "blocks": Blocks, "headers": Headers,
}
models = [(Transformer if args.predictor_host else cls)(name) for name, cls in classes.items()]
for model in models:
    if model.name != "unready":
        model.load()
    if not args.plain:
        import otel_kfs
        otel_kfs.trace_model(model)
        if model.name == "twice":
            otel_kfs.trace_model(model)
if not args.plain:
    otel_kfs.configure("a-model")
else:
    export()
config = PredictorConfig(args.predictor_host) if args.predictor_host else None
kserve.ModelServer(predictor_config=config).start(models)
"""
)


OPTIONS = ["--enable_grpc", "false", "--event-loop", "asyncio", "--enable_docs_url", "true"]


# Under opentelemetry-instrument, the program has no line of ours.
@pytest.fixture(scope="module", params=[[], INSTRUMENTED], ids=["trace_model", "opentelemetry-instrument"])
def servers(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kserve")
    (folder / "models.py").write_text(MODELS)
    with running(folder / "models.py", OPTIONS, [], folder, request.param) as servers:
        yield servers


class TestKServe(Contract):
    @pytest.mark.parametrize("given", [["ce-traceparent"], ["traceparent", "ce-traceparent"]])
    def test_a_model_gets_the_headers_that_the_request_came_with(self, servers, trace_id, given):
        headers = {name: traceparent(trace_id, f"00000000000000b{number}") for number, name in enumerate(given)}
        headers["Host"] = "a-model"
        answers = [
            server.ask("POST", "/v1/models/headers:predict", b'{"instances": [1]}', headers=headers)
            for server in (servers.plain, servers.predictor)
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] == 200

    def test_of_two_traceparents_the_first_counts_and_if_it_is_none_the_cloudevent_s_is_the_parent(
        self, servers, trace_id
    ):
        connection = http.client.HTTPConnection("127.0.0.1", servers.predictor.port, timeout=60)
        connection.putrequest("POST", "/v1/models/sync:predict")
        body = b'{"instances": [1]}'
        for name, value in [
            ("traceparent", "00-zz"),
            ("traceparent", traceparent("ab" * 16)),
            ("ce-traceparent", traceparent(trace_id)),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
        ]:
            connection.putheader(name, value)
        connection.endheaders(body)
        assert connection.getresponse().status == 200
        connection.close()
        (server,) = [span for span in servers.trace(trace_id) if span.kind == SERVER]
        assert server.parent_id == "00000000000000a1"

    def test_an_event_of_what_is_no_v2_request_quotes_nothing_of_its_body(self, servers, trace_id):
        body = b'{"inputs": "a secret"}'
        assert servers.predictor.ask("POST", "/v2/models/echo/infer", body, trace_id)[0] == 422
        (server,) = [span for span in servers.trace(trace_id) if span.kind == SERVER]
        assert server.events == ("exception",)
        assert "a secret" not in "".join(file.read_text() for file in servers.traces.iterdir())

    health = (
        *Contract.health,
        "/metrics",
        "/docs",
        "/openapi.json",
        "/v2",
        "/v2/health/ready",
        "/v2/models/sync",
        "/v2/models/sync/ready",
    )
