"""The example's transformer, which asks its predictor by the Open Inference Protocol instead of KServe's V1.

python transformer.py FOLDER_OF_THE_EXAMPLE --http_port 8080 --predictor_host 127.0.0.1:8081
"""

import sys

sys.path.insert(0, sys.argv.pop(1))

import argparse

import kserve
import numpy as np
from kserve.predictor_config import PredictorConfig
from mobilenet import to_tensor

import otel_kfs


class Transformer(kserve.Model):
    """JPG to tensor."""

    def preprocess(self, payload: dict, headers: dict | None = None) -> kserve.InferRequest:
        """Return the tensors of all pictures as one input."""
        tensors = np.concatenate([to_tensor(one["image_bytes"]["b64"]) for one in payload["instances"]])
        tensor = kserve.InferInput("image", list(tensors.shape), "FP32", data=tensors.ravel().tolist())
        return kserve.InferRequest(self.name, infer_inputs=[tensor])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    args, _ = parser.parse_known_args()
    otel_kfs.configure("mobilenet-transformer")
    transformer = otel_kfs.trace_model(Transformer("mobilenet"), role="transformer")
    transformer.load()
    kserve.ModelServer(predictor_config=PredictorConfig(args.predictor_host, predictor_protocol="v2")).start(
        [transformer]
    )
