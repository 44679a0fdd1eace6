"""Requests to a watch: spans as OTLP in protobuf or JSON, over HTTP or gRPC."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable
from typing import Any

import grpc
import requests
from traces_builder import otlp_line

from otel_kfs.traces.span import Span
from otel_kfs.watch.receiver.otlp_messages import protobuf_of_json

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_COLLECTOR = "opentelemetry.proto.collector"


def as_json(drawn: Iterable[Span]) -> bytes:
    """One request in JSON."""
    return otlp_line(list(drawn)).encode()


def as_protobuf(drawn: Iterable[Span]) -> bytes:
    """The same in protobuf."""
    return protobuf_of_json(as_json(drawn))


def post(url: str, body: Any, kind: str = PROTOBUF, path: str = "/v1/traces", **more: Any) -> requests.Response:
    """What is answered to a request over HTTP."""
    headers = {"Content-Type": kind, **more.pop("headers", {})}
    return requests.post(f"{url}{path}", data=body, headers=headers, timeout=30, **more)


def said(answer: requests.Response) -> tuple[int, str]:
    """The status of an answer, and the message that it has in its own encoding."""
    if answer.headers["Content-Type"] == JSON:
        return answer.status_code, json.loads(answer.text).get("message", "")
    from google.rpc.status_pb2 import Status

    return answer.status_code, Status.FromString(answer.content).message


def export(address: str, request: bytes, signal: str = "trace.v1.Trace", **more: Any) -> bytes:
    """What is answered to a request over gRPC.

    Raises:
        grpc.RpcError: it is refused.
    """
    with grpc.insecure_channel(address) as channel:
        return channel.unary_unary(f"/{_COLLECTOR}.{signal}Service/Export")(request, timeout=30, **more)


def refusal(address: str, request: bytes, signal: str = "trace.v1.Trace", **more: Any) -> grpc.RpcError:
    """How a request over gRPC is refused."""
    try:
        export(address, request, signal, **more)
    except grpc.RpcError as error:
        return error
    raise AssertionError("it was taken")


def begun(port: int, requests: int, encoding: str = "identity", message: bytes = b"\0\0\0\0\5h") -> socket.socket:
    """A connection with requests over gRPC that have only a part of their messages: HTTP/2, as RFC 9113 has it."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def text(value: str) -> bytes:
        return bytes([len(value)]) + value.encode()

    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{_COLLECTOR}.trace.v1.TraceService/Export",
        ":authority": "test",
        "content-type": "application/grpc",
        "grpc-encoding": encoding,
        "te": "trailers",
    }
    block = b"".join(b"\0" + text(name) + text(value) for name, value in headers.items())
    streams = range(1, 2 * requests, 2)
    found = socket.create_connection(("127.0.0.1", port), 30)
    found.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    found.sendall(b"".join(frame(1, 4, stream, block) + frame(0, 0, stream, message) for stream in streams))
    return found
