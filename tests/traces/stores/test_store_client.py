"""GETs to a store: credentials stay with it, and no answer is too long, too slow or too strange."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from support import LIMIT

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.concurrent import concurrent_map
from otel_kfs.traces.store import AnswerTooLarge
from otel_kfs.traces.stores import store_client
from otel_kfs.traces.stores.clickhouse_http import ClickHouseClient
from otel_kfs.traces.stores.store_client import StoreClient


class Server:
    """A real HTTP server on a free port; `answer` writes what it likes to a request's handler."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: send(handler, 200, b"{}")
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                try:
                    server.answer(self)
                except ConnectionError:
                    self.close_connection = True

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def chunks(handler: BaseHTTPRequestHandler, content: Iterator[bytes], **headers: str) -> None:
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for chunk in content:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    handler.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def start() -> Iterator[Callable[[], Server]]:
    running: list[Server] = []

    def start() -> Server:
        running.append(Server())
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def server(start: Callable[[], Server]) -> Server:
    return start()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_kfs.traces.stores.store_client.backoff", lambda _: 0)


def refusal(server: Server, path: str = "/x") -> str:
    with pytest.raises(TraceQueryError) as raised:
        StoreClient("Store", server.url).get(path)
    assert str(raised.value).isprintable()
    return str(raised.value)


# --- credentials ---


def test_credentials_do_not_follow_a_redirect_to_elsewhere(
    start: Callable[[], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store_client.ENV_HEADERS, "authorization=Bearer secret,x-api-key=secret")
    store, elsewhere = start(), start()
    store.answer = lambda handler: send(handler, 302, Location=f"{elsewhere.url}/login")
    message = refusal(store)
    assert message.startswith(f"Store at {store.url} sends its readers to {elsewhere.url.removeprefix('http://')}, ")
    assert "secret" not in message
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    "target",
    ["//evil.example/x", "https://127.0.0.1:1/x", "http://user@127.0.0.1/x", "file:///etc/passwd", "http://[", "\x1b"],
)
def test_a_redirect_to_a_strange_place_is_not_followed(server: Server, target: str) -> None:
    server.answer = lambda handler: send(handler, 307, Location=target)
    assert refusal(server)
    assert len(server.asked) <= 5


def test_a_redirect_within_the_store_is_followed_with_credentials(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store_client.ENV_HEADERS, "x-api-key=secret")
    server.answer = lambda handler: (
        send(handler, 301, Location="/y?a=1") if handler.path.startswith("/x") else send(handler, 200, b"found")
    )
    assert StoreClient("Store", server.url).get("/x", {"b": "2"}).content == b"found"
    assert [(path, headers["x-api-key"]) for path, headers in server.asked] == [
        ("/x?b=2", "secret"),
        ("/y?a=1", "secret"),
    ]


def test_redirects_in_a_circle_end(server: Server) -> None:
    server.answer = lambda handler: send(handler, 302, Location="/x")
    assert refusal(server) == f"Store at {server.url} redirects endlessly; check the URL"


@pytest.mark.parametrize(
    ("url", "target", "same"),
    [
        ("http://h/a", "https://h/b", True),
        ("http://h:80/a", "https://h/b", True),
        ("http://h:3200/a", "https://h/b", False),
        ("https://h/a", "http://h/a", False),
        ("http://h/a", "http://h:8080/a", False),
        ("http://h/a", "http://other/a", False),
        ("http://h/a", "http://me@h/a", False),
    ],
)
def test_a_redirect_stays_with_the_server_or_goes_to_its_https(url: str, target: str, same: bool) -> None:
    assert store_client._same_place(url, target) is same


def test_a_netrc_file_does_not_take_the_place_of_the_credentials(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv(store_client.ENV_HEADERS, "authorization=Bearer secret")
    StoreClient("Store", server.url).get("/x")
    assert server.asked[0][1]["authorization"] == "Bearer secret"


def test_credentials_in_a_file_are_read_again_when_they_are_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    file = tmp_path / "headers"
    file.write_text("# of the store\nauthorization=Bearer old, with a comma\n\nx-more=1\n")
    monkeypatch.setenv(store_client.ENV_HEADERS_FILE, str(file))
    store = StoreClient("Store", server.url)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        file.write_text("authorization=Bearer new\n")
        fresh = handler.headers["authorization"] == "Bearer new"
        send(handler, 200 if fresh else 401, b"ok")

    server.answer = answer
    assert store.get("/x").content == b"ok"
    assert [headers["authorization"] for _, headers in server.asked] == ["Bearer old, with a comma", "Bearer new"]


def test_credentials_that_stay_wrong_are_an_error_that_says_where_they_belong(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "headers").write_text("authorization=Bearer secret")
    monkeypatch.setenv(store_client.ENV_HEADERS_FILE, str(tmp_path / "headers"))
    server.answer = lambda handler: send(handler, 401)
    message = refusal(server)
    assert store_client.ENV_HEADERS in message
    assert "secret" not in message
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "value", ["authorization", "=x", "a=Bearer\x00secret", "a=s\u00e9cret", "b\nc=secret", "a b=secret"]
)
def test_a_header_that_can_not_be_sent_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, value: str, tmp_path: Any
) -> None:
    (tmp_path / "headers").write_text(value, encoding="utf-8", newline="")
    monkeypatch.setenv(store_client.ENV_HEADERS_FILE, str(tmp_path / "headers"))
    with pytest.raises(TraceQueryError) as raised:
        StoreClient("Store", "http://h")
    assert "secret" not in str(raised.value)


