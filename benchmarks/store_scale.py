"""How long reading many traces from a live store takes, beside requests for all of them and orjson.

    python benchmarks/store_scale.py [--spans 100000] [--rounds 3] [--store jaeger] [--store tempo]

Starts the Jaeger of deploy/services (built the first time, which takes minutes), sends it spans of scaled_traces.py,
and reads them as `--trace-query jaeger:` does. Beside that stand one GET of Jaeger's v3 API for all traces and orjson
that parses its answer, in this process. Tempo's traces are its recorded answers of tests/data/stores, which a small
server repeats under new ids; beside `tempo:` stand one GET for each trace, one after the other, and orjson. Figures
are medians and quartiles over the rounds (two or more), in which the three take turns; ratios are the rounds' own.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import orjson
import requests
from read_scale import spread
from scaled_traces import EXPORT, START, patterns, spans

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy" / "services"))

import service_stores

from otel_kfs.analysis import pipeline
from otel_kfs.traces import query

TEMPO = Path(__file__).parents[1] / "tests" / "data" / "stores" / "tempo.json"
WINDOW = "start=2026-01-01T00:00:00Z&end=2027-01-01T00:00:00Z"


def exports(total: int) -> Iterator[bytes]:
    """Yield the spans as OTLP-JSON, a process at a time."""
    resources = {process: json.loads(resource) for process, resource in patterns()[0].items()}
    made = spans(total)
    while batch := list(islice(made, EXPORT)):
        by_process: dict[str, list[dict[str, object]]] = {}
        for process, _, span in batch:
            by_process.setdefault(process, []).append(json.loads(span))
        resource_spans = [
            {"resource": resources[process], "scopeSpans": [{"spans": found}]} for process, found in by_process.items()
        ]
        yield orjson.dumps({"resourceSpans": resource_spans})


class Rounds:
    """What each step took in each round: seconds, and CPU of this process and of those that it started and ended."""

    def __init__(self) -> None:
        self._took: dict[str, list[tuple[float, float]]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what is done within it."""
        start, cpu = time.perf_counter(), sum(os.times()[:4])
        yield
        took = time.perf_counter() - start, sum(os.times()[:4]) - cpu
        self._took.setdefault(name, []).append(took)

    def print(self) -> None:
        """Print a table of the steps, and how `read` compares with the others."""
        print("\n| | s | CPU, s |\n|:--|--:|--:|")
        for name, took in self._took.items():
            print(f"| {name} | {spread([one[0] for one in took])} | {spread([one[1] for one in took])} |")
        rounds = zip(self._took["request"], self._took["orjson"], self._took["read"], strict=True)
        ratios = [[read[i] / (request[i] + orjson[i]) for i in (0, 1)] for request, orjson, read in rounds]
        walls, cpus = zip(*ratios, strict=True)
        print(f"\nread / (request + orjson): {spread(walls, 2)} of the time, {spread(cpus, 2)} of the CPU", flush=True)


def of_jaeger(total: int, rounds: int) -> None:
    with service_stores.jaeger() as jaeger, requests.Session() as session:
        for export in exports(total):
            answer = session.post(
                f"{jaeger.otlp_http}/v1/traces", data=export, headers={"Content-Type": "application/json"}
            )
            answer.raise_for_status()
        parameters = {
            "query.service_name": "image-sender",
            "query.start_time_min": "2026-01-01T00:00:00Z",
            "query.start_time_max": "2027-01-01T00:00:00Z",
            "query.num_traces": total,  # more than there are traces
            "query.raw_traces": "true",
        }
        took, size, measured = Rounds(), 0, 0
        for _ in range(rounds):
            with took.step("request"):
                content = got(session, f"{jaeger.query_url}/api/v3/traces", parameters)
            with took.step("orjson"):
                orjson.loads(content)
            size = len(content)
            with took.step("read"):
                store = query.open_store(f"jaeger:{jaeger.query_url}?{WINDOW}")
                measured = pipeline.read(store).coverage.measured
    print(f"\nJaeger: {size / 1e6:.0f} MB, {measured} images")
    took.print()


def of_tempo(total: int, rounds: int) -> None:
    """As many of the recorded answers as have about that many spans, from a server in a process of its own."""
    answers = tempo_answers(total)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=serve_tempo, args=(answers, theirs), daemon=True)
    server.start()
    url = ours.recv()
    took, measured = Rounds(), 0
    with requests.Session() as session:
        for _ in range(rounds):
            with took.step("request"):
                contents = [got(session, f"{url}/api/v2/traces/{trace_id}") for trace_id in answers]
            with took.step("orjson"):
                for content in contents:
                    orjson.loads(content)
            with took.step("read"):
                measured = pipeline.read(query.open_store(f"tempo:{url}?{WINDOW}")).coverage.measured
    server.terminate()
    server.join()
    print(f"\nTempo: {sum(map(len, answers.values())) / 1e6:.0f} MB, {measured} images")
    took.print()


def got(session: requests.Session, url: str, parameters: dict[str, object] | None = None) -> bytes:
    answer = session.get(url, params=parameters)
    answer.raise_for_status()
    return answer.content


def tempo_answers(total: int) -> dict[str, bytes]:
    """Tempo's recorded answers for one trace each, again and again under new ids; JSON, with ids in base64."""
    recorded = [entry for entry in json.loads(TEMPO.read_text()) if entry["path"] != "/api/search"]
    patterns = []
    for entry in recorded:
        text = orjson.dumps(entry["body"])
        patterns.append(
            (text, base64.b64encode(bytes.fromhex(entry["path"][-32:])), text.count(b'"startTimeUnixNano"'))
        )
    answers, made = {}, 0
    while made < total:
        text, old, spans = patterns[len(answers) % len(patterns)]
        trace_id = f"{len(answers) + 1:032x}"
        answers[trace_id] = text.replace(old, base64.b64encode(bytes.fromhex(trace_id)))
        made += spans
    return answers


def serve_tempo(answers: dict[str, bytes], pipe: Connection) -> None:
    starts = {trace_id: START + number * 300_000_000 for number, trace_id in enumerate(answers)}

    class Tempo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = search(parse_qs(url.query)) if url.path == "/api/search" else answers[url.path[-32:]]
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    def search(options: dict[str, list[str]]) -> bytes:
        first, last, most = (int(options[name][0]) for name in ("start", "end", "limit"))
        found = [one for one, start in starts.items() if first * 10**9 <= start <= last * 10**9][-most:]
        return orjson.dumps({"traces": [{"traceID": one, "startTimeUnixNano": str(starts[one])} for one in found]})

    with ThreadingHTTPServer(("127.0.0.1", 0), Tempo) as server:
        pipe.send(f"http://127.0.0.1:{server.server_port}")
        server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", choices=("jaeger", "tempo"), action="append")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores, {options.rounds} rounds")
    for store in options.store or ("jaeger", "tempo"):
        {"jaeger": of_jaeger, "tempo": of_tempo}[store](options.spans, options.rounds)


if __name__ == "__main__":
    main()
