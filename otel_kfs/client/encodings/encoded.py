"""What an encoding makes of an image: the body, and the headers that say what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Encoded(NamedTuple):
    """A request's body or a record's value, and its headers in HTTP's spelling (lower-case)."""

    body: bytes
    headers: Mapping[str, str]


class Encoding(NamedTuple):
    """How an image is written as a body; `encode` takes the file's bytes and its media type."""

    name: str
    encode: Callable[[bytes, str], Encoded]
    protocol: str = "v1"  # of the model's URL: V1 (`:predict`), V2 (`/infer`) or OpenAI's (`/chat/completions`)
