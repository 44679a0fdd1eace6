"""What the tests of the example share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import EXAMPLE


@dataclass(frozen=True)
class Fast:
    """The fast servers, while they run."""

    serving: str
    url: str  # the transformer's
    predictor: str  # its URL
    grpc: str  # the transformer's host:port; KServe alone has one
    traces: Path


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of the source photographs."""
    return EXAMPLE / "photos"


@pytest.fixture(scope="session")
def fast(serving: str, model: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fast]:
    """The example's fast transformer, with its predictor behind it."""
    from otel_kfs.demo.model_servers import start_serving
    from otel_kfs.demo.processes import Processes, free_port

    assert model.exists()
    folder = tmp_path_factory.mktemp("fast")
    port = free_port()
    more = ["--enable_grpc", "true", "--grpc_port", str(port)] if serving == "kserve" else []
    with pytest.MonkeyPatch.context() as patch, Processes(folder / "logs") as processes:
        patch.setenv("OTEL_KFS_CACHE", str(cache))
        url, predictor = start_serving(processes, serving, folder / "traces", fast=True, more=more)
        yield Fast(serving, url, predictor, f"127.0.0.1:{port}", folder / "traces")
