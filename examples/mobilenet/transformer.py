"""The transformer on KFServing: base64 -> JPG -> tensor, then over HTTP to the predictor. otel_kfs: two lines.

python transformer.py --http_port 8080 --predictor_host 127.0.0.1:8081
"""

import argparse

import kfserving
import numpy as np
import tornado.web
from mobilenet import to_tensor

import otel_kfs


class Transformer(kfserving.KFModel):
    def __init__(self, name: str, predictor_host: str) -> None:
        super().__init__(name)
        self.predictor_host = predictor_host

    def preprocess(self, request: dict) -> dict:
        try:
            tensors = np.concatenate([to_tensor(one["image_bytes"]["b64"]) for one in request["instances"]])
        except (KeyError, TypeError, ValueError) as error:
            raise tornado.web.HTTPError(400, reason=f"no picture in the request: {error}") from error
        return {"instances": tensors.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kfserving.kfserver.parser])
    parser.add_argument("--predictor_host", required=True, help="host:port of the predictor")
    args, _ = parser.parse_known_args()
    otel_kfs.configure("mobilenet-transformer")
    transformer = otel_kfs.trace_model(Transformer("mobilenet", args.predictor_host))
    transformer.load()
    kfserving.KFServer().start([transformer])
