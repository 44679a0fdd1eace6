"""Jaeger and Tempo, answered by what real ones (2.20 and 3.0) answered for the traces in tests/data/traces."""

from __future__ import annotations

import json
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from clickhouse_support import otlp, with_real_ids
from google.protobuf import json_format
from google.protobuf.internal import encoder
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from stores_support import known
from traces_builder import linked, spans, spans_in

from otel_kfs import semconv
from otel_kfs.analysis.paths import critical_path
from otel_kfs.analysis.paths.server_spans import names_a_model
from otel_kfs.analysis.pipeline import read
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query
from otel_kfs.traces.batch import trimmed_batches
from otel_kfs.traces.span import Span, SpanGraph
from otel_kfs.traces.store import DEPTH, SEARCHES, AnswerTooLarge, Window, in_slices, window
from otel_kfs.traces.stores import tempo

DATA = Path(__file__).parents[2] / "data"
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

Answer = tuple[int, bytes]


class Store:
    """A real HTTP server on a free port; `answer` says what it does, `asked` what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.answer: Callable[[str, dict[str, str]], Answer] = lambda *_: (200, b"{}")
        self.content_type = "application/json"
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                params = dict(parse_qsl(url.query))
                headers = {key.lower(): value for key, value in self.headers.items()}
                store.asked.append((url.path, params, headers))
                status, body = store.answer(url.path, params)
                self.send_response(status)
                self.send_header("Content-Type", store.content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def replay(self, name: str, prefix: str = "") -> None:
        """Answer as the real store did; what was not asked then is not there."""
        recorded = {prefix + entry["path"]: entry for entry in json.loads((DATA / "stores" / name).read_text())}

        def answer(path: str, params: dict[str, str]) -> Answer:
            if path not in recorded:
                return 404, b"404 page not found"
            return recorded[path]["status"], json.dumps(recorded[path]["body"]).encode()

        self.answer = answer


@pytest.fixture
def store() -> Iterator[Store]:
    running = Store()
    yield running
    running.close()


def tempo_protobuf(answer: dict[str, Any]) -> bytes:
    """Tempo's answer in JSON as it is in protobuf: field 1 is the trace, which is a TracesData."""
    trace = answer["trace"]
    for resource in trace["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                span.pop("flags", None)
    data = json_format.ParseDict(trace, TracesData()).SerializeToString()
    return b"\x0a" + encoder._VarintBytes(len(data)) + data


def _paths(trace_query: str) -> list[critical_path.CriticalPath]:
    return critical_path.critical_paths(SpanGraph(query.spans(trace_query)))[0]


def from_recorded(trace_id: str) -> list[Any]:
    """The resources of Jaeger's recorded answer with one trace's spans alone."""
    resources = json.loads((DATA / "stores" / "jaeger-v3.json").read_text())[0]["body"]["result"]["resourceSpans"]
    for resource in resources:
        for scope in resource["scopeSpans"]:
            scope["spans"] = [span for span in scope["spans"] if span["traceId"] == trace_id]
    return resources


def recorded_id() -> str:
    """The id of the first trace in Jaeger's recorded answer."""
    resources = json.loads((DATA / "stores" / "jaeger-v3.json").read_text())[0]["body"]["result"]["resourceSpans"]
    return str(resources[0]["scopeSpans"][0]["spans"][0]["traceId"])


def numbered(resources: list[Any], number: int, start: datetime | None = None) -> list[Any]:
    """One span of the resources, in a trace of that number, which starts then."""
    for resource in resources:
        for scope in resource["scopeSpans"]:
            if scope["spans"]:
                span = {**scope["spans"][0], "traceId": f"{number:032x}"}
                if start is not None:
                    moment = nanoseconds(start)
                    span |= {"startTimeUnixNano": str(moment), "endTimeUnixNano": str(moment + 1)}
                return [{**resource, "scopeSpans": [{**scope, "spans": [span]}]}]
    return []


def nanoseconds(time: datetime) -> int:
    """The time since the epoch."""
    return int(time.timestamp()) * 10**9 + time.microsecond * 1000


def export(resources: list[Any]) -> bytes:
    return json.dumps({"result": {"resourceSpans": resources}}).encode()


def _spans(trace_query: str) -> list[Span]:
    return known(query.spans(trace_query))


@pytest.fixture
def from_files() -> list[Span]:
    """The spans of the images' traces, which are what the stores were asked for."""
    spans = _spans(str(DATA / "traces"))
    images = {span.trace_id for span in spans if span.name == "send image"}
    return [span for span in spans if span.trace_id in images]


@pytest.mark.parametrize(("scheme", "recorded"), [("jaeger", "jaeger-v3.json"), ("tempo", "tempo.json")])
def test_a_store_gives_the_very_spans_of_the_files(
    store: Store, from_files: list[Span], scheme: str, recorded: str
) -> None:
    store.replay(recorded)
    assert _spans(f"{scheme}:{store.url}") == from_files


def test_an_older_jaeger_gives_the_same_paths_to_two_microseconds(store: Store) -> None:
    store.replay("jaeger-older.json")
    paths = _paths(f"jaeger:{store.url}")
    from_files = _paths(str(DATA / "traces"))
    assert [path.trace_id for path in paths] == [path.trace_id for path in from_files]
    for path, expected in zip(paths, from_files, strict=True):
        for stamp, expected_stamp in zip(path.stamps, expected.stamps, strict=True):
            assert abs(stamp - expected_stamp) < 2000  # start and duration are each cut to whole ones
    assert [path for path, _, _ in store.asked] == ["/api/v3/traces", "/api/traces"]


def test_jaeger_is_asked_for_raw_traces_of_the_service_in_the_window(store: Store) -> None:
    store.replay("jaeger-v3.json", prefix="/base")
    query_text = f"jaeger:{store.url}/base?service=me&start=2026-01-31T11:00:00Z&end=2026-01-31T12:00:00Z&tenant=ours"
    assert _spans(query_text)
    path, params, headers = store.asked[0]
    assert (path, headers["x-tenant"]) == ("/base/api/v3/traces", "ours")
    assert params == {
        "query.serviceName": "me",
        "query.startTimeMin": "2026-01-31T11:00:00Z",
        "query.startTimeMax": "2026-01-31T12:00:00Z",
        "query.searchDepth": str(DEPTH),
        "query.rawTraces": "true",
        "query.service_name": "me",
        "query.start_time_min": "2026-01-31T11:00:00Z",
        "query.start_time_max": "2026-01-31T12:00:00Z",
        "query.num_traces": str(DEPTH),
        "query.raw_traces": "true",
    }


def test_jaeger_without_such_traces_gives_none(store: Store) -> None:
    store.answer = lambda *_: (404, b'{"error":{"httpCode":404,"message":"No traces found"}}')
    assert _spans(f"jaeger:{store.url}") == []


def test_several_services_are_asked_for_side_by_side(store: Store) -> None:
    # Nobody is answered until all have asked.
    services, all_asked = [f"service-{number}" for number in range(SEARCHES)], threading.Barrier(SEARCHES)

    def answer(_: str, params: dict[str, str]) -> Answer:
        all_asked.wait()
        return 200, export([])

    store.answer = answer
    assert _spans(f"jaeger:{store.url}?" + "&".join(f"service={one}" for one in services)) == []
    assert sorted(params["query.serviceName"] for _, params, _ in store.asked) == services


def test_no_more_searches_than_so_many_are_under_way(store: Store) -> None:
    lock, under_way, most = threading.Lock(), [0], [0]

    def answer(*_: object) -> Answer:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        with lock:
            under_way[0] -= 1
        return 200, export([])

    store.answer = answer
    assert _spans(f"jaeger:{store.url}?" + "&".join(f"service={number}" for number in range(30))) == []
    assert (len(store.asked), most[0] <= SEARCHES) == (30, True)


def test_a_trace_that_several_services_and_slices_have_comes_once(store: Store, from_files: list[Span]) -> None:
    ids = sorted({span.trace_id for span in from_files})
    whole, one = [export(from_recorded(trace_id)) for trace_id in ids], threading.Lock()
    asked: dict[str, int] = {}

    def answer(_: str, params: dict[str, str]) -> Answer:
        # The window is full, and each slice of it has all traces.
        service = params["query.serviceName"]
        with one:
            asked[service] = asked.get(service, 0) + 1
            if asked[service] == 1:
                return 200, b"".join(crowd)
        return 200, b"".join(whole)

    crowd = [export(numbered(from_recorded(ids[0]), number)) for number in range(DEPTH)]
    store.answer = answer
    spans = _spans(f"jaeger:{store.url}?service=image-sender&service=kafka-bridge")
    assert [span for span in spans if span.trace_id in ids] == from_files
    assert sorted(span.trace_id for span in spans if span.trace_id not in ids) == [f"{n:032x}" for n in range(DEPTH)]
    assert asked["image-sender"] == asked["kafka-bridge"] > 3


@pytest.mark.parametrize("order", ["latest first", "earliest first", "by id"])
@pytest.mark.parametrize("depth", [2, 7, 40])
def test_no_trace_is_lost_in_whichever_order_jaeger_answers(
    store: Store, monkeypatch: pytest.MonkeyPatch, order: str, depth: int
) -> None:
    monkeypatch.setattr("otel_kfs.traces.store.DEPTH", depth)
    random = Random(depth)
    # Bursts, quiet hours, and traces that begin at one moment.
    starts = [NOW + timedelta(seconds=second) for second in (*range(30), 500, 501, *([4000] * 5), 80_000)]
    kept = [(start, random.getrandbits(128) | 1) for start in starts]
    kept.sort(key=lambda one: one[1] if order == "by id" else one[0], reverse=order == "latest first")
    bodies = {number: export(numbered(from_recorded(recorded_id()), number, start)) for start, number in kept}

    def answer(_: str, params: dict[str, str]) -> Answer:
        first, last = (
            datetime.fromisoformat(params[f"query.startTime{end}"][:-1] + "+00:00") for end in ("Min", "Max")
        )
        found = [number for start, number in kept if first <= start <= last][: int(params["query.searchDepth"])]
        return 200, b"".join(bodies[number] for number in found) or export([])

    store.answer = answer
    spans = _spans(f"jaeger:{store.url}?start=2026-01-01T00:00:00Z&end=2026-12-31T00:00:00Z")
    assert sorted(span.trace_id for span in spans) == sorted(f"{number:032x}" for _, number in kept)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: b"[" + one + b"," + one + b"]",
        lambda one: one + b"\n" + one,
        lambda one: one + one,
    ],
    ids=["array", "lines", "concatenated"],
)
def test_jaegers_answer_may_be_several_objects(
    store: Store, from_files: list[Span], wrap: Callable[[bytes], bytes]
) -> None:
    body = json.dumps(json.loads((DATA / "stores" / "jaeger-v3.json").read_text())[0]["body"]).encode()
    store.answer = lambda *_: (200, wrap(body))
    assert _spans(f"jaeger:{store.url}") == sorted(from_files * 2, key=lambda span: span.span_id)
    assert len(_paths(f"jaeger:{store.url}")) == len(_paths(str(DATA / "traces")))


