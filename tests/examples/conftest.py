"""What the tests of the example share."""

from pathlib import Path

import pytest
from support import EXAMPLE


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of the source photographs."""
    return EXAMPLE / "photos"
