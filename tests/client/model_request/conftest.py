"""What the tests of a request to a model share."""

from collections.abc import Iterator

import pytest
from support import HttpServer


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """What a client takes for a model."""
    with HttpServer().running() as running:
        yield running
