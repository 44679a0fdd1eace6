"""Loops over a consumer's records, with a `process` span for each round that covers exactly the loop's body."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from opentelemetry.trace import Span

from otel_kfs.kafka.process_spans.batch_span import process_batch
from otel_kfs.kafka.process_spans.process_span import process
from otel_kfs.kafka.types import M, Polled, PolledAsync, PolledMany

R = TypeVar("R")  # what a loop's body is handed: a record, or a list of them


@overload
def processing(
    consumer: PolledAsync[M], timeout: float = -1, *, links: bool = False, batch: None = None
) -> Processing[M]: ...
@overload
def processing(
    consumer: PolledMany[M] | Polled[M], timeout: float = -1, *, links: bool = False, batch: None = None
) -> Processing[M]: ...
@overload
def processing(
    consumer: PolledAsync[M], timeout: float = -1, *, links: bool = False, batch: int
) -> Processing[list[M]]: ...
@overload
def processing(
    consumer: PolledMany[M] | Polled[M], timeout: float = -1, *, links: bool = False, batch: int
) -> Processing[list[M]]: ...
def processing(consumer: Any, timeout: float = -1, *, links: bool = False, batch: int | None = None) -> Processing[Any]:
    """Iterate over a consumer's records, each with its `process` span: the span covers exactly the loop's body.

    `for record in processing(consumer, 1.0):`, or `async for` with an asyncio consumer. The iteration ends when no
    record has come for `timeout` seconds; -1 waits for ever. What `poll` returns in the place of a record (an error,
    the end of a partition) is handed over as it is, without a span.

    With `batch`, the loop's body is handed a list: the first record that comes and those that are there by then, up to
    so many. Its span is that of `process_batch`, which is always linked.

    A share consumer's poll brings several records. They are handed over one after another, or in such lists, before it
    polls again.

    Python does not tell an iterator why its loop was left: `with processing(consumer) as records:` around the loop
    marks the span of a record whose body raised. Without it, keep the iterator in no variable, so that the last span
    ends with the loop.

    Raises:
        ValueError: `batch` is less than 1.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"a batch has at least one record, not {batch}")
    return Processing(consumer, timeout, links, batch)


class Processing(Generic[R]):
    """The records of `processing()`; an iterator, an asynchronous iterator and a context manager."""

    _open: AbstractContextManager[Span] | None = None

    def __init__(self, consumer: Any, timeout: float, links: bool, batch: int | None) -> None:
        self._consumer = consumer
        self._timeout = timeout
        self._links = links
        self._batch = batch
        # What a batch takes beside the first one; a share consumer's poll brings all that there is.
        self._more = batch - 1 if batch is not None and hasattr(consumer, "consume") else 0
        self._polled: list[Any] = []  # not handed over yet

    def __iter__(self) -> Processing[R]:
        return self

    def __next__(self) -> R:
        self.close()
        if not self._polled:
            self._polled = _records(self._consumer.poll(self._timeout))
            if self._polled and self._more:
                self._polled += self._consumer.consume(self._more, 0)
        if not self._polled:
            raise StopIteration
        record: R = self._begin()
        return record

    def __aiter__(self) -> Processing[R]:
        return self

    async def __anext__(self) -> R:
        self.close()
        if not self._polled:
            self._polled = _records(await self._consumer.poll(self._timeout))
            if self._polled and self._more:
                self._polled += await self._consumer.consume(self._more, 0)
        if not self._polled:
            raise StopAsyncIteration
        record: R = self._begin()
        return record

    def __enter__(self) -> Processing[R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(error)

    def close(self, error: BaseException | None = None) -> None:
        """End the current record's span, if there is one; `error` is what the loop's body raised."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.__exit__(None if error is None else type(error), error, None)

    def __del__(self) -> None:
        self.close()

    def _begin(self) -> Any:
        if self._batch is None:
            record = self._polled.pop(0)
            if record.error() is None:
                self._open = process(record, consumer=self._consumer, links=self._links)
                self._open.__enter__()
            return record
        records, self._polled = self._polled[: self._batch], self._polled[self._batch :]
        self._open = process_batch(records, consumer=self._consumer)
        self._open.__enter__()
        return records


def _records(polled: Any) -> list[Any]:
    """Return what a poll brought: one record or none, or a share consumer's several."""
    if polled is None:
        return []
    return [polled] if hasattr(polled, "topic") else list(polled)
