"""The predictor on KServe: MobileNetV2 on tensors. otel_kfs: two lines.

python kserve_predictor.py --http_port 8081
"""

import kserve
import numpy as np
from mobilenet import MobileNet

import otel_kfs


class Predictor(kserve.Model):
    def load(self) -> bool:
        self.model = MobileNet()
        return super().load()

    def predict(self, payload: dict, headers: dict | None = None) -> dict:
        tensors = np.asarray(payload["instances"], np.float32)
        return {"predictions": [self.model.classify(tensor[np.newaxis]) for tensor in tensors]}


if __name__ == "__main__":
    otel_kfs.configure("mobilenet-predictor")
    predictor = otel_kfs.trace_model(Predictor("mobilenet"))
    predictor.load()
    kserve.ModelServer().start([predictor])
