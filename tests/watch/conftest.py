"""A watch that listens on free ports of loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest


@pytest.fixture
def watching() -> Iterator[Callable[..., Any]]:
    """Starts a WatchService with these options; `close()` of what it returns ends it and gives the last figures."""
    from otel_kfs.watch.watch_service import WatchOptions, WatchService

    with ExitStack() as stack:

        class Watching:
            def __init__(self, observers: Any = (), **options: Any) -> None:
                self.service = WatchService(WatchOptions(grpc_port=0, http_port=0, **options), observers)
                self._own = ExitStack()
                self._own.enter_context(self.service.started())
                stack.callback(self._own.close)
                scheme = "https" if options.get("security") and options["security"].is_tls else "http"
                self.url = f"{scheme}://127.0.0.1:{self.service.http_port}"
                self.grpc = f"127.0.0.1:{self.service.grpc_port}"

            def close(self) -> Any:
                self._own.close()
                return self.service.latest()

        yield Watching
