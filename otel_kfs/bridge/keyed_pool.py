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
        self._shared_queue: deque[tuple[int, Task]] = deque()
        self._queues: list[deque[tuple[int, Task]]] = [deque() for _ in range(count)]
        self._running: list[Task | None] = [None] * count
        self._closed = False
        for number in range(count):
            threading.Thread(target=self._run, args=(number,), name=f"bridge-{number}", daemon=True).start()

    def submit(self, task: Task, key: bytes | None) -> None:
        """Hand a task to the worker of its key; one without a key to the first that is free."""
        with self._changed:
            queue = self._shared_queue if key is None else self._queues[zlib.crc32(key) % len(self._queues)]
            queue.append((next(self._numbers), task))
            self._changed.notify_all()

    def cancel(self, wanted: Callable[[Task], bool] = lambda _: True) -> list[Task]:
        """Return the wanted tasks that no thread has begun; none will."""
        with self._changed:
            cancelled: list[Task] = []
            for queue in (self._shared_queue, *self._queues):
                cancelled += [task for _, task in queue if wanted(task)]
                kept = [entry for entry in queue if not wanted(entry[1])]
                queue.clear()
                queue.extend(kept)
            self._changed.notify_all()
            return cancelled

    def wait_for_fewer(self, tasks: int, seconds: float) -> int:
        """Return how many tasks are queued or running, once they are fewer than `tasks` or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._unfinished() < tasks, seconds)
            return self._unfinished()

    def wait_for_running(self, wanted: Callable[[Task], bool], deadline: float) -> list[Task]:
        """Wait for tasks that run, until a moment of `time.monotonic()`; return those that still run then."""

        def running() -> list[Task]:
            return [task for task in self._running if task is not None and wanted(task)]

        with self._changed:
            self._changed.wait_for(lambda: not running(), max(0.0, deadline - time.monotonic()))
            return running()

    def close(self) -> None:
        """Let each thread end after the task that it runs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _unfinished(self) -> int:
        queued = len(self._shared_queue) + sum(map(len, self._queues))
        return queued + sum(task is not None for task in self._running)

    def _run(self, number: int) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._shared_queue or self._queues[number])
                if self._closed:
                    return
                task = self._next(number)
                self._running[number] = task
            try:
                self._work(number, task)
            finally:
                del task  # a record may be 100 MB
                with self._changed:
                    self._running[number] = None
                    self._changed.notify_all()

    def _next(self, number: int) -> Any:
        """Take the older one of the worker's own and the shared tasks, so that one worker keeps the order of all."""
        own, shared = self._queues[number], self._shared_queue
        return (own if own and (not shared or own[0][0] < shared[0][0]) else shared).popleft()[1]
