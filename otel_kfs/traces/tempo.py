"""Tempo's query API: a TraceQL search for trace ids, then each trace by its id.

Source: Tempo's HTTP API documentation, `/api/search` and `/api/v2/traces/<traceID>`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import orjson

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import otlp
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import DEPTH, Http, Window, in_slices

_log = logging.getLogger(__name__)

_AT_ONCE = 8  # traces that are fetched side by side


class Tempo:
    """The traces that a TraceQL query finds in a window of time."""

    def __init__(self, url: str, query: str, window: Window, tenant: str | None = None) -> None:
        """`url` is the query API's, with its prefix if it has one."""
        self._http = Http("Tempo", url, {"X-Scope-OrgID": tenant} if tenant else None)
        self._query, self._window = query, window

    def spans(self) -> Iterator[Span]:
        """All spans of the traces that match."""
        ids = dict.fromkeys(in_slices(self._window, self._search))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for trace in pool.map(self._trace, ids):
                yield from trace

    def _search(self, window: Window) -> list[str]:
        response = self._http.get(
            "/api/search",
            {
                "q": self._query,
                # Whole seconds: one more at the end, or the last second's traces would be missed.
                "start": int(window.start.timestamp()),
                "end": int(window.end.timestamp()) + 1,
                "limit": DEPTH,
                "spss": 1,
            },
        )
        with self._http.understood():
            # Ids come without their leading zeros.
            return [found["traceID"].rjust(32, "0") for found in orjson.loads(response.content).get("traces") or ()]

    def _trace(self, trace_id: str) -> list[Span]:
        response = self._http.get(f"/api/v2/traces/{trace_id}")
        with self._http.understood():
            answer = orjson.loads(response.content)
            if answer.get("status") == "PARTIAL":
                _log.warning(
                    "Tempo has only a part of trace %s: %s", trace_id, answer.get("message", "no reason given")
                )
            trace = answer.get("trace") or {}
            if "resourceSpans" not in trace:
                raise TraceQueryError(
                    f"Tempo found trace {trace_id} but has no spans of it (yet); try again in a moment"
                )
            return list(otlp.read_export(trace))
