"""What is no traces that can be read, called by its name: other programs' JSON, logs, archives."""

from __future__ import annotations

import re
from typing import Any

# How files begin: the formats' own magic numbers.
_MAGIC = {
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"BZh": "compressed with bzip2: unpack it first",
    b"\xfd7zXZ\x00": "compressed with xz: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive: unpack it first",
    b"\x04\x22\x4d\x18": "compressed with lz4: unpack it first",
    b"\x1f\x8b": "compressed twice: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed twice: unpack it first",
    b"\xff\xfe": "text in UTF-16: convert it to UTF-8 first",
    b"\xfe\xff": "text in UTF-16: convert it to UTF-8 first",
    b"PAR1": "a Parquet file",
    b"SQLite format 3\x00": "an SQLite database",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"%PDF": "a PDF",
    b"<!": "a web page or XML",
    b"<html": "a web page or XML",
    b"<?xml": "a web page or XML",
    b"# HELP ": "metrics of Prometheus",
    b"# TYPE ": "metrics of Prometheus",
}
_TAR_AT = slice(257, 262)  # POSIX: where a tar archive has its magic number
_SHOWN = 8  # keys
# How lines of logs begin: with a time or a level, as Python, Kubernetes, web servers and others write them.
_LOG = re.compile(
    rb"\s*(?:\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d"
    rb"|[IWEF]\d{4} \d\d:\d\d:\d\d"
    rb"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d "
    rb"|\S+ \S+ \S+ \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d "
    rb"|\[?(?:TRACE|DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)\b"
    rb"|(?:ts|t|time|timestamp|level|lvl|msg)=\S"
    rb"|\[\d{4}-\d\d-\d\d[T ]\d\d:\d\d)"
)
_CONSOLE = "what OpenTelemetry's console exporter prints: use --traces-file, or OTLP"
# What the console exporters of Node, .NET, Rust and Java print; Go's and Python's are JSON.
_CONSOLES = re.compile(
    rb"\{\s+(?:resource|instrumentationScope|traceId): |Activity\.TraceId: |Spans\r?\nResource\r?\n"
    rb"|.*LoggingSpanExporter - '"
)
_OF_COLLECTOR = re.compile(rb"(?:.*\t)?ResourceSpans #\d")
_SEPARATED = re.compile(rb'[\w."\- ]+(?:[,;\t][\w."\- ]+)+\r?$', re.MULTILINE)

# Keys that a JSON object of another program has, all of them.
_OBJECTS = {
    ("context", "name", "start_time"): _CONSOLE,
    ("SpanContext", "Name", "StartTime"): _CONSOLE,
    ("traceId", "spanId", "startTimeUnixNano"): "single spans of OTLP, without the resource that they are of",
    ("traces", "metrics"): "the answer of a Tempo's search: save the traces, by /api/v2/traces/ID",
    ("traceId", "id", "binaryAnnotations"): "Zipkin's JSON of version 1: save it by /api/v2",
    ("traceId", "id", "annotations"): "Zipkin's JSON of version 1: save it by /api/v2",
    ("hits", "_shards"): "an answer of Elasticsearch",
    ("_index", "_source"): "documents of Elasticsearch",
    ("@timestamp", "processor", "trace"): "documents of Elastic's APM",
    ("traceID", "spanID", "operationName"): "single spans of Jaeger, as its Elasticsearch store has them",
    ("traceEvents",): "Chrome's trace events",
    ("trace_id", "span_id", "meta"): "Datadog's JSON",
    ("data", "meta"): "an answer of Datadog's API, or of one like it",
    ("trace.trace_id",): "Honeycomb's JSON",
    ("common", "spans"): "New Relic's JSON",
    ("Traces",): "AWS X-Ray's JSON",
    ("trace_id", "id", "start_time"): "AWS X-Ray's JSON",
    ("projectId", "traceId", "spans"): "Google Cloud Trace's JSON",
    ("tables",): "an answer of Azure Monitor",
    ("results",): "an answer of Grafana's: download the trace instead",
    ("event_id", "contexts"): "an event of Sentry's",
    ("topic", "value"): "records of Kafka",
    ("observations", "scores"): "Langfuse's JSON",
    ("data", "total", "limit", "offset"): "an answer of Jaeger's that has no traces, as its list of services",
    ("status", "errorType"): "the answer of a server that could not do what it was asked for",
    ("status", "data"): "an answer of Prometheus or Loki",
    ("level", "msg"): "a log",
    ("level", "message"): "a log",
    ("severity", "message"): "a log",
    ("levelname", "message"): "a log",
    ("@timestamp", "message"): "a log",
    ("log", "stream", "time"): "a container's log",
}


def name_of_text(text: bytes) -> str | None:
    """Return what bytes that are no JSON are, if their beginning tells."""
    if text[_TAR_AT] == b"ustar":
        return "a tar archive: unpack it first"
    found = next((name for magic, name in _MAGIC.items() if text.startswith(magic)), None)
    if found is None and [bool(byte) for byte in text[:4]] in ([True, False] * 2, [False, True] * 2):
        return "text in UTF-16: convert it to UTF-8 first"
    if found is None and _CONSOLES.match(text):
        return _CONSOLE
    if found is None and _OF_COLLECTOR.match(text):
        return "what the Collector's debug exporter prints: use its file exporter"
    if found is None and _LOG.match(text):
        return "a log"
    return "a table of separated values" if found is None and _SEPARATED.match(text) else found


def described(document: Any) -> str:
    """Return what a JSON document is that is no traces: its name, or else its keys."""
    if isinstance(document, list):
        return described(document[0]) if document else "an empty array"
    if not isinstance(document, dict):
        return f"JSON's {'null' if document is None else type(document).__name__}"
    for keys, name in _OBJECTS.items():
        if all(key in document for key in keys):
            return name
    if not document:
        return "an empty object"
    shown = ", ".join(map(str, list(document)[:_SHOWN]))
    return f"an object with the keys {shown}{', ...' if len(document) > _SHOWN else ''}"
