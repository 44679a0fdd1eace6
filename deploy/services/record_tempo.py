"""Records what a Tempo answers about the traces of the tests: `record_tempo.py`.

TEMPO_URL and TEMPO_OTLP_HTTP, as services.py prints them, name a running Tempo; without them the installed one starts.
VERSION.json then has the answers to all that `tempo:` asks, and to the queries of Grafana's dashboard.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from service_process import HERE, HOST, ServiceError, say
from service_stores import tempo

from otel_kfs import semconv
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query

TOP = HERE.parents[1]
TRACES = TOP / "tests" / "data" / "traces"
TARGET = TOP / "tests" / "data" / "stores" / "tempo"
DASHBOARD = TOP / "deploy" / "grafana" / "dashboards" / "segments.json"

NO_TRACE, NO_RUN, NO_TRACEQL = "f" * 32, "another", '{ name = "send image" && nope( }'
MARGIN = 60  # seconds of the window before the first span and after the last one
STEP = "60s"  # between two figures of a panel
LIMIT = 60.0  # seconds until a Tempo finds what it was sent
TIMEOUT = 30.0

Question = tuple[str, dict[str, Any]]  # a path and its parameters


def traces() -> list[Any]:
    """Return the traces of the tests, as OTLP-JSON."""
    return [json.loads(line) for file in sorted(TRACES.glob("*.jsonl")) for line in file.read_text().splitlines()]


def moved(document: Any, seconds: int) -> Any:
    """Return OTLP-JSON whose spans are that many seconds later."""
    if isinstance(document, list):
        return [moved(each, seconds) for each in document]
    if not isinstance(document, dict):
        return document
    if document.get("key") == semconv.RECORD_TIMESTAMP:
        return {**document, "value": {"intValue": str(int(document["value"]["intValue"]) + seconds * 1000)}}
    return {
        key: str(int(value) + seconds * 10**9) if key.endswith("TimeUnixNano") else moved(value, seconds)
        for key, value in document.items()
    }


def dashboard_questions(window: dict[str, int]) -> list[Question]:
    """Return what Grafana asks for the dashboard's panels, with all runs and both transports chosen."""
    paths = {"range": "/api/metrics/query_range", "instant": "/api/metrics/query"}
    found: list[Question] = []
    for target in (each for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] for each in panel["targets"]):
        traceql = target["query"].replace("$run", ".*").replace("$transport", "http|kafka")
        path = paths.get(target.get("metricsQueryType"), "/api/search")
        step = {"step": STEP} if path.endswith("_range") else {}
        found.append((path, {"q": traceql, **window, **step}))
    return found


class Recorder:
    """Stands before a Tempo on loopback, hands on what it is asked, and keeps each answer once."""

    def __init__(self, tempo_url: str) -> None:
        self._tempo_url = tempo_url
        self._session = requests.Session()
        # No proxy setting of the environment may stand between this computer and itself.
        self._session.trust_env = False
        self._lock = threading.Lock()
        self.answers: dict[str, dict[str, Any]] = {}
        self.url = ""

    def ask(self, path: str, params: dict[str, Any] | None = None, accept: str = "application/json") -> dict[str, Any]:
        """Return Tempo's answer, and keep it."""
        headers = {"Accept": accept}
        answer = self._session.get(f"{self._tempo_url}{path}", params=params, headers=headers, timeout=TIMEOUT)
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        found: dict[str, Any] = {
            "path": path,
            "params": {key: str(value) for key, value in (params or {}).items()},
            "accept": accept,
            "status": answer.status_code,
            "content_type": kind,
        }
        if kind == "application/json":
            found["json"] = answer.json()
        elif kind == "application/protobuf":
            found["base64"] = base64.b64encode(answer.content).decode()
        else:
            found["text"] = answer.text
        with self._lock:
            self.answers[json.dumps([path, found["params"], accept])] = found
        return found