def test_a_tenant_can_not_bring_another_header_along() -> None:
    with pytest.raises(TraceQueryError, match="holds a header that can't be sent"):
        StoreClient("Store", "http://h", {"x-tenant": "a\r\nx-other: b"})


def test_a_credentials_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store_client.ENV_HEADERS_FILE, "/nowhere/headers")
    with pytest.raises(TraceQueryError, match="can't read /nowhere/headers, which OTEL_KFS_TRACE_STORE_HEADERS_FILE"):
        StoreClient("Store", "http://h")


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        (
            "authorization=Bearer S3CRET-1",
            "bad header Authorization: Bearer S3CRET-1",
            "bad header Authorization: REDACTED",
        ),
        ("authorization=Bearer S3CRET-1", "token S3CRET-1 has expired", "token REDACTED has expired"),
        ("authorization=Bearer S3CRET-1", "x" * 195 + "S3CRET-1", "x" * 195 + "REDAC..."),
        (
            "authorization=Basic bWU6czNjcmV0",
            "me:s3cret, whose password s3cret, bWU6czNjcmV0",
            "REDACTED, whose password REDACTED, REDACTED",
        ),
        ("x-api-key=S3CRET,x-more=1", '{"x-api-key":["S3CRET"],"n":1}', '{"x-api-key":["REDACTED"],"n":1}'),
        ("x-more=1", '{"Authorization":["Bearer other"]}', '{"Authorization":["Bearer REDACTED"]}'),
        ("x-more=1", "proxy-authorization: basic b3RoZXI=, x: y", "proxy-authorization: basic REDACTED, x: y"),
    ],
)
def test_credentials_that_a_store_sends_back_are_not_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, headers: str, body: str, said: str
) -> None:
    monkeypatch.setenv(store_client.ENV_HEADERS, headers)
    server.answer = lambda handler: send(handler, 400, body.encode())
    assert refusal(server) == f"Store at {server.url} answered 400 to /x: {said}"


# --- answers ---


def endless(server: Server, chunk: bytes) -> Iterator[bytes]:
    while not server.closing.is_set():
        yield chunk


def test_an_answer_without_an_end_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_client, "LARGEST", 2**20)
    server.answer = lambda handler: chunks(handler, endless(server, b"x" * 2**16))
    with pytest.raises(AnswerTooLarge, match="answered with more than 1 MiB at once; ask for a shorter window"):
        StoreClient("Store", server.url).get("/x")


@pytest.mark.parametrize("where", ["body", "headers", "status line", "nothing"])
def test_an_answer_that_comes_byte_by_byte_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(store_client, "_WHOLE", 0.3)

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(
            {
                "body": b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
                "headers": b"HTTP/1.1 200 OK\r\nX-Long: ",
                "status line": b"HTTP/1.1 ",
                "nothing": b"",
            }[where]
        )
        while not server.closing.wait(0.02):
            if where != "nothing":
                handler.wfile.write(b"1")

    server.answer = trickle
    assert refusal(server) == f"can't reach Store at {server.url}: no answer in time; check the URL"


def test_a_compressed_bomb_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_client, "LARGEST", 2**20)
    server.answer = lambda handler: send(handler, 200, gzip.compress(b" " * 2**26), Content_Encoding="gzip")
    with pytest.raises(AnswerTooLarge):
        StoreClient("Store", server.url).get("/x")


