"""The containers of deploy/compose.yaml, for tests: `make test-deploy` makes their images."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from otel_kfs.cli import main

sys.path.append(str(Path(__file__).parents[2] / "deploy" / "containers"))

import container_engine  # it stands in the folder just added
from container_compose import COMPOSE_FILE, Compose
from kube_play import playable

__all__ = ["COMPOSE_FILE", "Compose", "find_engine", "left_out", "playable"]

RUN = "containers"
# What compose.yaml's senders send, and how often here.
IMAGES = ["1.1MB.jpg", "3.3MB.jpg", "4.7MB.jpg", "10.2MB.jpg"]
REPEAT = 2
JAEGER = "jaeger:http://127.0.0.1:16686"

# Read here, because tests run without the caller's OTEL_* settings.
REQUIRED = "containers" in os.environ.get("OTEL_KFS_TESTS_REQUIRED", "").split(",")
ENGINE = os.environ.get("OTEL_KFS_ENGINE")


def left_out() -> str:
    """Why the tests in containers do not run here, or nothing."""
    return "" if REQUIRED else "they need images: run make test-deploy"


def find_engine() -> container_engine.Engine:
    """The engine that `make test-deploy` has chosen."""
    if ENGINE:
        os.environ["OTEL_KFS_ENGINE"] = ENGINE
    return container_engine.find_engine()


def tables(query: str, run: str) -> dict[str, Any]:
    """What `otel-kfs tables` reads of a run, as its JSON; nothing where it measures no image."""
    done = CliRunner().invoke(main, ["tables", "--trace-query", query, "--run", run, "--format", "json"])
    return dict(json.loads(done.stdout)) if done.exit_code == 0 else {"seed": [], "segments": [], "output": done.output}


def is_whole(found: dict[str, Any], images: int) -> bool:
    """Whether all these images are measured, each with all its stamps and segments."""
    series = {(row["transport"], row["size"]): row for row in found["seed"]}
    return (
        sum(row["n"] for row in series.values()) >= images
        and all(row[stamp] is not None for row in series.values() for stamp in "1234")
        and all(
            row["n"] == series[row["transport"], row["size"]]["n"]
            for row in found["segments"]
            # A server that is busy lets some requests wait, and others not.
            if not row["segment"].endswith(" queue")
        )
    )


def wait_for(read: Callable[[], Any], accept: Callable[[Any], bool], limit: float = 300.0) -> Any:
    """What is read once it is accepted: the bridge, all exporters and the Collector are behind the sender."""
    until = time.monotonic() + limit
    while True:
        found = read()
        if accept(found):
            return found
        assert time.monotonic() < until, found
        time.sleep(1)


def whole(run: str, images: int) -> dict[str, Any]:
    """What Jaeger has of a run, once it has all these images as wholes."""
    return wait_for(lambda: tables(JAEGER, run), lambda found: is_whole(found, images))


def collector_files(compose: Compose, folder: Path) -> str:
    """A folder with what the Collector's volume holds now."""
    traces = folder / "traces"
    shutil.rmtree(traces, ignore_errors=True)
    compose.engine.run("cp", f"{compose.container('collector')}:/traces", folder)
    return str(traces)


def beside(compose: Compose, service: str, *options: str) -> list[str]:
    """How to run the image of a service once more, in the same network, up to the program's own arguments."""
    return [
        "run",
        "--network",
        compose.network,
        "--read-only",
        *compose.names(service),
        *options,
        compose.inspect(service)["Config"]["Image"],
    ]


def send(compose: Compose, run: str, *options: str, arguments: tuple[str, ...] = ()) -> list[str]:
    """The lines that a sender prints, one answer after the other and what it has to say in the end."""
    command = beside(compose, "bridge", "--rm", *options)
    command += ["send", "--transport=http", "--url=http://transformer:8080", "--model=mobilenet", f"--run={run}"]
    command += ["--repeat=3", "--image=1.1MB.jpg", *arguments]
    return compose.engine.run(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.splitlines()
