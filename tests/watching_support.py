"""A WatchService of the tests' own, and spans sent to it by OTLP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from sdk_spans_support import play
from support import wait_until

from otel_kfs.watch.core.snapshot import Observer
from otel_kfs.watch.receiver.receiver_security import ReceiverSecurity
from otel_kfs.watch.watch_service import Site, WatchOptions, WatchService


@contextmanager
def watching(
    sites: Sequence[Site] = (), observers: Sequence[Observer] = (), security: ReceiverSecurity | None = None
) -> Iterator[WatchService]:
    """A service on free ports."""
    options = WatchOptions(grpc_port=0, http_port=0, security=security or ReceiverSecurity())
    with WatchService(options, observers, sites).started() as service:
        yield service


def send(service: WatchService, *drawings: str, images: int = 1) -> None:
    """Send the spans of drawings by OTLP, some times; return when the service shows their images."""
    before = service.latest().since_start.coverage
    expected = before.measured + sum(before.left_out.values()) + images * len(drawings)
    provider = TracerProvider(resource=Resource({"service.name": "service", "host.name": "host"}))
    exporter = OTLPSpanExporter(f"http://127.0.0.1:{service.http_port}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for _ in range(images):
        for drawing in drawings:
            play(drawing, provider)
    provider.shutdown()

    def shown() -> bool:
        latest = service.latest()
        coverage = latest.since_start.coverage
        if latest.counts.spans < service.intake.counts.spans:
            return False
        return coverage.measured + sum(coverage.left_out.values()) >= expected

    wait_until("the service shows its images", shown)


def get(service: WatchService, path: str, site: int = 0, **more: Any) -> httpx.Response:
    """The answer of a service's site."""
    return httpx.get(f"http://127.0.0.1:{service.site_ports[site]}{path}", **more)
