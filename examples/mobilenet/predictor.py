"""The predictor on KFServing: MobileNetV2 on tensors. otel_kfs: two lines.

python predictor.py --http_port 8081
"""

import kfserving
import numpy as np
from mobilenet import MobileNet

import otel_kfs


class Predictor(kfserving.KFModel):
    def load(self) -> bool:
        self.model = MobileNet()
        return super().load()

    def predict(self, request: dict) -> dict:
        tensors = np.asarray(request["instances"], np.float32)
        return {"predictions": [self.model.classify(tensor[np.newaxis]) for tensor in tensors]}


if __name__ == "__main__":
    otel_kfs.configure("mobilenet-predictor")
    predictor = otel_kfs.trace_model(Predictor("mobilenet"))
    predictor.load()
    kfserving.KFServer().start([predictor])
