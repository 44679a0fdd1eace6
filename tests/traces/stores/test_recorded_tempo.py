"""What Tempo's versions answered, as deploy/services/record_tempo.py recorded it, read as a Tempo is: whole tables."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from click.testing import CliRunner, Result
from stores_support import known

from otel_kfs import semconv
from otel_kfs.cli import main
from otel_kfs.traces import query
from otel_kfs.traces.span import Kind, Span

sys.path.append(str(Path(__file__).parents[3] / "deploy" / "services"))

import record_tempo  # it stands in the folder just added

RECORDINGS = {file.stem: json.loads(file.read_text()) for file in sorted(record_tempo.TARGET.glob("*.json"))}


class Replayed:
    """A server that answers what a Tempo was asked as that did; it refuses what that was never asked."""

    def __init__(self, recording: dict[str, Any]) -> None:
        self.window = recording["window"]
        self.panels = record_tempo.dashboard_questions(recording["window"])
        self.moved_seconds = recording["moved_seconds"]
        self._answers = {self._key(each["path"], each["params"], each["accept"]): each for each in recording["answers"]}
        self.accept: str | None = None  # what is understood in the place of what is asked for
        self.has_v2 = True
        self.url = ""

    def answer(self, path: str, params: dict[str, Any], accept: str = "application/json") -> dict[str, Any]:
        """The answer to a question, whatever else is accepted."""
        if not self.has_v2 and path.startswith("/api/v2/"):
            return {"status": 404, "content_type": "text/plain", "text": "404 page not found"}
        return self._answers[self._key(path, {key: str(value) for key, value in params.items()}, self.accept or accept)]

    @staticmethod
    def _key(path: str, params: dict[str, str], accept: str) -> tuple[str, str, str]:
        return path, json.dumps(params, sort_keys=True), accept


@pytest.fixture(params=RECORDINGS)
def tempo(request: pytest.FixtureRequest) -> Iterator[Replayed]:
    replayed = Replayed(RECORDINGS[request.param])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            found = replayed.answer(asked.path, dict(parse_qsl(asked.query)), self.headers["Accept"])
            body = record_tempo.content(found)
            self.send_response(found["status"])
            self.send_header("Content-Type", found["content_type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    replayed.url = f"tempo:http://127.0.0.1:{server.server_port}?{record_tempo.trace_query_window(replayed.window)}"
    yield replayed
    server.shutdown()
    server.server_close()


@pytest.fixture
def sent(tempo: Replayed, tmp_path: Path) -> str:
    """The traces as this Tempo was sent them."""
    file = tmp_path / "sent.jsonl"
    documents = record_tempo.moved(record_tempo.traces(), tempo.moved_seconds)
    file.write_text("".join(json.dumps(each) + "\n" for each in documents))
    return str(file)


def images(trace_query: str) -> list[Span]:
    """The spans of the images' traces."""
    spans = known(query.spans(trace_query))
    traces = {span.trace_id for span in spans if span.name == "send image"}
    return [span for span in spans if span.trace_id in traces]


def tables(trace_query: str, *options: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["-q", "tables", "--trace-query", trace_query, *options])


def as_protobuf(tempo: Replayed) -> None:
    """What is asked for."""


def as_json(tempo: Replayed) -> None:
    tempo.accept = "application/json"


def without_v2(tempo: Replayed) -> None:
    tempo.has_v2 = False


FORMS = pytest.mark.parametrize("form", [as_protobuf, as_json, without_v2])


def test_there_are_recordings_of_the_release_and_of_what_comes_after_it() -> None:
    assert [name.partition("-")[0] for name in RECORDINGS] == ["3.0.3", "main"]


@FORMS
def test_a_recorded_tempo_gives_the_very_spans_that_it_was_sent(
    tempo: Replayed, sent: str, form: Callable[[Replayed], None]
) -> None:
    form(tempo)
    assert images(tempo.url) == images(sent)


