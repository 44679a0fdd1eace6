"""Jaeger's query API: version 3 (OTLP in JSON) where there is one, else the older `/api/traces` (microseconds).

Source: jaeger-idl's `query_service.proto` (api_v3) and Jaeger v2.20's `apiv3/http_gateway.go`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import chain
from urllib.parse import quote

import orjson

from otel_kfs import semconv
from otel_kfs.traces.batch import trimmed
from otel_kfs.traces.concurrent import concurrent_map
from otel_kfs.traces.formats import detect
from otel_kfs.traces.printable import excerpt
from otel_kfs.traces.query_url import QueryUrl
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import ReadProgress, ReadWarnings, Window, in_slices, window
from otel_kfs.traces.stores.store_client import StoreClient

_NONE = b'{"resourceSpans": []}'
_SENDER = "image-sender"  # what `otel-kfs send` calls itself, and examples do
_OWN = frozenset({"jaeger", "jaeger-all-in-one", "jaeger-collector", "jaeger-query"})  # Jaeger's services
_NOT_LISTED = (400, 403, 404, 405, 501)
_SHOWN = 8  # services in a message


def from_query(query_url: QueryUrl, progress: ReadProgress) -> Jaeger:
    """Return the Jaeger store of a query, `jaeger:URL?service=...`."""
    query_url = query_url.only("service", "tenant", "lookback", "start", "end")
    options = query_url.single()
    services = query_url.options.get("service", ())
    return Jaeger(query_url.url(), services, window(options), options.get("tenant"), options.get("run"), progress)


_log = logging.getLogger(__name__)


class Jaeger:
    """The traces of the given services in a time window."""

    def __init__(
        self,
        url: str,
        services: Sequence[str],
        window: Window,
        tenant: str | None = None,
        run: str | None = None,
        progress: ReadProgress | None = None,
    ) -> None:
        """`url` is the query service's, with its base path if it has one; `run` narrows the search where it can.

        Without `services` it is `image-sender`, and where that has no traces, all that Jaeger lists.
        """
        self._http = StoreClient("Jaeger", url, {"x-tenant": tenant} if tenant else None)
        self._url, self._services, self._window = url, services, window
        # A trace that only links to an image's has no run id: several services are asked for such traces, too.
        self._run = run if len(services) < 2 else None
        self._progress = progress or ReadProgress()
        self._has_warned = False

    def spans(self) -> Iterator[Span]:
        """Yield all spans of the traces that contain one of the services, and of the traces that these link to."""
        for trace in self._all(for_tables=False):
            yield from trace

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """Yield the spans of the given traces."""
        warnings = ReadWarnings()
        for trace in self._by_id(ids, warnings):
            yield from trace
        warnings.say()

    def _by_id(self, ids: Collection[str], warnings: ReadWarnings) -> Iterator[list[Span]]:
        """Yield those of the given traces that Jaeger has."""
        for number, trace in enumerate(concurrent_map(lambda one: self._trace(one, warnings), ids), 1):
            self._progress(f"Jaeger: {number} of {len(ids)} traces")
            if trace:
                yield trace

    def link(self, trace_id: str) -> str | None:
        """Return the trace's page in Jaeger's own UI."""
        return f"{self._url}/trace/{trace_id}"

    def parts(self) -> list[Callable[[], Iterator[list[Span]]]]:
        """Return a single part."""
        return [partial(self._all, for_tables=True)]

    def _all(self, *, for_tables: bool) -> Iterator[list[Span]]:
        """Yield the spans of each trace; `for_tables`: keep only the attributes that tables need."""
        warnings, seen = ReadWarnings(), set[str]()
        linked: dict[str, None] = {}
        for trace in self._found(warnings, for_tables=for_tables):
            # A trace counts as long as one of its spans lies in a slice, so it may come with several; and by services.
            if trace[0].trace_id not in seen:
                seen.add(trace[0].trace_id)
                linked |= dict.fromkeys(other for span in trace for other in span.part_of)
                yield trace
        # A consumer may have a trace of its own, and its producer be none of the services.
        for trace in self._by_id([one for one in linked if one not in seen], warnings):
            yield [trimmed(span) for span in trace] if for_tables else trace
        warnings.say()

    def _found(self, warnings: ReadWarnings, *, for_tables: bool) -> Iterator[list[Span]]:
        """Yield the traces found, some of them more than once."""
        found = False
        for trace in self._of_services(self._services or [_SENDER], warnings, for_tables=for_tables):
            found = True
            yield trace
        if found or self._services or not (others := self._listed()):
            return
        if not self._has_warned:  # once, however often it is asked
            self._has_warned = True
            self._say_all_are_read(others)
        yield from self._of_services(others, warnings, for_tables=for_tables)

    def _say_all_are_read(self, others: Sequence[str]) -> None:
        shown = ", ".join(map(excerpt, others[:_SHOWN])) + (", ..." if len(others) > _SHOWN else "")
        _log.warning(
            "%s has no traces of %s in that time, so those of all its services are read (%d: %s); --service names one",
            self._http,
            _SENDER,
            len(others),
            shown,
        )

    def _of_services(
        self, services: Sequence[str], warnings: ReadWarnings, *, for_tables: bool
    ) -> Iterator[list[Span]]:
        searches = [partial(self._search, service, warnings=warnings, for_tables=for_tables) for service in services]
        return in_slices(self._window, searches, _start)

    def _listed(self) -> list[str]:
        """Return the names of all services but Jaeger's own; an empty list if Jaeger does not list them."""
        answer = self._http.get("/api/v3/services", allowed=_NOT_LISTED)
        key = "services"
        if answer.status != 200 or answer.content.lstrip().startswith(b"<"):
            answer, key = self._http.get("/api/services", allowed=_NOT_LISTED), "data"
        if answer.status != 200:
            return []
        with self._http.understood():
            names = orjson.loads(answer.content).get(key) or ()
            return sorted({str(name) for name in names} - _OWN - {_SENDER})

    def _search(
        self, service: str, window: Window, depth: int, warnings: ReadWarnings, *, for_tables: bool
    ) -> list[list[Span]]:
        """Return at most `depth` traces of one window."""
        self._progress(f"Jaeger: asking for {service}, {window}")
        start, end = (time.isoformat().replace("+00:00", "Z") for time in (window.start, window.end))
        params = {
            "query.serviceName": service,
            "query.startTimeMin": start,
            "query.startTimeMax": end,
            "query.searchDepth": depth,
            # Jaeger moves spans to hide differences between clocks; those are what we measure.
            "query.rawTraces": "true",
            # The same, as Jaegers know it that have not yet heard of the names above.
            "query.service_name": service,
            "query.start_time_min": start,
            "query.start_time_max": end,
            "query.num_traces": depth,
            "query.raw_traces": "true",
        }
        if self._run is not None:
            params["query.attributes"] = orjson.dumps({semconv.RUN_ID: self._run}).decode()
        content = self._v3("/api/v3/traces", params)
        if content is None:
            content = self._search_older(service, window, depth)
        by_trace: dict[str, list[Span]] = {}
        with self._http.understood():
            for span in self._read(content, warnings, for_tables=for_tables):
                by_trace.setdefault(span.trace_id, []).append(span)
        return list(by_trace.values())

    def _search_older(self, service: str, window: Window, depth: int) -> bytes:
        params = {
            "service": service,
            "start": int(window.start.timestamp() * 1e6),
            "end": int(window.end.timestamp() * 1e6),
            "limit": depth,
            "raw": "true",
        }
        if self._run is not None:
            params["tags"] = orjson.dumps({semconv.RUN_ID: self._run}).decode()
        return self._http.get("/api/traces", params).content

    def _trace(self, trace_id: str, warnings: ReadWarnings) -> list[Span]:
        name = quote(trace_id, safe="")
        content = self._v3(f"/api/v3/traces/{name}", {"rawTraces": "true", "raw_traces": "true"})
        if content is not None:
            with self._http.understood():
                return list(self._read(content, warnings))
        answer = self._http.get(f"/api/traces/{name}", {"raw": "true"}, allowed=(404,))
        if answer.status == 404:
            return []
        with self._http.understood():
            return list(detect.spans_of(orjson.loads(answer.content), warnings, self._http))

    def _v3(self, path: str, params: dict[str, object]) -> bytes | None:
        """Return the body of the v3 API's answer; None where there is no such API."""
        answer = self._http.get(path, params, allowed=(404,))
        if answer.status == 404:
            # The same status says "no such traces", in JSON, and "no such route".
            return _NONE if b"No traces found" in answer.content else None
        # A Jaeger without that route may answer with its UI's page instead.
        return None if answer.content.lstrip().startswith(b"<") else answer.content

    def _read(self, content: bytes, warnings: ReadWarnings, *, for_tables: bool = False) -> Iterator[Span]:
        """Yield the spans of a response body: a JSON object, an array of objects, or a stream of objects."""
        if for_tables and (read := detect.read_with_types(content, warnings, self._http)) is not None:
            yield from chain.from_iterable(read[0])
            return
        for document in _documents(content):
            spans = detect.spans_of(document, warnings, self._http)
            yield from map(trimmed, spans) if for_tables else spans


def _start(trace: list[Span]) -> int:
    return min(span.start for span in trace)


def _documents(content: bytes) -> Iterator[object]:
    try:
        yield orjson.loads(content)
    except orjson.JSONDecodeError:
        yield from (document for document, _ in detect.documents(content))
