"""The fast predictor on KServe: MobileNetV2 on binary V2 tensors.

python kserve_fast_predictor.py --http_port 8081
"""

import os

import kserve
from kserve.errors import InvalidInput
from kserve_binary import BinaryDataPlane
from mobilenet import MobileNet

import otel_kfs


class Predictor(kserve.Model):
    def load(self) -> bool:
        self.model = MobileNet(threads=os.cpu_count() or 1)
        return super().load()

    def predict(self, payload: kserve.InferRequest, headers: dict | None = None) -> kserve.InferResponse:
        try:
            tensors = payload.inputs[0].as_numpy()
        except (AttributeError, IndexError, ValueError) as error:
            raise InvalidInput(f"no tensors in the request: {error}") from error
        found = [self.model.classify(tensors[at : at + 1]) for at in range(len(tensors))]
        outputs = [
            kserve.InferOutput("class", [len(found)], "INT64", [one["class"] for one in found]),
            kserve.InferOutput("score", [len(found)], "FP32", [one["score"] for one in found]),
        ]
        return kserve.InferResponse(payload.id, self.name, outputs)


if __name__ == "__main__":
    otel_kfs.configure("mobilenet-predictor")
    predictor = otel_kfs.trace_model(Predictor("mobilenet"))
    predictor.load()
    server = kserve.ModelServer()
    server.dataplane = BinaryDataPlane(server.registered_models)
    server.start([predictor])