def test_tempo_is_asked_for_images_by_default_and_for_whole_seconds(store: Store) -> None:
    store.answer = lambda *_: (200, b'{"traces":[]}')
    _spans(f"tempo:{store.url}?start=2026-01-31T11:00:00Z&end=2026-01-31T12:00:00Z&tenant=ours")
    assert [(path, params) for path, params, _ in store.asked[:1]] == [
        (
            "/api/search",
            {
                "q": '{ name = "send image" }',
                "start": "1769857200",
                "end": "1769860801",
                "limit": str(DEPTH),
                "spss": "1",
            },
        )
    ]
    assert store.asked[0][2]["x-scope-orgid"] == "ours"


def test_where_no_image_was_sent_by_us_tempo_is_asked_for_any_request_to_a_model(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    asks_model = otlp(spans("POST  CLIENT  0  9  url=http://ts/predictions/m"))

    def answer(path: str, params: dict[str, str]) -> Answer:
        if path == "/api/search":
            is_ours = "send image" in params["q"]
            return 200, json.dumps({"traces": [] if is_ours else [{"traceID": "ab"}]}).encode()
        return 200, json.dumps({"trace": asks_model}).encode()

    store.answer = answer
    assert [span.name for span in _spans(f"tempo:{store.url}?server=bento&server=my%22own")] == ["POST"]
    assert [params["q"] for _, params, _ in store.asked if params][1].endswith(
        ' || resource.service.name = "bento" || resource.service.name = "my\\"own" }'
    )
    assert [record.getMessage() for record in caplog.records] == [
        f"Tempo at {store.url} has no `send image` span in that time, so all traces with a request to a model are read;"
        " --traceql finds others"
    ]


A_SPAN = spans("POST  CLIENT  0  9")[0]


@given(st.from_regex(semconv.MODEL_ROUTE), st.sampled_from(["", "POST ", "http://m:80"]))
def test_whatever_is_a_model_s_route_is_found_by_what_tempo_is_asked(route: str, before: str) -> None:
    text = before + route
    if names_a_model(replace(A_SPAN, name=text)) and "\n" not in text:
        assert re.fullmatch(tempo._ROUTES, text)


@pytest.mark.parametrize("scheme", ["tempo", "jaeger"])
def test_a_linked_trace_that_was_not_found_is_fetched(store: Store, scheme: str) -> None:
    drawn: dict[str, list[Span]] = {}
    for span in linked():
        drawn.setdefault(with_real_ids(span).trace_id, []).append(span)
    _, found = drawn

    def answer(path: str, _: dict[str, str]) -> Answer:
        if path == "/api/search":
            return 200, json.dumps({"traces": [{"traceID": found}]}).encode()
        asked = otlp(drawn.get(path[-32:], drawn[found]))
        return 200, json.dumps({"result" if scheme == "jaeger" else "trace": asked}).encode()

    store.answer = answer
    opened = query.open_store(f"{scheme}:{store.url}")
    assert {span.trace_id for span in opened.spans()} == drawn.keys()
    assert {span.trace_id for span in spans_in(opened.parts())} == drawn.keys()


@pytest.mark.parametrize("older", [False, True])
def test_where_no_image_was_sent_by_us_jaeger_is_asked_for_all_services_that_it_lists(
    store: Store, caplog: pytest.LogCaptureFixture, older: bool
) -> None:
    asks_model = otlp(spans("POST  CLIENT  0  9  url=http://ts/predictions/m"))
    names = ["jaeger", "image-sender", "web", "api"]

    def answer(path: str, params: dict[str, str]) -> Answer:
        if path.endswith("/services"):
            is_there = path == ("/api/services" if older else "/api/v3/services")
            return 200 if is_there else 404, json.dumps({"data" if older else "services": names}).encode()
        if params["query.serviceName"] == "image-sender":
            return 404, b'{"error":{"httpCode":404,"message":"No traces found"}}'
        return 200, json.dumps({"result": asks_model}).encode()

    store.answer = answer
    assert [span.name for span in _spans(f"jaeger:{store.url}")] == ["POST"]
    searched = [params["query.serviceName"] for _, params, _ in store.asked if params]
    assert (searched[0], sorted(searched[1:])) == ("image-sender", ["api", "web"])
    assert [record.getMessage() for record in caplog.records] == [
        f"Jaeger at {store.url} has no traces of image-sender in that time, so those of all its services are read "
        "(2: api, web); --service names one"
    ]


def test_tempos_ids_get_their_leading_zeros_back(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.answer = lambda path, _: (200, b'{"traces":[{"traceID":"abc"}]}' if "search" in path else b'{"trace":{}}')
    assert _spans(f"tempo:{store.url}") == []
    assert store.asked[1][0] == "/api/v2/traces/00000000000000000000000000000abc"
    assert [record.getMessage() for record in caplog.records] == [
        "traces that Tempo found, but has no spans of (yet): 1, 00000000000000000000000000000abc"
    ]


def test_a_tempo_without_the_newer_look_up_is_asked_for_the_older(store: Store, from_files: list[Span]) -> None:
    store.replay("tempo.json")
    recorded = store.answer

    def older(path: str, params: dict[str, str]) -> Answer:
        if path.startswith("/api/v2/"):
            return 404, b"404 page not found"
        status, body = recorded(path.replace("/api/traces/", "/api/v2/traces/"), params)
        answer = json.loads(body)
        return status, json.dumps(
            {"batches": answer["trace"]["resourceSpans"]} if "trace" in answer else answer
        ).encode()

    store.answer = older
    assert _spans(f"tempo:{store.url}") == from_files


def test_tempos_protobuf_gives_the_very_spans_of_the_files(store: Store, from_files: list[Span]) -> None:
    store.replay("tempo.json")
    recorded = store.answer

    def binary(path: str, params: dict[str, str]) -> Answer:
        status, body = recorded(path, params)
        return (status, body) if "search" in path else (status, tempo_protobuf(json.loads(body)))

    store.answer, store.content_type = binary, "application/protobuf"
    assert _spans(f"tempo:{store.url}") == from_files
    assert store.asked[1][2]["accept"] == "application/protobuf"


def test_a_part_of_a_trace_in_tempos_protobuf_is_said_so(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.content_type = "application/protobuf"
    # Fields 1 (an empty trace), 3 (PARTIAL) and 4 (a message).
    store.answer = lambda path, _: (
        200,
        b'{"traces":[{"traceID":"1"}]}' if "search" in path else b"\x0a\x00\x18\x01\x22\x07too big",
    )
    assert _spans(f"tempo:{store.url}") == []
    assert f"traces of which Tempo had only a part: 1, trace {'1'.rjust(32, '0')} (too big)" in caplog.messages


def test_a_trace_that_tempo_has_only_in_part_is_said_so(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def answer(path: str, _: dict[str, str]) -> Answer:
        if path == "/api/search":
            return 200, b'{"traces":[{"traceID":"1"}]}'
        return 200, b'{"status":"PARTIAL","message":"too big","trace":{"resourceSpans":[]}}'

    store.answer = answer
    assert _spans(f"tempo:{store.url}") == []
    assert f"traces of which Tempo had only a part: 1, trace {'1'.rjust(32, '0')} (too big)" in caplog.messages


def test_a_full_window_is_cut_until_its_slices_are_not_full() -> None:
    moments = [NOW + timedelta(seconds=number) for number in range(3 * DEPTH)]
    found = in_slices(
        Window(NOW, NOW + timedelta(days=1)),
        [lambda part, depth: [moment for moment in moments if part.start <= moment < part.end][:depth]],
        nanoseconds,
    )
    assert sorted(set(found)) == moments


def test_a_window_is_cut_around_what_was_found_in_it() -> None:
    def at(hour: float) -> datetime:
        return NOW + timedelta(hours=hour)

    found = [nanoseconds(at(hour)) for hour in (19, 18, 20)]
    slices = Window(at(0), at(24)).around(found, timedelta(seconds=1))
    assert [part.start for part in slices] == [at(hour) for hour in (22, 21, 20, 19, 18, 17, 16, 14, 10, 2, 0)]
    assert [part.end for part in slices] == [at(24), *(part.start for part in slices[:-1])]


@pytest.mark.parametrize("whole", [timedelta(milliseconds=3), timedelta(days=365)])
def test_no_slice_is_longer_than_half_of_its_window(whole: timedelta) -> None:
    random, shortest = Random(1), timedelta(milliseconds=2)
    for spread in (timedelta(), whole / 100, 2 * whole):
        for _ in range(100):
            first = NOW - whole / 2 + random.random() * 2 * whole
            slices = Window(NOW, NOW + whole).around([nanoseconds(first), nanoseconds(first + spread)], shortest)
            assert max(part.end - part.start for part in slices) <= max(whole / 2, shortest)
            assert (slices[-1].start, slices[0].end) == (NOW, NOW + whole)
            assert [part.start for part in slices[:-1]] == [part.end for part in slices[1:]]


def test_a_window_whose_answer_is_too_large_is_cut_too() -> None:
    def search(part: Window, _: int) -> list[Window]:
        if part.end - part.start > timedelta(hours=7):
            raise AnswerTooLarge("too large")
        return [part]

    found = list(in_slices(Window(NOW, NOW + timedelta(days=1)), [search], lambda part: nanoseconds(part.start)))
    assert [part.end - part.start for part in found] == [timedelta(hours=6)] * 4


def test_a_few_traces_show_where_to_cut_a_window_whose_answer_is_too_large() -> None:
    moments = [NOW + timedelta(seconds=number) for number in range(3 * DEPTH)]
    too_large: list[Window] = []

    def search(part: Window, depth: int) -> list[datetime]:
        found = [moment for moment in reversed(moments) if part.start <= moment < part.end][:depth]
        if len(found) > DEPTH // 2:
            too_large.append(part)
            raise AnswerTooLarge("too large")
        return found

    found = in_slices(Window(NOW, NOW + timedelta(days=365)), [search], nanoseconds)
    assert sorted(set(found)) == moments
    assert len(too_large) < 10


def test_a_moment_with_more_traces_than_can_be_asked_for_is_said_so(caplog: pytest.LogCaptureFixture) -> None:
    second = Window(NOW, NOW + timedelta(seconds=1))
    found = list(in_slices(second, [lambda _, depth: [1] * depth], int, shortest=timedelta(seconds=1)))
    assert len(found) > DEPTH
    assert caplog.messages == [f"more than {len(found)} traces from {second}: some are missing"]


def test_a_window_is_not_longer_than_a_store_allows() -> None:
    asked: list[Window] = []
    whole = Window(NOW - timedelta(days=20), NOW)
    list(in_slices(whole, [lambda part, _: asked.append(part) or []], int, longest=timedelta(days=7)))
    assert max(part.end - part.start for part in asked) <= timedelta(days=7)
    assert (min(part.start for part in asked), max(part.end for part in asked)) == (NOW - timedelta(days=20), NOW)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Window(NOW - timedelta(hours=1), NOW)),
        ({"lookback": "90s"}, Window(NOW - timedelta(seconds=90), NOW)),
        ({"lookback": "7d"}, Window(NOW - timedelta(days=7), NOW)),
        ({"start": "2026-01-31T10:00:00Z"}, Window(NOW - timedelta(hours=2), NOW)),
        (
            {"start": "2026-01-31T10:00:00", "end": "2026-01-31T13:00:00+02:00"},
            Window(NOW - timedelta(hours=2), NOW - timedelta(hours=1)),
        ),
    ],
)
def test_the_window_is_what_the_options_say(options: dict[str, str], expected: Window) -> None:
    assert window(options, NOW) == expected


@pytest.mark.parametrize(
    ("trace_query", "complaint"),
    [
        ("jaeger:localhost:16686", "jaeger: needs the URL of a server, as in jaeger:http://host:port?lookback=1h"),
        ("tempo:", "tempo: needs the URL of a server, as in tempo:http://host:port?lookback=1h"),
        (
            "jaeger:http://h?lookbak=1h",
            "jaeger: does not know 'lookbak' (did you mean lookback?); it takes end, expect, lookback, run, server, "
            "service, stamps, start, tenant, wait",
        ),
        ("tempo:http://h?lookback=soon", "lookback=soon is not a duration such as 30, 500ms, 30s, 5m, 1h or 7d"),
        ("tempo:http://h?start=noon", "start=noon is not a time like 2026-01-31T12:00:00Z"),
        ("tempo:http://h?q=a&q=b", "q is given 2 times; once is enough"),
        ("tempo:http://h?lookback=999999999d", "lookback=999999999d is before the year 1"),
        (
            "tempo:http://h?lookback=1h&start=2026-01-31",
            "lookback and start both say where the window begins; give one of them",
        ),
        (
            "tempo:http://h?start=0001-01-01T00:00:00%2B02:00",
            "start=0001-01-01T00:00:00+02:00 is not a time like 2026-01-31T12:00:00Z",
        ),
        ("tempo:http://h:99999", "tempo: needs the URL of a server, as in tempo:http://host:port?lookback=1h"),
        ("tempo:http://[::1", "tempo: needs the URL of a server, as in tempo:http://host:port?lookback=1h"),
        ("tempo:http://h/\x1b[31m", "tempo: needs the URL of a server, as in tempo:http://host:port?lookback=1h"),
        ("tempo:http://h?expect=many", "expect is the number of images that should be there, as in expect=40"),
        ("tempo:http://h?wait=9s", "wait needs expect: how many images there should be"),
        (
            "jaeger:http://me:secret@h",
            "jaeger: leave user and password out of the URL; OTEL_KFS_TRACE_STORE_HEADERS takes credentials, e.g. "
            "'authorization=Basic ...'",
        ),
        (
            "tempo:http://h?grafana=http://me:secret@g",
            "grafana: leave user and password out of the URL; OTEL_KFS_TRACE_STORE_HEADERS takes credentials, e.g. "
            "'authorization=Basic ...'",
        ),
        (
            "jaeger:http://h?start=2026-01-31T12:00:00Z&end=2026-01-31T11:00:00Z",
            "the window from 2026-01-31T12:00:00+00:00 to 2026-01-31T11:00:00+00:00 is empty",
        ),
    ],
)
def test_a_query_that_cannot_be_understood_is_one_line(trace_query: str, complaint: str) -> None:
    with pytest.raises(TraceQueryError) as caught:
        query.open_store(trace_query)
    assert str(caught.value) == complaint


def test_a_store_that_is_not_there_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.close()
    monkeypatch.setattr("otel_kfs.traces.stores.store_client.backoff", lambda _: 0)
    with pytest.raises(TraceQueryError) as caught:
        _spans(f"jaeger:{store.url}")
    assert str(caught.value) == f"can't reach Jaeger at {store.url}: nothing answers there; check the URL"


def test_a_jaeger_that_answers_with_its_page_where_it_has_no_v3_is_asked_for_the_older(store: Store) -> None:
    store.replay("jaeger-older.json")
    recorded = store.answer
    store.answer = lambda path, params: (200, b"<!doctype html>") if "v3" in path else recorded(path, params)
    assert len(_paths(f"jaeger:{store.url}")) == 2


def test_jaeger_gives_single_traces_by_their_ids(store: Store, from_files: list[Span]) -> None:
    ids = sorted({span.trace_id for span in from_files})[:2]
    bodies = {one: export(from_recorded(one)) for one in ids}
    store.answer = lambda path, _: (
        (200, bodies[path[-32:]]) if path[-32:] in bodies else (404, b'{"error":{"message":"No traces found"}}')
    )
    opened = query.open_store(f"jaeger:{store.url}")
    found = known(opened.traces([*ids, "f" * 32]))
    assert found == [span for span in from_files if span.trace_id in ids]
    assert store.asked[0][1] == {"rawTraces": "true", "raw_traces": "true"}


def test_tempo_gives_single_traces_by_their_ids(store: Store, from_files: list[Span]) -> None:
    store.replay("tempo.json")
    one = from_files[0].trace_id
    found = known(query.open_store(f"tempo:{store.url}").traces([one]))
    assert found == [span for span in from_files if span.trace_id == one]
    assert [path for path, _, _ in store.asked] == [f"/api/v2/traces/{one}"]


@pytest.mark.parametrize("scheme", ["jaeger", "tempo"])
def test_the_other_trace_of_a_linked_image_can_be_asked_for(store: Store, scheme: str) -> None:
    drawn: dict[str, list[Span]] = {}
    for span in linked():
        drawn.setdefault(with_real_ids(span).trace_id, []).append(span)

    def answer(path: str, _: dict[str, str]) -> Answer:
        if path == "/api/search":
            return 200, json.dumps({"traces": [{"traceID": one} for one in drawn]}).encode()
        asked = drawn[path[-32:]] if path[-32:] in drawn else linked()
        return 200, json.dumps({"result" if scheme == "jaeger" else "trace": otlp(asked)}).encode()

    store.answer = answer
    opened = query.open_store(f"{scheme}:{store.url}")
    sender, bridge = drawn
    assert [*read(opened, processes=1).linked.values()] == [(bridge,)]
    assert critical_path.critical_paths(SpanGraph(opened.traces([sender, bridge])))[1].measured == 1


def test_a_trace_links_to_its_page() -> None:
    assert query.open_store("jaeger:http://h:1/base/").link("ab") == "http://h:1/base/trace/ab"
    assert query.open_store("tempo:http://h:1").link("ab") is None
    link = query.open_store(
        "tempo:http://h?grafana=https://g/sub&datasource=me&start=1970-01-01T00:00:01Z&end=1970-01-01T00:00:02Z"
    ).link("ab")
    url = urlsplit(str(link))
    assert (url.scheme, url.netloc, url.path) == ("https", "g", "/sub/explore")
    params = dict(parse_qsl(url.query))
    assert params.pop("schemaVersion") == "1"
    assert json.loads(params.pop("panes")) == {
        "trace": {
            "datasource": "me",
            "queries": [
                {"refId": "A", "datasource": {"type": "tempo", "uid": "me"}, "queryType": "traceql", "query": "ab"}
            ],
            "range": {"from": "1000", "to": "2000"},
        }
    }
    assert params == {}


@pytest.mark.parametrize(("scheme", "recorded"), [("jaeger", "jaeger-v3.json"), ("tempo", "tempo.json")])
def test_a_store_s_only_part_can_be_read_by_another_process(
    store: Store, from_files: list[Span], scheme: str, recorded: str
) -> None:
    store.replay(recorded)
    parts = pickle.loads(pickle.dumps(query.open_store(f"{scheme}:{store.url}", say=lambda _: None).parts()))
    assert len(parts) == 1
    assert known(spans_in(parts)) == known(spans_in([partial(trimmed_batches, lambda: from_files)]))


def test_what_is_done_is_said(store: Store) -> None:
    store.replay("tempo.json")
    said: list[str] = []
    assert list(query.open_store(f"tempo:{store.url}", said.append).spans())
    assert said[0].startswith("Tempo: searching ")
    assert said[1:] == [f"Tempo: {number} of 3 traces" for number in (1, 2, 3)]


@pytest.mark.parametrize("scheme", ["jaeger", "tempo"])
def test_a_busy_store_is_asked_again(store: Store, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_kfs.traces.stores.store_client.backoff", lambda _: 0)
    answers = iter([(503, b"busy"), (429, b"later"), (200, b"{}" if scheme == "tempo" else b'{"resourceSpans":[]}')])
    store.answer = lambda *_: next(answers)
    assert _spans(f"{scheme}:{store.url}?{'service=me' if scheme == 'jaeger' else 'q={}'}") == []
    assert len(store.asked) == 3


def test_credentials_come_from_the_environment_and_are_not_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_KFS_TRACE_STORE_HEADERS", "authorization=Bearer secret,x-more=1")
    store.answer = lambda *_: (401, b"no")
    with pytest.raises(TraceQueryError) as caught:
        _spans(f"tempo:{store.url}")
    assert store.asked[0][2]["authorization"] == "Bearer secret"
    assert "wants credentials (401)" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "body"),
    [
        *[("jaeger", body) for body in (b"<html>", b"[1]", b'{"result": 3}', b'{"resourceSpans": 1}')],
        *[("tempo", body) for body in (b"<html>", b"[1]", b'{"traces": 3}', b'{"traces": [{}]}', b"\xff")],
    ],
)
def test_an_answer_that_is_something_else_is_one_line(store: Store, scheme: str, body: bytes) -> None:
    store.answer = lambda *_: (200, body)
    with pytest.raises(TraceQueryError) as caught:
        _spans(f"{scheme}:{store.url}")
    assert "\n" not in str(caught.value)
