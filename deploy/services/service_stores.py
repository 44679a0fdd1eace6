"""The trace stores Jaeger and Tempo: Jaeger is built from its Go module, Tempo must be installed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service_go import build
from service_process import (
    HERE,
    HOST,
    Server,
    ServiceMissing,
    cache_dir,
    choose_ports,
    fill,
    http_ok,
    running,
)

# It was released as 2.13.0, too. Later ones are tagged v2... alone, which are no versions of a module of this name.
JAEGER_MODULE, JAEGER_VERSION, JAEGER_PACKAGE = "github.com/jaegertracing/jaeger", "v1.76.0", "cmd/jaeger"

# Tempo 3.0.3 stops its querier before its query queue, which then waits for that querier for ever
# once a query was asked. Its data goes with it, so nothing is lost by not waiting along.
TEMPO_STOP_LIMIT = 2.0


@dataclass(frozen=True)
class Jaeger:
    """A running Jaeger; query_url serves /api/v3 and the older /api."""

    server: Server
    otlp_grpc: str
    otlp_http: str
    query_url: str


@dataclass(frozen=True)
class Tempo:
    """A running Tempo; url serves /api/search and /api/v2/traces."""

    server: Server
    otlp_grpc: str
    otlp_http: str
    url: str


def fetch_jaeger() -> Path:
    """Return Jaeger's executable: an installed one, else one that is built the first time."""
    return _installed("jaeger") or build("jaeger", JAEGER_MODULE, JAEGER_VERSION, JAEGER_PACKAGE)


def fetch_tempo() -> Path:
    """Return Tempo's executable, which the user must install, because no package registry has it."""
    found = _installed("tempo")
    if found is None:
        raise ServiceMissing("no tempo on PATH: see deploy/services/README.md, and name it in OTEL_KFS_TEMPO")
    return found


def _installed(name: str) -> Path | None:
    """Return the executable that a store's variable names, else the one in the cache folder, else the one on PATH."""
    variable = f"OTEL_KFS_{name.upper()}"
    named = os.environ.get(variable)
    found = shutil.which(named or cache_dir() / name) or (None if named else shutil.which(name))
    if named and found is None:
        raise ServiceMissing(f"{variable}={named} is not an executable: see deploy/services/README.md")
    return Path(found).absolute() if found else None


@contextmanager
def jaeger(otlp_grpc_port: int = 0, otlp_http_port: int = 0, query_port: int = 0) -> Iterator[Jaeger]:
    """Run Jaeger with its traces in memory, on the given ports or on free ones."""
    executable = fetch_jaeger()
    otlp_grpc_port, otlp_http_port, query_port, query_grpc_port, health_port = choose_ports(
        otlp_grpc_port, otlp_http_port, query_port, 0, 0
    )
    query_url = _http(query_port)
    with tempfile.TemporaryDirectory(prefix="otel-kfs-jaeger-") as scratch:
        config = fill(
            HERE / "jaeger" / "config.yaml",
            Path(scratch) / "config.yaml",
            otlp_grpc_port=otlp_grpc_port,
            otlp_http_port=otlp_http_port,
            query_port=query_port,
            query_grpc_port=query_grpc_port,
            health_port=health_port,
        )

        def ready() -> bool:
            return http_ok(f"{_http(health_port)}/status") and http_ok(f"{query_url}/api/v3/services")

        with running("jaeger", [str(executable), "--config", str(config)], Path(scratch), ready) as server:
            yield Jaeger(server, _http(otlp_grpc_port), _http(otlp_http_port), query_url)


@contextmanager
def tempo(otlp_grpc_port: int = 0, otlp_http_port: int = 0, http_port: int = 0) -> Iterator[Tempo]:
    """Run Tempo with its blocks in a temporary folder, on the given ports or on free ones."""
    executable = fetch_tempo()
    otlp_grpc_port, otlp_http_port, http_port, grpc_port = choose_ports(otlp_grpc_port, otlp_http_port, http_port, 0)
    url = _http(http_port)
    with tempfile.TemporaryDirectory(prefix="otel-kfs-tempo-") as scratch:
        config = fill(
            HERE / "tempo" / "config.yaml",
            Path(scratch) / "config.yaml",
            otlp_grpc_port=otlp_grpc_port,
            otlp_http_port=otlp_http_port,
            http_port=http_port,
            grpc_port=grpc_port,
            data_dir=Path(scratch) / "data",
        )

        def ready() -> bool:
            return http_ok(f"{url}/ready")

        command = [str(executable), f"-config.file={config}"]
        with running("tempo", command, Path(scratch), ready, TEMPO_STOP_LIMIT) as server:
            yield Tempo(server, _http(otlp_grpc_port), _http(otlp_http_port), url)


def _http(port: int) -> str:
    return f"http://{HOST}:{port}"
