"""Finds the MobileNet example, whose own files the demo runs, in a checkout or in an installed package."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from otel_kfs.errors import DemoError

SERVINGS = ("kfserving", "kserve")
_SCRIPTS = {
    "kfserving": ("transformer.py", "predictor.py"),
    "kserve": ("kserve_transformer.py", "kserve_predictor.py"),
}


def folder() -> Path:
    """The folder with the example's files."""
    here = Path(__file__).resolve()
    for candidate in (here.parent / "mobilenet", here.parents[2] / "examples" / "mobilenet"):
        if (candidate / "transformer.py").is_file():
            return candidate
    raise DemoError("the MobileNet example is not where it should be; install otel-kfs again")


def serving(choice: str | None) -> str:
    """The serving SDK to use: the chosen one, or the first that is installed.

    Raises:
        DemoError: it is not installed.
    """
    for name in (choice,) if choice else SERVINGS:
        if importlib.util.find_spec(name) is not None:
            return name
    which = choice or "neither kfserving nor kserve"
    extra = choice or ("kserve" if importlib.util.find_spec("distutils") is None else "kfserving")
    raise DemoError(f"{which} is not installed here; run: pip install 'otel-kfs[demo,{extra}]'")


def scripts(serving: str) -> tuple[Path, Path]:
    """The transformer's and the predictor's script for a serving SDK."""
    transformer, predictor = _SCRIPTS[serving]
    return folder() / transformer, folder() / predictor


def server_options(serving: str) -> list[str]:
    """Options of a server in the demo: KServe's would open a gRPC port, and listen past Python's own sockets."""
    return ["--enable_grpc", "false", "--event-loop", "asyncio"] if serving == "kserve" else []


def make_model() -> None:
    """Make the model's file, once for both servers."""
    _module("weights").onnx_model()


def make_pictures(progress: Callable[[str], None]) -> list[Path]:
    """The four pictures, made on first use."""
    pictures: list[Path] = _module("pictures").pictures(progress=progress)
    return pictures


def _module(name: str) -> ModuleType:
    import sys

    if str(folder()) not in sys.path:
        sys.path.insert(0, str(folder()))
    return importlib.import_module(name)
