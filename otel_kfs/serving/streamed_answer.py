"""A model's streamed answer, a generator: its span lasts until the last piece.

A model's method that returns a generator has done nothing yet; what it does is done when somebody asks for the next
piece, if anybody does. So the generator is put into another one, which lets the span be current while a piece is made,
and which ends it: with the last piece, with an exception, when it is closed early, or when it is dropped unread.

Source: PEP 479 and PEP 525 for what generators let through; OpenTelemetry's conventions for generative AI, by which a
span ends "when the response is fully received or the operation is terminated due to an error or cancellation".
"""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncGenerator, Generator
from types import GeneratorType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.trace import Span

from otel_kfs import semconv
from otel_kfs.serving.server_errors import fail, mark_failed, never_raises, report_failure


class StreamedAnswer:
    """What is seen of one answer's pieces; it ends the span, once."""

    def __init__(self, span: Span, start: int) -> None:
        """Go on with a span that was started at `start` (ns since the epoch)."""
        self.span = span
        self.start = start
        self.count = 0
        self.context = otel_context.get_current()  # of the generator, from one piece to the next
        self._ended = False

    def take(self, _: Any) -> None:
        """Note a piece as it is passed on."""
        self.count += 1
        if self.count == 1:
            self.first((time.time_ns() - self.start) / 1e9)

    @never_raises("the first piece of an answer")
    def first(self, seconds: float) -> None:
        """Take note of the time to the first piece."""
        self.span.set_attribute(semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, seconds)

    def end(self, error: BaseException | None = None) -> None:
        """End the span, which failed if the generator raised."""
        if self._ended:
            return
        self._ended = True
        try:
            self.finish(error)
        except Exception:
            report_failure("the end of an answer")
        never_raises("the end of an answer")(self.span.end)()

    def leave(self) -> None:
        """End the span of an answer that nobody reads on."""
        self.end(GeneratorExit())

    def finish(self, error: BaseException | None) -> None:
        """Write down how the answer ended."""
        self.span.set_attribute(semconv.RESPONSE_CHUNKS, self.count)
        if isinstance(error, Exception):
            fail(self.span, error)
        elif error is not None:
            kind = type(error).__qualname__
            words = "left" if isinstance(error, GeneratorExit) else "cancelled"
            text = f"{kind}: the answer was {words} after {self.count} pieces" if self.count else f"{kind}: never read"
            mark_failed(self.span, kind, text)


def is_in_pieces(answer: Any) -> bool:
    """Return whether it is a generator, or has all that an asynchronous generator has (KServe streams both).

    No other iterator: a file is one, or an array, and no server sends its pieces one by one.
    """
    return isinstance(answer, GeneratorType | AsyncGenerator)


def handed_on(answer: Any, stream: StreamedAnswer) -> Any:
    """Return a generator that passes on the pieces of an answer, and what its consumer sends or throws."""
    wrapper: Any = (_synchronous if isinstance(answer, GeneratorType) else _asynchronous)(answer, stream)
    named = answer if hasattr(answer, "__qualname__") else type(answer)
    wrapper.__name__, wrapper.__qualname__ = named.__name__, named.__qualname__
    weakref.finalize(wrapper, stream.leave)
    return wrapper


def is_handed_on(answer: Any) -> bool:
    """Return whether it is a generator of ours, for an answer whose pieces are in another span already."""
    code = getattr(answer, "ag_code", None) or getattr(answer, "gi_code", None)
    return code is _asynchronous.__code__ or code is _synchronous.__code__


async def _asynchronous(answer: AsyncGenerator[Any, Any], stream: StreamedAnswer) -> AsyncGenerator[Any, Any]:
    step: Any = answer.__anext__
    arguments: tuple[Any, ...] = ()
    try:
        while True:
            token = otel_context.attach(stream.context)
            try:
                piece = await step(*arguments)
            finally:
                stream.context = otel_context.get_current()
                otel_context.detach(token)
            stream.take(piece)
            step, arguments = answer.__anext__, ()
            try:
                sent = yield piece
            except GeneratorExit:
                await answer.aclose()
                raise
            except BaseException as error:
                step, arguments = answer.athrow, (error,)
            else:
                if sent is not None:
                    step, arguments = answer.asend, (sent,)
    except StopAsyncIteration:
        stream.end()
    except BaseException as error:
        stream.end(error)
        raise


def _synchronous(answer: Generator[Any, Any, Any], stream: StreamedAnswer) -> Generator[Any, Any, Any]:
    step: Any = answer.__next__
    arguments: tuple[Any, ...] = ()
    try:
        while True:
            token = otel_context.attach(stream.context)
            try:
                piece = step(*arguments)
            finally:
                stream.context = otel_context.get_current()
                otel_context.detach(token)
            stream.take(piece)
            step, arguments = answer.__next__, ()
            try:
                sent = yield piece
            except GeneratorExit:
                answer.close()
                raise
            except BaseException as error:
                step, arguments = answer.throw, (error,)
            else:
                if sent is not None:
                    step, arguments = answer.send, (sent,)
    except StopIteration as stop:
        stream.end()
        return stop.value
    except BaseException as error:
        stream.end(error)
        raise
