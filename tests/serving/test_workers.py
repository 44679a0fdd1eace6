"""Model servers with several worker processes, traced by `trace_model`: each exports its own spans, once."""

import http.client
import os
import signal
import uuid
from contextlib import contextmanager

import pytest
from collector_support import collecting
from contract import traceparent
from support import LIMIT, wait_until

from otel_kfs.demo.processes import Processes, free_port, python

KFSERVING = """
import kfserving, os, otel_kfs

class Model(kfserving.KFModel):
    def predict(self, request): return {"predictions": [os.getpid()]}

otel_kfs.configure("predictor")
model = Model("m")
model.load()
kfserving.KFServer(workers=2).start([otel_kfs.trace_model(model)])
"""

KSERVE = """
import kserve, os, otel_kfs
from kserve.protocol.rest.multiprocess.server import RESTServerProcess

class Model(kserve.Model):
    def predict(self, payload, headers=None): return {"predictions": [os.getpid()]}

if __name__ == "__main__":
    # A worker that has not begun after 5 s is killed; on a busy machine none would ever begin.
    RESTServerProcess.is_alive.__defaults__ = (60,)
    otel_kfs.configure("predictor", traces_file=os.environ.get("TRACES"))
    model = Model("m")
    model.load()
    kserve.ModelServer(workers=2, enable_grpc=False).start([otel_kfs.trace_model(model, role="predictor")])
"""


@contextmanager
def serving(script, folder, **environment):
    """The port of a server with two workers."""
    (folder / "server.py").write_text(script)
    port = free_port()
    with Processes(folder / "logs") as processes:
        options = ["--http_port", str(port)]
        command = python("-m", "otel_kfs.demo.loopback", str(folder / "server.py"), *options)
        server = processes.start("server", command, environment)
        try:
            processes.wait_until("server", lambda: ready(port), LIMIT)
            yield port, server
        finally:
            if script is KFSERVING:  # its parent would leave its children behind
                os.killpg(server.pid, signal.SIGTERM)
            else:
                server.terminate()
            server.wait(LIMIT)


def ready(port):
    try:
        return ask(port, "GET", "/v1/models/m")[0] == 200
    except OSError:
        return False


def ask(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    result = answer.status, answer.read()
    connection.close()
    return result


def ask_both(port):
    """The requests that were answered, by their trace's id: by which process. All their spans have ended."""
    answered = answers_of_both(port)
    # The SERVER span ends after its answer is out, so before the next one's of the same process.
    answers_of_both(port)
    return answered


def answers_of_both(port):
    answered = {}

    def both_have_answered():
        trace_id = uuid.uuid4().hex
        status, body = ask(
            port, "POST", "/v1/models/m:predict", b'{"instances": [1]}', {"traceparent": traceparent(trace_id)}
        )
        assert status == 200
        answered[trace_id] = int(body.partition(b"[")[2].partition(b"]")[0])
        return len(set(answered.values())) == 2

    wait_until("an answer of each worker", both_have_answered)
    return answered


STEPS = ["decode", "postprocess", "predict", "preprocess", "receive"]


def check(collector, answered):
    """Each request has one SERVER span and its steps, once, from the process that answered it."""
    spans = [span for span in collector.spans() if span.trace_id in answered]
    assert {(span.service, span.pid == answered[span.trace_id]) for span in spans} == {("predictor", True)}
    assert len({span.span_id for span in spans}) == len(spans)
    for trace_id in answered:
        found = sorted(span.name for span in spans if span.trace_id == trace_id)
        assert [name for name in found if name in STEPS] == STEPS
        assert len(found) == len(STEPS) + 1


@pytest.mark.kfserving
def test_kfserving_s_forked_workers_are_traced(tmp_path):
    with collecting() as collector:
        with serving(KFSERVING, tmp_path, **collector.settings) as (port, _):
            answered = ask_both(port)
        wait_until("the last spans of both", lambda: {span.trace_id for span in collector.spans()} >= set(answered))
        check(collector, answered)


@pytest.mark.kserve
def test_kserve_s_spawned_workers_are_traced(tmp_path):
    with collecting() as collector:
        with serving(KSERVE, tmp_path, **collector.settings) as (port, _):
            answered = ask_both(port)
        check(collector, answered)


@pytest.mark.kserve
def test_kserve_s_workers_write_to_the_file_that_their_parent_was_told(tmp_path):
    from support import SERVER, read_traces

    with serving(KSERVE, tmp_path, TRACES=str(tmp_path / "spans.jsonl")) as (port, _):
        answered = ask_both(port)
    spans = read_traces(tmp_path / "spans.jsonl")
    assert {span.trace_id for span in spans if span.kind == SERVER} >= set(answered)
    assert len({span.span_id for span in spans}) == len(spans)