@contextmanager
def recording(tempo_url: str) -> Iterator[Recorder]:
    """Stand before a Tempo until the end of the block, at the recorder's `url`."""
    recorder = Recorder(tempo_url)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            found = recorder.ask(asked.path, dict(parse_qsl(asked.query)), self.headers.get("Accept", ""))
            body = content(found)
            self.send_response(found["status"])
            self.send_header("Content-Type", found["content_type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    recorder.url = f"http://{HOST}:{server.server_port}"
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()


def content(answer: dict[str, Any]) -> bytes:
    """Return the bytes of a recorded answer's body."""
    if "json" in answer:
        return json.dumps(answer["json"]).encode()
    return base64.b64decode(answer["base64"]) if "base64" in answer else str(answer["text"]).encode()


def record(tempo_url: str, otlp_http: str, target: Path) -> Path:
    """Send the traces to a Tempo as if they had just ended, and write what it answers; return the file.

    Raises:
        ServiceError: it does not find the traces in time.
        TraceQueryError: it does not answer as a Tempo does.
    """
    spans = list(query.spans(str(TRACES)))
    first, last = min(span.start for span in spans) // 10**9, max(span.end for span in spans) // 10**9
    # A block of old spans is filed under the time at which they came, where a search of their own time misses it.
    seconds = int(time.time()) - last
    window = {"start": first + seconds - MARGIN, "end": last + seconds + MARGIN}
    for document in traces():
        requests.post(f"{otlp_http}/v1/traces", json=moved(document, seconds), timeout=TIMEOUT).raise_for_status()
    images = [span for span in spans if span.name == semconv.SEND_IMAGE]
    trace_ids = sorted({span.trace_id for span in images})
    runs = sorted({str(span.attributes[semconv.RUN_ID]) for span in images})
    with recording(tempo_url) as recorder:
        version = str(recorder.ask("/api/status/buildinfo")["json"]["version"]).removeprefix("v")
        asked = f"tempo:{recorder.url}?{trace_query_window(window)}"
        panels = dashboard_questions(window)
        _wait("to find all images", lambda: sorted({span.trace_id for span in query.spans(asked)}) == trace_ids)
        _wait("to draw the dashboard", lambda: recorder.ask(*panels[0])["json"].get("series"))
        recorder.answers.clear()
        # The reader itself asks: for all images, for those of a run, for one trace.
        for run in ("", *(f"&run={each}" for each in (*runs, NO_RUN))):
            list(query.spans(asked + run))
        list(query.open_store(asked).traces([NO_TRACE]))
        for path, params in panels:
            recorder.ask(path, params)
        recorder.ask("/api/search", {"q": NO_TRACEQL, **window})
        for trace_id in (*trace_ids, NO_TRACE):
            for route in ("/api/v2/traces", "/api/traces"):
                recorder.ask(f"{route}/{trace_id}")
        kept = {"version": version, "moved_seconds": seconds, "window": window}
        lines = ",\n".join(json.dumps(each, separators=(",", ":")) for each in recorder.answers.values())
    target.mkdir(parents=True, exist_ok=True)
    file = target / f"{version}.json"
    file.write_text(f'{json.dumps(kept)[:-1]}, "answers": [\n{lines}\n]}}\n', "utf-8")
    return file


def trace_query_window(window: dict[str, int]) -> str:
    """Return a window as the options of a `--trace-query`."""
    return "&".join(
        f"{end}={datetime.fromtimestamp(at, timezone.utc):%Y-%m-%dT%H:%M:%SZ}" for end, at in window.items()
    )


def _wait(what: str, ready: Callable[[], object]) -> None:
    """Wait for a Tempo, which finds nothing before it has cut the traces from those that are still growing."""
    until = time.monotonic() + LIMIT
    while not ready():
        if time.monotonic() > until:
            raise ServiceError(f"this Tempo was not ready {what} within {LIMIT:g} s")
        time.sleep(0.5)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="record_tempo.py", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=TARGET, help="the folder  [default: that of the tests]")
    options = parser.parse_args(arguments)
    try:
        with ExitStack() as stack:
            url, otlp_http = os.environ.get("TEMPO_URL"), os.environ.get("TEMPO_OTLP_HTTP")
            if not url or not otlp_http:
                running = stack.enter_context(tempo())
                url, otlp_http = running.url, running.otlp_http
            say(f"recording {url}")
            print(record(url, otlp_http, options.output))
    except (ServiceError, TraceQueryError, requests.RequestException) as error:
        print(f"record_tempo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
