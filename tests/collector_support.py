"""An OTLP receiver of the tests' own: what it was sent, span by span."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from support import HttpServer


def otlp_over_http(url: str) -> dict[str, str]:
    """What makes a process export over HTTP, whose protocol no other port than 4318 tells."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


class Exported(NamedTuple):
    """One span, and of which process."""

    service: str
    pid: int
    name: str
    trace_id: str
    span_id: str


class Collector(HttpServer):
    """OTLP over HTTP with protobuf, at `url`/v1/traces; refuse by `answers(503)`, be slow by `hangs()`."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.accept()

    @property
    def settings(self) -> dict[str, str]:
        """What makes a process export here."""
        return otlp_over_http(self.url)

    def accept(self) -> None:
        """From now on, take what comes."""
        self.answers(200)

    def spans(self) -> list[Exported]:
        """Every span of every request, the refused ones', too, in the order they came."""
        assert all(request.path == "/v1/traces" for request in self.requests)
        return [
            span for request in self.requests for span in exported(ExportTraceServiceRequest.FromString(request.body))
        ]

    def sizes(self) -> list[int]:
        """How many bytes each request had."""
        return [len(request.body) for request in self.requests]


def exported(request: ExportTraceServiceRequest) -> list[Exported]:
    """Every span of a request."""
    found = []
    for resource in request.resource_spans:
        of = {pair.key: pair.value for pair in resource.resource.attributes}
        for scope in resource.scope_spans:
            found += [
                Exported(
                    of["service.name"].string_value,
                    of["process.pid"].int_value,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                )
                for span in scope.spans
            ]
    return found


class GrpcCollector(TraceServiceServicer):
    """OTLP over gRPC at `url`, with gRPC's own limit of 4 MB a request."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.url = ""

    def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:
        """Take what comes."""
        self.requests.append(request)
        return ExportTraceServiceResponse()

    @property
    def settings(self) -> dict[str, str]:
        """What makes a process export here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url}

    def spans(self) -> list[Exported]:
        """Every span, in the order they came."""
        return [span for request in self.requests for span in exported(request)]

    def sizes(self) -> list[int]:
        """How many bytes each request had."""
        return [request.ByteSize() for request in self.requests]


@contextmanager
def collecting_by_grpc() -> Iterator[GrpcCollector]:
    """A collector that answers until the end of the `with`."""
    collector, server = GrpcCollector(), grpc.server(futures.ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(collector, server)
    collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector that answers until the end of the `with`."""
    collector = Collector(port)
    with collector.running():
        yield collector
