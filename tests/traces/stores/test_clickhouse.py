"""ClickHouse's answers, by its real engine: the same measurement as from files of the same traces."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from clickhouse_support import ALWAYS, ClickHouseServer, exports_in, otlp, with_real_ids
from traces_builder import EVENT_SOURCE, HTTP, KAFKA, STRAIGHT, linked, spans, spans_in, with_options, without

from otel_kfs import semconv
from otel_kfs.analysis import corrected_measurement
from otel_kfs.analysis.measurement import Measurement
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.analysis.pipeline import read
from otel_kfs.cli import main
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query
from otel_kfs.traces.span import Span, SpanGraph
from otel_kfs.traces.stores.clickhouse import ClickHouse

pytestmark = pytest.mark.clickhouse

DATA = Path(__file__).parents[2] / "data" / "traces"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    running = ClickHouseServer(tmp_path_factory.mktemp("clickhouse"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def saved(server: ClickHouseServer) -> str:
    """The query for a table with the saved traces."""
    return server.trace_query(server.table(exports_in(DATA)))


def measured(trace_query: str) -> Measurement:
    return read(query.open_store(trace_query), processes=1)


def names_in(drawing: str) -> list[str]:
    return [line.split("  ")[0] for line in (line.strip() for line in drawing.splitlines()) if line]


def kin(drawing: str) -> Iterator[str]:
    """A drawing, and what can become of it: each span gone, failed, or on another host."""
    yield drawing
    for name in dict.fromkeys(names_in(drawing)):
        yield with_options(drawing, name, "failed")
        yield with_options(drawing, name, "@pod")
        yield without(drawing, name)


RETRIED = HTTP.replace("    POST ", "    POST                        CLIENT    115  125  failed\n  POST ", 1)
REDELIVERED = KAFKA.replace(
    "    process images ", "    process images              CONSUMER  310  320  failed\n    process images ", 1
)
LINES = [line for line in KAFKA.splitlines() if line.strip()]
SENT = with_options("\n".join(LINES[:3]), "send images", "id=sent")
BRIDGE = with_options("\n".join(line[4:] for line in LINES[3:]), "process images", "links=sender/sent")
PROXIED = HTTP.replace(
    "    POST /v1/models             SERVER    200  970",
    "    ingress                     SERVER    140  985  @ service=istio-ingressgateway\n"
    "     POST /v1/models            SERVER    200  970  @host service=service",
    1,
)
STORED = HTTP.replace("  POST ", "  PUT                           CLIENT    112  120\n  POST ", 1)
DRAWINGS: list[str] = [
    *(one for drawing in (HTTP, KAFKA, STRAIGHT, EVENT_SOURCE) for one in kin(drawing)),
    *(RETRIED, REDELIVERED, PROXIED, STORED),
    with_options(HTTP, "send image", "warmup"),
    with_options(KAFKA, "process images", "attempt=3"),
    with_options(KAFKA, "process images", "group=g"),
    with_options(KAFKA, "send image", "@"),
    with_options(KAFKA, "send image", "run=one"),
    # A predictor that is not traced.
    "\n".join(line for line in HTTP.splitlines() if not line.startswith("          ")),
    # No sender, or only a part of what comes after it.
    HTTP[HTTP.index("  POST") :],
    "process images  CONSUMER  330  1000\n  POST  CLIENT  350  990",
    "POST /v1/models  SERVER  200  970\n  predict  INTERNAL  410  940",
    "poll images  CLIENT  0  9",
    # Requests to a model that only a client's span tells, and others.
    "chat llama  CLIENT  0  9  .gen_ai.operation.name=chat",
    "openai.chat  CLIENT  0  9  .llm.request.type=chat",
    "workflow  INTERNAL  0  10  .llm.request.type=chat\n  ChatOpenAI  INTERNAL  0  9  .openinference.span.kind=LLM",
    *(f"post  CLIENT  0  9  .{key}=/predictions/m" for key in semconv.ROUTE_KEYS),
    *(
        f"POST {path}  CLIENT  0  9  size=7"
        for path in ("/generate", "/generate_stream", "/generated", "/v1/embeddings")
    ),
    "POST  SERVER  0  9  .http.route=/v1/models/{name}:predict\n  POST  CLIENT  1  8",
    HTTP + HTTP.replace("1100000", "4700000"),
]


def as_files(folder: Path, exports: list[dict[str, Any]]) -> str:
    (folder / "traces.jsonl").write_text("\n".join(map(json.dumps, exports)))
    return str(folder)


def test_drawn_traces_of_every_shape_give_the_same_measurement_as_files(
    server: ClickHouseServer, tmp_path: Path
) -> None:
    drawn = [span for number, drawing in enumerate(DRAWINGS) for span in spans(drawing, f"trace{number}-")]
    exports = [otlp(drawn), otlp(spans(SENT, "sender")), otlp(spans(BRIDGE, "bridge"))]
    # The bridges of two groups, to which one image was sent that nothing is left of.
    exports += [otlp(spans(BRIDGE.replace("sender/", "lost/"), f"bridge{number}")) for number in range(2)]
    # A poll that brought the records of two other programs.
    exports += [otlp(spans("images publish  PRODUCER  0  9  id=sent", trace)) for trace in ("one", "two")]
    ask = "    POST  CLIENT  20  40  url=http://m/v2/models/m/infer"
    each = "".join(f"\n  images process  CONSUMER  15  45  links={trace}/sent\n{ask}" for trace in ("one", "two"))
    exports.append(otlp(spans(f"images receive  CONSUMER  10  12{each}", "worker")))
    trace_query = server.trace_query(server.table(exports))
    from_files = measured(as_files(tmp_path, exports))
    assert from_files.coverage.measured > 50
    assert measured(trace_query) == from_files


@pytest.mark.sketch
def test_sketches_are_the_same_as_of_files(server: ClickHouseServer, tmp_path: Path) -> None:
    exports = [otlp([span for number in range(9) for span in spans((HTTP, KAFKA)[number % 2], f"trace{number}-")])]
    arguments = ["--sketch", "--layout", "statistics", "--format", "json"]
    found = [
        CliRunner().invoke(main, ["tables", "--trace-query", trace_query, *arguments])
        for trace_query in (server.trace_query(server.table(exports)), as_files(tmp_path, exports))
    ]
    assert found[0].exit_code == 0
    assert [one.output for one in found] == [found[1].output] * 2


@pytest.mark.parametrize("format_", ["json", "csv", "md"])
def test_the_tables_of_the_saved_traces_are_those_of_the_files_to_the_byte(saved: str, format_: str) -> None:
    def printed(trace_query: str) -> str:
        command = ["-q", "tables", "--trace-query", trace_query, "--layout", "segments", "--format", format_]
        return CliRunner().invoke(main, command, catch_exceptions=False).output

    assert "transformer serialise" in printed(saved)
    assert printed(saved) == printed(str(DATA))


def test_the_spans_of_the_saved_traces_are_those_of_the_files(saved: str) -> None:
    def by_id(trace_query: str) -> list[Span]:
        return sorted(spans_in(query.open_store(trace_query).parts()), key=lambda span: span.span_id)

    from_files = by_id(str(DATA))
    images = {span.trace_id for span in from_files if span.name in {"send image", "preprocess"}}
    assert by_id(saved) == [span for span in from_files if span.trace_id in images]


def test_a_span_that_was_written_twice_counts_once(server: ClickHouseServer, tmp_path: Path) -> None:
    export = otlp(spans(HTTP))
    assert measured(server.trace_query(server.table([export, export]))) == measured(as_files(tmp_path, [export]))


def test_many_images_are_asked_for_in_parts(server: ClickHouseServer, tmp_path: Path) -> None:
    exports = [otlp(spans(drawing, f"{number}")) for number, drawing in enumerate([HTTP, KAFKA, STRAIGHT, RETRIED] * 5)]
    table = server.table(exports)
    store = query.open_store(server.trace_query(table))
    assert isinstance(store, ClickHouse)
    store._at_once = 6
    server.asked.clear()
    assert read(store, processes=1) == measured(as_files(tmp_path, exports))
    assert [asked["part"] for sql, asked in server.asked if "part" in asked] == ["0", "1", "2", "3"]


def test_an_image_belongs_to_the_window_in_which_it_was_sent(server: ClickHouseServer) -> None:
    table = server.table([otlp(spans(KAFKA)), otlp(spans(SENT, "sender")), otlp(spans(BRIDGE, "bridge"))])
    windows = [
        f"start=2020-09-13T12:2{minute}:{second}&end=2020-09-13T12:2{minute}:{end}"
        for minute, second, end in ((6, "39.000", "40.000"), (6, "40.000", "40.200"), (6, "40.200", "59.000"))
    ]
    found = [measured(server.trace_query(table, one)).coverage for one in windows]
    assert [(account.measured, account.left_out) for account in found] == [(0, {}), (2, {}), (0, {})]


def test_one_run_alone(server: ClickHouseServer) -> None:
    drawn = [spans(HTTP, "one"), spans(HTTP, "two"), spans(SENT, "sender"), spans(BRIDGE, "bridge")]
    for image, run in zip(drawn, ("it's \\ one", "two", "it's \\ one"), strict=False):
        image[0].attributes = {**image[0].attributes, "otel_kfs.run.id": run}
    drawn.append(spans(HTTP[HTTP.index("  POST") :], "orphan"))
    table = server.table(map(otlp, drawn))
    account = measured(server.trace_query(table, f"{ALWAYS}&run=it's \\ one")).coverage
    assert (account.measured, account.left_out) == (2, {})


def test_traces_are_looked_up_by_id(server: ClickHouseServer, saved: str) -> None:
    some = next(query.spans(saved)).trace_id
    store = query.open_store(saved)
    assert {span.trace_id for span in store.traces([some, "f" * 32, "') OR 1 --"])} == {some}


def test_the_other_trace_of_a_linked_image_can_be_asked_for(server: ClickHouseServer) -> None:
    store = query.open_store(server.trace_query(server.table([otlp(spans(HTTP)), otlp(linked())])))
    sender, bridge = dict.fromkeys(with_real_ids(span).trace_id for span in linked())
    assert [*read(store, processes=1).linked.values()] == [(bridge,)]
    assert critical_paths(SpanGraph(store.traces([sender, bridge])))[1].measured == 1


def test_as_many_images_as_are_expected_are_waited_for(saved: str) -> None:
    assert corrected_measurement.read(f"{saved}&expect=2&wait=1s", processes=1).coverage.measured == 2


# --- what goes wrong ---


def failure(trace_query: str) -> str:
    with pytest.raises(TraceQueryError) as raised:
        measured(trace_query)
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["x;DROP TABLE y", "a.b", "`a`", "1a", "", "a" * 200, "é"])
@pytest.mark.parametrize("what", ["table", "database"])
def test_what_is_no_name_is_refused_before_anything_is_asked(server: ClickHouseServer, what: str, name: str) -> None:
    server.asked.clear()
    assert "is not a name in ClickHouse" in failure(f"clickhouse:{server.url}?{what}={name.replace(';', '%3B')}")
    assert server.asked == []


def test_whatever_a_user_gives_stays_a_value(server: ClickHouseServer) -> None:
    table = server.table([otlp(spans(HTTP))])
    assert measured(server.trace_query(table, f"{ALWAYS}&run=' OR 1=1 --")).coverage.measured == 0
    assert not any("OR 1=1" in sql for sql, _ in server.asked)


def test_no_such_table(server: ClickHouseServer) -> None:
    message = failure(server.trace_query("nowhere"))
    assert message.startswith(f"ClickHouse at {server.url}: ")
    assert message.endswith("; database= and table= name the exporter's")


def test_no_such_database(server: ClickHouseServer) -> None:
    assert failure(server.trace_query("x", "database=nowhere")).endswith("; database= and table= name the exporter's")


def test_a_table_of_something_else(server: ClickHouseServer) -> None:
    server.query("CREATE TABLE other (Timestamp DateTime64(9), TraceId String) ENGINE = MergeTree ORDER BY TraceId")
    assert failure(server.trace_query("other")).startswith(
        "default.other is not a table of the Collector's ClickHouse exporter: it has no Duration, Links.SpanId,"
    )


def test_a_table_with_attributes_in_json(server: ClickHouseServer) -> None:
    assert failure(server.trace_query(server.table(attributes="JSON"))).endswith("without `json: true`")


def test_a_wrong_password_is_not_shown(server: ClickHouseServer, saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "password", "right")
    monkeypatch.setenv("CLICKHOUSE_USER", "reader")
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "hunter2")
    message = failure(saved)
    assert "does not take the user or password: put them into CLICKHOUSE_USER and CLICKHOUSE_PASSWORD" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "environment",
    [
        {"CLICKHOUSE_USER": "reader", "CLICKHOUSE_PASSWORD": "right"},
        {"OTEL_KFS_TRACE_STORE_HEADERS": "X-ClickHouse-User=reader,X-ClickHouse-Key=right", "CLICKHOUSE_USER": "other"},
    ],
)
def test_credentials_come_from_the_environment(
    server: ClickHouseServer, saved: str, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    monkeypatch.setattr(server, "password", "right")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert measured(saved).coverage.measured == 2


def test_nobody_there() -> None:
    assert failure("clickhouse:http://127.0.0.1:1") == (
        "can't reach ClickHouse at http://127.0.0.1:1: nothing answers there; check the URL"
    )


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes, int], str]]:
    """Starts a server that answers every POST so; returns the query for it."""
    servers: list[HTTPServer] = []

    def start(status: int, body: bytes, length: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"clickhouse:http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>hello</html>", "did not answer with rows: <html>hello</html>"),
        (400, b"Port 9000 is for clickhouse-client program", "as http://127.0.0.1:8123?"),
        (302, b"", "answered 302"),
        (200, b'["a","b"]\nCode: 241. DB::Exception: Memory limit exceeded', "exceeded; ask for a shorter window"),
        (200, b'["a","b"]\n["b"', "did not answer with rows"),
        (200, b"[1]\n", "did not answer with traces"),
    ],
)
def test_an_answer_that_is_none(
    answering: Callable[[int, bytes, int], str], status: int, body: bytes, said: str
) -> None:
    assert said in failure(answering(status, body, len(body)))


def test_credentials_that_are_sent_back_are_not_shown(
    answering: Callable[[int, bytes, int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKHOUSE_USER", "reader")
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "hunter2")
    for body, said in (
        (
            b"bad header X-ClickHouse-Key: hunter2 of reader",
            "answered 400: bad header X-ClickHouse-Key: REDACTED of reader",
        ),
        (b"Code: 36. DB::Exception: no hunter2 (version 26)", ": no REDACTED"),
        (b"Code: 36. DB::Exception: Authorization: Bearer other", ": Authorization: Bearer REDACTED"),
    ):
        assert said in failure(answering(400, body, len(body)))


def test_an_answer_that_breaks_off(answering: Callable[[int, bytes, int], str]) -> None:
    assert failure(answering(200, b'["a","b"]\n', 1000)).endswith("broke off its answer; see its log")
