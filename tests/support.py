"""What tests of several rooms use: trace files read back, waiting for a thing itself, topics, a small HTTP server."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[1] / "examples" / "mobilenet"
PHOTO = EXAMPLE / "photos" / "chelsea.jpg"
CAT = 285  # ImageNet's class of the cat on that photograph

JPG = b"\xff\xd8\xff a very small picture"  # enough of a JPG for a sender


# Seconds after which what is waited for is taken to hang. A machine that does much else may be slower by ten times.
LIMIT = 180.0


def wait_until(what: str, condition: Callable[[], Any], seconds: float = LIMIT, pause: float = 0.01) -> Any:
    """What `condition` returns, once it is true; with a pause of so many seconds between two looks."""
    limit = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < limit, f"{what}: not within {seconds:g} s"
        time.sleep(pause)
    return result


def wait_for_count(what: str, counted: Callable[[], int], enough: int) -> None:
    """Wait until there are enough, for as long as they become more: how long that takes says nothing."""
    most, limit = counted(), time.monotonic() + LIMIT
    while most < enough:
        assert time.monotonic() < limit, f"{what}: {most} of {enough}, and none more for {LIMIT:g} s"
        time.sleep(0.01)
        if (now := counted()) > most:
            most, limit = now, time.monotonic() + LIMIT


_kept_ports: list[socket.socket] = []


def unserved_port() -> int:
    """A TCP port of 127.0.0.1 that refuses connections for as long as this process runs: nobody else can take it."""
    kept = socket.socket()
    kept.bind(("127.0.0.1", 0))  # and never listens
    _kept_ports.append(kept)
    port: int = kept.getsockname()[1]
    return port


# --- trace files ---


@dataclass(frozen=True)
class Written:
    """One span of a trace file."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    status: int
    attributes: dict[str, Any]
    links: tuple[str, ...] = ()  # span ids
    events: tuple[str, ...] = ()  # names


SERVER, CLIENT = 2, 3  # OTLP's numbers of span kinds
ERROR = 2  # and of a status


def read_traces(path: Path) -> list[Written]:
    """Every span of an OTLP-JSON file, or of a folder's files, in the order of their starts."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path] if path.exists() else []
    spans = []
    for file in files:
        # A line without its end is still being written.
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                spans += _spans(json.loads(line))
    return sorted(spans, key=lambda span: span.start)


def _spans(document: dict[str, Any]) -> Iterator[Written]:
    for resource in document["resourceSpans"]:
        service = _attributes(resource["resource"])["service.name"]
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                yield Written(
                    service,
                    span["name"],
                    span["kind"],
                    span["traceId"],
                    span["spanId"],
                    span.get("parentSpanId") or "",
                    int(span["startTimeUnixNano"]),
                    int(span["endTimeUnixNano"]),
                    (span.get("status") or {}).get("code", 0),
                    _attributes(span),
                    tuple(link["spanId"] for link in span.get("links", [])),
                    tuple(event["name"] for event in span.get("events", [])),
                )


def _attributes(item: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in item.get("attributes", [])}


# --- processes ---


# At the top of a script: what is lost at its end is given up after 4 s, as otherwise after 10.
SOON_GIVEN_UP = "from otel_kfs.telemetry.export import exporter; exporter.EXIT_SECONDS = 4.0\n"


def run_python(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end in the current folder."""
    with start_python(script, **env) as process:
        output, errors = process.communicate(timeout=LIMIT)
    return subprocess.CompletedProcess(script, process.returncode, output, errors)


def printed_json(script: str, **env: str) -> Any:
    """What a script prints as its last line, as JSON."""
    done = run_python(script, **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def without_ms(line: str) -> dict[str, Any]:
    """What a line of `send` says, but for the milliseconds that it took, which it must say."""
    record = json.loads(line)
    assert record.pop("ms") > 0
    return record


def start_python(script: str, **env: str) -> subprocess.Popen[str]:
    """Start a script in the current folder."""
    return start([sys.executable, "-c", script], **env)


def start(command: list[str], **env: str) -> subprocess.Popen[str]:
    """Start a command that Ctrl-C can end, even where the tests themselves run in a shell's background."""
    return subprocess.Popen(
        command,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Safe beside threads: it takes no lock.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


# --- Kafka ---


def new_topic(servers: str, partitions: int = 1, on: int | None = None, **config: str) -> str:
    """A topic that nobody else uses; on the broker with that id alone, if one is given."""
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = f"t-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": servers})
    where: dict[str, Any] = {"replication_factor": 1} if on is None else {"replica_assignment": [[on]] * partitions}
    admin.create_topics([NewTopic(topic, partitions, config=config, **where)])[topic].result(30)
    return topic


# --- HTTP ---


@dataclass(frozen=True)
class Request:
    """What the server was sent."""

    path: str
    headers: dict[str, str]
    body: bytes


class HttpServer:
    """A server on a free port of 127.0.0.1, or the one given, that remembers its requests; set what it answers."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request, BaseHTTPRequestHandler], tuple[int, bytes] | None] = lambda *_: (
            200,
            b'{"predictions": [1]}',
        )
        self.stopping = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # an answer is two writes, and the second would wait 40 ms

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.path, {key.lower(): value for key, value in self.headers.items()}, body)
                outer.requests.append(request)
                answer = outer.answer(request, self)
                if answer is not None:
                    status, content = answer
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def answers(self, status: int, content: bytes = b"") -> None:
        """From now on, answer so."""
        self.answer = lambda *_: (status, content)

    def hangs(self) -> None:
        """From now on, do not answer."""

        def hang(_: Request, handler: BaseHTTPRequestHandler) -> None:
            self.stopping.wait(60)
            handler.close_connection = True

        self.answer = hang

    @contextmanager
    def running(self) -> Iterator[HttpServer]:
        """Answer until the end of the `with`."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stopping.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@contextmanager
def closing_server() -> Iterator[str]:
    """The URL of a server that closes each connection in the middle of the request's body."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                # Closed with this, the connection is reset.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def connect_proxy(refusals: int) -> Iterator[str]:
    """The URL of an HTTP proxy that answers so many CONNECTs with 503, and opens a tunnel for those after them."""
    left = [refusals]

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while content := source.recv(65536):
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve(client: socket.socket) -> None:
        with client:
            asked = b""
            while b"\r\n\r\n" not in asked and (content := client.recv(65536)):
                asked += content
            left[0] -= 1
            if left[0] >= 0:
                client.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            host, _, port = asked.split()[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=copy, args=(server, client), daemon=True)
                back.start()
                copy(client, server)
                back.join()

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
