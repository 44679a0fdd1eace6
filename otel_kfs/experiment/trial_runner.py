"""Runs one trial: in a closed loop as many images at once as the cell says, in an open loop each at its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from otel_kfs.client.sender import Sender
from otel_kfs.errors import SendError
from otel_kfs.experiment.cell_senders import CellSenders
from otel_kfs.experiment.config.experiment_config import Arrivals, ExperimentConfig
from otel_kfs.experiment.schedule import Trial, due_times
from otel_kfs.experiment.trial_log import TrialResult

_LEAD_SECONDS = 0.05  # from a stage's start to its first image, for its threads to be there
_GRACE_SECONDS = 5.0  # for images under way, when the run is stopped
_JOIN_SECONDS = 0.2


def run_trial(config: ExperimentConfig, trial: Trial, senders: CellSenders, image: Path) -> TrialResult:
    """Send a trial's images; those that fail are counted in the result.

    Raises:
        DemoError: a process that was started here has died.
    """
    if config.arrivals is None:
        return _closed_loop(trial, senders, image)
    return _open_loop(trial, senders, image, config.arrivals, config.seed)


def _closed_loop(trial: Trial, senders: CellSenders, image: Path) -> TrialResult:
    """Send as many images at once as the cell's concurrency says, mostly one."""
    counts, start = _ImageCounts(), time.time_ns()
    if len(senders.senders) == 1:
        counts.send(lambda: senders.send(senders.senders[0], image))
    else:
        together = threading.Barrier(len(senders.senders))

        def send(sender: Sender) -> None:
            together.wait()
            counts.send(lambda: senders.send(sender, image))

        _in_threads(send, senders.senders, threading.Event())
    return counts.result(trial, start, (time.time_ns() - start) / 1e9)


def _open_loop(trial: Trial, senders: CellSenders, image: Path, arrivals: Arrivals, seed: int) -> TrialResult:
    """Send images at their times. Each is taken by the first thread that is free, late if it must be.

    Through Kafka a thread is free when the broker has the record, as a producer's would be; the stage then ends when
    all were answered. What was not begun by twice the stage's duration is given up and counted: the servers are far
    beyond what they can do, and the next stage should not wait for them forever.
    """
    # All cells of a block have the same arrivals, so that chance favours none.
    times = due_times(arrivals, trial.cell.rate or 0.0, f"{seed} {trial.block} {trial.image}")
    counts, stop, ahead, lock = _ImageCounts(), threading.Event(), iter(times), threading.Lock()
    start = time.time_ns() + round(_LEAD_SECONDS * 1e9)
    end = start + round(2 * arrivals.duration * 1e9)
    unanswered: list[int] = []  # offsets

    def send_due(sender: Sender, due: int) -> None:
        if (offset := senders.send_due(sender, image, due)) is not None:
            unanswered.append(offset)

    def send(sender: Sender) -> None:
        while not stop.is_set():
            with lock:
                seconds = next(ahead, None)
            if seconds is None:
                return
            due = start + round(seconds * 1e9)
            if (early := due - time.time_ns()) > 0 and stop.wait(early / 1e9):
                return
            if time.time_ns() > end:
                counts.give_up()
            else:
                counts.send(partial(send_due, sender, due))

    _in_threads(send, senders.senders, stop)
    until = time.monotonic() + arrivals.duration + senders.timeout
    for offset in unanswered:
        counts.attempt(partial(senders.wait, offset, until))
    # To the stage's end, so that no image of the next one is due within its time and counts for it.
    stop.wait(max(0.0, (start - time.time_ns()) / 1e9 + arrivals.duration))
    return counts.result(trial, start, arrivals.duration, last_due=start + round(times[-1] * 1e9))


class _ImageCounts:
    """Counts what became of images, for many threads; any error but a SendError ends the run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent = self._failed = self._unsent = 0
        self._failure = ""

    def send(self, send: Callable[[], None]) -> None:
        """Send an image, and count it."""
        with self._lock:
            self._sent += 1
        self.attempt(send)

    def attempt(self, part: Callable[[], None]) -> None:
        """Do a part of the sending of an image that was counted; count a failure."""
        try:
            part()
        except SendError as error:
            with self._lock:
                self._failed, self._failure = self._failed + 1, str(error)

    def give_up(self) -> None:
        """Count an image that is not sent."""
        with self._lock:
            self._unsent += 1

    def result(self, trial: Trial, start: int, seconds: float, last_due: int | None = None) -> TrialResult:
        """Return the trial's result; its images were due in the `seconds` from `start` (ns since the epoch)."""
        return TrialResult(
            *trial.key,
            sent=self._sent,
            failed=self._failed,
            unsent=self._unsent,
            failure=self._failure,
            start=start,
            seconds=seconds,
            last_due=last_due,
        )


def _in_threads(send: Callable[[Sender], None], senders: Sequence[Sender], stop: threading.Event) -> None:
    """Call `send` in a thread for each sender, and raise what one of them raised.

    Ctrl-C sets `stop`: images under way have a short time to finish.
    """
    raised: list[BaseException] = []

    def run(sender: Sender) -> None:
        try:
            send(sender)
        except BaseException as error:  # noqa: BLE001 - raised again by who started the thread
            raised.append(error)
            stop.set()

    # Daemons, so that one that waits for an answer does not hold up the end of the process.
    threads = [threading.Thread(target=run, args=(sender,), daemon=True) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(_JOIN_SECONDS)  # in pieces, so that signals are handled meanwhile
    except BaseException:
        stop.set()
        limit = time.monotonic() + _GRACE_SECONDS
        for thread in threads:
            thread.join(max(0.0, limit - time.monotonic()))
        raise
    if raised:
        raise raised[0]
