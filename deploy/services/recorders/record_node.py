"""Node's clients under OpenTelemetry's auto-instrumentation: fetch, undici and node:http."""

from __future__ import annotations

import hashlib
import shutil
from functools import partial
from pathlib import Path

from service_process import HERE, ServiceError, beside, cache_dir, finished, program, say

from otel_kfs.demo.model_servers import MODEL
from recorders.recording import Expected, Recording, expected

FILES = HERE / "recorders" / "node"


def post(recording: Recording, client: str) -> Expected:
    """Post the images with one of the clients to the transformer."""
    home = _fetched()
    url, _ = recording.model_servers()
    payloads = recording.payloads()
    command = [program("node", "install Node.js 20 or newer"), "--require"]
    command += ["@opentelemetry/auto-instrumentations-node/register", "client.js", client]
    command += [f"{url}/v1/models/{MODEL}:predict", *map(str, payloads)]
    environment = {
        **recording.environment("node-client"),
        "OTEL_NODE_RESOURCE_DETECTORS": "env,host",
        "OTEL_NODE_ENABLED_INSTRUMENTATIONS": "http,undici",
    }
    shutil.copy(FILES / "client.js", home)
    recording.run("node", command, environment, cwd=home)
    return expected(len(payloads), "node-client", "mobilenet-transformer", "mobilenet-predictor")


RECORDINGS = {f"node-{client}": partial(post, client=client) for client in ("fetch", "undici", "http")}


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
