"""Trace files that the reader's tests start from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from report_support import image
from traces_builder import HTTP, KAFKA, otlp_line

import otel_kfs

DATA = Path(__file__).parents[1] / "data"
Run = Callable[..., Path]


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Write a run of `n` images over HTTP and as many through Kafka, each `factor` times as long as drawn."""

    def write(n: int = 8, factor: float = 1.0, **attributes: Any) -> Path:
        folder = tmp_path_factory.mktemp("run")
        images = chain.from_iterable(
            image(
                f"{prefix}{number:02}",
                drawing=drawing,
                size=1_100_000 + number,
                factor=factor * (1 + number / 100),
                **attributes,
            )
            for prefix, drawing in (("h", HTTP), ("k", KAFKA))
            for number in range(n)
        )
        (folder / "traces.jsonl").write_text(otlp_line([*images]))
        return folder

    return write


@pytest.fixture(scope="session")
def of_this_project() -> otel_kfs.Reading:
    """An image over HTTP and one through Kafka, sent by this project, and a warm-up."""
    return otel_kfs.read(DATA / "traces")
