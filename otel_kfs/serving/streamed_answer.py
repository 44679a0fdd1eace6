"""An answer that a model makes piece by piece, in a generator or an iterator: its span goes on until the last piece.

A model's method that returns a generator has done nothing yet; what it does is done when somebody asks for the next
piece, if anybody does. So the generator is put into another one, which lets the span be current while a piece is made,
and which ends it: with the last piece, with an exception, when it is closed early, or when it is dropped unread. An
asynchronous iterator of another kind, which may have more to it than its pieces, stays the object that it is: until it
has ended, it is of a class that is derived from its own and does the same.

Source: PEP 479 and PEP 525 for what generators let through; OpenTelemetry's conventions for generative AI, by which a
span ends "when the response is fully received or the operation is terminated due to an error or cancellation".
"""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import suppress
from types import AsyncGeneratorType, GeneratorType, new_class
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
        self.has_ended = False

    def take(self, _: Any) -> None:
        """Take note of a piece, as it is handed on."""
        self.count += 1
        if self.count == 1:
            self.first((time.time_ns() - self.start) / 1e9)

    @never_raises("the first piece of an answer")
    def first(self, seconds: float) -> None:
        """Take note of the time to the first piece."""
        self.span.set_attribute(semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, seconds)

    def end(self, error: BaseException | None = None) -> None:
        """End the span, which failed if the generator raised."""
        if self.has_ended:
            return
        self.has_ended = True
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
    """Return whether it is a generator, or an asynchronous iterator of another kind.

    No other iterator: a file is one, or an array, and no server sends its pieces one by one.
    """
    return isinstance(answer, GeneratorType | AsyncIterator)


def handed_on(answer: Any, stream: StreamedAnswer) -> Any:
    """Return what hands on the pieces of an answer, and does with it what is done with the other.

    None if an iterator is of a class in C, or is followed already: then its pieces are not seen.
    """
    wrapper: Any
    if isinstance(answer, AsyncGeneratorType):
        wrapper = _asynchronous(answer, stream)
    elif isinstance(answer, GeneratorType):
        wrapper = _synchronous(answer, stream)
    else:
        return _iterated(answer, stream)
    wrapper.__name__, wrapper.__qualname__ = answer.__name__, answer.__qualname__
    weakref.finalize(wrapper, stream.leave)
    return wrapper


def is_handed_on(answer: Any) -> bool:
    """Return whether it is one of ours, for an answer whose pieces are in another span already."""
    if hasattr(type(answer), _OWN_CLASS):
        return True
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


_OWN_CLASS = "_otel_kfs_own_class"  # an attribute of a derived class

_iterators: dict[int, StreamedAnswer] = {}  # what is seen of those that have not ended, by their ids


def _iterated(answer: Any, stream: StreamedAnswer) -> Any:
    """Return an asynchronous iterator whose pieces are seen from now on; None if they can't be."""
    cls: Any = type(answer)
    number = id(answer)
    if hasattr(cls, _OWN_CLASS):
        return None
    try:
        weakref.finalize(answer, _drop, number)
        object.__setattr__(answer, "__class__", _derived(cls))
    except Exception:  # a class in C, one with slots alone, or one that lets nobody derive from it
        return None
    _iterators[number] = stream
    return answer


def _drop(number: int) -> None:
    stream = _iterators.pop(number, None)
    if stream is not None:
        stream.leave()


@functools.lru_cache(100)
def _derived(cls: Any) -> type[Any]:
    """Return a class derived from one of asynchronous iterators; its objects are of that one again when they end."""

    def leave(self: Any) -> None:
        _iterators.pop(id(self), None)
        with suppress(Exception):
            object.__setattr__(self, "__class__", cls)

    def aiter(self: Any) -> Any:
        iterator, stream = cls.__aiter__(self), _iterators.get(id(self))
        if iterator is self or stream is None:
            return iterator
        leave(self)
        handed = handed_on(iterator, stream)
        if handed is None:
            stream.end()
            return iterator
        return handed

    async def anext(self: Any) -> Any:
        stream = _iterators.get(id(self))
        if stream is None:
            return await cls.__anext__(self)
        token = otel_context.attach(stream.context)
        try:
            piece = await cls.__anext__(self)
        except BaseException as error:
            leave(self)
            stream.end(None if isinstance(error, StopAsyncIteration) else error)
            raise
        finally:
            stream.context = otel_context.get_current()
            otel_context.detach(token)
        stream.take(piece)
        return piece

    names: dict[str, Any] = {name: getattr(cls, name) for name in ("__module__", "__qualname__")}
    names |= {"__slots__": (), "__aiter__": aiter, "__anext__": anext, _OWN_CLASS: cls}
    return new_class(cls.__name__, (cls,), exec_body=lambda own: own.update(names))
