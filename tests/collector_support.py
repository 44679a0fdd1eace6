"""An OTLP receiver of the tests' own: what it was sent, span by span."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support import HttpServer


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

    def accept(self) -> None:
        """From now on, take what comes."""
        self.answers(200)

    def spans(self) -> list[Exported]:
        """Every span of every request, the refused ones', too, in the order they came."""
        found = []
        for request in self.requests:
            assert request.path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
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


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector that answers until the end of the `with`."""
    collector = Collector(port)
    with collector.running():
        yield collector
