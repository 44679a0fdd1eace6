"""Jaeger's query API: version 3 (OTLP in JSON) where there is one, else the older `/api/traces` (microseconds).

Source: jaeger-idl's `query_service.proto` (api_v3), Jaeger v2.20's `apiv3/http_gateway.go`, and, for the older form,
its `model/json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from json import JSONDecoder
from typing import Any

import orjson

from otel_kfs import names
from otel_kfs.traces import otlp
from otel_kfs.traces.span import Kind, Span
from otel_kfs.traces.store import DEPTH, Http, Window, in_slices


class Jaeger:
    """The traces of some services in a window of time."""

    def __init__(self, url: str, services: Sequence[str], window: Window, tenant: str | None = None) -> None:
        """`url` is the query service's, with its base path if it has one."""
        self._http = Http("Jaeger", url, {"x-tenant": tenant} if tenant else None)
        self._services, self._window = services, window

    def spans(self) -> Iterator[Span]:
        """All spans of the traces in which one of the services takes part."""
        for service in self._services:
            traces = in_slices(self._window, lambda window, service=service: self._search(service, window))  # type: ignore[misc]
            for trace in traces:
                yield from trace

    def _search(self, service: str, window: Window) -> list[list[Span]]:
        """The traces of one window, at most DEPTH; a trace counts as long as one of its spans lies in it."""
        response = self._http.get(
            "/api/v3/traces",
            {
                "query.serviceName": service,
                "query.startTimeMin": window.start.isoformat().replace("+00:00", "Z"),
                "query.startTimeMax": window.end.isoformat().replace("+00:00", "Z"),
                "query.searchDepth": DEPTH,
                # Jaeger moves spans to hide differences between clocks; those are what we measure.
                "query.rawTraces": "true",
            },
            allowed=(404,),
        )
        if response.status_code == 404:
            # The same status says "no such traces", in JSON, and "no such route".
            return [] if "No traces found" in response.text else self._search_older(service, window)
        by_trace: dict[str, list[Span]] = {}
        with self._http.understood():
            for document in _documents(response.text):
                for span in otlp.read_export(document.get("result", document)):
                    by_trace.setdefault(span.trace_id, []).append(span)
        return list(by_trace.values())

    def _search_older(self, service: str, window: Window) -> list[list[Span]]:
        response = self._http.get(
            "/api/traces",
            {
                "service": service,
                "start": int(window.start.timestamp() * 1e6),
                "end": int(window.end.timestamp() * 1e6),
                "limit": DEPTH,
                "raw": "true",
            },
        )
        with self._http.understood():
            return [list(read_older(trace)) for trace in orjson.loads(response.content).get("data") or ()]


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a body: one, an array of them, or one after the other, as a stream sends them."""
    at, decoder = 0, JSONDecoder()
    while at < len(text):
        document, at = decoder.raw_decode(text, at)
        yield from document if isinstance(document, list) else [document]
        while at < len(text) and text[at].isspace():
            at += 1


def read_older(trace: dict[str, Any]) -> Iterator[Span]:
    """The spans of one trace in Jaeger's older JSON, whose times are whole microseconds."""
    processes = {
        key: (process.get("serviceName", ""), _tags(process.get("tags")))
        for key, process in trace.get("processes", {}).items()
    }
    for span in trace["spans"]:
        attributes = _tags(span.get("tags"))
        service, resource = processes.get(span.get("processID", ""), ("", {}))
        references = span.get("references") or ()
        parent = next(
            (r["spanID"] for r in references if r["refType"] == "CHILD_OF" and r["traceID"] == span["traceID"]), None
        )
        start = span["startTime"] * 1000
        yield Span(
            trace_id=span["traceID"].rjust(32, "0"),
            span_id=span["spanID"].rjust(16, "0"),
            parent_id=parent and parent.rjust(16, "0"),
            name=span["operationName"],
            kind=_KINDS.get(str(attributes.pop("span.kind", "")), Kind.INTERNAL),
            start=start,
            end=start + span["duration"] * 1000,
            service=service,
            host=str(resource.get(names.HOST_NAME, "")),
            failed=attributes.pop("otel.status_code", None) == "ERROR" or attributes.pop("error", None) is True,
            attributes=attributes,
            links=tuple(r["spanID"].rjust(16, "0") for r in references if r["spanID"] != parent),
        )


_KINDS = {kind.name.lower(): kind for kind in Kind}


def _tags(tags: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in tags or ()}
