"""The questions that ClickHouse is asked: which traces are images', and what their ways were made of.

All of them read the table `otel_traces` as the OpenTelemetry Collector's ClickHouse exporter makes it. Values come as
query parameters, `{name:Type}`; text that is put into the SQL itself is from here.

WAYS has the rules of `segments` once more, in SQL, for images whose traces have the shape that they have when nothing
went wrong: each span there is once, below the one it should be below, and none failed. That is a small part of the
rules and nearly all of the images. What has any other shape comes with its spans, and `segments` finds the way.
"""

# ruff: noqa: S608 - what is put together here is all from this package; values from elsewhere are parameters

from __future__ import annotations

from otel_kfs import semconv

_TABLE = "{database:Identifier}.{table:Identifier}"
# Spans of an image may lie outside the window that it was sent in: a record waits, a clock is wrong.
_IN_REACH = """Timestamp >= fromUnixTimestamp64Nano({from:Int64}) - INTERVAL 1 DAY
    AND Timestamp < fromUnixTimestamp64Nano({to:Int64}) + INTERVAL 1 DAY"""
_IN_WINDOW = "Timestamp >= fromUnixTimestamp64Nano({from:Int64}) AND Timestamp < fromUnixTimestamp64Nano({to:Int64})"
# Older exporters wrote SPAN_KIND_SERVER and STATUS_CODE_ERROR.
_KIND = "lower(replaceOne(toString(SpanKind), 'SPAN_KIND_', ''))"
_FAILED = "StatusCode IN ('Error', 'STATUS_CODE_ERROR')"

_STEPS = (semconv.RECEIVE, semconv.DECODE, semconv.PREPROCESS, semconv.PREDICT, semconv.POSTPROCESS)
_ALL_STEPS = ", ".join(f"'{name}'" for name in (*_STEPS, semconv.EXPLAIN))
_OF_AN_IMAGE = (
    f"(SpanName IN ({_ALL_STEPS}) OR ({_KIND} = 'consumer' AND startsWith(SpanName, '{semconv.process('')}')))"
)

# Which traces there are to measure. A consumer's own trace belongs to the images that it links to; a trace with a
# bridge's or a model's spans and no image is one whose image is missing.
_WANTED = f"""
    images AS (
        SELECT TraceId FROM {_TABLE}
        WHERE SpanName = '{semconv.SEND_IMAGE}' AND {_IN_WINDOW}
            AND ({{run:String}} = '' OR SpanAttributes['{semconv.RUN_ID}'] = {{run:String}})
    ),
    ever AS (SELECT TraceId FROM {_TABLE} WHERE SpanName = '{semconv.SEND_IMAGE}' AND {_IN_REACH}),
    links AS (
        SELECT TraceId, arrayJoin(`Links.TraceId`) AS linked FROM {_TABLE}
        WHERE {_KIND} = 'consumer' AND ParentSpanId = '' AND {_IN_REACH}
    ),
    wanted AS (
        SELECT TraceId FROM images
        UNION DISTINCT
        SELECT TraceId FROM links WHERE linked IN images
        UNION DISTINCT
        SELECT TraceId FROM {_TABLE}
        WHERE {_OF_AN_IMAGE} AND {_IN_WINDOW} AND {{run:String}} = ''
            AND TraceId NOT IN ever AND TraceId NOT IN (SELECT TraceId FROM links WHERE linked IN ever)
    )"""

# A span as `clickhouse.py` makes one of it.
_SPAN = f"""(
        SpanId, ParentSpanId, toString(SpanName), {_KIND}, toUnixTimestamp64Nano(Timestamp), toUInt64(Duration),
        toString(ServiceName), ResourceAttributes['{semconv.HOST_NAME}'], toUInt8({_FAILED}),
        CAST(mapFilter((key, value) -> key IN {{keys:Array(String)}}, SpanAttributes), 'Map(String, String)'),
        `Links.SpanId`, `Links.TraceId`
    )"""

