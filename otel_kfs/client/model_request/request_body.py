"""A request's body that is sent in an `upload` span; what follows until the answer is a `wait` span.

Both lie in the request's own CLIENT span. The upload ends when the last piece is in the kernel's hands: of a small
body that says nothing, of a large one all but what the socket's buffers hold has then reached the server.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

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
        self._wait: Span = INVALID_SPAN
        self._request: Span | None = None
        self._attempts = 0  # a session's own retries send the body again, within one CLIENT span
        # Without the length, clients that are given pieces send chunks, which not every server takes.
        self.headers: Mapping[str, str] = {**(headers or {}), "content-length": str(len(payload))}

    def __len__(self) -> int:
        return len(self._payload)

    def _pieces(self) -> Iterator[bytes]:
        if self._attempts:
            self._wait.end()  # of the attempt before this one
            self._wait = INVALID_SPAN
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
        request: Any = trace.get_current_span(context)
        if request.is_recording() and getattr(request, "kind", None) is SpanKind.CLIENT:
            self._wait = tracer.start_span(semconv.WAIT, context=context, start_time=end)
            if request is not self._request:
                self._request = request
                # No client says that the answer is there, but the end of its span does.
                request.end = functools.partial(self._end_with_wait, request.end)

    def _end_with_wait(self, end: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        self._wait.end()
        end(*args, **kwargs)


class RequestBody(_TracedBody):
    """For clients that block: `data=` of requests, `content=` of httpx."""

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces()


class AsyncRequestBody(_TracedBody):
    """For asyncio clients: `content=` of httpx, `data=` of aiohttp."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces():
            yield piece
