"""Threads that work on records: those of one key one after another, all others whoever is free."""

from __future__ import annotations

import itertools
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Task = TypeVar("Task")


class KeyedPool(Generic[Task]):
    """`count` threads, each of which calls `work(number, tasks)` again and again, with up to `batch` tasks.

    The threads do not keep the process from ending: whoever stops them waits as long as it cares to.
    """

    def __init__(self, count: int, work: Callable[[int, Sequence[Task]], None], batch: int = 1) -> None:
        self._work = work
        self._batch = batch
        self._lock = threading.Lock()
        self._has_finished = threading.Condition(self._lock)  # a thread a task
        # Each thread waits for itself: all that were woken would want the interpreter at once, and one gets the task.
        self._has_task = [threading.Condition(self._lock) for _ in range(count)]
        self._idle: set[int] = set()  # the threads that wait, and were not woken
        self._numbers = itertools.count()
        self._shared_queue: deque[tuple[int, Task]] = deque()
        self._queues: list[deque[tuple[int, Task]]] = [deque() for _ in range(count)]
        self._running: list[Sequence[Task]] = [()] * count
        self._closed = False
        for number in range(count):
            threading.Thread(target=self._run, args=(number,), name=f"bridge-{number}", daemon=True).start()

    def submit(self, task: Task, key: bytes | None) -> None:
        """Hand a task to the worker of its key; one without a key to the first that is free."""
        self.submit_all([(task, key)])

    def submit_all(self, tasks: Sequence[tuple[Task, bytes | None]]) -> None:
        """Do so with several, each with its key: those of one worker can be one batch."""
        with self._lock:
            for task, key in tasks:
                entry = next(self._numbers), task
                if key is None:
                    self._shared_queue.append(entry)
                    self._wake_any()
                else:
                    number = zlib.crc32(key) % len(self._queues)
                    self._queues[number].append(entry)
                    self._wake(number)

    def cancel(self, wanted: Callable[[Task], bool] = lambda _: True) -> list[Task]:
        """Return the wanted tasks that no thread has begun; none will."""
        with self._lock:
            cancelled: list[Task] = []
            for queue in (self._shared_queue, *self._queues):
                cancelled += [task for _, task in queue if wanted(task)]
                kept = [entry for entry in queue if not wanted(entry[1])]
                queue.clear()
                queue.extend(kept)
            self._has_finished.notify_all()
            return cancelled

    def wait_for_fewer(self, tasks: int, seconds: float) -> int:
        """Return how many tasks are queued or running, once they are fewer than `tasks` or the time is over."""
        with self._lock:
            self._has_finished.wait_for(lambda: self._unfinished() < tasks, seconds)
            return self._unfinished()

    def wait_for_running(self, wanted: Callable[[Task], bool], deadline: float) -> list[Task]:
        """Wait for tasks that run, until a moment of `time.monotonic()`; return those that still run then."""

        def running() -> list[Task]:
            return [task for tasks in self._running for task in tasks if wanted(task)]

        with self._lock:
            self._has_finished.wait_for(lambda: not running(), max(0.0, deadline - time.monotonic()))
            return running()

    def close(self) -> None:
        """Let each thread end after the task that it runs."""
        with self._lock:
            self._closed = True
            for has_task in self._has_task:
                has_task.notify()

    def _unfinished(self) -> int:
        queued = len(self._shared_queue) + sum(map(len, self._queues))
        return queued + sum(map(len, self._running))

    def _wake(self, number: int) -> None:
        if number in self._idle:
            self._idle.remove(number)
            self._has_task[number].notify()

    def _wake_any(self) -> None:
        if self._idle:
            self._wake(next(iter(self._idle)))

    def _run(self, number: int) -> None:
        while tasks := self._wait_for_tasks(number):
            try:
                self._work(number, tasks)
            finally:
                del tasks  # a record may be 100 MB
                with self._lock:
                    self._running[number] = ()
                    self._has_finished.notify_all()

    def _wait_for_tasks(self, number: int) -> Sequence[Task]:
        """Return a worker's next tasks, once there is one; none at the end."""
        own, shared = self._queues[number], self._shared_queue
        with self._lock:
            while not (self._closed or own or shared):
                self._idle.add(number)
                self._has_task[number].wait()
            self._idle.discard(number)
            if self._closed:
                return ()
            tasks: list[Task] = []
            while (own or shared) and len(tasks) < self._batch:
                # The older one of its own and the shared tasks, so that one worker keeps the order of all.
                tasks.append((own if own and (not shared or own[0][0] < shared[0][0]) else shared).popleft()[1])
            if shared:
                self._wake_any()  # this thread may have been woken for one of these
            self._running[number] = tasks
            return tasks
