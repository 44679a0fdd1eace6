"""Node's clients under OpenTelemetry's auto-instrumentation: fetch, undici and node:http, kafkajs."""

from __future__ import annotations

import hashlib
import shutil
from functools import partial
from pathlib import Path

from service_kafka import kafka
from service_process import HERE, ServiceError, beside, cache_dir, finished, program, say

from otel_kfs.demo.model_servers import MODEL
from recorders.recording import Expected, Recording, expected

FILES = HERE / "recorders" / "node"
TOPIC = "mobilenet"


def post(recording: Recording, client: str) -> Expected:
    """Post the images with one of the clients to the transformer."""
    url, _ = recording.model_servers()
    payloads = [str(payload) for payload in recording.payloads()]
    _run(recording, "node-client", "client.js", client, f"{url}/v1/models/{MODEL}:predict", *payloads)
    return expected(len(payloads), "node-client", "mobilenet-transformer", "mobilenet-predictor")


def consume(recording: Recording, way: str) -> Expected:
    """Send the images to a topic by kafkajs, and post them from there to the transformer: each, or by the batch."""
    with kafka() as broker:
        url, _ = recording.model_servers()
        payloads = [str(payload) for payload in recording.payloads()]
        _run(recording, "kafkajs-producer", "kafka.js", "produce", broker.bootstrap_servers, TOPIC, *payloads)
        where = [broker.bootstrap_servers, TOPIC, f"{url}/v1/models/{MODEL}:predict", str(len(payloads))]
        _run(recording, "kafkajs-consumer", "kafka.js", way, *where)
    # A batch is a trace of its own, in which the servers' spans are.
    return expected(1, "kafkajs-producer", "kafkajs-consumer", "mobilenet-transformer", "mobilenet-predictor")


RECORDINGS = {
    **{f"node-{client}": partial(post, client=client) for client in ("fetch", "undici", "http")},
    **{f"kafkajs-{way}": partial(consume, way=way) for way in ("message", "batch")},
}


def _run(recording: Recording, service: str, script: str, *arguments: str) -> None:
    """Run a script to its end, instrumented as OpenTelemetry's own package does it."""
    home = _fetched()
    command = [program("node", "install Node.js 20 or newer"), "--require"]
    command += ["@opentelemetry/auto-instrumentations-node/register", script, *arguments]
    environment = {
        **recording.environment(service),
        "OTEL_NODE_RESOURCE_DETECTORS": "env,host",
        "OTEL_NODE_ENABLED_INSTRUMENTATIONS": "http,undici,kafkajs",
    }
    shutil.copy(FILES / script, home)
    recording.run(service, command, environment, cwd=home)


def _fetched() -> Path:
    """Return the folder with the packages, fetching them the first time."""
    home = cache_dir() / f"node-{hashlib.sha256((FILES / 'package.json').read_bytes()).hexdigest()[:12]}"
    if not home.is_dir():
        npm = program("npm", "install Node.js, whose npm fetches the clients")
        say(f"fetching the packages of node into {home}")
        with beside(home) as partial_home:
            shutil.copy(FILES / "package.json", partial_home)
            result = finished([npm, "install", "--no-package-lock", "--no-audit", "--no-fund"], cwd=partial_home)
            if result.returncode != 0:
                first = next(
                    (line for line in result.stdout.splitlines() if "error" in line.lower()), "no reason given"
                )
                raise ServiceError(f"npm could not fetch the packages of node: {first}")
            shutil.copytree(partial_home, home, symlinks=True)
    return home
