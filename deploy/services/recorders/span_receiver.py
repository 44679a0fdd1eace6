"""Receives spans over OTLP, by HTTP and by gRPC, on loopback."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from service_process import HOST


class SpanReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """What was received, and the two ports at which it is."""

    def __init__(self) -> None:
        self.http_port = self.grpc_port = 0
        self._received: list[ResourceSpans] = []
        self._lock = threading.Lock()

    def take(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        """Keep what one request brings."""
        with self._lock:
            self._received += request.resource_spans

    def Export(self, request: Any, context: Any) -> Any:
        """Answer a request by gRPC."""
        self.take(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def traces_of(self, service: str) -> set[bytes]:
        """Return the ids of the traces in which a service has spans."""
        with self._lock:
            return {
                span.trace_id
                for of in self._received
                if any(
                    each.key == "service.name" and each.value.string_value == service for each in of.resource.attributes
                )
                for scope in of.scope_spans
                for span in scope.spans
            }

    def resource_spans(self) -> list[dict[str, Any]]:
        """Return everything as OTLP-JSON has it: ids in hex, enumerations as numbers."""
        with self._lock:
            return [_otlp_json(each) for each in self._received]


def _otlp_json(message: ResourceSpans) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(message, use_integers_for_enums=True)
    # Protobuf's own JSON has bytes in base64; OTLP's has the ids in hex.
    for scope, of in zip(document.get("scopeSpans", []), message.scope_spans, strict=True):
        for span, raw in zip(scope.get("spans", []), of.spans, strict=True):
            span |= {"traceId": raw.trace_id.hex(), "spanId": raw.span_id.hex()}
            if raw.parent_span_id:
                span["parentSpanId"] = raw.parent_span_id.hex()
            for link, raw_link in zip(span.get("links", []), raw.links, strict=True):
                link |= {"traceId": raw_link.trace_id.hex(), "spanId": raw_link.span_id.hex()}
    return document


@contextmanager
def receiving() -> Iterator[SpanReceiver]:
    """Receive spans until the end of the block."""
    receiver = SpanReceiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._body()
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.take(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = []  # as Envoy sends it
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer((HOST, 0), Handler)
    http.daemon_threads = True
    by_grpc = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, by_grpc)
    receiver.http_port, receiver.grpc_port = http.server_port, by_grpc.add_insecure_port(f"{HOST}:0")
    threading.Thread(target=http.serve_forever, daemon=True).start()
    by_grpc.start()
    try:
        yield receiver
    finally:
        http.shutdown()
        http.server_close()
        by_grpc.stop(None).wait()
