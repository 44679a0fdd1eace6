"""KFServing's server at SIGTERM: it takes no new connection, answers the requests that it has, and ends then.

By itself it would end in the middle of a request, whose client gets no answer and whose spans are lost. This is done
only where `configure` has seen to it that the last spans leave on SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from otel_kfs.serving.server_errors import never_raises
from otel_kfs.telemetry.patches import Patches
from otel_kfs.telemetry.sigterm import end_by_sigterm, is_ended_by_sigterm

_LIMIT_SECONDS = 10.0  # for the requests that have no answer yet
_CHECK_SECONDS = 0.02

_unanswered: WeakSet[Any] = WeakSet()  # handlers whose request has arrived, and whose answer has not been given
_streams: WeakSet[Any] = WeakSet()  # of the connections: an answer that was given may not have left yet


def shut_down_gracefully(patches: Patches, server: type[Any], handler: type[Any]) -> None:
    """Let every KFServer of this process end so; these are its class, and that of its models' handlers."""
    # `start` itself may be running before there is a model to trace: KFServer().start([trace_model(model)]).
    patches.wrap(server, "create_application", _create_application)
    patches.wrap(handler, "initialize", _initialize)
    patches.wrap(handler, "on_finish", _on_finish)


def _initialize(original: Callable[..., None], handler: Any, args: Any, kwargs: Any) -> None:
    original(*args, **kwargs)
    _add(handler)


@never_raises("the requests without an answer")
def _add(handler: Any) -> None:
    _streams.add(handler.request.connection.stream)
    _unanswered.add(handler)


def _on_finish(original: Callable[..., None], handler: Any, args: Any, kwargs: Any) -> None:
    _unanswered.discard(handler)
    original(*args, **kwargs)


def _create_application(original: Callable[..., Any], server: Any, args: Any, kwargs: Any) -> Any:
    _handle_sigterm(server)
    return original(*args, **kwargs)


@never_raises("the end of a server")
def _handle_sigterm(server: Any) -> None:
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and is_ended_by_sigterm():
        signal.signal(signal.SIGTERM, _Shutdown(server).handle)


class _Shutdown:
    """What SIGTERM does to one server."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._limit: threading.Timer | None = None

    def handle(self, *_: object) -> None:
        """End the server: gracefully at a first signal, at once at a second one or in the parent of forked workers."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._end()
            return
        if self._limit is not None:
            self._end()
        # A second one of our own, since a model that blocks the loop lets nothing else there look at the clock.
        self._limit = threading.Timer(_LIMIT_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
        self._limit.daemon = True
        self._limit.start()
        loop.call_soon_threadsafe(self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._server._http_server.stop()
        self._check(loop)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        for handler in list(_unanswered):
            handler.set_header("Connection", "close")  # so that its client sends no further request here
        if not _unanswered and not any(stream.writing() for stream in _streams):
            self._end()
        loop.call_later(_CHECK_SECONDS, self._check, loop)

    def _end(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
        end_by_sigterm()
