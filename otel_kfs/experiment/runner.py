"""Runs a plan: warms every cell up, then takes turn after turn, and notes each in the journal."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from otel_kfs import semconv
from otel_kfs.client.claim_check import NAME as CLAIM_CHECK
from otel_kfs.client.claim_check import ClaimStore
from otel_kfs.client.grpc_sender import GrpcSender
from otel_kfs.client.http_sender import HttpSender
from otel_kfs.client.kafka_sender import KafkaSender
from otel_kfs.client.sender import Sender
from otel_kfs.errors import OtelKfsError, SendError
from otel_kfs.experiment import arrivals, schedule
from otel_kfs.experiment.config import Arrivals, ExperimentConfig, OwnServers, PlannedCell
from otel_kfs.experiment.schedule import Trial
from otel_kfs.experiment.servers import Target, Targets, targets
from otel_kfs.experiment.trial_log import TRACES, TrialLog, TrialResult, done
from otel_kfs.telemetry import provider

if TYPE_CHECKING:
    import requests

    from otel_kfs.client.model_access import ModelAccess

_LEAD_SECONDS = 0.05  # from a stage's start to its first image, for its threads to be there
_GRACE_SECONDS = 5.0  # for images under way, when the run is stopped
_JOIN_SECONDS = 0.2


class Progress(Protocol):
    """Shows steps out of a total; yields what to call after each."""

    def __call__(
        self, total: int, description: str, *, quiet: bool = False
    ) -> AbstractContextManager[Callable[[str], None]]:
        """`total` steps of what `description` says."""
        ...


def run(plan: ExperimentConfig, folder: Path, *, say: Callable[[str], None], progress: Progress) -> TrialLog:
    """Take all turns that the folder's journal does not have yet; returns it, with all of them.

    Raises:
        ConfigError: the folder holds something else, or a setting can't be used.
        SendError: a cell does not work at all, or more images failed than the plan allows.
        DemoError: a process that was started here did not start, or died.
    """
    try_settings(plan)
    journal = TrialLog(folder, plan)
    left = journal.left(list(schedule.turns(plan)))
    if not left:
        return journal
    if plan.otlp_endpoint:
        # For this process and, through their environment, for those that it starts.
        os.environ["OTEL_TRACES_EXPORTER"] = "otlp"
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = plan.otlp_endpoint
    if journal.turns:
        say(f"Going on with run {journal.run_id}: {len(journal.turns)} turns are done, {len(left)} are left")
    with journal, targets(plan, folder, journal.run_id, say) as found:
        provider.configure("image-sender", traces_file=folder / TRACES / "image-sender.jsonl")
        with lanes(plan, found, journal.run_id) as of_cell:
            seconds = _warm_up(plan, found, of_cell, progress)
            say(f"{len(left)} turns, {estimate(plan, left, seconds)}")
            _take_turns(plan, found, of_cell, left, journal, progress)
        found.settle()
    if not provider.flush():
        say("Not all spans reached the OTLP endpoint; the files are complete.")
    return journal


def estimate(plan: ExperimentConfig, left: Sequence[Trial], seconds: dict[tuple[PlannedCell, str], float]) -> str:
    """How long the turns that are left will take, by what the warm-up took."""
    if plan.arrivals is not None:
        return f"at least {_duration(len(left) * plan.arrivals.duration)}"
    if not seconds:
        return "for an unknown time, without warm-up"
    usual = statistics.fmean(seconds.values())
    return f"about {_duration(sum(seconds.get((turn.cell, turn.image), usual) for turn in left))}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


class CellSenders:
    """One cell's way: a sender for each thread that sends, and how to know that an image was answered."""

    def __init__(self, plan: ExperimentConfig, cell: PlannedCell, target: Target, run_id: str) -> None:
        """Make the senders; nothing is sent yet."""
        self._cell, self._target, self.timeout = cell, target, plan.timeout
        threads = plan.arrivals.workers if plan.arrivals else cell.concurrency
        sending: dict[str, Any] = {"run_id": run_id, "timeout": plan.timeout}
        sending |= {"compression": cell.compression, "resize": cell.resize, "cell": cell.label}
        own = target.own
        if cell.transport != semconv.GRPC:
            store = cell.encoding == CLAIM_CHECK and own.bucket
            sending["encoding"] = ClaimStore(store, endpoint_url=own.store_url).encoding if store else cell.encoding
        self.senders: list[Sender]
        self._sessions: list[requests.Session] = []
        if cell.transport == semconv.HTTP:
            # A session each: requests' are not made to be shared.
            self._sessions = [_session(own, keep_alive=cell.keep_alive) for _ in range(threads)]
            self.senders = [
                HttpSender(str(own.url), model=own.model, host=own.host, session=session, **sending)
                for session in self._sessions
            ]
        elif cell.transport == semconv.GRPC:
            self.senders = [GrpcSender(str(own.grpc), str(own.model), access=_access(own), **sending)] * threads
        else:
            # One producer: several threads may send by it, and batches are made of what they send.
            self.senders = [_kafka_sender(plan, cell, own, sending)] * threads

    def send(self, sender: Sender, image: Path, *, warmup: bool = False) -> None:
        """Send one image, and wait until it was answered.

        Raises:
            SendError: it was not.
        """
        sent = sender.send(image, warmup=warmup)
        if self._cell.transport == semconv.KAFKA:
            if self._target.answers is None:
                time.sleep(self._target.own.pause or 0.0)
            else:
                self._target.answers.wait(sent.offset, self.timeout)

    def send_due(self, sender: Sender, image: Path, due: int) -> int | None:
        """Send one image that is due at a moment; returns the offset of a record that nobody has waited for.

        Raises:
            SendError: it was not sent.
        """
        sent = sender.send(image, due=due)
        return None if self._cell.transport != semconv.KAFKA or self._target.answers is None else int(sent.offset)

    def wait(self, offset: int, until: float) -> None:
        """Wait until the record was answered, at the longest until a moment of the monotonic clock.

        Raises:
            SendError: it was not, or refused.
        """
        if self._target.answers is not None:
            self._target.answers.wait(offset, max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions:
            session.close()


@contextmanager
def lanes(plan: ExperimentConfig, found: Targets, run_id: str) -> Iterator[dict[PlannedCell, CellSenders]]:
    """A lane for every cell.

    Raises:
        ConfigError: librdkafka does not take a setting, or a certificate can't be used.
    """
    of_cell: dict[PlannedCell, CellSenders] = {}
    try:
        for cell in plan.cells:
            of_cell[cell] = CellSenders(plan, cell, found.of_way[cell.way], run_id)
        yield of_cell
    finally:
        for lane in of_cell.values():
            lane.close()


def _access(own: OwnServers) -> ModelAccess:
    from otel_kfs.client.model_access import ModelAccess

    return ModelAccess(ca=own.ca, cert=own.cert, key=own.key, token_file=own.token_file)


def _session(own: OwnServers, *, keep_alive: bool) -> requests.Session:
    session = _access(own).session()
    if not keep_alive:
        session.headers["Connection"] = "close"
        # urllib3 does not heed what it sends: until the server has closed the connection, it takes it for the next one.
        session.hooks["response"].append(lambda *_, **__: session.close())
    return session


def _kafka_sender(plan: ExperimentConfig, cell: PlannedCell, own: OwnServers, sending: dict[str, Any]) -> KafkaSender:
    from otel_kfs.client.kafka_access.kafka_security import accepted
    from otel_kfs.client.kafka_access.kafka_settings import read_properties

    settings = {**(read_properties(own.producer_config) if own.producer_config else {}), **dict(cell.kafka)}
    with accepted(f"{plan.file}: {cell.name}"):
        return KafkaSender(str(own.bootstrap_servers), str(own.topic), config=settings, **sending)


def try_settings(plan: ExperimentConfig) -> None:
    """Make what cells send by, where that can fail before anything is sent, and throw it away.

    Raises:
        ConfigError: librdkafka does not take a setting.
        MissingExtra: gRPC's client, or the object store's, is not installed.
    """
    for cell in plan.cells:
        if cell.kafka:
            own = OwnServers(bootstrap_servers="127.0.0.1:1", topic="none")
            _kafka_sender(plan, cell, own, {"compression": cell.compression})
    if any(cell.transport == semconv.GRPC for cell in plan.cells):
        GrpcSender("127.0.0.1:1", "none")
    if any(cell.encoding == CLAIM_CHECK for cell in plan.cells):
        ClaimStore("none")


# --- warm-up ---


def _warm_up(
    plan: ExperimentConfig, found: Targets, of_cell: dict[PlannedCell, CellSenders], progress: Progress
) -> dict[tuple[PlannedCell, str], float]:
    """Send every image through every cell, marked as warm-ups; returns how many seconds the last of each took.

    The first images pay for connections, caches and the consumer group's join. A run that is taken up again does this
    again, since its servers are new.
    """
    seconds: dict[tuple[PlannedCell, str], float] = {}
    # In an open loop, cells that differ in their rate alone are warmed up once.
    cells = list({(cell.transport, cell.unloaded): cell for cell in plan.cells}.values())
    failure: dict[PlannedCell, OtelKfsError] = {}
    answered: set[PlannedCell] = set()
    turns = [
        turn for block in range(plan.warmups) for turn in schedule.in_block(plan, -1 - block) if turn.cell in cells
    ]
    with progress(len(turns), "warming up") as advance:
        for turn in turns:
            lane, start = of_cell[turn.cell], time.monotonic()
            try:
                for sender in dict.fromkeys(lane.senders[: turn.cell.concurrency]):
                    lane.send(sender, found.images[turn.image], warmup=True)
            except SendError as error:
                failure[turn.cell] = error
            else:
                answered.add(turn.cell)
            seconds[turn.cell, turn.image] = time.monotonic() - start
            found.check()
            advance(f"{turn.image} {turn.cell.name}")
    for cell, why in failure.items():
        if cell not in answered:
            raise SendError(f"{cell.name} does not work, all its warm-ups failed: {why}") from why
    return seconds


# --- turns ---


def _take_turns(
    plan: ExperimentConfig,
    found: Targets,
    of_cell: dict[PlannedCell, CellSenders],
    left: Sequence[Trial],
    journal: TrialLog,
    progress: Progress,
) -> None:
    with progress(len(left), "sending") as advance:
        for turn in left:
            image = found.images[turn.image]
            if plan.arrivals is None:
                came = _volley(turn, of_cell[turn.cell], image)
            else:
                came = _stage(turn, of_cell[turn.cell], image, plan.arrivals, plan.seed)
            found.check()
            journal.add(came)
            if journal.failed > plan.max_failures:
                raise SendError(
                    f"{journal.failed} images failed, more than max_failures = {plan.max_failures}; "
                    f"the last one, {turn.image} by {turn.cell.name}: {came.failure}"
                )
            advance(f"{turn.image} {turn.cell.name}")


def _volley(turn: Trial, lane: CellSenders, image: Path) -> TrialResult:
    """In a closed loop: as many images at once as the cell's concurrency says, mostly one."""
    tally, start = _Tally(), time.time_ns()
    if len(lane.senders) == 1:
        tally.sent_one(lambda: lane.send(lane.senders[0], image))
    else:
        together = threading.Barrier(len(lane.senders))

        def send(sender: Sender) -> None:
            together.wait()
            tally.sent_one(lambda: lane.send(sender, image))

        _in_threads([(send, sender) for sender in lane.senders], threading.Event())
    seconds = (time.time_ns() - start) / 1e9
    return done(turn, tally.sent, start=start, seconds=seconds, failed=tally.failed, failure=tally.failure)


def _stage(turn: Trial, lane: CellSenders, image: Path, chosen: Arrivals, seed: int) -> TrialResult:
    """In an open loop: images at their times. Each is taken up by the first thread that is free, late if it must be.

    Through Kafka a thread is free when the broker has the record, as a producer's would be; the stage then ends when
    all were answered. What was not begun when the stage's duration has passed once more, is given up and counted: the
    servers are far beyond what they can do, and the next stage should not wait for them for ever.
    """
    offsets = arrivals.due(chosen, turn.cell.rate or 0.0, f"{seed} {turn.key}")
    tally, stop, numbers, lock = _Tally(), threading.Event(), iter(offsets), threading.Lock()
    start = time.time_ns() + round(_LEAD_SECONDS * 1e9)
    end = start + round(2 * chosen.duration * 1e9)
    unanswered: list[int] = []  # offsets

    def send_due(sender: Sender, due: int) -> None:
        if (offset := lane.send_due(sender, image, due)) is not None:
            unanswered.append(offset)

    def send(sender: Sender) -> None:
        while not stop.is_set():
            with lock:
                offset = next(numbers, None)
            if offset is None:
                return
            due = start + round(offset * 1e9)
            if (early := due - time.time_ns()) > 0 and stop.wait(early / 1e9):
                return
            if time.time_ns() > end:
                tally.given_up()
            else:
                tally.sent_one(partial(send_due, sender, due))

    _in_threads([(send, sender) for sender in lane.senders], stop)
    until = time.monotonic() + chosen.duration + lane.timeout
    for offset in unanswered:
        tally.attempt(partial(lane.wait, offset, until))
    return done(
        turn,
        tally.sent,
        failed=tally.failed,
        unsent=tally.unsent,
        failure=tally.failure,
        start=start,
        seconds=chosen.duration,
    )


class _Tally:
    """Counts what became of images, for many threads; what is no failure of an image ends the run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent = self.failed = self.unsent = 0
        self.failure = ""

    def sent_one(self, send: Callable[[], None]) -> None:
        """Send one."""
        with self._lock:
            self.sent += 1
        self.attempt(send)

    def attempt(self, part: Callable[[], None]) -> None:
        """Do a part of what must be done for an image that was counted."""
        try:
            part()
        except SendError as error:
            with self._lock:
                self.failed, self.failure = self.failed + 1, str(error)

    def given_up(self) -> None:
        """Do not send one."""
        with self._lock:
            self.unsent += 1


def _in_threads(jobs: Sequence[tuple[Callable[[Sender], None], Sender]], stop: threading.Event) -> None:
    """Do all at a time, and raise what one of them raised. Ctrl-C stops them: what is under way has a short grace."""
    raised: list[BaseException] = []

    def do(job: Callable[[Sender], None], sender: Sender) -> None:
        try:
            job(sender)
        except BaseException as error:  # noqa: BLE001 - raised again by who started the thread
            raised.append(error)
            stop.set()

    # Daemons, so that one that waits for an answer does not hold up the end of the process.
    threads = [threading.Thread(target=do, args=job, daemon=True) for job in jobs]
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
