"""Tempo's query API: a TraceQL search for trace ids, then each trace by its id.

Source: Tempo's HTTP API documentation, `/api/search` and `/api/v2/traces/<traceID>`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from functools import partial
from urllib.parse import quote

import orjson

from otel_kfs import semconv
from otel_kfs.traces.batch import trimmed_batches
from otel_kfs.traces.concurrent import concurrent_map
from otel_kfs.traces.formats import detect, otlp_protobuf
from otel_kfs.traces.query_url import QueryUrl, server_url
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import ReadProgress, ReadWarnings, Window, in_slices, window
from otel_kfs.traces.stores.store_client import StoreClient

_IMAGES = f'name = "{semconv.SEND_IMAGE}"'
# What `semconv.MODEL_ROUTE` finds, and some more, in few words: Tempo compares the whole of a text with it.
_ROUTES = (
    ".*(/v[12]/models/.+[:/](predict|explain|classify|regress|infer|generate)"
    "|/openai/v1/|/completions|/v1/(embeddings|responses|rerank)|/(predictions|explanations|wfpredict|invocations)"
    "|/generate|/Model(Stream)?Infer|PredictionService/Predict|/(Stream)?Predictions"
    r"|Runtime\W(InvokeEndpoint|InvokeModel|Converse)).*"
)
_PROTOBUF = "application/protobuf"  # a fraction of the work that JSON is, on both sides
# Tempo searches 7 days at a time (query_frontend.search.max_duration), and in whole seconds.
_LONGEST, _SHORTEST = timedelta(days=7) - timedelta(seconds=2), timedelta(seconds=1)
_NOT_THERE = "traces that Tempo found, but has no spans of (yet)"

_log = logging.getLogger(__name__)


def from_query(query_url: QueryUrl, progress: ReadProgress) -> Tempo:
    """Return the Tempo store of a query, `tempo:URL?lookback=...`."""
    options = query_url.only("q", "tenant", "lookback", "start", "end", "grafana", "datasource").single()
    traceql = options.get("q") or f"{{ {_IMAGES} }}"
    any_client = "" if {"q", "run"} & options.keys() else _any_client(query_url.options.get("server", ()))
    if "run" in options and "q" not in options:
        traceql = f"{{ {_IMAGES} && span.{semconv.RUN_ID} = {_quoted(options['run'])} }}"
    grafana = server_url("grafana", options["grafana"]) if "grafana" in options else None
    return Tempo(
        query_url.url(),
        traceql,
        window(options),
        options.get("tenant"),
        grafana,
        options.get("datasource", "tempo"),
        progress,
        otherwise=any_client,
    )


def _any_client(servers: Sequence[str]) -> str:
    """Return the TraceQL that finds the traces of requests to a model, whoever made them."""
    conditions = [
        *(f"name = {_quoted(name)}" for name in semconv.MODEL_SERVERS_SPANS),
        *(f"{key} =~ {_quoted(_ROUTES)}" for key in ("name", *(f"span.{key}" for key in semconv.ROUTE_KEYS))),
        *(f"span.{key} =~ {_quoted('|'.join(names))}" for key, names in semconv.CLIENTS_OF_MODELS.items()),
        *(f"resource.{semconv.SERVICE_NAME} = {_quoted(server)}" for server in servers),
    ]
    return f"{{ {' || '.join(conditions)} }}"


def _quoted(text: str) -> str:
    """Return a TraceQL string, which is written as in JSON."""
    return orjson.dumps(text).decode()


class Tempo:
    """The traces that a TraceQL query finds in a time window."""

    def __init__(
        self,
        url: str,
        query: str,
        window: Window,
        tenant: str | None = None,
        grafana: str | None = None,
        datasource: str = "tempo",
        progress: ReadProgress | None = None,
        *,
        otherwise: str = "",
    ) -> None:
        """`url` is the query API's, with its prefix if it has one; `datasource` is Tempo's uid in that Grafana.

        `otherwise`: what is asked where `query` finds nothing.
        """
        self._http = StoreClient("Tempo", url, {"X-Scope-OrgID": tenant} if tenant else None)
        self._query, self._otherwise, self._window = query, otherwise, window
        self._grafana, self._datasource = grafana, datasource
        self._has_warned = False
        self._progress = progress or ReadProgress()

    def spans(self) -> Iterator[Span]:
        """Yield all spans of the matching traces, and of the traces that these link to."""
        found = self._found(self._query)
        if not found and self._otherwise:
            found = self._found(self._otherwise)
            if found and not self._has_warned:  # once, however often it is asked
                self._has_warned = True
                _log.warning(
                    "%s has no `%s` span in that time, so all traces with a request to a model are read; "
                    "--traceql finds others",
                    self._http,
                    semconv.SEND_IMAGE,
                )
        linked: dict[str, None] = {}
        for span in self._look_up(found, _NOT_THERE):
            linked |= dict.fromkeys(span.part_of)
            yield span
        # A consumer may have a trace of its own, and nothing in its producer's say that it is of an image.
        yield from self._look_up([one for one in linked if one not in found], None)

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """Yield the spans of the given traces."""
        yield from self._look_up(ids, None)

    def link(self, trace_id: str) -> str | None:
        """Return the trace in Grafana's Explore, if the query names a Grafana."""
        if self._grafana is None:
            return None
        datasource = {"type": "tempo", "uid": self._datasource}
        pane = {
            "datasource": self._datasource,
            "queries": [{"refId": "A", "datasource": datasource, "queryType": "traceql", "query": trace_id}],
            "range": {
                name: str(int(time.timestamp() * 1000))
                for name, time in (("from", self._window.start), ("to", self._window.end))
            },
        }
        panes = quote(orjson.dumps({"trace": pane}).decode(), safe="")
        return f"{self._grafana}/explore?schemaVersion=1&panes={panes}"

    def parts(self) -> list[Callable[[], Iterator[list[Span]]]]:
        """Return a single part."""
        return [partial(trimmed_batches, self.spans)]

    def _found(self, query: str) -> dict[str, None]:
        """Return the ids of the traces that a query finds."""
        slices = in_slices(self._window, [partial(self._search, query)], lambda one: one[1], _LONGEST, _SHORTEST)
        return dict.fromkeys(trace_id for trace_id, _ in slices)

    def _search(self, query: str, window: Window, depth: int) -> list[tuple[str, int]]:
        """Return at most `depth` trace ids of a window, each with the trace's start time, ns."""
        self._progress(f"Tempo: searching {window}")
        answer = self._http.get(
            "/api/search",
            {
                "q": query,
                # Whole seconds: one more at the end, or the last second's traces would be missed.
                "start": int(window.start.timestamp()),
                "end": int(window.end.timestamp()) + 1,
                "limit": depth,
                "spss": 1,
            },
        )
        with self._http.understood():
            # Ids come without their leading zeros.
            return [
                (found["traceID"].rjust(32, "0"), int(found.get("startTimeUnixNano") or 0))
                for found in orjson.loads(answer.content).get("traces") or ()
            ]

    def _look_up(self, ids: Collection[str], missing: str | None) -> Iterator[Span]:
        """Yield the spans of each trace; `missing` is the warning for a trace without spans."""
        warnings = ReadWarnings()
        for number, (trace_id, trace) in enumerate(concurrent_map(lambda one: self._trace(one, warnings), ids), 1):
            self._progress(f"Tempo: {number} of {len(ids)} traces")
            if missing and not trace:
                warnings.add(missing, trace_id)
            yield from trace
        warnings.say()

    def _trace(self, trace_id: str, warnings: ReadWarnings) -> tuple[str, list[Span]]:
        where, name = f"trace {trace_id}", quote(trace_id, safe="")
        answer = self._http.get(f"/api/v2/traces/{name}", allowed=(404,), accept=_PROTOBUF)
        if answer.status == 404:
            # A Tempo without that route; the older one says 404 of a trace that it does not have.
            answer = self._http.get(f"/api/traces/{name}", allowed=(404,))
            if answer.status == 404:
                return trace_id, []
        with self._http.understood():
            if not answer.content_type.startswith(_PROTOBUF):
                return trace_id, list(detect.spans_of(orjson.loads(answer.content), warnings, where))
            found = otlp_protobuf.tempo_answer(answer.content)
            if found.partial:
                warnings.add(detect.INCOMPLETE, where, self._http.said(found.message))
            return trace_id, list(otlp_protobuf.spans_of(found.trace, warnings, where))
