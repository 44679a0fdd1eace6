"""The example's transformer and predictor as processes on 127.0.0.1, each with a file for its spans."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

from otel_kfs import semconv
from otel_kfs.demo import example
from otel_kfs.demo.processes import Processes, free_port, python

MODEL = "mobilenet"

_READY_SECONDS = 60.0


def start_serving(
    processes: Processes, serving: str, traces: Path, *, fast: bool = False, more: Sequence[str] = ()
) -> tuple[str, str]:
    """Start predictor and transformer; return the transformer's URL and the predictor's.

    `more` are further options of the transformer.
    """
    options = example.server_options(serving)
    transformer_script, predictor_script = example.scripts(serving, fast=fast)
    suffix = "-fast" if fast else ""
    ports = {"predictor": free_port(), "transformer": free_port()}
    scripts = {
        "predictor": [str(predictor_script)],
        "transformer": [str(transformer_script), "--predictor_host", f"127.0.0.1:{ports['predictor']}"],
    }
    role_options = {"predictor": options, "transformer": [*options, *more]}
    for role, script in scripts.items():
        processes.start(
            role + suffix,
            python("-m", "otel_kfs.demo.loopback", *script, "--http_port", str(ports[role]), *role_options[role]),
            child_environment(traces, f"mobilenet-{role}{suffix}"),
        )
    urls = {role: f"http://127.0.0.1:{port}" for role, port in ports.items()}
    for role, url in urls.items():
        processes.wait_until(role + suffix, lambda url=url: is_ready(url), _READY_SECONDS)  # type: ignore[misc]
    return urls["transformer"], urls["predictor"]


def start_chat(processes: Processes, traces: Path) -> str:
    """Start the server that has the model behind V1 and behind a chat; return its URL.

    Raises:
        DemoError: KServe is not installed, or the server did not start.
    """
    script, port = str(example.chat_script()), free_port()
    command = python("-m", "otel_kfs.demo.loopback", script, "--http_port", str(port))
    processes.start("chat", [*command, *example.server_options("kserve")], child_environment(traces, "mobilenet-chat"))
    url = f"http://127.0.0.1:{port}"
    processes.wait_until("chat", lambda: is_ready(url), _READY_SECONDS)
    return url


def child_environment(traces: Path, service: str) -> dict[str, str]:
    """Return what a process of ours is told: its service's name, and the file for its spans."""
    return {
        semconv.ENV_TRACES_FILE: str(traces / f"{service}.jsonl"),
        "OTEL_SERVICE_NAME": service,
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
        "PYTHONUNBUFFERED": "1",
    }


def is_ready(url: str) -> bool:
    """Return whether the model server there serves the model."""
    try:
        with urllib.request.urlopen(f"{url}/v1/models/{MODEL}", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def settle(urls: Iterable[str]) -> None:
    """Wait for the servers' last spans: a server ends one after its answer, and before it answers another request."""
    for url in urls:
        is_ready(url)
