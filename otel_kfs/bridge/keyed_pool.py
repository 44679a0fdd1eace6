"""Threads that work on records: those of one key one after another, all others whoever is free."""

from __future__ import annotations

import itertools
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")


class KeyedPool(Generic[Task]):
    """`count` threads, each of which calls `work(number, task)` for one task after another.

    The threads do not keep the process from ending: whoever stops them waits as long as it cares to.
    """

    def __init__(self, count: int, work: Callable[[int, Task], None]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._for_all: deque[tuple[int, Task]] = deque()
        self._for_one: list[deque[tuple[int, Task]]] = [deque() for _ in range(count)]
        self._at_work: list[Task | None] = [None] * count
        self._closed = False
        for number in range(count):
            threading.Thread(target=self._run, args=(number,), name=f"bridge-{number}", daemon=True).start()

    def give(self, task: Task, key: bytes | None) -> None:
        """Hand a task to the worker of its key; one without a key to the first that is free."""
        with self._changed:
            queue = self._for_all if key is None else self._for_one[zlib.crc32(key) % len(self._for_one)]
            queue.append((next(self._numbers), task))
            self._changed.notify_all()

    def take_back(self, wanted: Callable[[Task], bool] = lambda _: True) -> list[Task]:
        """The tasks that nobody has taken up yet; nobody will."""
        with self._changed:
            taken: list[Task] = []
            for queue in (self._for_all, *self._for_one):
                taken += [task for _, task in queue if wanted(task)]
                left = [entry for entry in queue if not wanted(entry[1])]
                queue.clear()
                queue.extend(left)
            self._changed.notify_all()
            return taken

    def wait_for_fewer(self, tasks: int, seconds: float) -> int:
        """How many tasks are under way, once they are fewer than `tasks` or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._under_way() < tasks, seconds)
            return self._under_way()

    def wait_until_done(self, wanted: Callable[[Task], bool], deadline: float) -> list[Task]:
        """Wait for tasks until a moment of `time.monotonic()`; returns those that are still at work then."""

        def left() -> list[Task]:
            return [task for task in self._at_work if task is not None and wanted(task)]

        with self._changed:
            self._changed.wait_for(lambda: not left(), max(0.0, deadline - time.monotonic()))
            return left()

    def close(self) -> None:
        """Let each thread end after the task it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _under_way(self) -> int:
        queued = len(self._for_all) + sum(map(len, self._for_one))
        return queued + sum(task is not None for task in self._at_work)

    def _run(self, number: int) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._for_all or self._for_one[number])
                if self._closed:
                    return
                task = self._next(number)
                self._at_work[number] = task
            try:
                self._work(number, task)
            finally:
                del task  # a record may be 100 MB
                with self._changed:
                    self._at_work[number] = None
                    self._changed.notify_all()

    def _next(self, number: int) -> Any:
        """The older one of the worker's own and everybody's, so that one worker keeps the order of all records."""
        own, all_ = self._for_one[number], self._for_all
        return (own if own and (not all_ or own[0][0] < all_[0][0]) else all_).popleft()[1]
