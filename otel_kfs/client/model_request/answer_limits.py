"""Limits of one request that requests has none for: the seconds of the whole of it, and the bytes of its answer.

requests' own time-out is that of each single read, so that a server which sends a byte now and then holds its client
for ever; and an answer may be of any size, above all once it is inflated.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

DEFAULT_ANSWER_SIZE = 64_000_000  # bytes, inflated
_PIECE_SIZE = 1 << 16

# The moment, by `time.monotonic()`, until which the current request may take.
_deadline: ContextVar[float | None] = ContextVar("otel_kfs_request_deadline", default=None)


class RequestTimeoutError(Exception):
    """The request took longer than it may."""


class AnswerTooLargeError(Exception):
    """The answer is larger than it may be."""


@dataclass(frozen=True)
class AnswerLimits:
    """How long one request may take (`deadline`, by `time.monotonic()`), and how many bytes its answer may have.

    `watch` is called with each piece of the answer as it comes.
    """

    deadline: float
    size: int
    watch: Callable[[bytes], None] | None = None

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            RequestTimeoutError: there are none.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise RequestTimeoutError
        return left

    def apply(self, response: requests.Response, *_: Any, **__: Any) -> requests.Response:
        """Bound what is read of a response; a hook of requests, called before the body is read."""
        response.raw = _BoundedBody(response.raw, self)
        return response

    @contextmanager
    def for_headers(self) -> Iterator[None]:
        """Bound the answer's headers, too, of a session that has a DeadlineAdapter."""
        token = _deadline.set(self.deadline)
        try:
            yield
        finally:
            _deadline.reset(token)


class _BoundedBody:
    """urllib3's response, whose body is read within the limits; in every other way itself."""

    def __init__(self, raw: Any, limits: AnswerLimits) -> None:
        self._raw = raw
        self._limits = limits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, _amount: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:
        """Yield the body as it comes: a piece is what is there, so that the time is looked at between two reads."""
        total = 0
        while True:
            self._limits.left()
            piece = self._raw.read1(_PIECE_SIZE, decode_content=decode_content)
            if not piece:
                return
            total += len(piece)
            if total > self._limits.size:
                raise AnswerTooLargeError
            if self._limits.watch is not None:
                self._limits.watch(piece)
            yield piece


class DeadlineAdapter(HTTPAdapter):
    """A transport that gives up on a server whose status line and headers do not end."""

    _last_pool: tuple[Any, Any] = (None, None)  # what it was asked for by, and the pool itself

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections that know the current request's deadline."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make such connections to proxies, too."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return the pool of a request's connections; the last one again, which is not looked up, for the same URL."""
        wanted = request.url, verify, cert, dict(proxies or {})
        known, pool = self._last_pool
        if known != wanted:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._last_pool = wanted, pool
        return pool

    def close(self) -> None:
        """Close all connections; the next request makes new ones."""
        self._last_pool = None, None
        super().close()


class _Connection(urllib3.connection.HTTPConnection):
    def getresponse(self) -> Any:
        with _shut_down_at(_deadline.get(), self.sock):
            return super().getresponse()


class _TlsConnection(urllib3.connection.HTTPSConnection):
    def getresponse(self) -> Any:
        with _shut_down_at(_deadline.get(), self.sock):
            return super().getresponse()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Watchdog:
    """One thread that shuts sockets down at their moments: a timer a request would be a thread a request."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._deadlines: dict[socket.socket, float] = {}
        self._wakes_at = math.inf
        self._is_started = False

    def add(self, sock: socket.socket, deadline: float) -> None:
        """Shut a socket down at a moment of `time.monotonic()`: its reader is told that nothing more comes."""
        with self._changed:
            self._deadlines[sock] = deadline
            if not self._is_started:
                self._is_started = True
                threading.Thread(target=self._run, name="otel_kfs_request_deadlines", daemon=True).start()
            elif deadline < self._wakes_at:
                self._changed.notify()

    def remove(self, sock: socket.socket) -> None:
        """Leave a socket alone from here on."""
        with self._changed:
            del self._deadlines[sock]

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for sock in [sock for sock, deadline in self._deadlines.items() if deadline <= now]:
                    self._deadlines[sock] = math.inf
                    with suppress(OSError):  # it is closed already
                        sock.shutdown(socket.SHUT_RDWR)
                self._wakes_at = min(self._deadlines.values(), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)


_watchdog = _Watchdog()


def _forget_in_child() -> None:
    """Begin anew in a forked child, which has no thread of its parent's."""
    global _watchdog  # noqa: PLW0603 - a process has one
    _watchdog = _Watchdog()


os.register_at_fork(after_in_child=_forget_in_child)


@contextmanager
def _shut_down_at(deadline: float | None, sock: socket.socket | None) -> Iterator[None]:
    """Shut a socket down at a moment, unless the block is over before it."""
    if deadline is None or sock is None:
        yield
        return
    watchdog = _watchdog
    watchdog.add(sock, deadline)
    try:
        yield
    finally:
        watchdog.remove(sock)
