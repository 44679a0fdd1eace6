"""What the faults happen to: a real Kafka of a test module's own, which a test may kill and start again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "services"))

import services

# A broker that comes back must wait until its former self is given up: 9 s, unless told otherwise.
SOON_BACK = {"broker.heartbeat.interval.ms": "500", "broker.session.timeout.ms": "2000"}


@pytest.fixture(scope="module")
def kafka() -> Iterator[Any]:
    with services.kafka(properties=SOON_BACK) as running:
        yield running
