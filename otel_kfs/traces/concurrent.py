"""Requests side by side, in threads that nobody waits for: Ctrl-C ends the program at once, whatever a store does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

AT_ONCE = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], at_once: int = AT_ONCE) -> Iterator[Result]:
    """Yield the result of `work` for each item, in their order, with `at_once` under way; an error is raised here."""
    rest = iter(items)
    running = deque(_started(work, item) for item in islice(rest, at_once))
    while running:
        result, error = running.popleft().get()
        if error is not None:
            raise error
        for item in islice(rest, 1):
            running.append(_started(work, item))
        yield result


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Return the result of `work`, or what it raises.

    Raises:
        TimeoutError: it takes longer than that.
    """
    try:
        result, error = _started(lambda _: work(), None).get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


_Outcome = SimpleQueue[tuple[Any, BaseException | None]]


def _started(work: Callable[[Item], Any], item: Item) -> _Outcome:
    outcome: _Outcome = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(item), None))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
            outcome.put((None, error))

    Thread(target=run, daemon=True, name="trace store").start()
    return outcome
