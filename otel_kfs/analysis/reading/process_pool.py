"""A pool of processes that end at once when their parent does, or fails."""

from __future__ import annotations

import gc
import logging
import logging.handlers
import multiprocessing
import os
import pickle
import queue
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, NamedTuple, Protocol, TypeVar

from otel_kfs.errors import OtelKfsError

Result = TypeVar("Result")


class ParallelMap(Protocol):
    """Calls a module-level function with each tuple of arguments."""

    def __call__(self, function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], /) -> Iterator[Result]:
        """Yield the results in the order in which the calls end."""
        ...


@contextmanager
def process_pool(count: int) -> Iterator[ParallelMap]:
    """Start `count` processes, each a fresh interpreter; with 1, all calls are made in this process.

    What the function raises and logs comes through; if a process was killed, an OtelKfsError is raised.
    """
    if count == 1:
        yield lambda function, tasks: (function(*arguments) for arguments in tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
    there, here = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(count, context, _initialize, (there,))
    try:
        yield partial(_map, executor)
    except BaseException:
        here.close()  # ends the processes, whatever they are doing
        raise
    finally:
        executor.shutdown(cancel_futures=True)
        here.close()
        there.close()


class _Outcome(NamedTuple):
    result: Any
    error: Exception | None
    logged: list[logging.LogRecord]


def _map(
    executor: ProcessPoolExecutor, function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]]
) -> Iterator[Result]:
    try:
        for future in as_completed([executor.submit(_call, function, arguments) for arguments in tasks]):
            done = future.result()
            for record in done.logged:
                logging.getLogger(record.name).handle(record)
            if done.error is not None:
                raise done.error
            yield done.result
    except BrokenProcessPool as error:
        raise OtelKfsError("a process that reads traces died; if memory is short, let fewer processes read") from error


# --- in the other process ---

_logged: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()


def _initialize(parent: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends this process
    gc.disable()  # spans make no reference cycles, and there are many of them
    logging.getLogger().addHandler(logging.handlers.QueueHandler(_logged))
    Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: Connection) -> None:
    """End this process when its parent closes the pipe, or is no more."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> _Outcome:
    result, error = None, None
    try:
        result = function(*arguments)
    except Exception as raised:  # noqa: BLE001 - it is raised again in the parent
        error = _portable(raised)
    return _Outcome(result, error, [_logged.get() for _ in range(_logged.qsize())])


def _portable(error: Exception) -> Exception:
    """Return the error if it can be pickled, or else one with its message."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - whatever an exception's class does
        return OtelKfsError(f"{type(error).__name__}: {error}")
    return error
