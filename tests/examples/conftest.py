"""Puts the example's folder on sys.path, and makes its model and pictures once for all tests."""

import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "mobilenet"
sys.path.insert(0, str(EXAMPLE))


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of the source photographs."""
    return EXAMPLE / "photos"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of the tests' own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def model(cache: Path) -> Path:
    """The ONNX file; without the weights' package there is nothing to test with."""
    from weights import WeightsError, onnx_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_KFS_CACHE", str(cache))
        try:
            return onnx_model()
        except WeightsError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def big_pictures(cache: Path) -> list[Path]:
    """The four pictures of the measurement."""
    from pictures import pictures

    return pictures(cache / "pictures")
