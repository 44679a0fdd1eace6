"""The main job on the real Kafka, and its traces in the real Jaeger and Tempo: the same tables from everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from support import LIMIT, HttpServer, Request, wait_until

from otel_kfs import semconv
from otel_kfs.traces import query
from otel_kfs.traces.span import Kind, Span, SpanGraph
from otel_kfs.traces.store import Window

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "services"))

import services

pytestmark = [pytest.mark.services, pytest.mark.model, pytest.mark.demo]

SERVICES = {"image-sender", "kafka-bridge", "mobilenet-transformer", "mobilenet-predictor"}


@dataclass(frozen=True)
class Run:
    """One demo on the real Kafka."""

    traces: Path
    printed: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, serving: str, model: Path, big_pictures: list[Path]) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("real") / "run"
    with services.kafka() as kafka:
        command = [sys.executable, "-m", "otel_kfs.cli", "demo", "--repeat", "1", "-o", str(folder)]
        command += ["--bootstrap-servers", kafka.bootstrap_servers]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        yield Run(folder / "traces", done.stdout)


@pytest.fixture(scope="module", params=["jaeger", "tempo"])
def store(request: pytest.FixtureRequest, run: Run) -> Iterator[str]:
    """A query for a real store that was sent what the run's files hold."""
    name = request.param
    try:
        services.fetch(name)
    except services.ServiceMissing as missing:
        pytest.skip(str(missing))
    with getattr(services, name)() as running:
        for file in run.traces.glob("*.jsonl"):
            for line in file.read_bytes().splitlines():
                headers = {"Content-Type": "application/json"}
                urllib.request.urlopen(urllib.request.Request(f"{running.otlp_http}/v1/traces", line, headers)).close()
        yield f"{name}:{running.query_url if name == 'jaeger' else running.url}?lookback=1h"


def tables(trace_query: str, *options: str) -> str:
    command = [sys.executable, "-m", "otel_kfs.cli", "-q", "tables", "--trace-query", trace_query, *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT).stdout


def test_every_size_goes_both_ways_through_the_real_kafka(run: Run):
    rows = json.loads(tables(str(run.traces), "--layout", "seed", "--format", "json"))["seed"]
    sizes = ["1.1MB", "3.3MB", "4.7MB", "10.2MB"]
    assert [(row["transport"], row["size"], row["n"]) for row in rows] == [
        (transport, size, 1) for transport in ("http", "kafka") for size in sizes
    ]


def test_the_figures_are_not_said_to_be_another_brokers(run: Run):
    assert "Tansu" not in run.printed


def test_the_topic_of_the_run_is_gone_afterwards(run: Run):
    topics = {span.name for span in query.spans(str(run.traces)) if span.kind is Kind.PRODUCER}
    assert len(topics) == 1
    assert topics.pop().startswith("send otel-kfs-demo-")


def test_a_store_gives_the_tables_of_the_files(run: Run, store: str):
    expected = tables(str(run.traces), "--format", "json")
    wait_until("the store has all traces", lambda: images(store) == images(str(run.traces)))
    assert tables(store, "--format", "json") == expected


def test_one_run_alone_is_read_from_a_store(run: Run, store: str):
    wait_until("the store has all traces", lambda: images(store) == images(str(run.traces)))
    expected = tables(str(run.traces), "--format", "json")
    [run_id] = {span.attributes[semconv.RUN_ID] for span in query.spans(str(run.traces)) if span.name == "send image"}
    assert tables(store, "--format", "json", "--run", str(run_id), "--expect", "8") == expected
    nothing = subprocess.run(
        [sys.executable, "-m", "otel_kfs.cli", "-q", "tables", "--trace-query", store, "--run", "another"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (nothing.returncode, nothing.stdout) == (1, "")


def test_a_small_search_depth_loses_no_trace_of_a_store(run: Run, store: str, monkeypatch: pytest.MonkeyPatch):
    wait_until("the store has all traces", lambda: images(store) == images(str(run.traces)))
    expected = sorted(query.spans(store), key=lambda span: span.span_id)
    windows = []
    monkeypatch.setattr("otel_kfs.traces.store.DEPTH", 2)  # so that time is cut into slices
    monkeypatch.setattr(
        Window, "around", lambda window, *found, around=Window.around: windows.append(window) or around(window, *found)
    )
    assert sorted(query.spans(store), key=lambda span: span.span_id) == expected
    assert len(windows) > 1


@pytest.mark.parametrize("store", ["jaeger"], indirect=True)
def test_jaegers_older_api_gives_the_same_spans_to_two_microseconds(run: Run, store: str):
    wait_until("the store has all traces", lambda: images(store) == images(str(run.traces)))
    with without_v3(store.removeprefix("jaeger:").partition("?")[0]) as url:
        older = {span.span_id: span for span in query.spans(f"jaeger:{url}?lookback=1h")}
    for span in query.spans(store):
        found = older.pop(span.span_id)
        # Its start is cut to microseconds, and so is its duration.
        assert (found.start, found.end) == pytest.approx((span.start, span.end), abs=2000)
        attributes = {key: value for key, value in found.attributes.items() if not key.startswith("otel.scope.")}
        assert replace(found, start=span.start, end=span.end, attributes=attributes) == span
    assert older == {}


def test_an_images_trace_is_one_tree_over_all_services(run: Run, store: str):
    wait_until("the store has all traces", lambda: images(store) == images(str(run.traces)))
    graph = SpanGraph(query.spans(store))
    roots = [span for span in graph if span.name == "send image"]
    assert Counter(span.trace_id for span in roots) == Counter({span.trace_id for span in roots})
    for root in roots:
        below = descendants(graph, root)
        of_trace = {span.span_id for span in graph if span.trace_id == root.trace_id}
        assert {span.span_id for span in below} | {root.span_id} == of_trace
        through_kafka = root.attributes["otel_kfs.transport"] == "kafka"
        assert {span.service for span in below} == (SERVICES if through_kafka else SERVICES - {"kafka-bridge"})


def images(trace_query: str) -> set[str]:
    return {span.trace_id for span in query.spans(trace_query) if span.name == "send image"}


@contextmanager
def without_v3(url: str) -> Iterator[str]:
    """A Jaeger as those were that had no version 3 of the API."""

    def answer(request: Request, _: object) -> tuple[int, bytes]:
        if request.path.startswith("/api/v3"):
            return 404, b""
        with urllib.request.urlopen(url + request.path) as answered:
            return 200, answered.read()

    older = HttpServer()
    older.answer = answer
    with older.running():
        yield older.url


def descendants(graph: SpanGraph, span: Span) -> list[Span]:
    found: list[Span] = []
    for child in graph.children(span):
        found += [child, *descendants(graph, child)]
    return found
