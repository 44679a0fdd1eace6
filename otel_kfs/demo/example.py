"""Finds the MobileNet example, whose own files the demo runs, in a checkout or in the installed package."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from otel_kfs.errors import DemoError

SERVINGS = ("kfserving", "kserve")
_GRPC_BYTES = 100_000_000  # of a message: what our sender sends; KServe's own limit is 8 MB
_PREFIXES = {"kfserving": "", "kserve": "kserve_"}


@dataclass(frozen=True)
class Variant:
    """One value of `--way`: which of the example's servers, and how the senders encode the pictures."""

    name: str
    fast: bool = False  # the servers
    chat: bool = False  # one server, and only over HTTP
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """The end of its servers', topic's and bridge's names; nothing for those of 2020."""
        return "-chat" if self.chat else "-fast" if self.fast else ""


# What is said on the screen of the server of `chat`.
CHAT_STAND_IN = (
    "chat: MobileNet's class in a sentence stands in for a model that speaks, for no registry has a small one with its "
    "weights; sent over HTTP only"
)
# The fast ones use an encoding that both SDKs take. `small` sends a picture in the size that the model sees, and `chat`
# asks the same model by KServe's chat route.
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("seed"),
        Variant("fast", fast=True, payload={"encoding": "cloudevent", "cell": "fast"}),
        Variant("small", fast=True, payload={"encoding": "cloudevent", "resize": 256, "cell": "small"}),
        Variant("chat", chat=True, payload={"encoding": "openai", "stream": True, "cell": "chat"}),
    )
}


def folder() -> Path:
    """Return the folder with the example's files."""
    here = Path(__file__).resolve()
    for candidate in (here.parent / "mobilenet", here.parents[2] / "examples" / "mobilenet"):
        if (candidate / "transformer.py").is_file():
            return candidate
    raise DemoError("the MobileNet example is not where it should be; install otel-kfs again")


def serving(choice: str | None) -> str:
    """Return the serving SDK to use: the chosen one, or the first that is installed.

    Raises:
        DemoError: it is not installed.
    """
    for name in (choice,) if choice else SERVINGS:
        if importlib.util.find_spec(name) is not None:
            return name
    which = choice or "neither kfserving nor kserve"
    extra = choice or ("kserve" if importlib.util.find_spec("distutils") is None else "kfserving")
    raise DemoError(f"{which} is not installed here; in a clone of otel-kfs, run: pip install '.[demo,{extra}]'")


def scripts(serving: str, *, fast: bool = False) -> tuple[Path, Path]:
    """Return the transformer's and the predictor's script for a serving SDK: those of 2020, or the fast ones."""
    prefix = _PREFIXES[serving] + ("fast_" if fast else "")
    return folder() / f"{prefix}transformer.py", folder() / f"{prefix}predictor.py"


def chat_script() -> Path:
    """Return the script of the server that has the model behind V1 and behind a chat.

    Raises:
        DemoError: KServe, which has the chat route, is not installed.
    """
    serving("kserve")
    return folder() / "kserve_chat.py"


def server_options(serving: str) -> list[str]:
    """Return the options of a server: without them KServe's opens a gRPC port, and bypasses Python's sockets."""
    return ["--enable_grpc", "false", "--event-loop", "asyncio"] if serving == "kserve" else []


def grpc_options(port: int) -> list[str]:
    """Return further options of KServe's transformer, for one that answers over gRPC, too."""
    return ["--enable_grpc", "true", "--grpc_port", str(port), "--grpc_max_receive_message_length", str(_GRPC_BYTES)]


def store_options(bucket: str, store_url: str | None) -> list[str]:
    """Return further options of a fast transformer, for one that fetches pictures by their references."""
    return ["--bucket", bucket, *(["--store_url", store_url] if store_url else [])]


def make_model() -> None:
    """Make the model's file, once for all servers."""
    _module("weights").onnx_model()


def make_pictures(progress: Callable[[str], None]) -> list[Path]:
    """Return the four pictures, made on first use."""
    pictures: list[Path] = _module("pictures").pictures(progress=progress)
    return pictures


def _module(name: str) -> ModuleType:
    import sys

    if str(folder()) not in sys.path:
        sys.path.insert(0, str(folder()))
    return importlib.import_module(name)
