"""The contract of traced servers, held by KServe's ModelServer."""

import pytest
from contract import Contract, running

pytestmark = pytest.mark.kserve

MODELS = """
import argparse, kserve, otel_kfs
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

class Transformer(kserve.Model):
    pass

parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
parser.add_argument("--plain", action="store_true")
args, _ = parser.parse_known_args()
classes = {"sync": Sync, "async": Async, "twice": Sync, "length": Length, "refuses": Refuses, "fails": Fails}
models = [(Transformer if args.predictor_host else cls)(name) for name, cls in classes.items()]
for model in models:
    model.load()
    if not args.plain:
        otel_kfs.trace_model(model)
        if model.name == "twice":
            otel_kfs.trace_model(model)
if not args.plain:
    otel_kfs.configure("a-model")
config = PredictorConfig(args.predictor_host) if args.predictor_host else None
kserve.ModelServer(predictor_config=config).start(models)
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kserve")
    (folder / "models.py").write_text(MODELS)
    options = ["--enable_grpc", "false", "--event-loop", "asyncio"]
    with running(folder / "models.py", options, [], folder) as servers:
        yield servers


class TestKServe(Contract):
    """All of it."""
