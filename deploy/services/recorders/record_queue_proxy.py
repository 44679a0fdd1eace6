"""Knative's queue-proxy before the transformer, built from its Go module."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from service_process import HOST, ServiceError, beside, cache_dir, finished, program, say

from otel_kfs.demo.processes import free_port
from recorders.recording import Expected, Recording, expected

MODULE, VERSION = "knative.dev/serving", "v0.49.0"  # 0.51.0 needs a version of knative.dev/pkg that can't be had
SERVERS = "pkg/queue/sharedmain/main.go", "pkg/queue/sharedmain/servers.go"
NAME = "mobilenet"  # a queue-proxy has its Service's name


def before_transformer(recording: Recording) -> Expected:
    """As the sidecar of the transformer."""
    executable = _built()
    url, _ = recording.model_servers()
    port = free_port()
    tracing = {"protocol": "http/protobuf", "endpoint": f"{recording.otlp_url}/v1/traces", "samplingRate": 1.0}
    environment = {
        "CONTAINER_CONCURRENCY": "10",
        "QUEUE_SERVING_PORT": str(port),
        "QUEUE_SERVING_TLS_PORT": str(free_port()),
        "USER_PORT": url.rpartition(":")[2],
        "REVISION_TIMEOUT_SECONDS": "60",
        "SERVING_LOGGING_CONFIG": "",
        "SERVING_LOGGING_LEVEL": "warn",
        "SERVING_NAMESPACE": "default",
        "SERVING_SERVICE": NAME,
        "SERVING_CONFIGURATION": NAME,
        "SERVING_REVISION": f"{NAME}-00001",
        "SERVING_POD": f"{NAME}-00001-deployment-0",
        "SERVING_POD_IP": HOST,
        "POD_NAME": f"{NAME}-00001-deployment-0",
        "SYSTEM_NAMESPACE": "knative-serving",
        "OBSERVABILITY_CONFIG": json.dumps({"tracing": tracing, "requestMetrics": {"protocol": "none"}}),
    }
    # At its end it waits 30 s for Kubernetes to take note, so it is killed instead.
    recording.processes.start("queue-proxy", [str(executable)], environment, expendable=True)
    recording.wait_until_listening("queue-proxy", port)
    count = recording.send_http(f"http://{HOST}:{port}")
    recording.wait_for_spans(NAME, count)
    return expected(count, "image-sender", NAME, "mobilenet-transformer", "mobilenet-predictor")


RECORDINGS = {"queue-proxy": before_transformer}


def _built() -> Path:
    """Return the queue-proxy's executable, building it the first time."""
    target = cache_dir() / f"queue-proxy-{VERSION}"
    if target.is_file():
        return target
    go = program("go", "install Go, which builds the queue-proxy")
    say(f"building the queue-proxy {VERSION} as {target}; that takes minutes")
    with beside(target) as partial:
        environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOWORK": "off"}
        found = finished([go, "mod", "download", "-json", f"{MODULE}@{VERSION}"], env=environment, cwd=partial)
        source = json.loads(found.stdout).get("Dir") if found.returncode == 0 else None
        if source is None:
            raise ServiceError(f"Go could not download {MODULE}: {_last_line(found.stdout)}")
        copy = partial / "source"
        shutil.copytree(source, copy, copy_function=shutil.copyfile)
        for folder, _, _ in os.walk(copy):
            os.chmod(folder, 0o700)
        for name in SERVERS:
            # It listens on every interface, and has no setting for that.
            text = (copy / name).read_text("utf-8")
            for address in ('":"+env.', '":" + strconv', '":"+strconv'):
                text = text.replace(address, address.replace('":"', f'"{HOST}:"'))
            (copy / name).write_text(text, "utf-8")
        command = [go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(partial / "queue-proxy"), "./cmd/queue"]
        result = finished(command, cwd=copy, env=environment)
        if result.returncode != 0:
            raise ServiceError(f"Go could not build the queue-proxy: {_last_line(result.stdout)}")
        (partial / "queue-proxy").rename(target)
    return target


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")
