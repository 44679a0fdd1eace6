"""Jaeger and Tempo, answered by what real ones (2.20 and 3.0) answered for the traces in tests/data/traces."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from otel_kfs import segments
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query
from otel_kfs.traces.span import Forest, Span
from otel_kfs.traces.store import DEPTH, Window, in_slices, window

DATA = Path(__file__).parents[1] / "data"
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

Answer = tuple[int, bytes]


class Store:
    """A real HTTP server on a free port; `answer` says what it does, `asked` what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.answer: Callable[[str, dict[str, str]], Answer] = lambda *_: (200, b"{}")
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                params = dict(parse_qsl(url.query))
                headers = {key.lower(): value for key, value in self.headers.items()}
                store.asked.append((url.path, params, headers))
                status, body = store.answer(url.path, params)
                self.send_response(status)
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


def _ways(trace_query: str) -> list[segments.Journey]:
    return segments.journeys(Forest(query.spans(trace_query)))[0]


def _spans(trace_query: str) -> list[Span]:
    return sorted(query.spans(trace_query), key=lambda span: span.span_id)


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


def test_an_older_jaeger_gives_the_same_ways_to_two_microseconds(store: Store) -> None:
    store.replay("jaeger-older.json")
    ways = _ways(f"jaeger:{store.url}")
    from_files = _ways(str(DATA / "traces"))
    assert [way.trace_id for way in ways] == [way.trace_id for way in from_files]
    for way, true in zip(ways, from_files, strict=True):
        for stamp, true_stamp in zip(way.stamps, true.stamps, strict=True):
            assert abs(stamp - true_stamp) < 2000  # start and duration are each cut to whole ones
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
    }


def test_jaeger_without_such_traces_gives_none(store: Store) -> None:
    store.answer = lambda *_: (404, b'{"error":{"httpCode":404,"message":"No traces found"}}')
    assert _spans(f"jaeger:{store.url}") == []


def test_several_services_are_asked_for_one_after_the_other(store: Store) -> None:
    store.replay("jaeger-v3.json")
    _spans(f"jaeger:{store.url}?service=image-sender&service=kafka-bridge")
    assert [params["query.serviceName"] for _, params, _ in store.asked] == ["image-sender", "kafka-bridge"]


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
    assert len(_spans(f"jaeger:{store.url}")) == 2 * len(from_files)
    assert len(_ways(f"jaeger:{store.url}")) == len(_ways(str(DATA / "traces")))


def test_tempo_is_asked_for_images_by_default_and_for_whole_seconds(store: Store) -> None:
    store.answer = lambda *_: (200, b'{"traces":[]}')
    _spans(f"tempo:{store.url}?start=2026-01-31T11:00:00Z&end=2026-01-31T12:00:00Z&tenant=ours")
    assert [(path, params) for path, params, _ in store.asked] == [
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


def test_tempos_ids_get_their_leading_zeros_back(store: Store) -> None:
    store.answer = lambda *_: (200, b'{"traces":[{"traceID":"abc"}]}')
    with pytest.raises(TraceQueryError, match="00000000000000000000000000000abc"):
        _spans(f"tempo:{store.url}")
    assert store.asked[1][0] == "/api/v2/traces/00000000000000000000000000000abc"


def test_a_trace_that_tempo_has_only_in_part_is_said_so(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def answer(path: str, _: dict[str, str]) -> Answer:
        if path == "/api/search":
            return 200, b'{"traces":[{"traceID":"1"}]}'
        return 200, b'{"status":"PARTIAL","message":"too big","trace":{"resourceSpans":[]}}'

    store.answer = answer
    assert _spans(f"tempo:{store.url}") == []
    assert [record.getMessage() for record in caplog.records] == [
        f"Tempo has only a part of trace {'1'.rjust(32, '0')}: too big"
    ]


def test_a_full_window_is_cut_until_its_parts_are_not_full() -> None:
    moments = [NOW + timedelta(seconds=number) for number in range(3 * DEPTH)]
    found = in_slices(
        Window(NOW, NOW + timedelta(days=1)),
        lambda part: [moment for moment in moments if part.start <= moment < part.end][:DEPTH],
    )
    assert list(found) == moments


def test_a_window_is_not_longer_than_a_store_allows() -> None:
    asked: list[Window] = []
    list(in_slices(Window(NOW - timedelta(days=20), NOW), lambda part: asked.append(part) or []))
    assert max(part.end - part.start for part in asked) <= timedelta(days=7)
    assert (asked[0].start, asked[-1].end) == (NOW - timedelta(days=20), NOW)


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
            "jaeger: does not know 'lookbak'; it takes end, lookback, service, start, tenant",
        ),
        ("tempo:http://h?lookback=soon", "lookback=soon is not a time like 90s, 30m, 1h or 7d"),
        ("tempo:http://h?start=noon", "start=noon is not a time like 2026-01-31T12:00:00Z"),
        ("tempo:http://h?q=a&q=b", "q is given 2 times; once is enough"),
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
    monkeypatch.setattr("urllib3.util.retry.Retry.get_backoff_time", lambda _: 0)
    with pytest.raises(TraceQueryError) as caught:
        _spans(f"jaeger:{store.url}")
    assert str(caught.value) == f"can't reach Jaeger at {store.url}: nothing answers there; check the URL"


@pytest.mark.parametrize("scheme", ["jaeger", "tempo"])
def test_a_busy_store_is_asked_again(store: Store, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.get_backoff_time", lambda _: 0)
    answers = iter([(503, b"busy"), (429, b"later"), (200, b"{}" if scheme == "tempo" else b'{"resourceSpans":[]}')])
    store.answer = lambda *_: next(answers)
    assert _spans(f"{scheme}:{store.url}") == []
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
        *[
            ("jaeger", body)
            for body in (b"<html>", b"[1]", b'{"result": 3}', b'{"resourceSpans": [{"scopeSpans": 1}]}')
        ],
        *[("tempo", body) for body in (b"<html>", b"[1]", b'{"traces": 3}', b'{"traces": [{}]}', b"\xff")],
    ],
)
def test_an_answer_that_is_something_else_is_one_line(store: Store, scheme: str, body: bytes) -> None:
    store.answer = lambda *_: (200, body)
    with pytest.raises(TraceQueryError) as caught:
        _spans(f"{scheme}:{store.url}")
    assert "\n" not in str(caught.value)
