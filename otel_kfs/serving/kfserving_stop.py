"""KFServing's server at SIGTERM: it takes no new connection, answers what it is at work on, and ends then.

By itself it would end in the middle of a request, whose client gets no answer and whose spans are lost. This is done
only where `configure` has seen to it that SIGTERM ends the process with its exit hooks.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, NoReturn
from weakref import WeakSet

from otel_kfs.serving.server_errors import never_raises
from otel_kfs.telemetry.patches import Patches
from otel_kfs.telemetry.provider import exit_at_sigterm

_LIMIT_SECONDS = 10.0  # for what is under way
_LOOK_SECONDS = 0.02

_under_way: WeakSet[Any] = WeakSet()  # handlers whose request has arrived, and whose answer has not been given
_streams: WeakSet[Any] = WeakSet()  # of the connections: an answer that was given may not have left yet


def stop_gently(patches: Patches, server: Any, handler: Any) -> None:
    """Let every KFServer of this process end so; these are its class, and that of its models' handlers."""
    patches.set(server, "create_application", _stopping(server.create_application))
    patches.set(handler, "initialize", _counted(handler.initialize))
    patches.set(handler, "on_finish", _counted_off(handler.on_finish))


def _counted(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def initialize(handler: Any, *args: Any, **kwargs: Any) -> None:
        original(handler, *args, **kwargs)
        _begun(handler)

    return initialize


@never_raises("the count of requests")
def _begun(handler: Any) -> None:
    _streams.add(handler.request.connection.stream)
    _under_way.add(handler)


def _counted_off(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def on_finish(handler: Any) -> None:
        _under_way.discard(handler)
        original(handler)

    return on_finish


def _stopping(original: Callable[..., Any]) -> Callable[..., Any]:
    # `start` itself may be at hand before there is a model to trace: KFServer().start([trace_model(model)]).
    @functools.wraps(original)
    def create_application(server: Any, *args: Any, **kwargs: Any) -> Any:
        _take_sigterm(server)
        return original(server, *args, **kwargs)

    return create_application


@never_raises("the end of a server")
def _take_sigterm(server: Any) -> None:
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is exit_at_sigterm:
        signal.signal(signal.SIGTERM, _Stop(server).heard)


class _Stop:
    """What SIGTERM does to one server."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._limit: threading.Timer | None = None

    def heard(self, *_: object) -> None:
        """The first one ends it gently, a second one at once; so does one to the parent of forked workers."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            exit_at_sigterm()
        if self._limit is not None:
            self._exit()
        # A second one of our own, since a model that blocks the loop lets nothing else there look at the clock.
        self._limit = threading.Timer(_LIMIT_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
        self._limit.daemon = True
        self._limit.start()
        loop.call_soon_threadsafe(self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._server._http_server.stop()
        self._look(loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        for handler in list(_under_way):
            handler.set_header("Connection", "close")  # so that its client sends no further request here
        if not _under_way and not any(stream.writing() for stream in _streams):
            self._exit()
        loop.call_later(_LOOK_SECONDS, self._look, loop)

    def _exit(self) -> NoReturn:
        if self._limit is not None:
            self._limit.cancel()
        exit_at_sigterm()
