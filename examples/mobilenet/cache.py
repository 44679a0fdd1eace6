"""Keeps the files that the example makes on first use."""

import os
from pathlib import Path
from uuid import uuid4

from platformdirs import user_cache_dir


def cache_folder() -> Path:
    """Return the folder named by OTEL_KFS_CACHE, else the user's cache folder."""
    return Path(os.environ.get("OTEL_KFS_CACHE") or user_cache_dir("otel-kfs"))


def write_whole(target: Path, data: bytes) -> None:
    """Write the file so that no other process ever sees a part of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own lets two processes make the same file at once: the last one to finish wins.
    part = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        part.write_bytes(data)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
