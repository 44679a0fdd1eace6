"""Prometheus, built from its Go module: it fetches the metrics of what it is given, and takes OTLP."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service_go import build
from service_process import HOST, Server, choose_ports, http_ok, running

# Released as 3.15.0. The module is without the pages; targets are named, so that nothing is to be found in clouds.
MODULE, VERSION, PACKAGE, TAGS = "github.com/prometheus/prometheus", "v0.315.0", "cmd/prometheus", "remove_all_sd"


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus; url serves /api/v1, and takes metrics by OTLP at otlp_metrics."""

    server: Server
    url: str
    otlp_metrics: str


def fetch_prometheus() -> Path:
    """Return Prometheus' executable, which is built the first time."""
    return build("prometheus", MODULE, VERSION, PACKAGE, TAGS)


@contextmanager
def prometheus(targets: Sequence[str] = (), port: int = 0, interval: str = "1s") -> Iterator[Prometheus]:
    """Run Prometheus with its data in a temporary folder; it fetches /metrics of the targets, each HOST:PORT."""
    executable = fetch_prometheus()
    (port,) = choose_ports(port)
    url = f"http://{HOST}:{port}"
    jobs = [{"job_name": "targets", "static_configs": [{"targets": [*targets]}]}]
    with tempfile.TemporaryDirectory(prefix="otel-kfs-prometheus-") as scratch:
        config = Path(scratch) / "prometheus.yaml"  # JSON is YAML
        config.write_text(json.dumps({"global": {"scrape_interval": interval}, "scrape_configs": jobs}), "utf-8")
        command = [str(executable), f"--config.file={config}", f"--web.listen-address={HOST}:{port}"]
        command += [f"--storage.tsdb.path={scratch}/data", "--enable-feature=exemplar-storage"]
        command += ["--web.enable-otlp-receiver"]
        with running("prometheus", command, Path(scratch), lambda: http_ok(f"{url}/-/ready")) as server:
            yield Prometheus(server, url, f"{url}/api/v1/otlp/v1/metrics")
