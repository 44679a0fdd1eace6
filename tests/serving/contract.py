"""What a traced model server must do whatever its SDK: the tests of both SDKs are these, with servers of their own.

Three servers run the same models: a predictor, a transformer that hands every request on to it, and `plain`, the same
predictor without tracing, which says what statuses and bodies should be.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listening_support import addresses_of_port
from support import CLIENT, ERROR, LIMIT, SERVER, Written, read_traces, wait_until

from otel_kfs import semconv
from otel_kfs.demo.processes import Processes, free_port, python

# What opentelemetry-instrument would export by itself.
NO_EXPORTERS = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}

LARGE = 2_200_000  # bytes: more than a server reads at once


# For a script under opentelemetry-instrument, which chooses exporters by name and has none that takes a file's.
EXPORT = """
import os
from opentelemetry import trace
from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

def export():
    add = getattr(trace.get_tracer_provider(), "add_span_processor", None)
    if add:
        os.makedirs(os.path.dirname(os.environ["OTEL_KFS_TRACES_FILE"]), exist_ok=True)
        exporter = FileSpanExporter(os.environ["OTEL_KFS_TRACES_FILE"])
        add(BatchSpanProcessor(exporter, schedule_delay_millis=200))
"""

INSTRUMENTED = [f"{sys.prefix}/bin/opentelemetry-instrument"]


def traceparent(trace_id: str, span_id: str = "00000000000000a1") -> str:
    return f"00-{trace_id}-{span_id}-01"


def answered(
    port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of an answer.

    A server that answers before it has read the body closes the connection with the rest unread, and the reset may
    overtake its answer: then it is asked again.
    """
    for attempt in range(10):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except (ConnectionResetError, BrokenPipeError):
            if attempt == 9:
                raise
        finally:
            connection.close()
    raise AssertionError("it was answered or raised")


@dataclass
class Server:
    """One server process on 127.0.0.1."""

    service: str
    port: int = field(default_factory=free_port)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        trace_id: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of an answer; `requests` may be instrumented here, so it is not what asks."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        if trace_id:
            headers["traceparent"] = traceparent(trace_id)
        status, _, answer = answered(self.port, method, path, body, headers)
        return status, answer

    def predict(
        self, model: str, trace_id: str | None = None, body: bytes = b'{"instances": [1]}'
    ) -> tuple[int, bytes]:
        """The answer to one request to a model."""
        return self.ask("POST", f"/v1/models/{model}:predict", body, trace_id)


@dataclass
class Servers:
    """The three servers, and the traces of the two that have them."""

    traces: Path
    predictor: Server = field(default_factory=lambda: Server("predictor"))
    transformer: Server = field(default_factory=lambda: Server("transformer"))
    plain: Server = field(default_factory=lambda: Server("plain"))

    def all_spans(self) -> list[Written]:
        """Every span that ended before this call: a later request's spans are waited for, which are written later."""
        last = uuid.uuid4().hex
        self.transformer.predict("sync", last)

        def written() -> list[Written]:
            spans = read_traces(self.traces)
            arrived = {span.service for span in spans if span.trace_id == last and span.kind == SERVER}
            return spans if arrived == {"predictor", "transformer"} else []

        return [span for span in wait_until("the spans of a request", written) if span.trace_id != last]

    def trace(self, trace_id: str) -> list[Written]:
        """The spans of one trace, by their starts."""
        return [span for span in self.all_spans() if span.trace_id == trace_id]


