"""A request's body that is sent in an `upload` span, which lies in the request's own CLIENT span.

The upload ends when the last piece is in the kernel's hands: of a small body that says nothing, of a large one all but
what the socket's buffers hold has then reached the server.

What follows until the answer has no span of its own: beside the server's spans, and ending after them, it would be all
that a trace viewer's critical path shows.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import cast

from opentelemetry.context import Context, get_current

from otel_kfs import semconv
from otel_kfs.telemetry import provider
from otel_kfs.telemetry.safe_tracer import never_raises

_PIECE_SIZE = 1 << 20  # bytes that are handed to the client at a time


class _TracedBody:
    """What both kinds of bodies share: their length, and their spans."""

    def __init__(
        self,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        before_piece: Callable[[], object] | None = None,
    ) -> None:
        """Make a body; `before_piece` is called before each piece leaves, and may raise to end the request."""
        self._payload = payload
        self._before_piece = before_piece
        self._attempts = 0  # a session's own retries send the body again, within one CLIENT span
        # Without the length, clients that are given pieces send chunks, which not every server takes.
        self.headers: Mapping[str, str] = {**(headers or {}), "content-length": str(len(payload))}

    def __len__(self) -> int:
        return len(self._payload)

    def _pieces(self) -> Iterator[bytes]:
        self._attempts += 1
        context, start = get_current(), time.time_ns()
        whole = memoryview(self._payload)
        for offset in range(0, len(whole), _PIECE_SIZE):
            if self._before_piece is not None:
                self._before_piece()
            # Every client takes a memoryview, and their types know only bytes.
            yield cast("bytes", whole[offset : offset + _PIECE_SIZE])
        self._record_upload(context, start)

    @never_raises("the upload span")
    def _record_upload(self, context: Context, start: int) -> None:
        end, tracer = time.time_ns(), provider.tracer()
        resent = {semconv.HTTP_REQUEST_RESEND_COUNT: self._attempts - 1} if self._attempts > 1 else None
        tracer.start_span(semconv.UPLOAD, context=context, start_time=start, attributes=resent).end(end)


class RequestBody(_TracedBody):
    """For clients that block: `data=` of requests, `content=` of httpx."""

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces()


class AsyncRequestBody(_TracedBody):
    """For asyncio clients: `content=` of httpx, `data=` of aiohttp."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces():
            yield piece
