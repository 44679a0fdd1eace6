"""ClickHouse, with the table that the OpenTelemetry Collector's exporter fills.

Source: opentelemetry-collector-contrib, `exporter/clickhouseexporter` (its `traces_table.sql`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from otel_kfs import semconv
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.batch import trimmed_batches
from otel_kfs.traces.formats import span_events
from otel_kfs.traces.formats.text_values import value_of
from otel_kfs.traces.host_identity import named_host
from otel_kfs.traces.printable import excerpt
from otel_kfs.traces.query_url import COMMON, QueryUrl
from otel_kfs.traces.span import Kind, Span
from otel_kfs.traces.store import ReadProgress, ReadWarnings, Window, valid_spans, window
from otel_kfs.traces.stores import clickhouse_sql as sql
from otel_kfs.traces.stores.clickhouse_http import ClickHouseClient

_IMAGES_AT_ONCE = 10_000  # in one part
_IDS_AT_ONCE = 500  # traces in one look-up
_DAY = 86_400_000_000_000  # ns
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_NEEDED = {
    *("Timestamp", "TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind", "ServiceName", "ResourceAttributes"),
    *("SpanAttributes", "Duration", "StatusCode", "Links.TraceId", "Links.SpanId"),
}
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,127}")
_KINDS = {kind.name.lower(): kind for kind in Kind}

# The keys of the contract.
_KEYS = sorted(
    {value for name, value in vars(semconv).items() if name.isupper() and type(value) is str and "." in value}
    | semconv.OF_OTHERS
)


def from_query(query_url: QueryUrl, progress: ReadProgress) -> ClickHouse:
    """Return the ClickHouse store of a query, `clickhouse:URL?database=otel&table=otel_traces&lookback=...`."""
    options = query_url.only("database", "table", "lookback", "start", "end", common=COMMON - {"stamps"}).single()
    return ClickHouse(
        query_url.url(),
        options.get("database", "default"),
        options.get("table", "otel_traces"),
        window(options),
        options.get("run", ""),
        progress,
        servers=query_url.options.get("server", ()),
    )


class ClickHouse:
    """The images sent in a time window, with all their spans."""

    def __init__(
        self,
        url: str,
        database: str,
        table: str,
        window: Window,
        run: str = "",
        progress: ReadProgress | None = None,
        *,
        servers: Sequence[str] = (),
        at_once: int = _IMAGES_AT_ONCE,
    ) -> None:
        """`url` is that of the HTTP interface; `run`: only the images of that run, and traces that link to them.

        `servers`: services that are model servers, because the user says so.

        Raises:
            TraceQueryError: database or table are no names, or the credentials in the environment can't be sent.
        """
        for what, name in (("database", database), ("table", table)):
            if _NAME.fullmatch(name) is None:
                raise TraceQueryError(
                    f"{what}={excerpt(name, 40)} is not a name in ClickHouse: use letters, digits and _"
                )
        self._http = ClickHouseClient(url)
        self._table = f"{database}.{table}"
        self._progress = progress or ReadProgress()
        self._at_once = at_once
        self._parameters: dict[str, str | int | Sequence[str]] = {
            "database": database,
            "table": table,
            # A day is added at both ends, within what DateTime64 can hold.
            "from": max(_DAY, _nanoseconds(window.start)),
            "to": min(2**63 - 1 - _DAY, _nanoseconds(window.end)),
            "run": run,
            "keys": _KEYS,
            "servers": list(servers),
        }

    def spans(self) -> Iterator[Span]:
        """Yield all spans of the images' traces."""
        self._check()
        yield from self._part(1, 0)

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """Yield the spans of the given traces that lie within a day of the window."""
        hexadecimal = [one for one in ids if re.fullmatch("[0-9a-f]{32}", one)]
        for first in range(0, len(hexadecimal), _IDS_AT_ONCE):
            yield from self._spans(sql.SPANS_OF, ids=hexadecimal[first : first + _IDS_AT_ONCE])

    def link(self, trace_id: str) -> str | None:  # noqa: ARG002 - the protocol's
        """Return None: ClickHouse has no page for a trace."""
        return None

    def parts(self) -> list[Callable[[], Iterator[list[Span]]]]:
        """Return parts with a limited number of images each."""
        self._check()
        [[images]] = self._http.rows(sql.COUNT, self._parameters)
        parts = -(-int(images) // self._at_once) or 1
        return [partial(trimmed_batches, partial(self._part, parts, part)) for part in range(parts)]

    def _part(self, parts: int, part: int) -> Iterator[Span]:
        self._progress(f"ClickHouse: reading spans, part {part + 1} of {parts}")
        yield from self._spans(sql.SPANS, parts=parts, part=part)

    def _spans(self, question: str, **parameters: int | Sequence[str]) -> Iterator[Span]:
        warnings = ReadWarnings()
        for trace_id, span in self._http.rows(question, {**self._parameters, **parameters}):
            with self._http.understood():
                found = list(valid_spans([_span(trace_id, span)], warnings, f"trace {trace_id}"))
            yield from found
        warnings.say()

    def _check(self) -> None:
        """Check that the table has the exporter's columns."""
        with self._http.understood():
            columns = {row[0]: row[1] for row in self._http.rows(sql.COLUMNS, self._parameters)}
        if missing := sorted(_NEEDED - columns.keys()):
            raise TraceQueryError(
                f"{self._table} is not a table of the Collector's ClickHouse exporter: it has no {', '.join(missing)}"
            )
        if not columns["SpanAttributes"].startswith("Map("):
            raise TraceQueryError(
                f"{self._table} has attributes of the type {excerpt(columns['SpanAttributes'], 40)}; only the "
                "exporter's Map can be read: let it write without `json: true`"
            )


def _nanoseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def _span(trace_id: str, fields: Sequence[Any]) -> Span:
    span_id, parent_id, name, kind, start, duration, service, host, failed, attributes, *others = fields
    links, linked_traces, events, times = others
    start = int(start)
    return Span(
        trace_id,
        span_id,
        parent_id or None,
        name,
        _KINDS[kind],
        start,
        (start + int(duration)) % 2**64,  # an end before the start is a duration that the exporter let overflow
        service,
        named_host(host, service),
        bool(failed),
        {key: value_of(key, text) for key, text in attributes.items()},
        tuple(links),
        tuple(linked_traces),
        span_events.wanted(zip(events, times, strict=True)),
    )
