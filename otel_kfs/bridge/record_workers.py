"""The workers of a bridge: each hands one record after another to the model, and reports what became of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection

from otel_kfs.bridge.bridge_options import BridgeOptions
from otel_kfs.bridge.dead_letters import DeadLetters
from otel_kfs.bridge.keyed_pool import KeyedPool
from otel_kfs.bridge.offsets.offset_tracker import OffsetTracker, PartitionOffsets
from otel_kfs.bridge.outcomes import Answer, RunStats
from otel_kfs.bridge.record_handler import ModelConnection, Task, handle
from otel_kfs.bridge.retries import Abandoned
from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import DeadLetterError, SendError

_log = logging.getLogger(__name__)


class RecordWorkers:
    """Threads that handle records. Whatever fails in one, fails the run: `failure` keeps it, and nothing begins."""

    def __init__(
        self,
        options: BridgeOptions,
        offsets: OffsetTracker,
        stats: RunStats,
        dead_letters: DeadLetters | None,
        on_answer: Callable[[Answer], None],
    ) -> None:
        self.failure: BaseException | None = None
        self._options = options
        self._offsets = offsets
        self._stats = stats
        self._dead_letters = dead_letters
        self._on_answer = on_answer
        self._reporting = threading.Lock()
        self._stopping = threading.Event()  # no further try of a request
        outages = OutageLog(_log, "the model does not answer")
        self._models = [ModelConnection(options, outages) for _ in range(options.concurrency)]
        self._pool: KeyedPool[Task] = KeyedPool(options.concurrency, self._work)

    def submit(self, task: Task) -> None:
        """Hand a record to the worker of its key."""
        self._pool.submit(task, task.record.key())

    def wait_for_fewer(self, records: int, seconds: float) -> int:
        """Return how many records are in hand, once they are fewer than `records` or the time is over."""
        return self._pool.wait_for_fewer(records, seconds)

    def cancel(self, partitions: Collection[PartitionOffsets]) -> None:
        """Give back the records of these partitions that no worker has begun."""
        self._cancel(lambda task: task.partition in partitions)

    def finish(self, partitions: Collection[PartitionOffsets]) -> None:
        """Give back the records of these that no worker has begun; wait for the others, within the grace."""
        self._finish(lambda task: task.partition in partitions)

    def stop(self) -> None:
        """Finish all records like that, and try none again."""
        self._stopping.set()
        self._finish(lambda _: True)

    def close(self) -> None:
        """Let the workers end after what they are at."""
        self._pool.close()
        for model in self._models:
            model.close()

    def _cancel(self, wanted: Callable[[Task], bool]) -> None:
        self._stats.add_returned(len(self._pool.cancel(wanted)))

    def _finish(self, wanted: Callable[[Task], bool]) -> None:
        self._cancel(wanted)
        grace = self._options.grace
        late = self._pool.wait_for_running(wanted, time.monotonic() + grace)
        if late:
            self._stats.add_returned(len(late))
            _log.warning("records not answered within the grace of %g s, to be delivered again: %d", grace, len(late))

    def _work(self, number: int, task: Task) -> None:
        if self.failure is not None or task.partition.revoked.is_set():
            self._stats.add_returned()
            return
        self._offsets.start(task.partition, task.record.offset())
        try:
            answer = handle(task, self._models[number], self._options, self._dead_letters, self._stopping)
            with self._reporting:
                self._stats.add_answer(answer)
                self._on_answer(answer)
        except Abandoned as error:
            _log.info("%s: %s", task.place, error)
            self._stats.add_returned()
        except BaseException as failure:
            if isinstance(failure, SendError | DeadLetterError):
                failure.args = (
                    f"{task.place} stays uncommitted and will be delivered again: {failure}",
                    *failure.args[1:],
                )
            # The first one counts: what follows it may be its consequence.
            self.failure = self.failure or failure
        else:
            self._offsets.complete(task.partition, task.record.offset())
