"""What KServe 0.21 lacks for large binary bodies: V2 tensors that stay bytes, and decompression.

Its own reader turns a binary tensor into a list of Python numbers, and refuses bytes that are not UTF-8, such as a JPG.
"""

from typing import Any

import kserve
import orjson
from fast_requests import inflate
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from starlette.responses import JSONResponse


class BinaryDataPlane(DataPlane):
    def decode_inference_request(self, body: Any, headers: dict, model_name: str) -> kserve.InferRequest:
        if not isinstance(body, bytes):
            return super().decode_inference_request(body, headers, model_name)
        try:
            at = int(headers[INFERENCE_CONTENT_LENGTH_HEADER])
            request = orjson.loads(body[:at])
            inputs, raw = [], []
            for tensor in request["inputs"]:
                size = tensor["parameters"]["binary_data_size"]
                inputs.append(kserve.InferInput(tensor["name"], tensor["shape"], tensor["datatype"]))
                raw.append(body[at : at + size])
                at += size
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"not a V2 request with binary tensors: {error!r}") from error
        return kserve.InferRequest(model_name, inputs, request.get("id"), raw_inputs=raw)


class Inflate:
    """ASGI middleware that decompresses bodies."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        coding = headers.pop(b"content-encoding", None)
        if scope["type"] != "http" or coding is None:
            await self.app(scope, receive, send)
            return
        pieces, more = [], True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        try:
            body = inflate(b"".join(pieces), coding.decode("latin-1"))
        except ValueError as error:
            await JSONResponse({"error": str(error)}, 400)(scope, receive, send)
            return
        headers[b"content-length"] = str(len(body)).encode()

        async def whole() -> dict:
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app({**scope, "headers": list(headers.items())}, whole, send)
