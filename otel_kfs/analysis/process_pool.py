"""Pieces of work done side by side in processes of their own, which end when whoever started them does.

Unlike a pool of the standard library's, its processes are gone at once when an error or Ctrl-C ends the work, notice
when their parent was killed, and one of them that was killed is an error rather than a wait for ever.
"""

from __future__ import annotations

import gc
import logging
import logging.handlers
import multiprocessing
import pickle
import queue
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from otel_kfs.errors import OtelKfsError

Result = TypeVar("Result")


class _Done(NamedTuple):
    result: Any
    error: BaseException | None
    logged: list[logging.LogRecord]


class Workers:
    """Some processes, each a fresh interpreter; to be used in a `with` statement."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        self._processes: dict[Connection, BaseProcess] = {}
        for number in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there,), name=f"otel-kfs worker {number}", daemon=True)
            process.start()
            there.close()
            self._processes[here] = process

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection, process in self._processes.items():
            process.terminate()
            connection.close()
        for process in self._processes.values():
            process.join()

    def do(self, function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """What a module's function gives for each tuple of arguments, in the order in which they are done.

        Raises:
            OtelKfsError: a process was killed. What the function raises comes through.
        """
        waiting = iter(tasks)
        busy = {connection for connection in self._processes if _next(connection, function, waiting)}
        while busy:
            ready = wait(list(busy))
            for connection in [one for one in busy if one in ready]:
                try:
                    done: _Done = connection.recv()
                except (EOFError, OSError) as error:
                    raise self._killed(connection) from error
                for record in done.logged:
                    logging.getLogger(record.name).handle(record)
                if done.error is not None:
                    raise done.error
                if not _next(connection, function, waiting):
                    busy.remove(connection)
                yield done.result

    def _killed(self, connection: Connection) -> OtelKfsError:
        process = self._processes[connection]
        process.join()
        code = process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return OtelKfsError(f"a process that reads traces {how}; if memory is short, let fewer processes read")


def _next(connection: Connection, function: Callable[..., Any], waiting: Iterator[tuple[Any, ...]]) -> bool:
    """Give a process its next task, if there is one."""
    for arguments in waiting:
        connection.send((function, arguments))
        return True
    return False


def _work(connection: Connection) -> None:
    """Do what comes until nobody is there any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends this process
    gc.disable()  # what is made here has no cycles, and there is much of it
    logged: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logging.getLogger().addHandler(logging.handlers.QueueHandler(logged))
    while True:
        try:
            function, arguments = connection.recv()
            error: BaseException | None = None
            result = None
            try:
                result = function(*arguments)
            except Exception as raised:  # noqa: BLE001 - it is raised again in the parent
                error = _portable(raised)
            connection.send(_Done(result, error, [logged.get() for _ in range(logged.qsize())]))
        except (EOFError, OSError):
            return


def _portable(error: Exception) -> Exception:
    """The error, if it survives the way to another process, or else its words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - whatever an exception's class does
        return OtelKfsError(f"{type(error).__name__}: {error}")
    return error
