"""A test of a model server that looks at where its time goes: decoding an image must not take long."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
from opentelemetry import propagate, trace

import otel_kfs

PHOTO = Path(__file__).parents[1] / "mobilenet" / "photos" / "coffee.jpg"
tracer = trace.get_tracer("example")


class Model(BaseHTTPRequestHandler):
    """Stands in for a predictor that makes the spans of its steps itself."""

    def do_POST(self):
        with tracer.start_as_current_span(
            f"POST {self.path}", propagate.extract(self.headers), trace.SpanKind.SERVER, {"http.route": self.path}
        ):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with tracer.start_as_current_span("decode"):
                instances = json.loads(body)["instances"]
            with tracer.start_as_current_span("predict", attributes={"otel_kfs.role": "predictor"}):
                answer = json.dumps({"predictions": [285 for _ in instances]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_decoding_takes_less_than_50_ms(url, otel_kfs_traces):
    otel_kfs.configure("image-sender")
    sender = otel_kfs.HttpSender(url, model="mobilenet")
    for _ in range(5):
        sender.send(PHOTO)

    otel_kfs_traces.wait(images=5)  # the server's spans end after the answers are here

    assert otel_kfs_traces.segment("decode").p50 < 0.050  # seconds
    assert otel_kfs_traces.total(transport="http").n == 5


def test_any_client_that_is_traced_will_do(url, otel_kfs_traces):
    otel_kfs.configure("image-sender")  # `requests` is traced from here on
    requests.post(f"{url}/v1/models/mobilenet:predict", json={"instances": [1]}, timeout=10)
    otel_kfs_traces.wait()
    assert otel_kfs_traces.segment("predict").max < 1
