"""The transformer on KServe: base64 -> JPG -> tensor, then over HTTP to the predictor. otel_kfs: two lines.

python kserve_transformer.py --http_port 8080 --predictor_host 127.0.0.1:8081
"""

import argparse

import kserve
import numpy as np
from kserve.errors import InvalidInput
from kserve.predictor_config import PredictorConfig
from mobilenet import to_tensor

import otel_kfs


class Transformer(kserve.Model):
    def preprocess(self, payload: dict, headers: dict | None = None) -> dict:
        try:
            tensors = np.concatenate([to_tensor(one["image_bytes"]["b64"]) for one in payload["instances"]])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"no picture in the request: {error}") from error
        return {"instances": tensors.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    args, _ = parser.parse_known_args()
    otel_kfs.configure("mobilenet-transformer")
    transformer = otel_kfs.trace_model(Transformer("mobilenet"))
    transformer.load()
    kserve.ModelServer(predictor_config=PredictorConfig(args.predictor_host)).start([transformer])
