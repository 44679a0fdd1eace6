"""Limits of one request that requests has none for: the seconds of the whole of it, and the bytes of its answer.

requests' own time-out is that of each single read, so that a server which sends a byte now and then holds its client
for ever; and an answer may be of any size, above all once it is inflated.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
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
    """How long one request may take (`deadline`, by `time.monotonic()`), and how many bytes its answer may have."""

    deadline: float
    size: int

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
            yield piece


class DeadlineAdapter(HTTPAdapter):
    """A transport that gives up on a server whose status line and headers do not end."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections that know the current request's deadline."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make such connections to proxies, too."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def new_session() -> requests.Session:
    """Make a session whose requests keep to their limits from the first byte of an answer on."""
    session = requests.Session()
    for prefix in ("http://", "https://"):
        session.mount(prefix, DeadlineAdapter())
    return session


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


@contextmanager
def _shut_down_at(deadline: float | None, sock: socket.socket | None) -> Iterator[None]:
    """Shut a socket down at a moment: whoever reads from it is told that nothing more comes."""
    if deadline is None or sock is None:
        yield
        return

    def shut_down() -> None:
        with suppress(OSError):  # it is closed already
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
