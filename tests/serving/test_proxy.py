"""B3, the headers of KFServing's days, through proxies that add spans of their own, as a mesh does: one trace.

The sender's request goes through an ingress to the transformer, and the transformer's through a mesh to the predictor.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import test_kfserving
import test_kserve
from contract import Server, is_ready
from support import CLIENT, JPG, LIMIT, SERVER, read_traces, wait_until

from otel_kfs import semconv
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.demo.processes import Processes, python
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces import query
from otel_kfs.traces.span import SpanGraph

PROXY = """
import http.client, http.server, sys
import otel_kfs
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

otel_kfs.configure()
tracer = trace.get_tracer("proxy")
port, target = int(sys.argv[1]), sys.argv[2]

class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parent = propagate.extract({key.lower(): value for key, value in self.headers.items()})
        with (
            tracer.start_as_current_span("in", parent, SpanKind.SERVER),
            tracer.start_as_current_span("out", kind=SpanKind.CLIENT),
        ):
            headers = {"Content-Type": self.headers["Content-Type"] or "application/json"}
            propagate.inject(headers)
            self.forward(body, headers)

    def do_GET(self):
        self.forward(None, {})

    def forward(self, body, headers):
        connection = http.client.HTTPConnection(target, timeout=30)
        try:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
        except OSError:
            status, content = 502, b""
        connection.close()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

http.server.ThreadingHTTPServer(("127.0.0.1", port), Proxy).serve_forever()
"""

SENDER = """
import sys, otel_kfs
otel_kfs.configure()
print(otel_kfs.HttpSender(sys.argv[1], model="async").send(sys.argv[2]))
"""

SDKS = [
    pytest.param((test_kfserving.MODELS, []), marks=pytest.mark.kfserving, id="kfserving"),
    pytest.param((test_kserve.MODELS, test_kserve.OPTIONS), marks=pytest.mark.kserve, id="kserve"),
]


@dataclass
class Mesh:
    """Two proxies and two model servers, ready; and where their spans go."""

    processes: Processes
    folder: Path
    ingress: Server
    propagators: str

    def environment(self, service: str) -> dict[str, str]:
        return {
            "OTEL_PROPAGATORS": self.propagators,
            "OTEL_SERVICE_NAME": service,
            "OTEL_KFS_TRACES_FILE": str(self.folder / "traces" / f"{service}.jsonl"),
        }

    def start(self, service: str, *command: str) -> None:
        self.processes.start(service, python(*command), self.environment(service))


@pytest.fixture(scope="module", params=SDKS)
def sdk(request):
    return request.param


@pytest.fixture(scope="module", params=["b3", "b3multi"])
def mesh(request, sdk, tmp_path_factory):
    models, options = sdk
    folder = tmp_path_factory.mktemp("mesh")
    (folder / "models.py").write_text(models)
    (folder / "proxy.py").write_text(PROXY)
    (folder / "sender.py").write_text(SENDER)
    (folder / "photo.jpg").write_bytes(JPG)
    ingress, transformer, hop, predictor = (Server(name) for name in ("ingress", "transformer", "mesh", "predictor"))
    serve = ["-m", "otel_kfs.demo.loopback", str(folder / "models.py"), *options]
    with Processes(folder / "logs") as processes:
        mesh = Mesh(processes, folder, ingress, request.param)
        mesh.start("predictor", *serve, "--http_port", str(predictor.port))
        mesh.start("mesh", str(folder / "proxy.py"), str(hop.port), f"127.0.0.1:{predictor.port}")
        behind = ["--predictor_host", f"127.0.0.1:{hop.port}"]
        mesh.start("transformer", *serve, "--http_port", str(transformer.port), *behind)
        mesh.start("ingress", str(folder / "proxy.py"), str(ingress.port), f"127.0.0.1:{transformer.port}")
        for server in (hop, ingress):
            processes.wait_until(server.service, lambda server=server: is_ready(server), LIMIT)
        yield mesh


@pytest.fixture(scope="module")
def spans(mesh):
    """The spans of one image that was sent."""
    mesh.start(
        "sender", str(mesh.folder / "sender.py"), f"http://127.0.0.1:{mesh.ingress.port}", f"{mesh.folder}/photo.jpg"
    )
    expected = {"sender", "ingress", "transformer", "mesh", "predictor"}

    def all_written():
        spans = read_traces(mesh.folder / "traces")
        return (
            spans if {span.service for span in spans if span.parent_id == "" or span.kind == SERVER} == expected else []
        )

    return wait_until("the spans of every process", all_written)


def test_sender_proxies_transformer_and_predictor_are_one_trace(spans):
    assert len({span.trace_id for span in spans}) == 1
    roots = [span.name for span in spans if not span.parent_id]
    assert roots == [semconv.SEND_IMAGE]


def test_each_process_has_one_server_span_below_the_client_span_of_the_one_before(spans):
    by_id = {span.span_id: span for span in spans}
    callers = [(by_id[span.parent_id].service, span.service) for span in spans if span.kind == SERVER]
    assert callers == [
        ("sender", "ingress"),
        ("ingress", "transformer"),
        ("transformer", "mesh"),
        ("mesh", "predictor"),
    ]
    assert {by_id[span.parent_id].kind for span in spans if span.kind == SERVER} == {CLIENT}


def test_the_steps_are_those_without_proxies(spans):
    steps = Counter(span.name for span in spans if span.service in {"transformer", "predictor"} and span.kind == 1)
    assert steps == dict.fromkeys(("receive", "decode", "preprocess", "predict", "postprocess"), 2)


def test_the_segments_pass_the_proxies(mesh, spans):
    found, coverage = critical_paths(SpanGraph(query.spans(str(mesh.folder / "traces"))))
    assert (coverage.measured, coverage.left_out) == (1, {})
    (path,) = found
    parts = [segment_name(section.segment) for section in path.sections]
    assert "no " not in " ".join(parts)
    for server in ("transformer", "predictor"):
        for part in ("request", "receive", "decode", "preprocess", "postprocess", "response"):
            assert parts.count(f"{server} {part}") == 1
    assert sum(section.duration for section in path.sections) == path.stamps[3] - path.stamps[0]
