"""MLServer, traced by its own setting `tracing_server`: below a transformer, and asked directly by REST and by gRPC."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from typing import NamedTuple

from service_process import HERE, HOST

from otel_kfs.demo import example, model_servers
from otel_kfs.demo.processes import free_port
from recorders.recording import LIMIT, Expected, Recording, environment_for, expected

FILES = HERE / "recorders" / "mlserver"
PYTHON = "python3.11"  # MLServer 1.7.1 is not for newer ones


class Ports(NamedTuple):
    """Where an MLServer answers."""

    http: int
    grpc: int


def below_transformer(recording: Recording) -> Expected:
    """As the predictor of a transformer."""
    ports, port = _start(recording), free_port()
    script = [str(FILES / "transformer.py"), str(example.folder())]
    options = ["--http_port", str(port), "--predictor_host", f"{HOST}:{ports.http}"]
    options += example.server_options("kserve")
    recording.processes.start(
        "transformer",
        [sys.executable, "-m", "otel_kfs.demo.loopback", *script, *options],
        model_servers.child_environment(recording.traces, "mobilenet-transformer"),
    )
    url = f"http://{HOST}:{port}"
    recording.processes.wait_until("transformer", lambda: model_servers.is_ready(url), LIMIT)
    count = recording.send_http(url)
    recording.wait_for_spans("mlserver", count)
    return expected(count, "image-sender", "mobilenet-transformer", "mlserver")


def rest(recording: Recording) -> Expected:
    """Asked directly by REST: the image is one element, in base64 in JSON."""
    ports = _start(recording)
    payloads = []
    for picture in recording.pictures():
        image = base64.b64encode(picture.read_bytes()).decode("ascii")
        inputs = [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}]
        payloads.append(recording.folder / f"{picture.stem}.json")
        payloads[-1].write_text(json.dumps({"inputs": inputs}), "utf-8")
    url = f"http://{HOST}:{ports.http}/v2/models/mobilenet/infer"
    files = [word for payload in payloads for word in ("--json", str(payload))]
    count = recording.send(url, "--transport", "http", *files, images=False)
    recording.wait_for_spans("mlserver", count)
    return expected(count, "image-sender", "mlserver")


def grpc(recording: Recording) -> Expected:
    """Asked directly by gRPC."""
    ports = _start(recording)
    count = recording.send(f"{HOST}:{ports.grpc}", "--transport", "grpc", "--model", "mobilenet")
    recording.wait_for_spans("mlserver", count)
    return expected(count, "image-sender", "mlserver")


RECORDINGS = {
    "mlserver-below-transformer": below_transformer,
    "mlserver-rest": rest,
    "mlserver-grpc": grpc,
}


def _start(recording: Recording) -> Ports:
    bin_folder = environment_for("mlserver", FILES / "requirements.txt", PYTHON)
    home = recording.folder / "mlserver"
    home.mkdir()
    shutil.copy(FILES / "runtime.py", home)
    ports = Ports(free_port(), free_port())
    settings = {
        "host": HOST,
        "http_port": ports.http,
        "grpc_port": ports.grpc,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "tracing_server": f"{HOST}:{recording.receiver.grpc_port}",
        "debug": False,
    }
    (home / "settings.json").write_text(json.dumps(settings), "utf-8")
    (home / "model-settings.json").write_text(
        json.dumps({"name": "mobilenet", "implementation": "runtime.Count"}), "utf-8"
    )
    recording.processes.start("mlserver", [str(bin_folder / "mlserver"), "start", str(home)])
    recording.wait_until_listening("mlserver", ports.http)
    recording.wait_until_listening("mlserver", ports.grpc)
    return ports
