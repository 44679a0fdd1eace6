"""The traces that the repository holds, measured."""

from pathlib import Path

import pytest

from otel_kfs.analysis.corrected_measurement import read


@pytest.fixture(scope="session")
def traces_of_this_project():
    """An image over HTTP and one through Kafka, sent by this project."""
    return read(str(Path(__file__).parents[2] / "data" / "traces"))
