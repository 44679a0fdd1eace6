"""OTLP over HTTP, in protobuf or JSON: `POST /v1/traces`."""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from otel_kfs.watch.receiver import otlp_messages
from otel_kfs.watch.receiver.intake import RETRY_AFTER, Busy, Intake, MalformedRequest
from otel_kfs.watch.receiver.receiver_security import ReceiverSecurity

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_BODY_SECONDS = 30.0  # for a whole body to arrive
_LOOK = 0.01  # seconds between two looks for room
_WINDOWS = {"gzip": 31, "deflate": 15}  # zlib's `wbits` for each Content-Encoding: that format alone
_AT_ONCE = 100_000  # bytes; larger requests, which may take seconds to read, are read in a thread
# google.rpc's codes of these statuses.
_CODES = {400: 3, 401: 16, 404: 12, 405: 12, 408: 4, 413: 8, 415: 3, 429: 8}


class HttpError(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


def otlp_app(intake: Intake, security: ReceiverSecurity, largest: int, more: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application; a request has at most `largest` bytes, before it is decompressed and after."""

    def taken(content: bytes, media_type: str) -> Counter[str]:
        if media_type == JSON:
            try:
                content = otlp_messages.protobuf_of_json(content)
            except ValueError as error:
                intake.counts.malformed += 1
                raise HttpError(400, f"not an OTLP export of traces: {error}") from error
        try:
            return intake.take(content)
        except MalformedRequest as error:
            raise HttpError(400, str(error)) from error
        except Busy as error:
            raise HttpError(429, str(error)) from error

    async def room() -> None:
        limit = time.monotonic() + intake.patience
        while not intake.has_room and time.monotonic() < limit:
            await asyncio.sleep(_LOOK)
        try:
            intake.wait_for_room(0)
        except Busy as error:
            raise HttpError(429, str(error)) from error

    async def traces(request: Request) -> Response:
        await room()
        content = await _content(request, largest)
        if len(content) > _AT_ONCE:
            left_out = await asyncio.to_thread(taken, content, _media_type(request))
        else:
            left_out = taken(content, _media_type(request))
        return _answer(request, otlp_messages.response(left_out), 200)

    async def other(request: Request) -> Response:
        raise HttpError(404, f"otel-kfs watch takes traces, no {request.url.path.rpartition('/')[2]}")

    def guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if not security.allows(request.headers.get("authorization")):
                return _refusal(request, HttpError(401, "a bearer token is needed, and this is not it"))
            try:
                return await endpoint(request)
            except HttpError as error:
                return _refusal(request, error)
            except ClientDisconnect:
                return Response(status_code=400)

        return answer

    return Starlette(
        routes=[
            Route("/v1/traces", guarded(traces), methods=["POST"]),
            *(Route(f"/v1/{signal}", guarded(other), methods=["POST"]) for signal in ("metrics", "logs", "profiles")),
            *more,
        ]
    )


async def _content(request: Request, largest: int) -> bytes:
    """Return a request's body, decompressed.

    Raises:
        HttpError: it is not what it should be.
    """
    if _media_type(request) not in {PROTOBUF, JSON}:
        raise HttpError(415, f"Content-Type must be {PROTOBUF} or {JSON}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "", *_WINDOWS}:
        raise HttpError(415, "Content-Encoding must be gzip or deflate, if there is any")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > largest:
        raise HttpError(413, _too_large(largest))
    try:
        body = await asyncio.wait_for(_body(request, largest), _BODY_SECONDS)
    except asyncio.TimeoutError as error:
        raise HttpError(408, f"the body did not arrive within {_BODY_SECONDS:g} s") from error
    return inflated(body, encoding, largest) if encoding in _WINDOWS else body


async def _body(request: Request, largest: int) -> bytes:
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > largest:
            raise HttpError(413, _too_large(largest))
    return bytes(found)


def inflated(body: bytes, encoding: str, largest: int) -> bytes:
    """Return a body as it was before it was compressed, by gzip or deflate.

    Raises:
        HttpError: it is damaged, or larger than `largest` bytes.
    """
    found, rest = bytearray(), body
    try:
        while rest:
            stream = zlib.decompressobj(_WINDOWS[encoding])
            found += stream.decompress(rest, largest - len(found) + 1)
            if len(found) > largest:
                raise HttpError(413, f"{_too_large(largest)} after decompression")
            if not stream.eof:
                raise HttpError(400, f"the {encoding} body is cut short")
            rest = stream.unused_data
    except zlib.error as error:
        raise HttpError(400, f"the body is not {encoding}: {error}") from error
    return bytes(found)


def _too_large(largest: int) -> str:
    return f"a request may have {largest} bytes"


def _media_type(request: Request) -> str:
    found: str = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return found


def _refusal(request: Request, error: HttpError) -> Response:
    retry_after = RETRY_AFTER if error.code == 429 else None
    message = otlp_messages.status(_CODES.get(error.code, 2), error.message, retry_after)
    answer = _answer(request, message, error.code)
    if error.code == 429:
        answer.headers["retry-after"] = str(math.ceil(RETRY_AFTER))
    if error.code == 415:
        answer.headers["accept-encoding"] = ", ".join(_WINDOWS)
    if error.code == 401:
        answer.headers["www-authenticate"] = "Bearer"
    return answer


def _answer(request: Request, message: Message, code: int) -> Response:
    """Return an answer in the encoding of the request, which is protobuf where that is neither."""
    if _media_type(request) == JSON:
        return Response(str(MessageToJson(message, indent=None)), code, media_type=JSON)
    return Response(message.SerializeToString(), code, media_type=PROTOBUF)
