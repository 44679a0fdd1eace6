"""Python's servers with routes of their own, asked by httpx: Flask, FastAPI, LitServe, BentoML; and OpenAI's client."""

from __future__ import annotations

import shutil
from functools import partial

from service_process import HERE, HOST

from otel_kfs.demo.processes import free_port
from recorders.record_clients import run_instrumented
from recorders.recording import Expected, Recording, environment_for, expected

FILES = HERE / "recorders" / "servers"


def web(recording: Recording, framework: str) -> Expected:
    """Have a web framework with contrib's instrumentation serve the model."""
    port = _start_instrumented(recording, framework, "web_server.py", framework)
    return _post(recording, framework, port)


def litserve(recording: Recording) -> Expected:
    """Have LitServe serve it, with the spans of contrib's instrumentation of FastAPI."""
    port = _start_instrumented(recording, "litserve", "litserve_server.py")
    return _post(recording, "litserve", port)


def bentoml(recording: Recording) -> Expected:
    """Have BentoML serve it, with its own spans."""
    bin_folder, port = environment_for("servers", FILES / "requirements.txt"), free_port()
    shutil.copy(FILES / "bentoml_service.py", recording.folder)
    command = [str(bin_folder / "bentoml"), "serve", "bentoml_service:Classifier", "--working-dir"]
    command += [str(recording.folder), "--host", HOST, "--port", str(port)]
    environment = {
        **recording.environment("bentoml"),
        "BENTOML_HOME": str(recording.folder / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PATH": f"{bin_folder}:/usr/bin:/bin",
    }
    recording.processes.start("bentoml", command, environment)
    recording.wait_until_listening("bentoml", port)
    return _post(recording, "bentoml", port)


def chat(recording: Recording) -> Expected:
    """Have OpenAI's client ask a small server by one of OpenAI's routes."""
    port = _start_instrumented(recording, "chat", "web_server.py", "chat")
    url = f"http://{HOST}:{port}/v1"
    run_instrumented(recording, "openai-client", "servers", FILES, "ask.py", url)
    recording.wait_for_spans("chat", 2)
    return expected(2, "openai-client", "chat")


RECORDINGS = {
    "flask": partial(web, framework="flask"),
    "fastapi": partial(web, framework="fastapi"),
    "litserve": litserve,
    "bentoml": bentoml,
    "openai-client": chat,
}


def _start_instrumented(recording: Recording, service: str, script: str, *arguments: str) -> int:
    """Start a web server under OpenTelemetry's command; return its port."""
    bin_folder, port = environment_for("servers", FILES / "requirements.txt"), free_port()
    command = [str(bin_folder / "opentelemetry-instrument"), str(bin_folder / "python")]
    command += [str(FILES / script), *arguments, str(port)]
    recording.processes.start(service, command, recording.instrumented(service))
    recording.wait_until_listening(service, port)
    return port


def _post(recording: Recording, service: str, port: int) -> Expected:
    payloads = [str(payload) for payload in recording.payloads()]
    url = f"http://{HOST}:{port}/classify"
    run_instrumented(recording, "httpx-client", "clients", FILES.parent / "clients", "post.py", "httpx", url, *payloads)
    recording.wait_for_spans(service, len(payloads))
    return expected(len(payloads), "httpx-client", service)