def test_a_compressed_answer_is_read(server: Server) -> None:
    server.answer = lambda handler: send(handler, 200, gzip.compress(b"found"), Content_Encoding="gzip")
    assert StoreClient("Store", server.url).get("/x").content == b"found"


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 302 Found\r\n\r\n",
        b"",
    ],
)
def test_an_answer_that_is_no_http_is_one_line(server: Server, raw: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(raw)
        handler.close_connection = True

    server.answer = answer
    assert refusal(server).startswith(
        (
            f"can't reach Store at {server.url}: ",
            f"Store at {server.url} answered 302",
            f"Store at {server.url} broke off its answer",
        )
    )


def test_what_a_store_says_can_not_move_the_cursor(server: Server) -> None:
    server.answer = lambda handler: send(handler, 400, b"\x1b[2J\r\n<b>bad</b>\x00" + b"x" * 5000)
    message = refusal(server)
    assert message.startswith(f"Store at {server.url} answered 400 to /x: [2J <b>bad</b> xxx")
    assert len(message) < 400


def test_a_store_that_wants_us_to_come_back_in_a_year_is_asked_sooner(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("otel_kfs.traces.stores.store_client.time.sleep", slept.append)
    answers = iter([429, 200])
    server.answer = lambda handler: send(handler, next(answers), b"ok", Retry_After="31536000")
    assert StoreClient("Store", server.url).get("/x").content == b"ok"
    assert slept == [store_client._LONGEST_WAIT]


def test_a_store_that_stays_busy_is_said_so(server: Server) -> None:
    server.answer = lambda handler: send(handler, 503)
    assert refusal(server) == f"Store at {server.url} is too busy to answer; try again later"
    assert len(server.asked) == 5


def broken_off(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
    handler.close_connection = True


def answer_in_turn(server: Server, *answers: Callable[[BaseHTTPRequestHandler], None]) -> None:
    rest = iter(answers)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        next(rest)(handler)

    server.answer = answer


def test_an_answer_that_breaks_off_is_asked_for_again(server: Server) -> None:
    answer_in_turn(server, broken_off, broken_off, lambda handler: send(handler, 200, b"whole"))
    assert StoreClient("Store", server.url).get("/x").content == b"whole"
    assert len(server.asked) == 3


def test_one_that_always_breaks_off_is_given_up(server: Server) -> None:
    server.answer = broken_off
    assert refusal(server) == f"Store at {server.url} broke off its answer; see its log"
    assert len(server.asked) == 5


# --- the same for ClickHouse's POSTs ---


def rows(server: Server) -> list[list[Any]]:
    return list(ClickHouseClient(server.url).rows("SELECT 1", {}))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_clickhouse_is_asked_again(server: Server, status: int) -> None:
    answers = iter([status, status, 200])
    server.answer = lambda handler: send(handler, next(answers), b"[1]\n")
    assert rows(server) == [[1]]
    assert len(server.asked) == 3


def test_a_clickhouse_that_stays_busy_is_said_so(server: Server) -> None:
    server.answer = lambda handler: send(handler, 503)
    with pytest.raises(TraceQueryError) as raised:
        rows(server)
    assert str(raised.value) == f"ClickHouse at {server.url} is too busy to answer; try again later"
    assert len(server.asked) == 5


@pytest.mark.parametrize("status", [401, 403])
def test_clickhouse_s_credentials_in_a_file_are_read_again_when_they_are_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, status: int
) -> None:
    file = tmp_path / "headers"
    file.write_text("X-ClickHouse-Key=old")
    monkeypatch.setenv(store_client.ENV_HEADERS_FILE, str(file))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        file.write_text("X-ClickHouse-Key=new")
        send(handler, 200 if handler.headers["X-ClickHouse-Key"] == "new" else status, b"[1]\n")

    server.answer = answer
    assert rows(server) == [[1]]
    assert [headers["x-clickhouse-key"] for _, headers in server.asked] == ["old", "new"]


# --- the log ---


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [re.sub(r"[0-9.]+ s$", "- s", record.getMessage()) for record in caplog.records]


def test_each_request_and_each_retry_is_logged_without_secrets(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(store_client.ENV_HEADERS, "authorization=Bearer S3CRET")
    caplog.set_level("INFO")
    answer_in_turn(server, lambda handler: send(handler, 503), broken_off, lambda handler: send(handler, 200, b"found"))
    StoreClient("Store", server.url).get("/x", {"start": "1", "end": "2", "q": "S3CRET"})
    assert logged(caplog) == [
        f"Store at {server.url}: answered 503; asked again in - s",
        f"Store at {server.url}: the connection failed; asked again in - s",
        f"GET {server.url}/x?start=1&end=2&q=REDACTED: 200, 5 bytes in - s",
    ]


def test_each_question_to_clickhouse_is_logged_with_its_window(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server.answer = lambda handler: send(handler, 200, b"[1]\n")
    sql = "SELECT Timestamp FROM t WHERE {from:Int64} < Timestamp AND {to:Int64} > Timestamp"
    assert list(ClickHouseClient(server.url).rows(sql, {"from": 1, "to": 2, "run": "r"})) == [[1]]
    assert logged(caplog) == [
        f"POST {server.url}/?param_from=1&param_to=2 {sql[:60]} ...: 200, 4 bytes in - s",
    ]


# --- side by side ---


def test_results_come_in_the_order_of_the_items() -> None:
    done = [threading.Event() for _ in range(50)]

    def work(number: int) -> int:
        if number % 2 == 0:
            assert done[number + 1].wait(LIMIT)
        done[number].set()
        return number

    assert list(concurrent_map(work, range(50))) == list(range(50))


def test_so_many_are_under_way_and_no_more() -> None:
    lock, at_once, most, together = threading.Lock(), [0], [0], threading.Barrier(3, timeout=30)

    def work(_: int) -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        together.wait()  # each is there until two others are
        with lock:
            at_once[0] -= 1

    list(concurrent_map(work, range(39), 3))
    assert most[0] == 3


def test_what_one_of_them_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(concurrent_map(lambda number: 1 // number, [1, 0, 1]))
