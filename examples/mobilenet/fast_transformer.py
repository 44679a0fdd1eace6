"""The fast transformer on KFServing: JPG -> tensor with draft decoding; sends the predictor bytes, not JSON.

python fast_transformer.py --http_port 8080 --predictor_host 127.0.0.1:8081

It accepts JSON, compressed JSON, a CloudEvent with the JPG, and with --bucket a reference to the JPG.
"""

import argparse
import json
from typing import Any

import kfserving
import numpy as np
import tornado.web
from fast_requests import inflate, pictures
from kfserving.handlers.http import PredictHandler
from mobilenet import fast_tensor

import otel_kfs

# KFServing 0.5 reads every body as JSON, except the data of a CloudEvent.
EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "transformer", "ce-type": "tensors"}


class Transformer(kfserving.KFModel):
    def __init__(self, name: str, predictor_host: str, store: otel_kfs.ClaimStore | None = None) -> None:
        super().__init__(name)
        self.predictor_host = predictor_host
        self.store = store

    def preprocess(self, request: Any) -> np.ndarray:
        request = super().preprocess(request)  # an event's data
        try:
            return np.concatenate([fast_tensor(picture) for picture in pictures(request, self.store)])
        except ValueError as error:
            raise tornado.web.HTTPError(400, reason=str(error)) from error

    async def predict(self, tensors: np.ndarray) -> dict:
        url = f"http://{self.predictor_host}/v1/models/{self.name}:predict"
        headers = {**EVENT, "content-type": "application/octet-stream"}
        answer = await self._http_client.fetch(
            url, method="POST", headers=headers, body=tensors.tobytes(), request_timeout=self.timeout
        )
        return json.loads(answer.body)


class Inflating(PredictHandler):
    def prepare(self) -> None:
        try:
            self.request.body = inflate(self.request.body, self.request.headers.get("content-encoding"))
        except ValueError as error:
            raise tornado.web.HTTPError(400, reason=str(error)) from error


class Server(kfserving.KFServer):
    def create_application(self) -> tornado.web.Application:
        application = super().create_application()
        route = (r"/v1/models/([a-zA-Z0-9_-]+):predict", Inflating, {"models": self.registered_models})
        application.add_handlers(r".*", [route])  # takes precedence over KFServing's own
        return application


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kfserving.kfserver.parser])
    parser.add_argument("--predictor_host", required=True, help="host:port of the predictor")
    parser.add_argument("--bucket", help="bucket of referenced images (S3)")
    parser.add_argument("--store_url", help="the S3-compatible store, if not AWS")
    args, _ = parser.parse_known_args()
    otel_kfs.configure("mobilenet-transformer")
    store = otel_kfs.ClaimStore(args.bucket, endpoint_url=args.store_url) if args.bucket else None
    transformer = otel_kfs.trace_model(Transformer("mobilenet", args.predictor_host, store))
    transformer.load()
    Server().start([transformer])
