"""Experiments for tests: a TOML file beside a small image, and its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import JPG

from otel_kfs.experiment.config.config_file import load
from otel_kfs.experiment.config.experiment_config import ExperimentConfig

OWN = '[servers]\nurl = "http://127.0.0.1:1"\nmodel = "mobilenet"\n'
EMBEDDED = "[servers]\nembedded = true\nserving = 'kfserving'\n"
KSERVE = EMBEDDED.replace("kfserving", "kserve")


def written(text: str, folder: Path | None = None) -> Path:
    """Write the text as an experiment's file, beside an image, `a.jpg`."""
    folder = folder or Path.cwd()
    (folder / "a.jpg").write_bytes(JPG)
    file = folder / "experiment.toml"
    file.write_text(text)
    return file


def configured(text: str, folder: Path | None = None) -> ExperimentConfig:
    """Return the configuration in a file with this text."""
    return load(written(text, folder))


def quiet(_: str) -> None:
    """Say nothing."""


@contextmanager
def no_progress(total: int, description: str, *, quiet: bool = False) -> Iterator[object]:
    """Show nothing."""
    yield lambda _: None


def topics(broker: str) -> set[str]:
    """Return the names of a broker's topics."""
    from confluent_kafka.admin import AdminClient

    return set(AdminClient({"bootstrap.servers": broker}).list_topics(timeout=10).topics)
