"""The contract of traced servers, held by KFServing's KFServer; and its limit of a body's size."""

import pytest
from contract import EXPORT, INSTRUMENTED, Contract, running

from otel_kfs.client.model_request.model_client import ModelClient
from otel_kfs.client.model_request.model_url import predict_url
from otel_kfs.errors import PayloadTooLargeError

pytestmark = pytest.mark.kfserving

MODELS = (
    EXPORT
    + """
import argparse, kfserving, tornado.web

class Sync(kfserving.KFModel):
    def preprocess(self, request): return request
    def predict(self, request): return {"predictions": request["instances"]}
    def postprocess(self, request): return request

class Async(kfserving.KFModel):
    async def predict(self, request): return {"predictions": request["instances"]}

class Length(kfserving.KFModel):
    def predict(self, request): return {"predictions": [len(text) for text in request["instances"]]}

class Refuses(kfserving.KFModel):
    def preprocess(self, request): raise tornado.web.HTTPError(422, reason="no picture")

class Fails(kfserving.KFModel):
    def predict(self, request): raise ZeroDivisionError("broken")

class NoText(Exception):
    def __str__(self): raise RuntimeError("no text")

class Unprintable(kfserving.KFModel):
    def predict(self, request): raise NoText

class Echo(kfserving.KFModel):
    def predict(self, request): return {"outputs": request["inputs"]}

class Explains(kfserving.KFModel):
    async def explain(self, request): return {"explanations": request["instances"]}

class Unready(kfserving.KFModel):
    def load(self): raise RuntimeError("no weights")

class Blocks(kfserving.KFModel):
    # Keeps the server's event loop, from `started` on until `go` is in the folder that it is given.
    def predict(self, request):
        import os, time
        (folder,) = request["instances"]
        open(folder + "/started", "w").close()
        while not os.path.exists(folder + "/go"):
            time.sleep(0.01)
        return {"predictions": [1]}

class Transformer(kfserving.KFModel):
    pass

parser = argparse.ArgumentParser(parents=[kfserving.kfserver.parser])
parser.add_argument("--predictor_host")
parser.add_argument("--plain", action="store_true")
args, _ = parser.parse_known_args()
classes = {
    "sync": Sync, "async": Async, "twice": Sync, "length": Length, "refuses": Refuses, "fails": Fails, "echo": Echo,
    "unprintable": Unprintable,
    "explains": Explains, "unready": Unready, "blocks": Blocks,
}
models = [(Transformer if args.predictor_host else cls)(name) for name, cls in classes.items()]
for model in models:
    model.predictor_host = args.predictor_host
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
kfserving.KFServer().start(models)
"""
)


# Under opentelemetry-instrument, the program has no line of ours.
@pytest.fixture(scope="module", params=[[], INSTRUMENTED], ids=["trace_model", "opentelemetry-instrument"])
def servers(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kfserving")
    (folder / "models.py").write_text(MODELS)
    with running(folder / "models.py", [], ["--max_buffer_size", "1000000"], folder, request.param) as servers:
        yield servers


class TestKFServing(Contract):
    health = (*Contract.health, "/v2/models/sync/status", "/metrics")

    def test_a_body_over_max_buffer_size_is_too_large_and_the_setting_is_named(self, servers):
        client = ModelClient(predict_url(f"http://127.0.0.1:{servers.plain.port}", "sync"))
        with pytest.raises(PayloadTooLargeError, match="--max_buffer_size") as raised:
            client.post(b" " * 20_000_000)
        assert "20.0 MB" in str(raised.value)
