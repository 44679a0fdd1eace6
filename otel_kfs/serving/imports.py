"""Waiting for a library that the program may import later, or never."""

from __future__ import annotations

from collections.abc import Callable

import wrapt


def when_imported(library: str, action: Callable[[], object]) -> None:
    """Run `action` when the library has been imported: now, if it has been already."""
    wrapt.register_post_import_hook(lambda _: action(), library)