COLUMNS = f"DESCRIBE TABLE {_TABLE}"

COUNT = f"""
SELECT count() FROM {_TABLE} WHERE SpanName = '{semconv.SEND_IMAGE}' AND {_IN_WINDOW}
"""

SPANS = f"""
WITH {_WANTED}
SELECT TraceId, {_SPAN} FROM {_TABLE}
WHERE {_IN_REACH} AND TraceId IN wanted
"""

SPANS_OF = f"""
SELECT TraceId, {_SPAN} FROM {_TABLE}
WHERE {_IN_REACH} AND TraceId IN {{ids:Array(String)}}
"""

# What `segments` and `hops` look for: a trace in which there is more of it than in the way has another shape.
_LOOKED_FOR = ", ".join(
    f"'{name}'"
    for name in (
        semconv.SEND_IMAGE,
        semconv.LATE_START,
        semconv.START_PROGRAM,
        semconv.ENCODE,
        *_STEPS,
        semconv.EXPLAIN,
    )
)
_HAS = "s.kind IN ('server', 'client', 'producer', 'consumer') OR s.name IN (" + _LOOKED_FOR + ")"


def _below(above: str, what: str) -> str:
    """The first span directly below another; without one, a span whose id is empty."""
    # Not `{above}.id`: ClickHouse would copy all of that span for each one that is looked at.
    return f"arrayFirst(s -> s.parent = {above}_id AND {what}, spans)"


def _steps(server: str, prefix: str) -> str:
    """A model server's steps, each named after itself."""
    return ",\n        ".join(f"{_below(server, f's.name = {step!r}')} AS {prefix}{step}" for step in _STEPS)


def _to(*points: tuple[str, str, str]) -> str:
    """Points on the way: what the time before each is called, and the span and its edge that it is."""
    return "[" + ",\n            ".join(f"({name}, {span}.{edge}, {span}.host)" for name, span, edge in points) + "]"


def _served(role: str, prefix: str) -> list[tuple[str, str, str]]:
    """Points from the arrival of a request to the end of its preprocessing."""
    return [
        (f"{role} || ' request'", f"{prefix}receive", "start"),
        (f"{role} || ' receive'", f"{prefix}receive", "end"),
        (role, f"{prefix}decode", "start"),
        (f"{role} || ' decode'", f"{prefix}decode", "end"),
        (role, f"{prefix}preprocess", "start"),
        (f"{role} || ' preprocess'", f"{prefix}preprocess", "end"),
    ]


def _answered(role: str, prefix: str, asker: str) -> list[tuple[str, str, str]]:
    """Points from the end of the model to the end of the request."""
    return [
        (role, f"{prefix}postprocess", "start"),
        (f"{role} || ' postprocess'", f"{prefix}postprocess", "end"),
        (f"{role} || ' response'", asker, "end"),
    ]


def _model(role: str, prefix: str) -> list[tuple[str, str, str]]:
    return [(role, f"{prefix}predict", "start"), (f"{role} || ' predict'", f"{prefix}predict", "end")]


def _served_next() -> list[tuple[str, str, str]]:
    """Points from the first server's request to the second, to the end of the first one's model."""
    name, prefix = "next_role", "next_"
    through = [*_served(name, prefix), *_model(name, prefix), *_answered(name, prefix, "hop")]
    return [*through, ("role", "predict", "end")]


