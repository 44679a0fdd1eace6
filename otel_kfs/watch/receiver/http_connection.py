"""HTTP connections that end: uvicorn itself waits without limit for a request, its headers and its body."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST = 768  # connections of one server at once; those above are closed
REQUEST_SECONDS = 40.0  # for a whole request to arrive


class HttpConnection(HttpToolsProtocol):  # type: ignore[misc]
    """A connection that is closed if a request does not arrive in time, or if there are too many others."""

    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.close()
        else:
            self._wait()

    def on_message_begin(self) -> None:
        """Wait for the rest of a request."""
        super().on_message_begin()
        self._wait()

    def on_message_complete(self) -> None:
        """Wait no longer."""
        super().on_message_complete()
        self._wait_no_longer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        self._wait_no_longer()

    def _wait(self) -> None:
        self._wait_no_longer()
        self._overdue = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _wait_no_longer(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
