"""SIGTERM to KFServing's server: what it is at work on is answered, and its spans are there."""

import http.client
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import LIMIT, read_traces, wait_until

from otel_kfs.demo.processes import Processes, free_port, python

pytestmark = pytest.mark.kfserving

# Its predict is over once a file is there.
SERVER = """
import asyncio, pathlib, time
import kfserving, otel_kfs
from otel_kfs.serving import kfserving_shutdown

def over():
    pathlib.Path("begun").touch()
    return pathlib.Path("over").exists()

class Sync(kfserving.KFModel):
    def predict(self, request):
        while not over():
            time.sleep(0.01)
        return {"predictions": request["instances"] * 100_000}

class Async(kfserving.KFModel):
    async def predict(self, request):
        while not over():
            await asyncio.sleep(0.01)
        return {"predictions": request["instances"] * 100_000}

models = [Sync("sync"), Async("async")]
for model in models:
    model.load()
otel_kfs.configure("model", traces_file="traces.jsonl")
kfserving_shutdown._LIMIT_SECONDS = {seconds}
kfserving.KFServer(workers=1).start([otel_kfs.trace_model(model) for model in models])
raise AssertionError("start has returned")
"""
BODY = b'{"instances": [123456789]}'


@contextmanager
def server(limit=300):
    """A server in this folder: its port and its process."""
    Path("server.py").write_text(SERVER.replace("{seconds}", str(limit)))
    port = free_port()
    with Processes(Path("logs")) as processes:
        command = python("-m", "otel_kfs.demo.loopback", "server.py", "--http_port", str(port))
        process = processes.start("server", command)
        processes.wait_until("server", lambda: is_ready(port), LIMIT)
        yield port, process


def is_ready(port):
    try:
        return answer(connection(port, "GET", "/v1/models/sync"))[0] == 200
    except OSError:
        return False


def connection(port, method, path, body=None):
    opened = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    opened.request(method, path, body, {"Content-Type": "application/json"})
    return opened


def answer(opened):
    response = opened.getresponse()
    return response.status, len(response.read()), response.headers["Connection"]


def asked(port, model):
    """A connection whose request the model is at work on."""
    opened = connection(port, "POST", f"/v1/models/{model}:predict", BODY)
    wait_until("the model's work", Path("begun").exists)
    return opened


@pytest.mark.parametrize("model", ["sync", "async"])
def test_the_request_under_way_is_answered_as_a_whole_and_its_spans_are_written(model):
    with server() as (port, process):
        opened = asked(port, model)
        process.send_signal(signal.SIGTERM)
        if model == "async":
            wait_until("the closed port", lambda: refuses(port))
        Path("over").touch()
        status, size, _ = answer(opened)
        assert (status, size) == (200, len(b'{"predictions": []}') + 100_000 * len(b"123456789, ") - 2)
        assert process.wait(LIMIT) == -signal.SIGTERM
    assert sorted(span.name for span in read_traces(Path("traces.jsonl"))) == [
        "POST /v1/models/{name}:predict",
        "decode",
        "postprocess",
        "predict",
        "preprocess",
        "receive",
    ]


def refuses(port):
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=60).connect()
    except ConnectionRefusedError:
        return True
    return False


def test_a_connection_that_waits_for_a_next_request_does_not_keep_the_server():
    with server() as (port, process):
        Path("over").touch()
        kept = asked(port, "async")
        assert answer(kept)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == -signal.SIGTERM
        kept.close()


@pytest.mark.parametrize("model", ["sync", "async"])
def test_a_client_that_has_left_does_not_keep_the_server(model):
    with server() as (port, process):
        asked(port, model).close()
        Path("over").touch()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == -signal.SIGTERM


@pytest.mark.parametrize("model", ["sync", "async"])
def test_what_is_never_answered_is_cut_off_by_the_limit(model):
    with server(limit=0.1) as (port, process):
        opened = asked(port, model)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == -signal.SIGTERM
        with pytest.raises(ConnectionError):
            answer(opened)
    assert "preprocess" in [span.name for span in read_traces(Path("traces.jsonl"))]


def test_a_second_sigterm_ends_it_at_once():
    with server() as (port, process):
        opened = asked(port, "async")
        process.send_signal(signal.SIGTERM)
        wait_until("the closed port", lambda: refuses(port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == -signal.SIGTERM
        with pytest.raises(ConnectionError):
            answer(opened)