# One row a trace. It is read from within outwards: the spans of each trace; those that the way leads past, by their
# kinship; the points of the way; and what of all that is handed over.
WAYS = f"""
WITH {_WANTED},
traces AS (
    SELECT
        TraceId,
        groupArray(CAST(
            (SpanId, ParentSpanId, SpanName, {_KIND}, ResourceAttributes['{semconv.HOST_NAME}'], {_FAILED},
             SpanAttributes['{semconv.ROLE}'], toUnixTimestamp64Nano(Timestamp),
             toInt64(toUnixTimestamp64Nano(Timestamp) + Duration)),
            'Tuple(id String, parent String, name String, kind String, host String, failed Bool, role String,
                   start Int64, end Int64)'
        )) AS spans,
        groupArray({_SPAN}) AS whole_spans,
        countIf(SpanName = '{semconv.SEND_IMAGE}') AS images_in_it,
        anyIf(SpanAttributes, SpanName = '{semconv.SEND_IMAGE}') AS image,
        countIf(mapContains(SpanAttributes, '{semconv.ACKNOWLEDGED}')
            OR SpanAttributes['{semconv.DELIVERY_ATTEMPT}'] NOT IN ('', '1')) AS odd_deliveries,
        min(toUnixTimestamp64Nano(Timestamp)) AS first,
        max(Duration) AS longest
    FROM {_TABLE}
    WHERE {_IN_REACH} AND TraceId IN wanted AND cityHash64(TraceId) % {{parts:UInt32}} = {{part:UInt32}}
    GROUP BY TraceId
),
-- Each of these steps adds columns: within one, ClickHouse would write out a name's meaning wherever the name occurs.
rooted AS (SELECT *, arrayFirst(s -> s.name = '{semconv.SEND_IMAGE}', spans) AS root, root.id AS root_id FROM traces),
sent AS (SELECT *, {_below("root", f"s.name = '{semconv.ENCODE}'")} AS encode,
    {_below("root", "s.kind = 'producer'")} AS producer,
    producer.id AS producer_id, producer_id != '' AS by_kafka FROM rooted),
taken AS (SELECT *, {_below("producer", "s.kind = 'consumer'")} AS process FROM sent),
asking AS (SELECT *, if(by_kafka, process, root) AS asker, asker.id AS asker_id FROM taken),
asked AS (SELECT *, {_below("asker", "s.kind = 'client'")} AS request, request.id AS request_id FROM asking),
reached AS (SELECT *, {_below("request", "s.kind = 'server'")} AS server, server.id AS server_id FROM asked),
served AS (SELECT *,
        {_steps("server", "")},
        predict.id AS predict_id
    FROM reached),
hopped AS (SELECT *, [{", ".join(_STEPS)}] AS steps,
    {_below("predict", "s.kind = 'client'")} AS hop,
    hop.id AS hop_id, hop_id != '' AS has_hop FROM served),
reached_next AS (SELECT *, {_below("hop", "s.kind = 'server'")} AS next_server, next_server.id AS next_server_id
    FROM hopped),
served_next AS (SELECT *,
        {_steps("next_server", "next_")}
    FROM reached_next),
found AS (
    SELECT
        *,
        if(has_hop, [{", ".join(f"next_{step}" for step in _STEPS)}], []) AS next_steps,
        arrayDistinct(arrayFilter(role -> role != '', steps.role)) AS roles,
        arrayDistinct(arrayFilter(role -> role != '', next_steps.role)) AS next_roles
    FROM served_next
),
named AS (
    SELECT
        *,
        arrayConcat([root, encode], if(by_kafka, [producer, process], []), [request, server], steps,
            if(has_hop, [hop, next_server], []), next_steps) AS way,
        if(empty(roles), '{semconv.TRANSFORMER}', roles[1]) AS role,
        if(empty(next_roles), '{semconv.PREDICTOR}', next_roles[1]) AS next_role,
        TraceId IN (SELECT TraceId FROM links) OR TraceId IN (SELECT linked FROM links) AS is_linked,
        -- The acknowledgement can reach the producer after the consumer has the record.
        if(producer.host = process.host, least(producer.end, process.start), producer.end) AS acknowledged
    FROM found
),
judged AS (
    SELECT
        *,
        NOT is_linked
            AND images_in_it = 1
            AND NOT has(spans.id, root.parent)
            AND NOT mapContains(image, '{semconv.PROCESS_EXECUTABLE_NAME}')
            AND image['{semconv.WARMUP}'] IN ('', 'false')
            AND NOT (by_kafka AND (image['{semconv.TRANSPORT}'] = '{semconv.HTTP}' OR odd_deliveries > 0))
            AND NOT arrayExists(s -> s.id = '' OR s.failed, way)
            AND length(arrayDistinct(spans.id)) = length(spans)
            AND length(arrayDistinct(way.id)) = length(way)
            AND arrayCount(s -> {_HAS}, spans) = length(way)
            AND arrayAll(s -> s.kind = 'internal', arrayConcat([encode], steps, next_steps))
            AND length(roles) <= 1 AND length(next_roles) <= 1 AND NOT (has_hop AND role = next_role)
            AND NOT match(request.name, '^(PUT|GET|HEAD|S3[.])') AND NOT match(hop.name, '^(PUT|GET|HEAD|S3[.])')
            AND first >= 0 AND longest < toUInt64(1e18)
            AS has_known_shape,
        arrayConcat(
            {_to(("'client'", "encode", "start"), ("'encode'", "encode", "end"))},
            if(by_kafka,
                [('client', producer.start, producer.host), ('deliver', acknowledged, producer.host),
                 ('broker', process.start, process.host), ('bridge', request.start, request.host)],
                [('client', request.start, request.host)]),
            {_to(*_served("role", ""))},
            if(has_hop,
                {_to(("role", "predict", "start"), ("role || ' serialise'", "hop", "start"))},
                {_to(*_model("role", ""))}),
            if(has_hop,
                {_to(*_served_next())},
                []),
            {_to(*_answered("role", "", "request"))},
            {_to(("if(by_kafka, 'bridge', 'client')", "asker", "end"))}
        ) AS points,
        -- What certainly came before what, where that was on two hosts.
        arrayFilter(b -> b.1 != b.3, arrayConcat(
            if(by_kafka, [(producer.host, producer.start, process.host, process.start)], []),
            [(request.host, request.start, receive.host, receive.start)],
            if(has_hop,
                [(hop.host, hop.start, next_receive.host, next_receive.start),
                 (next_postprocess.host, next_postprocess.end, hop.host, hop.end)], []),
            [(postprocess.host, postprocess.end, request.host, request.end)]
        )) AS certain
    FROM named
),
edges AS (
    SELECT
        *,
        points.2 AS ends,
        points.3 AS hosts,
        arrayPopBack(arrayPushFront(points.2, root.start)) AS starts,
        arrayPopBack(arrayPushFront(points.3, root.host)) AS hosts_before
    FROM judged
),
finished AS (
    SELECT
        *,
        has_known_shape
            AND NOT arrayExists((start, end, host, other) -> host = other AND end < start,
                starts, ends, hosts, hosts_before)
            AND arraySum((start, end) -> abs(toFloat64(end) - start), starts, ends) < 9e18
            AS is_finished
    FROM edges
),
answers AS (
    SELECT
        *,
        multiIf(
            is_finished, '',
            is_linked, 'spans',
            images_in_it = 0, 'no `{semconv.SEND_IMAGE}` span',
            images_in_it = 1 AND image['{semconv.WARMUP}'] = 'true', 'warm-up',
            'spans') AS instead
    FROM finished
)
SELECT
    TraceId,
    instead,
    if(is_finished,
        [if(by_kafka, '{semconv.KAFKA}', '{semconv.HTTP}'),
         image['{semconv.IMAGE_SIZE}'], image['{semconv.PAYLOAD_SIZE}'],
         image['{semconv.ENCODING}'], image['{semconv.COMPRESSION}'],
         image['{semconv.CELL}'], image['{semconv.RUN_ID}']], []),
    if(is_finished, [root.start, receive.end, preprocess.end, asker.end], []),
    if(is_finished, points.1, []),
    if(is_finished, ends, []),
    if(is_finished AND hosts != hosts_before, arrayPushFront(hosts, root.host), []),
    if(is_finished, certain, []),
    if(instead = 'spans', whole_spans, [])
FROM answers
"""