@contextmanager
def running(
    script: Path, options: list[str], plain_options: list[str], logs: Path, command: Sequence[str] = ()
) -> Iterator[Servers]:
    """The three servers, ready, until the end of the `with`.

    With a `command` before the interpreter, scripts are told to be plain: whatever is traced then, the command traces.
    """
    servers = Servers(logs / "traces")
    traced = ["--plain"] if command else []
    arguments = [
        (servers.predictor, command, traced),
        (servers.transformer, command, [*traced, "--predictor_host", f"127.0.0.1:{servers.predictor.port}"]),
        (servers.plain, (), ["--plain", *plain_options]),
    ]
    with Processes(logs / "logs") as processes:
        for server, before, own in arguments:
            run = python("-m", "otel_kfs.demo.loopback", str(script), "--http_port", str(server.port), *options, *own)
            processes.start(
                server.service,
                [*before, *run],
                {
                    **NO_EXPORTERS,
                    "OTEL_KFS_TRACES_FILE": str(servers.traces / f"{server.service}.jsonl"),
                    "OTEL_SERVICE_NAME": server.service,
                    "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
                },
            )
        for server, *_ in arguments:
            processes.wait_until(server.service, lambda server=server: is_ready(server), LIMIT)
        yield servers


def is_ready(server: Server) -> bool:
    try:
        return server.ask("GET", "/v1/models/sync")[0] == 200
    except OSError:
        return False


@pytest.fixture
def trace_id() -> str:
    """A new trace's id."""
    return uuid.uuid4().hex


def of(spans: list[Written], service: str) -> list[Written]:
    return [span for span in spans if span.service == service]


def status_of(span: Written) -> int:
    """The HTTP status that a SERVER span tells of, by its new or its old name."""
    return int(span.attributes.get("http.response.status_code") or span.attributes["http.status_code"])


TENSORS = {"id": "1", "inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}]}

TRACE = "40c76596ec5e1c132dd6f13f10f09ca1"

REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "HEAD", "OPTIONS"]),
        "path": st.sampled_from(
            [
                *(f"/v1/models/{name}:predict" for name in ("sync", "async", "length", "refuses", "fails", "none")),
                *("/v1/models/explains:explain", "/v2/models/echo/infer", "/v1/models/sync", "/metrics", "/", "/none"),
            ]
        ),
        "headers": st.fixed_dictionaries(
            {},
            optional={
                "Content-Type": st.sampled_from(["application/json", "text/plain", "application/octet-stream", ""]),
                "Expect": st.just("something"),
                **{
                    name: st.sampled_from([traceparent(TRACE), "", "00-zz", "\xe9", "\x7f" * 300])
                    for name in ("traceparent", "ce-traceparent", "ce-kafkaheadertraceparent", "tracestate", "baggage")
                },
                "ce-specversion": st.sampled_from(["1.0", "2.0"]),
            },
        ),
        "body": st.one_of(
            st.sampled_from([b'{"instances": [1]}', b'{"instances": 3}', b'{"inputs": []}', b"", b"{", b"null", b"[]"]),
            st.binary(max_size=20),
            st.just(json.dumps(TENSORS).encode()),
        ),
    }
)


