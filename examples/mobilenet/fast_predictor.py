"""The fast predictor on KFServing: MobileNetV2 on tensors that arrive as the bytes of a CloudEvent.

python fast_predictor.py --http_port 8081
"""

import os

import kfserving
import numpy as np
import tornado.web
from cloudevents.http import CloudEvent
from mobilenet import CROP, MobileNet

import otel_kfs


class Predictor(kfserving.KFModel):
    def load(self) -> bool:
        self.model = MobileNet(threads=os.cpu_count() or 1)
        return super().load()

    def preprocess(self, request: CloudEvent) -> np.ndarray:
        try:
            return np.frombuffer(request.data, "<f4").reshape(-1, 3, CROP, CROP)
        except (AttributeError, TypeError, ValueError) as error:
            raise tornado.web.HTTPError(400, reason=f"no tensors in the request: {error}") from error

    def predict(self, tensors: np.ndarray) -> dict:
        return {"predictions": [self.model.classify(tensor[np.newaxis]) for tensor in tensors]}


if __name__ == "__main__":
    otel_kfs.configure("mobilenet-predictor")
    predictor = otel_kfs.trace_model(Predictor("mobilenet"))
    predictor.load()
    kfserving.KFServer().start([predictor])
