"""A real ClickHouse for tests: its engine in this process (chdb), behind an HTTP listener that speaks its interface."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from msgspec.structs import replace
from traces_builder import otlp_attribute, otlp_span

from otel_kfs.traces.span import Kind, Span

ALWAYS = "start=2000-01-01T00:00:00Z&end=2100-01-01T00:00:00Z"

# The columns, types and order of the Collector's ClickHouse exporter.
TABLE = """
CREATE TABLE {name} (
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes {attributes} CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes {attributes} CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (Timestamp DateTime64(9), Name LowCardinality(String), Attributes {attributes}) CODEC(ZSTD(1)),
    Links Nested (TraceId String, SpanId String, TraceState String, Attributes {attributes}) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp), Timestamp)
"""
_CODE = re.compile(r"Code: (\d+)")


class ClickHouseServer:
    """The listener, on a free port of 127.0.0.1; with `password`, none but the user `reader` who gives it is let in."""

    def __init__(self, folder: Path) -> None:
        from chdb.session import Session

        self._session = Session(str(folder))
        self._lock = threading.Lock()
        self.password: str | None = None
        self.asked: list[tuple[str, dict[str, str]]] = []  # SQL and parameters
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sql = self.rfile.read(int(self.headers["Content-Length"])).decode()
                parameters = {
                    key.removeprefix("param_"): value
                    for key, value in parse_qsl(urlsplit(self.path).query, keep_blank_values=True)
                }
                given = self.headers.get("X-ClickHouse-User"), self.headers.get("X-ClickHouse-Key")
                if server.password is not None and given != ("reader", server.password):
                    text = f"Code: 516. DB::Exception: {given[0]}: Authentication failed. (AUTHENTICATION_FAILED)\n"
                    self.answer(403, text.encode())
                    return
                server.asked.append((sql, parameters))
                try:
                    self.answer(200, server.query(sql, parameters))
                except RuntimeError as error:
                    self.answer(404 if _code(str(error)) in {60, 81} else 500, f"{error}\n".encode())

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                if status != 200:
                    self.send_header("X-ClickHouse-Exception-Code", str(_code(body.decode())))
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for first in range(0, len(body), 1000):
                    chunk = body[first : first + 1000]
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._tables = 0

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._session.close()

    def query(self, sql: str, parameters: dict[str, str] | None = None) -> bytes:
        """The engine's answer, in the format that the SQL names."""
        with self._lock:
            try:
                return bytes(self._session.query(sql, params=parameters or {}).bytes())
            except Exception as error:
                raise RuntimeError(str(error)) from error

    def table(self, exports: Iterable[dict[str, Any]] = (), attributes: str = "") -> str:
        """The name of a new table, filled as the exporter fills it from these OTLP-JSON exports."""
        self._tables += 1
        name = f"traces_{self._tables}"
        self.query(TABLE.format(name=name, attributes=attributes or "Map(LowCardinality(String), String)"))
        rows = "\n".join(json.dumps(row) for export in exports for row in rows_of(export))
        if rows:
            self.query(f"INSERT INTO {name} FORMAT JSONEachRow\n{rows}")
        return name

    def trace_query(self, table: str, options: str = ALWAYS) -> str:
        """What `--trace-query` says for a table."""
        return f"clickhouse:{self.url}?table={table}&{options}"


def _code(text: str) -> int:
    match = _CODE.search(text)
    return int(match[1]) if match else 1001


# --- from OTLP-JSON to the exporter's rows ---


def rows_of(export: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows that the exporter makes of an export: kinds and codes in words, every attribute as text."""
    for resource in export["resourceSpans"]:
        of_resource = _attributes(resource.get("resource", {}))
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
                links = span.get("links", ())
                yield {
                    "Timestamp": f"{start // 10**9}.{start % 10**9:09}",
                    "TraceId": span["traceId"],
                    "SpanId": span["spanId"],
                    "ParentSpanId": span.get("parentSpanId", ""),
                    "SpanName": span["name"],
                    "SpanKind": Kind(span.get("kind", 0)).name.title(),
                    "ServiceName": of_resource.get("service.name", ""),
                    "ResourceAttributes": of_resource,
                    "SpanAttributes": _attributes(span),
                    "Duration": (end - start) % 2**64,
                    "StatusCode": ("Unset", "Ok", "Error")[span.get("status", {}).get("code", 0)],
                    "Links.TraceId": [link["traceId"] for link in links],
                    "Links.SpanId": [link["spanId"] for link in links],
                    "Links.TraceState": ["" for _ in links],
                    "Links.Attributes": [_attributes(link) for link in links],
                }


def _attributes(holder: dict[str, Any]) -> dict[str, str]:
    return {pair["key"]: _text(pair["value"]) for pair in holder.get("attributes", ())}


def _text(value: dict[str, Any]) -> str:
    [(kind, content)] = value.items()
    if kind == "arrayValue":
        return json.dumps([next(iter(item.values())) for item in content.get("values", ())])
    return str(content).lower() if kind == "boolValue" else str(content)


def exports_in(folder: Path) -> Iterator[dict[str, Any]]:
    """The exports in a folder's files."""
    for file in sorted(folder.glob("*.jsonl")):
        yield from map(json.loads, file.read_text().splitlines())


def otlp(drawn: Iterable[Span]) -> dict[str, Any]:
    """Drawn spans as one export, with ids as OTLP has them."""
    resources = []
    for (service, host), spans in groupby(drawn, key=lambda span: (span.service, span.host)):
        attributes = [otlp_attribute("service.name", service)] + ([otlp_attribute("host.name", host)] if host else [])
        resources.append(
            {
                "resource": {"attributes": attributes},
                "scopeSpans": [{"spans": [otlp_span(span, _id) for span in spans]}],
            }
        )
    return {"resourceSpans": resources}


def with_real_ids(span: Span) -> Span:
    """A drawn span with ids as OTLP has them."""
    return replace(
        span,
        trace_id=_id(span.trace_id, 32),
        span_id=_id(span.span_id, 16),
        parent_id=span.parent_id and _id(span.parent_id, 16),
        links=tuple(_id(link, 16) for link in span.links),
        linked_traces=tuple(_id(trace, 32) for trace in span.linked_traces),
    )


def _id(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
