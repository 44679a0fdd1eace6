"""Calls in concurrent daemon threads, which nothing joins: Ctrl-C ends the program at once, whatever a store does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

CONCURRENCY = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def concurrent_map(
    function: Callable[[Item], Result], items: Iterable[Item], concurrency: int = CONCURRENCY
) -> Iterator[Result]:
    """Yield what the function returns for each item, in their order, of at most `concurrency` calls at a time.

    What a call raises is raised here, in its place.
    """
    rest = iter(items)
    running = deque(_started(function, item) for item in islice(rest, concurrency))
    while running:
        result, error = running.popleft().get()
        if error is not None:
            raise error
        for item in islice(rest, 1):
            running.append(_started(function, item))
        yield result


def with_timeout(seconds: float, function: Callable[[], Result]) -> Result:
    """Return what the function returns, or raise what it raises.

    Raises:
        TimeoutError: it takes longer than that; its thread goes on.
    """
    try:
        result, error = _started(lambda _: function(), None).get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


_Outcome = SimpleQueue[tuple[Any, BaseException | None]]


def _started(function: Callable[[Item], Any], item: Item) -> _Outcome:
    outcome: _Outcome = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((function(item), None))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
            outcome.put((None, error))

    Thread(target=run, daemon=True, name="trace store").start()
    return outcome
