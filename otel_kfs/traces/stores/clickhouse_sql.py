"""SQL for ClickHouse: which traces belong to images, and the spans of these.

All of them read the table `otel_traces` as the OpenTelemetry Collector's ClickHouse exporter makes it. Values come as
query parameters, `{name:Type}`; text that is put into the SQL itself is from here.
"""

# ruff: noqa: S608 - what is put together here is all from this package; values from elsewhere are parameters

from __future__ import annotations

from otel_kfs import semconv
from otel_kfs.traces.host_identity import IDENTITY

_TABLE = "{database:Identifier}.{table:Identifier}"
# Spans of an image may lie outside the window that it was sent in: a record waits, a clock is wrong.
_IN_REACH = """Timestamp >= fromUnixTimestamp64Nano({from:Int64}) - INTERVAL 1 DAY
    AND Timestamp < fromUnixTimestamp64Nano({to:Int64}) + INTERVAL 1 DAY"""
_IN_WINDOW = "Timestamp >= fromUnixTimestamp64Nano({from:Int64}) AND Timestamp < fromUnixTimestamp64Nano({to:Int64})"
# Older exporters wrote SPAN_KIND_SERVER and STATUS_CODE_ERROR.
_KIND = "lower(replaceOne(toString(SpanKind), 'SPAN_KIND_', ''))"
_FAILED = "StatusCode IN ('Error', 'STATUS_CODE_ERROR')"

_HOST = f"""arrayFirst(name -> name != '', [{", ".join(f"ResourceAttributes['{key}']" for key in IDENTITY)}])"""

_STEPS = (semconv.RECEIVE, semconv.DECODE, semconv.PREPROCESS, semconv.PREDICT, semconv.POSTPROCESS)
_ALL_STEPS = ", ".join(f"'{name}'" for name in (*_STEPS, semconv.EXPLAIN))
# Model servers that are not ours, as `otel_kfs/analysis/paths/server_spans.py` knows them.
_OF_OTHERS = ", ".join(f"'{name}'" for name in semconv.MODEL_SERVERS_SPANS)
_CLIENTS = " OR ".join(
    f"SpanAttributes['{key}'] IN ({', '.join(map(repr, names))})" for key, names in semconv.CLIENTS_OF_MODELS.items()
)
_WHERE = ", ' ', ".join(f"SpanAttributes['{key}']" for key in semconv.ROUTE_KEYS)
_ROUTE = semconv.MODEL_ROUTE.replace("\\", "\\\\")
_OF_AN_IMAGE = (
    f"(SpanName IN ({_ALL_STEPS}) OR ({_KIND} = 'consumer' AND startsWith(SpanName, '{semconv.process('')}'))"
    f" OR SpanName IN ({_OF_OTHERS}) OR ServiceName IN {{servers:Array(String)}}"
    f" OR ({_KIND} != 'server' AND ({_CLIENTS}))"
    f" OR match(concat(SpanName, ' ', {_WHERE}), '{_ROUTE}'))"
)

# Which traces there are to measure. A consumer's own trace belongs to the images that it links to; a trace with a
# bridge's or a model's spans and no image is another program's, or one whose image is missing. It begins in the traces
# that it links to.
_WANTED = f"""
    images AS (
        SELECT TraceId FROM {_TABLE}
        WHERE SpanName = '{semconv.SEND_IMAGE}' AND {_IN_WINDOW}
            AND ({{run:String}} = '' OR SpanAttributes['{semconv.RUN_ID}'] = {{run:String}})
    ),
    ever AS (SELECT TraceId FROM {_TABLE} WHERE SpanName = '{semconv.SEND_IMAGE}' AND {_IN_REACH}),
    links AS (
        SELECT TraceId, arrayJoin(`Links.TraceId`) AS linked FROM {_TABLE}
        WHERE {_KIND} = 'consumer' AND {_IN_REACH}
    ),
    others AS (
        SELECT TraceId FROM {_TABLE}
        WHERE {_OF_AN_IMAGE} AND {_IN_WINDOW} AND {{run:String}} = ''
            AND TraceId NOT IN ever AND TraceId NOT IN (SELECT TraceId FROM links WHERE linked IN ever)
    ),
    wanted AS (
        SELECT TraceId FROM images
        UNION DISTINCT
        SELECT TraceId FROM links WHERE linked IN images
        UNION DISTINCT
        SELECT TraceId FROM others
        UNION DISTINCT
        SELECT linked FROM links WHERE TraceId IN others
    )"""

# A span as `clickhouse.py` makes one of it.
_SPAN = f"""(
        SpanId, ParentSpanId, toString(SpanName), {_KIND}, toUnixTimestamp64Nano(Timestamp), toUInt64(Duration),
        toString(ServiceName), {_HOST}, toUInt8({_FAILED}),
        CAST(mapFilter((key, value) -> key IN {{keys:Array(String)}}, SpanAttributes), 'Map(String, String)'),
        `Links.SpanId`, `Links.TraceId`, `Events.Name`, arrayMap(at -> toUnixTimestamp64Nano(at), `Events.Timestamp`)
    )"""

COLUMNS = f"DESCRIBE TABLE {_TABLE}"

COUNT = f"""
SELECT count() FROM {_TABLE} WHERE SpanName = '{semconv.SEND_IMAGE}' AND {_IN_WINDOW}
"""

# Traces by their ids' hashes: each part is read by a process of its own.
SPANS = f"""
WITH {_WANTED}
SELECT TraceId, {_SPAN} FROM {_TABLE}
WHERE {_IN_REACH} AND TraceId IN wanted AND cityHash64(TraceId) % {{parts:UInt32}} = {{part:UInt32}}
"""

SPANS_OF = f"""
SELECT TraceId, {_SPAN} FROM {_TABLE}
WHERE {_IN_REACH} AND TraceId IN {{ids:Array(String)}}
"""
