"""The fast transformer on KServe: JPG -> tensor with draft decoding; sends the predictor binary V2 tensors.

python kserve_fast_transformer.py --http_port 8080 --predictor_host 127.0.0.1:8081

It accepts JSON, the JPG itself or in a CloudEvent, V2 with binary tensors over HTTP and gRPC, any of these over HTTP
also compressed, and with --bucket a reference to the JPG.
"""

import argparse
from typing import Any

import kserve
import numpy as np
from fast_requests import pictures
from kserve.errors import InvalidInput
from kserve.model_server import app
from kserve.predictor_config import PredictorConfig
from kserve_binary import BinaryDataPlane, Inflate
from mobilenet import fast_tensor

import otel_kfs


class Transformer(kserve.Model):
    def __init__(self, name: str, store: otel_kfs.ClaimStore | None = None) -> None:
        super().__init__(name)
        self.store = store

    def preprocess(self, payload: Any, headers: dict | None = None) -> kserve.InferRequest:
        try:
            if isinstance(payload, kserve.InferRequest):
                found = payload.inputs[0].as_numpy().ravel().tolist()
            else:
                found = pictures(payload, self.store)
            tensors = np.concatenate([fast_tensor(picture) for picture in found])
        except (IndexError, TypeError, ValueError) as error:
            raise InvalidInput(str(error)) from error
        tensor = kserve.InferInput("input", list(tensors.shape), "FP32")
        tensor.set_data_from_numpy(tensors)
        return kserve.InferRequest(self.name, [tensor])

    async def predict(self, payload: kserve.InferRequest, headers: dict | None = None) -> kserve.InferResponse:
        # KServe 0.21's own predict sends two content types, and the predictor picks the wrong one.
        return await self._http_client.infer(self.predictor_config.predictor_base_url, payload, self.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--bucket", help="bucket of referenced images (S3)")
    parser.add_argument("--store_url", help="the S3-compatible store, if not AWS")
    args, _ = parser.parse_known_args()
    otel_kfs.configure("mobilenet-transformer")
    app.add_middleware(Inflate)  # before trace_model, so that decompression counts as decoding
    store = otel_kfs.ClaimStore(args.bucket, endpoint_url=args.store_url) if args.bucket else None
    transformer = otel_kfs.trace_model(Transformer("mobilenet", store))
    transformer.load()
    server = kserve.ModelServer(predictor_config=PredictorConfig(args.predictor_host, "v2"))
    server.dataplane = BinaryDataPlane(server.registered_models)
    server.start([transformer])
