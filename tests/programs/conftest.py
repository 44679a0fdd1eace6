"""What the tests of `exec` share: a real HTTP server, `otel-kfs exec` as a process, and the real Kafka."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from programs_support import EXEC

from otel_kfs.traces import query
from otel_kfs.traces.span import Span


class Server(NamedTuple):
    """A running HTTP server and what it was asked: method, path, headers, body."""

    url: str
    requests: list[tuple[str, str, dict[str, str], bytes]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer in one piece: curl -v tells the pieces

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, body))
        status = 302 if self.path == "/moved" else 503 if self.path == "/broken" else 200
        answer = b'{"answer": "\xc3\xa9"}\n' * (100_000 if self.path == "/large" else 1)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/here")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as httpd:
        httpd.requests = []
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield Server(f"http://127.0.0.1:{httpd.server_port}", httpd.requests)
        httpd.shutdown()
        thread.join()


@pytest.fixture
def no_curlrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's settings of curl."""
    for name in ("HOME", "CURL_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


class Ran(NamedTuple):
    """What became of `otel-kfs exec`."""

    code: int
    stdout: bytes
    stderr: bytes
    spans: list[Span]

    def span(self, name: str) -> Span:
        """The one span of a name."""
        (found,) = (span for span in self.spans if span.name == name)
        return found


@pytest.fixture
def execute(tmp_path: Path) -> Callable[..., Ran]:
    """Runs `otel-kfs exec -- command`, its spans going to a file."""

    def run(*command: str, **options: Any) -> Ran:
        options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
        if "input" in options:
            del options["stdin"]
        done = subprocess.run([*EXEC, *command], check=False, cwd=tmp_path, capture_output=True, timeout=120, **options)
        file = tmp_path / "spans.jsonl"
        spans = list(query.spans(str(file))) if file.is_file() and file.stat().st_size else []
        return Ran(done.returncode, done.stdout, done.stderr, sorted(spans, key=lambda span: span.start))

    return run