def whole_answer(server: Server, request: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body, without what differs from one answer to the next."""
    sent = {**request["headers"], "Host": "a-model"}
    status, headers, body = answered(server.port, request["method"], request["path"], request["body"], sent)
    if request["path"] == "/metrics":  # of a server's own past
        return status, [], b""
    fixed = [(name, value) for name, value in headers if name.lower() not in {"date", "etag"}]
    return status, fixed, re.sub(rb'"id": ?"[0-9a-f-]{36}"', b"", body)


STEPS = ["server", "receive", "decode", "preprocess", "predict", "postprocess"]


def shape(spans: list[Written]) -> list[str]:
    """The spans' names, the server's first."""
    servers = ["server" for span in spans if span.kind == SERVER]
    return servers + [span.name for span in spans if span.kind != SERVER]


def without_id(answer: bytes) -> dict[str, object]:
    """An answer's JSON, or that of the CloudEvent that it is, without what differs from one answer to the next."""
    content = json.loads(answer)
    content = content.get("data", content)
    content.pop("id", None)
    return content


def cloudevent(mode: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of the same event in one of CloudEvents' two modes over HTTP."""
    attributes = {"id": "1", "source": "/kafka/mobilenet", "type": "dev.knative.kafka.event", "specversion": "1.0"}
    if mode == "binary":
        return {f"ce-{key}": value for key, value in attributes.items()}, b'{"instances": [1]}'
    event = {**attributes, "time": "2026-01-01T00:00:00Z", "data": {"instances": [1]}}
    return {"Content-Type": "application/cloudevents+json"}, json.dumps(event).encode()


class Contract:
    """The tests; a subclass gives the fixture `servers`, and its server's own routes."""

    infer = "/v2/models/{}/infer"
    health = ("/", "/v2/health/live", "/v1/models", "/v2/models", "/v1/models/sync")

    @pytest.mark.parametrize("model", ["sync", "async", "twice"])
    def test_a_request_s_steps_are_spans_in_order_under_one_server_span(self, servers, trace_id, model):
        assert servers.predictor.predict(model, trace_id)[0] == 200
        spans = servers.trace(trace_id)
        (server,) = [span for span in spans if span.kind == SERVER]
        steps = [span for span in spans if span is not server]
        assert [span.name for span in steps] == ["receive", "decode", "preprocess", "predict", "postprocess"]
        assert server.parent_id == "00000000000000a1"
        assert {span.parent_id for span in steps} == {server.span_id}
        assert {span.status for span in spans} <= {0, 1}

    def test_steps_follow_each_other_in_time(self, servers, trace_id):
        servers.predictor.predict("sync", trace_id)
        steps = [span for span in servers.trace(trace_id) if span.kind != SERVER]
        assert len(steps) == 5
        for earlier, later in pairwise(steps):
            assert earlier.start <= earlier.end <= later.start

    def test_a_request_that_waited_for_a_blocked_event_loop_says_for_how_long(self, servers, trace_id, tmp_path):
        body = json.dumps({"instances": [str(tmp_path)]}).encode()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(servers.predictor.predict, "blocks", None, body)
            wait_until("the event loop is blocked", (tmp_path / "started").exists)
            waiting = http.client.HTTPConnection("127.0.0.1", servers.predictor.port, timeout=60)
            with closing(waiting):
                headers = {"Content-Type": "application/json", "traceparent": traceparent(trace_id)}
                sent = time.monotonic()
                waiting.request("POST", "/v1/models/blocks:predict", body, headers)
                time.sleep(0.1)
                (tmp_path / "go").touch()
                assert waiting.getresponse().status == first.result()[0] == 200
                answered = time.monotonic()
        (receive,) = [span for span in servers.trace(trace_id) if span.name == "receive"]
        # The kernel counts in ticks of 10 ms at most.
        assert 80 <= int(receive.attributes[semconv.REQUEST_QUEUE_TIME]) <= (answered - sent) * 1000 + 10

    @pytest.mark.parametrize("size", [1, LARGE])
    def test_the_server_s_span_contains_its_steps_the_body_s_arrival_too(self, servers, trace_id, size):
        servers.predictor.predict("sync", trace_id, b'{"instances": ["' + b"x" * size + b'"]}')
        spans = servers.trace(trace_id)
        (server,) = [span for span in spans if span.kind == SERVER]
        assert [span.name for span in spans if span.start < server.start or span.end > server.end] == []
        assert len(spans) == 6

    def test_decode_starts_a_microsecond_after_receive_ends(self, servers, trace_id):
        servers.predictor.predict("sync", trace_id)
        spans = {span.name: span for span in servers.trace(trace_id)}
        assert spans["decode"].start == spans["receive"].end + 1_000

    def test_steps_say_model_and_role_and_receive_the_body_s_size(self, servers, trace_id):
        servers.transformer.predict("sync", trace_id)
        spans = servers.trace(trace_id)
        for service in ("transformer", "predictor"):
            attributes = {
                span.name: span.attributes for span in of(spans, service) if span.kind not in {SERVER, CLIENT}
            }
            step = {semconv.MODEL_NAME: "sync", semconv.ROLE: service}
            size = attributes["receive"].pop(semconv.HTTP_REQUEST_BODY_SIZE)
            attributes["receive"].pop(semconv.REQUEST_QUEUE_TIME, None)  # where the machine let the server wait
            assert int(size) == len(b'{"instances": [1]}') if service == "transformer" else int(size) > 0
            assert attributes == {"receive": {}, "decode": {}, "preprocess": step, "predict": step, "postprocess": step}

    @pytest.mark.parametrize("model", ["sync", "async"])
    def test_the_context_reaches_the_predictor_through_the_transformer_s_predict(self, servers, trace_id, model):
        assert servers.transformer.predict(model, trace_id)[0] == 200
        spans = servers.trace(trace_id)
        (call,) = [span for span in spans if span.kind == CLIENT]
        (predict,) = [span for span in of(spans, "transformer") if span.name == "predict"]
        (arrival,) = [span for span in of(spans, "predictor") if span.kind == SERVER]
        (departure,) = [span for span in of(spans, "transformer") if span.kind == SERVER]
        assert (call.service, call.parent_id, arrival.parent_id) == ("transformer", predict.span_id, call.span_id)
        assert (departure.parent_id, predict.parent_id) == ("00000000000000a1", departure.span_id)

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(request=REQUESTS)
    def test_whatever_is_asked_is_answered_as_by_the_untraced_server(self, servers, request):
        answers = [whole_answer(server, request) for server in (servers.plain, servers.predictor)]
        assert answers[0] == answers[1]

    def test_an_answer_is_what_the_untraced_server_answers(self, servers):
        plain = servers.plain.predict("sync")
        assert plain == servers.predictor.predict("sync") == servers.transformer.predict("sync")
        assert plain[0] == 200

    def test_large_requests_on_one_connection_are_each_a_trace_of_their_own(self, servers):
        connection = http.client.HTTPConnection("127.0.0.1", servers.transformer.port, timeout=60)
        connection.connect()
        port = connection.sock.getsockname()[1]
        # Each is of a size of its own, by which its trace is found.
        sizes = [LARGE + number for number in range(20)]
        for size in sizes:
            body = b'{"instances": ["' + b"x" * (size - 19) + b'"]}'
            connection.request("POST", "/v1/models/length:predict", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())) == (200, {"predictions": [size - 19]})
        assert connection.sock.getsockname()[1] == port
        connection.close()
        spans = servers.all_spans()
        size_of = {
            span.trace_id: int(span.attributes[semconv.HTTP_REQUEST_BODY_SIZE])
            for span in of(spans, "transformer")
            if span.name == "receive" and int(span.attributes[semconv.HTTP_REQUEST_BODY_SIZE]) in sizes
        }
        assert list(size_of.values()) == sizes
        for service in ("transformer", "predictor"):
            arrivals = [span for span in of(spans, service) if span.kind == SERVER and span.trace_id in size_of]
            assert [size_of[span.trace_id] for span in arrivals] == sizes
            assert all(span.parent_id == "" for span in arrivals) is (service == "transformer")

    def test_a_large_body_is_received_over_a_time_of_its_own(self, servers, trace_id):
        servers.predictor.predict("length", trace_id, b'{"instances": ["' + b"x" * LARGE + b'"]}')
        spans = {span.name: span for span in servers.trace(trace_id)}
        assert spans["receive"].start < spans["receive"].end <= spans["decode"].end <= spans["preprocess"].start

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/models/refuses:predict", b'{"instances": [1]}'),
            ("/v1/models/fails:predict", b'{"instances": [1]}'),
            ("/v1/models/no-such:predict", b'{"instances": [1]}'),
            ("/v1/models/unready:predict", b'{"instances": [1]}'),
            ("/v1/models/sync:no-such", b'{"instances": [1]}'),
            ("/v1/models/sync:predict", b"{not json"),
            ("/v1/models/sync:predict", b""),
        ],
    )
    def test_a_failure_keeps_its_status_and_body_and_has_one_server_span(self, servers, trace_id, path, body):
        expected = servers.plain.ask("POST", path, body)
        assert expected[0] >= 400
        assert servers.predictor.ask("POST", path, body, trace_id) == expected
        (server,) = [span for span in servers.trace(trace_id) if span.kind == SERVER]
        assert status_of(server) == expected[0]
        assert (server.status == ERROR) is (expected[0] >= 500)

    @pytest.mark.parametrize(
        ("model", "step"), [("refuses", "preprocess"), ("fails", "predict"), ("unprintable", "predict")]
    )
    def test_a_failing_step_is_marked_and_the_ones_before_it_are_not(self, servers, trace_id, model, step):
        servers.predictor.predict(model, trace_id)
        steps = [span for span in servers.trace(trace_id) if span.kind != SERVER]
        assert steps[-1].name == step
        assert [span.name for span in steps if span.status == ERROR] == [step]

    def test_an_exception_that_can_t_be_described_changes_no_answer_and_its_spans_end(self, servers, trace_id):
        expected = servers.plain.predict("unprintable")
        assert expected[0] == 500
        assert servers.predictor.predict("unprintable", trace_id) == expected
        spans = servers.trace(trace_id)
        assert shape(spans) == STEPS[:-1]
        assert "predict" in [span.name for span in spans if span.events]
        assert {span.name for span in spans if span.kind == SERVER or span.name == "predict"} == {
            span.name for span in spans if span.status == ERROR
        }

    def test_bad_json_is_400_with_a_receive_span_and_without_decode(self, servers, trace_id):
        assert servers.predictor.predict("sync", trace_id, b"{not json")[0] == 400
        assert [span.name for span in servers.trace(trace_id) if span.kind != SERVER] == ["receive"]

    def test_a_predictor_that_fails_marks_the_transformer_s_predict(self, servers, trace_id):
        assert servers.transformer.predict("fails", trace_id)[0] >= 500
        failed = {(span.service, span.name) for span in servers.trace(trace_id) if span.status == ERROR}
        assert {("transformer", "predict"), ("predictor", "predict")} <= failed

    def test_an_exception_is_recorded_once_in_a_trace_on_the_innermost_span(self, servers, trace_id):
        servers.transformer.predict("fails", trace_id)
        with_events = [(span.service, span.name, span.events) for span in servers.trace(trace_id) if span.events]
        assert with_events == [("predictor", "predict", ("exception",))]

    def test_a_client_s_error_in_a_step_is_recorded_there_alone(self, servers, trace_id):
        servers.predictor.predict("refuses", trace_id)
        with_events = [(span.name, span.events) for span in servers.trace(trace_id) if span.events]
        assert with_events == [("preprocess", ("exception",))]

    @pytest.mark.parametrize(
        ("model", "body"),
        [
            ("no-such", b'{"instances": [1]}'),
            ("unready", b'{"instances": [1]}'),
            ("sync", b"{not json"),
            ("sync", b""),
            ("sync", b'{"instances": 3}'),
        ],
    )
    def test_what_the_server_itself_refuses_is_recorded_once_on_its_own_span(self, servers, trace_id, model, body):
        status, _ = servers.plain.predict(model, body=body)
        assert status >= 400
        assert servers.predictor.predict(model, trace_id, body)[0] == status
        spans = servers.trace(trace_id)
        assert [(span.kind, span.events) for span in spans if span.events] == [(SERVER, ("exception",))]

    def test_health_listing_metrics_and_documentation_make_no_spans(self, servers, trace_id):
        for path in self.health:
            status, _ = servers.plain.ask("GET", path)
            assert (path, servers.predictor.ask("GET", path, trace_id=trace_id)[0]) == (path, status)
        assert servers.trace(trace_id) == []

    def test_explain_is_a_step_in_the_place_of_predict(self, servers, trace_id):
        path = "/v1/models/explains:explain"
        expected = servers.plain.ask("POST", path, b'{"instances": [1]}')
        assert expected[0] == 200
        assert servers.predictor.ask("POST", path, b'{"instances": [1]}', trace_id) == expected
        steps = [span.name for span in servers.trace(trace_id) if span.kind != SERVER]
        assert steps == ["receive", "decode", "preprocess", "explain", "postprocess"]

    def test_an_open_inference_request_has_the_same_spans(self, servers, trace_id):
        path, body = self.infer.format("echo"), json.dumps(TENSORS).encode()
        expected = servers.plain.ask("POST", path, body)
        assert expected[0] == 200
        status, answer = servers.predictor.ask("POST", path, body, trace_id)
        assert (status, without_id(answer)) == (200, without_id(expected[1]))
        assert shape(servers.trace(trace_id)) == STEPS

    @pytest.mark.parametrize("mode", ["binary", "structured"])
    def test_a_cloudevent_is_answered_as_by_the_untraced_server_with_the_same_spans(self, servers, trace_id, mode):
        headers, body = cloudevent(mode)
        answers = [
            server.ask("POST", "/v1/models/async:predict", body, trace_id, headers)
            for server in (servers.plain, servers.predictor)
        ]
        assert [status for status, _ in answers] == [200, 200]
        assert [without_id(answer)["predictions"] for _, answer in answers] == [[1], [1]]
        assert shape(servers.trace(trace_id)) == STEPS

    @pytest.mark.parametrize(
        "given",
        [
            ["ce-kafkaheadertraceparent"],
            ["ce-traceparent", "ce-kafkaheadertraceparent"],
            ["traceparent", "ce-traceparent", "ce-kafkaheadertraceparent"],
        ],
    )
    def test_a_cloudevent_s_trace_is_its_parent_and_the_others_are_links(self, servers, given):
        headers, body = cloudevent("binary")
        contexts = [(uuid.uuid4().hex, f"00000000000000b{number}") for number in range(len(given))]
        headers |= {header: traceparent(*context) for header, context in zip(given, contexts, strict=True)}
        assert servers.predictor.ask("POST", "/v1/models/async:predict", body, headers=headers)[0] == 200
        (parent_trace, parent), *others = contexts
        (server,) = [span for span in servers.trace(parent_trace) if span.kind == SERVER]
        assert (server.parent_id, server.links) == (parent, tuple(span_id for _, span_id in others))

    @pytest.mark.parametrize("value", ["", "00-zz", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
    def test_a_cloudevent_s_trace_is_the_parent_beside_a_traceparent_that_is_none(self, servers, trace_id, value):
        headers, body = cloudevent("binary")
        headers |= {"traceparent": value, "ce-traceparent": traceparent(trace_id)}
        assert servers.predictor.ask("POST", "/v1/models/async:predict", body, headers=headers)[0] == 200
        (server,) = [span for span in servers.trace(trace_id) if span.kind == SERVER]
        assert (server.parent_id, server.links) == ("00000000000000a1", ())

    @pytest.mark.parametrize(
        "value", ["", "00-zz", "\x01\x02", "\xe9" * 2000, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
    )
    @pytest.mark.parametrize("header", ["traceparent", "ce-traceparent"])
    def test_a_hostile_header_changes_nothing_about_the_answer(self, servers, header, value):
        answers = [
            server.ask("POST", "/v1/models/sync:predict", b'{"instances": [1]}', headers={header: value})
            for server in (servers.plain, servers.predictor)
        ]
        assert answers[0] == answers[1]

    def test_servers_under_loopback_listen_on_127_0_0_1_only(self, servers):
        for server in (servers.predictor, servers.transformer, servers.plain):
            assert {"127.0.0.1"} <= addresses_of_port(server.port) <= {"127.0.0.1", "::1"}
