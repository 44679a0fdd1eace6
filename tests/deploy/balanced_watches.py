"""Real watches, alone or behind the real Collector of compose.watch.yaml, and what Prometheus gets of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from hashlib import sha1
from pathlib import Path
from typing import Any

import requests
from deploy_tools import DEPLOY, read_yaml, tool
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from support import start, wait_until
from traces_builder import otlp_line
from urllib3.exceptions import InsecureRequestWarning
from watch_support import export, post

from otel_kfs.demo.processes import free_port
from otel_kfs.traces.span import Span
from otel_kfs.watch.receiver.otlp_messages import protobuf_of_json

# Seconds that a watch waits for what is missing: longer than senders and the Collector's batches take here.
LINGER = 4
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]
# Counts of images and spans, and histograms: what adds up.
_ADDS_UP = re.compile(
    r"otel_kfs_(image_measured|image_left_out|image_corrected|span_received|span_duplicate|(segment|total)_duration_seconds)"
    r"_(total|sum|count|bucket)"
)


class Watch:
    """A process of `otel-kfs watch` on free ports of loopback."""

    def __init__(self, process: subprocess.Popen[str], token: str = "") -> None:
        self.process, line = process, process.stderr.readline()
        found = re.search(r"gRPC on port (\d+), over HTTP on port (\d+); metrics on (\S+/metrics)", line)
        assert found, line
        self.grpc, self.http = f"127.0.0.1:{found[1]}", f"http://127.0.0.1:{found[2]}"
        self.metrics, self._token = found[3], token

    def figures(self) -> Figures:
        """Every sample that Prometheus gets: name and labels -> value."""
        return {
            (sample.name, frozenset((key, value) for key, value in sample.labels.items() if value)): sample.value
            for family in text_string_to_metric_families(self._fetched())
            for sample in family.samples
        }

    def _fetched(self) -> str:
        # Its certificate is for what the Collector calls it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureRequestWarning)
            headers = {"Authorization": f"Bearer {self._token}"}
            answer = requests.get(self.metrics, headers=headers, timeout=30, verify=False)
        answer.raise_for_status()
        return answer.text


@contextmanager
def watching(count: int = 1, *options: str, token: str = "", **environment: str) -> Iterator[list[Watch]]:
    """Some watches, with a token or without one."""
    ports = [word for name in ("grpc", "http", "metrics") for word in (f"--{name}-port", "0")]
    command = [sys.executable, "-m", "otel_kfs.cli", "watch", f"--linger={LINGER}s", *ports, *options]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(start(command, OTEL_KFS_WATCH_TOKEN=token, **environment)) for _ in range(count)
        ]
        for process in processes:
            stack.callback(process.kill)
        yield [Watch(process, token) for process in processes]


@contextmanager
def collector(folder: Path, watches: Sequence[Watch], **changed: Any) -> Iterator[tuple[str, str]]:
    """The Collector before these watches; where it takes OTLP over gRPC and HTTP. `changed` is of its exporter."""
    (config,), (added,) = read_yaml(DEPLOY / "collector.yaml"), read_yaml(DEPLOY / "collector-watch.yaml")
    exporter = added["exporters"]["load_balancing"] | changed
    exporter["resolver"] = {"static": {"hostnames": [watch.grpc for watch in watches]}}
    grpc, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
    file, log = folder / "collector.yaml", folder / "collector.log"
    file.write_text(  # JSON is YAML
        json.dumps(
            {
                "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": grpc}, "http": {"endpoint": http}}}},
                "processors": config["processors"],
                "exporters": {"load_balancing": exporter},
                "service": added["service"] | {"telemetry": {"metrics": {"level": "none"}}},
            }
        )
    )
    with (
        log.open("w") as errors,
        subprocess.Popen([tool("collector"), f"--config={file}"], stderr=errors, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            wait_until(f"it is ready: {log}", lambda: "Everything is ready" in log.read_text(), 60)
            yield grpc, f"http://{http}"
        finally:
            process.terminate()


def exported(drawn: Iterable[Span], namespace: str = "") -> list[Span]:
    """The spans as their processes have them: one a drawn host, all on one node, with ids like random ones."""

    def short(text: str | None, characters: int) -> str | None:
        return text and sha1(text.encode()).hexdigest()[:characters]

    return [
        replace(
            span,
            trace_id=short(span.trace_id, 16),
            span_id=short(span.span_id, 8),
            parent_id=short(span.parent_id, 8),
            links=tuple(short(link, 8) for link in span.links),
            linked_traces=tuple(short(trace, 16) for trace in span.linked_traces),
            service=f"{namespace}/{span.host}",
            # What lies between two hosts is corrected by what a watch has seen of their clocks.
            host="node",
        )
        for span in drawn
    ]


def exports(drawn: Iterable[Span], size: int = 5) -> list[list[bytes]]:
    """The requests of each service: its spans in the order in which they end, as an exporter has them, few at once.

    A service may be named with its namespace before a slash.
    """
    by_service: dict[str, list[Span]] = {}
    for span in sorted(drawn, key=lambda span: span.end):
        by_service.setdefault(span.service, []).append(span)
    return [[_request(spans[at : at + size]) for at in range(0, len(spans), size)] for spans in by_service.values()]


def _request(spans: list[Span]) -> bytes:
    content = json.loads(otlp_line(spans))
    namespace, _, name = spans[0].service.rpartition("/")
    resource = {"service.namespace": namespace, "service.name": name, "host.name": spans[0].host}
    content["resourceSpans"][0]["resource"] = {
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in resource.items() if value]
    }
    return protobuf_of_json(json.dumps(content).encode())


def send(of_services: Sequence[Sequence[bytes]], grpc: str, http: str) -> None:
    """Send every service's requests, one after the other, all services at once: half of them over gRPC."""

    def send_all(number: int) -> None:
        for request in of_services[number]:
            export(grpc, request) if number % 2 else post(http, request).raise_for_status()

    with ThreadPoolExecutor(len(of_services)) as pool:
        list(pool.map(send_all, range(len(of_services))))


def measured(watches: Sequence[Watch], spans: int) -> list[Figures]:
    """What each watch counts, once they have got so many spans and wait for nothing more."""

    def settled() -> list[Figures] | None:
        found = [watch.figures() for watch in watches]
        received, open_ = (
            sum(one[name, frozenset()] for one in found)
            for name in ("otel_kfs_span_received_total", "otel_kfs_trace_open")
        )
        return found if received >= spans and not open_ else None

    return wait_until("all is measured", settled, 90)


def added_up(figures: Sequence[Figures]) -> Figures:
    """The sums over watches of what adds up."""
    total: Counter[Any] = Counter()
    for one in figures:
        total.update({key: value for key, value in one.items() if _ADDS_UP.fullmatch(key[0])})
    return {key: value for key, value in total.items() if value}
