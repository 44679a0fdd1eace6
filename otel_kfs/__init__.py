"""Where the time goes when an image is sent to a model on KFServing or KServe, by HTTP or through Kafka.

The write side makes spans, each process its own, and only trace context travels between them:

    HttpSender ----------------------------------> trace_model(transformer) -> trace_model(predictor)
    KafkaSender or kafka.Producer -> kafka.Consumer and kafka.process, or kafka.Bridge -> the same

The read side makes tables of them:

    traces (files, stores) -> segments -> tables -> render -> cli
                                      -> read(...), for notebooks and CI

Importing this package imports nothing heavy: each name below brings what it needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_kfs import kafka
    from otel_kfs.client.claim_check import ClaimStore
    from otel_kfs.client.grpc_sender import GrpcSender
    from otel_kfs.client.http_sender import HttpSender
    from otel_kfs.client.image_span import image_span
    from otel_kfs.client.kafka_sender import KafkaSender
    from otel_kfs.reader.read import read
    from otel_kfs.reader.reading import Reading
    from otel_kfs.serving import trace_model
    from otel_kfs.telemetry.provider import configure, flush
    from otel_kfs.watch.in_process.segment_exporter import SegmentExporter, SegmentProcessor

__version__ = "0.1.0"

__all__ = [
    "ClaimStore",
    "GrpcSender",
    "HttpSender",
    "KafkaSender",
    "Reading",
    "SegmentExporter",
    "SegmentProcessor",
    "__version__",
    "configure",
    "flush",
    "image_span",
    "kafka",
    "read",
    "trace_model",
]

_HOME = {
    "ClaimStore": "otel_kfs.client.claim_check",
    "GrpcSender": "otel_kfs.client.grpc_sender",
    "HttpSender": "otel_kfs.client.http_sender",
    "KafkaSender": "otel_kfs.client.kafka_sender",
    "Reading": "otel_kfs.reader.reading",
    "SegmentExporter": "otel_kfs.watch.in_process.segment_exporter",
    "SegmentProcessor": "otel_kfs.watch.in_process.segment_exporter",
    "configure": "otel_kfs.telemetry.provider",
    "flush": "otel_kfs.telemetry.provider",
    "image_span": "otel_kfs.client.image_span",
    "read": "otel_kfs.reader.read",
    "trace_model": "otel_kfs.serving",
}


def __getattr__(name: str) -> Any:
    if name == "kafka":
        return importlib.import_module("otel_kfs.kafka")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'otel_kfs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
