"""The workers of a bridge: each hands one record after another to the model, and reports what became of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from otel_kfs.bridge.batches.batch_handler import Batch, batches, handle_batch
from otel_kfs.bridge.bridge_options import BridgeOptions
from otel_kfs.bridge.dead_letters import DeadLetters
from otel_kfs.bridge.keyed_pool import KeyedPool
from otel_kfs.bridge.offsets.offset_tracker import OffsetTracker, PartitionOffsets
from otel_kfs.bridge.outcomes import Answer, RunStats
from otel_kfs.bridge.record_handler import ModelConnection, Task, handle
from otel_kfs.bridge.retries import Abandoned, retry_after_seconds
from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import DeadLetterError, SendError

_log = logging.getLogger(__name__)


class RecordWorkers:
    """Threads that handle records, each with one outcome: it is reported, or given back. None is reported after `stop`.

    Whatever fails in one, fails the run: `failure` keeps it, and nothing begins any more. Nor does it once the run is
    told to end.
    """

    def __init__(
        self,
        options: BridgeOptions,
        offsets: OffsetTracker,
        stats: RunStats,
        dead_letters: DeadLetters | None,
        on_answer: Callable[[Answer], None],
        told_to_end: threading.Event,
    ) -> None:
        self.failure: BaseException | None = None
        self._options = options
        self._offsets = offsets
        self._stats = stats
        self._dead_letters = dead_letters
        self._on_answer = on_answer
        self._told_to_end = told_to_end
        self._reporting = threading.Lock()  # held while one record's outcome is reported
        self._in_hand: set[Task] = set()  # without an outcome, and not given back
        self._stopping = threading.Event()  # no further try of a request
        outages = OutageLog(_log, "the model does not answer")
        self._models = [ModelConnection(options, outages) for _ in range(options.concurrency)]
        together = 1 if options.redrive else options.batch  # a dead letter was delivered before: it goes by itself
        self._pool: KeyedPool[Task] = KeyedPool(options.concurrency, self._work, together)

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand records to the workers of their keys."""
        with self._reporting:
            self._in_hand.update(tasks)
        self._pool.submit_all([(task, task.record.key()) for task in tasks])

    def wait_for_fewer(self, records: int, seconds: float) -> int:
        """Return how many records are in hand, once they are fewer than `records` or the time is over."""
        return self._pool.wait_for_fewer(records, seconds)

    def cancel(self, partitions: Collection[PartitionOffsets]) -> None:
        """Give back all records of these partitions, and wait for none."""
        self._finish(lambda task: task.partition in partitions, 0.0)

    def finish(self, partitions: Collection[PartitionOffsets]) -> None:
        """Give back the records of these that no worker has begun; wait for the others, within the grace."""
        self._warn_of(self._finish(lambda task: task.partition in partitions, self._options.grace))

    def stop(self) -> None:
        """Finish all records like that, and try none again."""
        self._stopping.set()
        self._warn_of(self._finish(lambda _: True, self._options.grace))

    def close(self) -> None:
        """Let the workers end after their current task."""
        self._pool.close()
        for model in self._models:
            model.close()

    def _finish(self, wanted: Callable[[Task], bool], seconds: float) -> list[Task]:
        """Return those that were given back though a worker had begun them: they took too long."""
        self._give_back(self._pool.cancel(wanted))
        self._pool.wait_for_running(wanted, time.monotonic() + seconds)
        with self._reporting:
            late = [task for task in self._in_hand if wanted(task)]
        return self._give_back(late)

    def _warn_of(self, late: Collection[Task]) -> None:
        if late:
            grace = self._options.grace
            _log.warning("records not answered within the grace of %g s, to be delivered again: %d", grace, len(late))

    def _give_back(self, tasks: Iterable[Task]) -> list[Task]:
        """Take records for given back, whatever their workers still hear of them; return those that were in hand."""
        with self._reporting:
            given_back = [task for task in tasks if task in self._in_hand]
            self._in_hand.difference_update(given_back)
        self._stats.add_returned(len(given_back))
        return given_back

    def _work(self, number: int, tasks: Sequence[Task]) -> None:
        """Handle records: those that can share a request together, and if that fails, each of them by itself."""
        model = self._models[number]
        with self._failing(*tasks):
            for batch in batches(tasks):
                earlier = 0
                if len(batch) > 1 and all(self._starts(task) for task, _ in batch):
                    if self._is_answered_together(batch, model):
                        continue
                    earlier = 1
                for task, _ in batch:
                    self._handle(task, model, earlier)

    def _is_answered_together(self, batch: Batch, model: ModelConnection) -> bool:
        tasks = [task for task, _ in batch]
        try:
            answers = handle_batch(batch, model, self._options)
        except SendError as error:
            _log.info("%s to %s go one by one: %s", tasks[0].place, tasks[-1].place, error)
            self._stopping.wait(min(retry_after_seconds(model.retrier.retry_after), self._options.retry_for))
            return False
        for task, answer in zip(tasks, answers, strict=True):
            with self._failing(task):
                self._report(task, answer)
        return True

    def _starts(self, task: Task) -> bool:
        """Note that a record begins; tell whether it may."""
        is_ending = self.failure is not None or self._told_to_end.is_set() or self._stopping.is_set()
        if is_ending or task.partition.revoked.is_set():
            return False
        self._offsets.start(task.partition, task.record.offset())
        return True

    def _handle(self, task: Task, model: ModelConnection, earlier: int) -> None:
        if not self._starts(task):
            self._give_back([task])
            return
        with self._failing(task):
            answer = handle(task, model, self._options, self._dead_letters, self._stopping, earlier)
            self._report(task, answer)

    @contextmanager
    def _failing(self, *tasks: Task) -> Iterator[None]:
        """Take what is raised for the end of these records, and, unless they were given back, of the run."""
        try:
            yield
        except Abandoned as error:
            _log.info("%s: %s", tasks[0].place, error)
            self._give_back(tasks)
        except BaseException as failure:
            with self._reporting:
                self._in_hand.difference_update(tasks)
            if isinstance(failure, SendError | DeadLetterError):
                failure.args = (
                    f"{tasks[0].place} stays uncommitted and will be delivered again: {failure}",
                    *failure.args[1:],
                )
            # The first one counts: what follows it may be its consequence.
            self.failure = self.failure or failure

    def _report(self, task: Task, answer: Answer) -> None:
        """Tell the caller what became of a record, and let it be committed; not if it was given back meanwhile."""
        with self._reporting:
            if task not in self._in_hand:
                _log.info("%s: %s too late; it will be delivered again", task.place, answer.outcome)
                return
            self._in_hand.remove(task)
            self._stats.add_answer(answer)
            self._on_answer(answer)
            self._offsets.complete(task.partition, task.record.offset())