@FORMS
@pytest.mark.parametrize("layout", ["seed", "segments", "statistics", "images"])
def test_a_recorded_tempo_s_tables_are_those_of_the_files(
    tempo: Replayed, sent: str, form: Callable[[Replayed], None], layout: str
) -> None:
    form(tempo)
    expected, found = (tables(one, "--layout", layout, "--format", "json") for one in (sent, tempo.url))
    assert (found.exit_code, json.loads(found.stdout)) == (0, json.loads(expected.stdout))


def test_a_run_is_found_by_its_id_and_another_is_not(tempo: Replayed, sent: str) -> None:
    (run,) = {str(span.attributes["otel_kfs.run.id"]) for span in images(sent) if span.name == "send image"}
    options = ("--format", "json", "--run")
    assert tables(tempo.url, *options, run).stdout == tables(sent, *options, run).stdout
    nothing = tables(tempo.url, *options, record_tempo.NO_RUN)
    assert (nothing.exit_code, nothing.stdout) == (1, "")


@FORMS
def test_a_trace_that_a_tempo_lacks_has_no_spans(tempo: Replayed, form: Callable[[Replayed], None]) -> None:
    form(tempo)
    assert list(query.open_store(tempo.url).traces([record_tempo.NO_TRACE])) == []


# For each panel of the dashboard, which spans of the images' traces it shows, and what it tells them apart by.
BY_SPAN = ("resource.service.name", "name")
PANELS: list[tuple[Callable[[Span], bool], tuple[str, ...]]] = [
    (lambda span: span.name == "send image", ("span.otel_kfs.transport",)),
    (lambda span: span.name == "send image", ("span.otel_kfs.transport", "span.otel_kfs.image.size")),
    (lambda span: span.name != "send image", BY_SPAN),
    (lambda span: span.name != "send image", BY_SPAN),
    (lambda span: span.name in {semconv.RECEIVE, semconv.DECODE, *semconv.MODEL_STEPS}, BY_SPAN),
    (lambda span: span.name == "encode" or span.kind in {Kind.PRODUCER, Kind.CONSUMER, Kind.CLIENT}, BY_SPAN),
    (lambda span: span.kind is Kind.CONSUMER, ()),
    (lambda span: False, BY_SPAN),  # none of them is an error
]


def labels(span: Span, keys: tuple[str, ...]) -> tuple[str, ...]:
    """What a panel calls a span by."""
    own = {"resource.service.name": span.service, "name": span.name}
    return tuple(str(own.get(key) or span.attributes[key.removeprefix("span.")]) for key in keys)


def series(answer: dict[str, Any], keys: tuple[str, ...]) -> set[tuple[str, ...]]:
    """What a panel shows figures of."""
    found = set()
    for one in answer["json"]["series"]:
        named = {label["key"]: str(next(iter(label["value"].values()))) for label in one["labels"]}
        if one.get("value") or any(sample.get("value") for sample in one.get("samples", ())):
            found.add(tuple(named[key] for key in keys))
    return found


def test_every_panel_of_the_dashboard_was_answered_with_figures_of_the_spans_that_it_is_about(
    tempo: Replayed, sent: str
) -> None:
    every = images(sent)
    warm_ups = {span.trace_id for span in every if span.attributes.get(semconv.WARMUP)}
    spans = [span for span in every if span.trace_id not in warm_ups]
    *figures, (path, params) = tempo.panels
    for (asked_path, asked), (is_shown, keys) in zip(figures, PANELS, strict=True):
        expected = {labels(span, keys) for span in spans if is_shown(span)}
        assert series(tempo.answer(asked_path, asked), keys) == expected, asked["q"]
    listed = {each["traceID"].rjust(32, "0") for each in tempo.answer(path, params)["json"]["traces"]}
    assert listed == {span.trace_id for span in spans}


def test_what_is_not_traceql_is_refused(tempo: Replayed) -> None:
    answer = tempo.answer("/api/search", {"q": record_tempo.NO_TRACEQL, **tempo.window})
    assert (answer["status"], answer["text"].partition(":")[0]) == (400, "invalid TraceQL query")
