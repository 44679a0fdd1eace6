"""Traces as Zipkin's JSON: what OpenTelemetry's exporters make of them for Zipkin."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def zipkin_spans(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The spans of OTLP-JSON lines: resource, status and links as tags, times in whole microseconds."""
    return [
        _zipkin(span, _texts(resource["resource"].get("attributes", ())))
        for line in lines
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def _zipkin(span: dict[str, Any], resource: dict[str, str]) -> dict[str, Any]:
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    tags = {**resource, **_texts(span.get("attributes", ()))}
    for number, link in enumerate(span.get("links", ())):
        tags[f"otlp.link.{number}"] = f"{link['traceId']}|{link['spanId']}||{{}}|0"
    if span.get("status", {}).get("code") == 2:
        tags |= {"otel.status_code": "Error", "error": "true"}
    kind = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}.get(span["kind"])
    return {
        "traceId": span["traceId"],
        "id": span["spanId"],
        **({"parentId": span["parentSpanId"]} if span.get("parentSpanId") else {}),
        "name": span["name"],
        **({"kind": kind} if kind else {}),
        "timestamp": start // 1000,
        "duration": (end - start) // 1000,
        "localEndpoint": {"serviceName": resource["service.name"], "ipv4": "10.0.0.7", "port": 8080},
        "annotations": [{"timestamp": start // 1000, "value": "an event"}],
        "tags": {key: value for key, value in tags.items() if key != "service.name"},
    }


def _texts(attributes: Iterable[dict[str, Any]]) -> dict[str, str]:
    return {pair["key"]: _text(next(iter(pair["value"].values()))) for pair in attributes}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
