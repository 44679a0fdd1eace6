"""What the tests of the bridge share: a stand-in for the model, and bridges to it."""

from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka
import pytest
from bridge_support import SOON_JOINED
from support import HttpServer

from otel_kfs.kafka import Bridge


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """What a bridge takes for a model."""
    with HttpServer().running() as running:
        yield running


@pytest.fixture
def bridge(broker: str, topic: str, group: str) -> Callable[..., Bridge]:
    """Makes a bridge from the test's topic to a URL."""

    def make(url: str, **options: Any) -> Bridge:
        return Bridge(broker, [topic], url, group=group, **{"config": SOON_JOINED, **options})

    return make


@pytest.fixture
def committed(broker: str, topic: str, group: str) -> Iterator[Callable[[], Any]]:
    """The group's committed offset, and its metadata."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": group})
    yield lambda: consumer.committed([confluent_kafka.TopicPartition(topic, 0)], timeout=10)[0]
    consumer.close()
