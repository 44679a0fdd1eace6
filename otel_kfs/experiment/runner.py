"""Runs an experiment: warms every cell up, then runs trial after trial, and adds each result to the log."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from otel_kfs.demo.processes import export_to
from otel_kfs.errors import OtelKfsError, SendError
from otel_kfs.experiment import schedule
from otel_kfs.experiment.cell_senders import CellSenders, open_senders, try_settings
from otel_kfs.experiment.config.experiment_config import Cell, ExperimentConfig
from otel_kfs.experiment.schedule import Trial
from otel_kfs.experiment.servers import RunningServers, start_servers
from otel_kfs.experiment.trial_log import TRACES, TrialLog
from otel_kfs.experiment.trial_runner import run_trial
from otel_kfs.telemetry import provider

if TYPE_CHECKING:
    from otel_kfs.client.sender import Sender
    from otel_kfs.demo.demo_run import ProgressBar


def run(config: ExperimentConfig, folder: Path, *, say: Callable[[str], None], progress: ProgressBar) -> TrialLog:
    """Run all trials that the folder's log does not have yet; return the log, with all of them.

    Raises:
        ConfigError: the folder holds something else, or a setting can't be used.
        SendError: a cell does not work at all, or more images failed than the configuration allows.
        DemoError: a process that was started here did not start, or died.
    """
    try_settings(config)
    log = TrialLog(folder, config)
    remaining = log.remaining(schedule.trials(config))
    if not remaining:
        return log
    export_to(config.otlp_endpoint)
    if log.results:
        say(f"Going on with run {log.run_id}: {len(log.results)} trials are done, {len(remaining)} are left")
    with log, start_servers(config, folder, log.run_id, say) as servers:
        provider.configure("image-sender", traces_file=folder / TRACES / "image-sender.jsonl")
        with open_senders(config, servers, log.run_id) as senders:
            seconds = _warm_up(config, servers, senders, progress)
            say(f"{len(remaining)} trials, {estimate(config, remaining, seconds)}")
            _run_trials(config, servers, senders, remaining, log, progress)
        servers.settle()
    if not provider.flush():
        say("Not all spans could be written or exported; the log above says which.")
    return log


def estimate(config: ExperimentConfig, remaining: Sequence[Trial], seconds: Mapping[tuple[Cell, str], float]) -> str:
    """Say how long the remaining trials will take, by what the warm-up took for each cell and image."""
    if config.arrivals is not None:
        return f"at least {_duration(len(remaining) * config.arrivals.duration)}"
    if not seconds:
        return "for an unknown time, without warm-up"
    mean = statistics.fmean(seconds.values())
    return f"about {_duration(sum(seconds.get((trial.cell, trial.image), mean) for trial in remaining))}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _warm_up(
    config: ExperimentConfig, servers: RunningServers, senders: Mapping[Cell, CellSenders], progress: ProgressBar
) -> dict[tuple[Cell, str], float]:
    """Send every image through every cell, marked as warm-ups; return how many seconds the last of each took.

    The first images pay for connections, caches and the consumer group's join. A run that is resumed does this again,
    since its servers are new.
    """
    seconds: dict[tuple[Cell, str], float] = {}
    failures: dict[Cell, OtelKfsError] = {}
    answered: set[Cell] = set()
    trials = [trial for block in range(config.warmups) for trial in schedule.in_block(config, -1 - block)]
    with progress(len(trials), "warming up") as advance:
        for trial in trials:
            of_cell, start = senders[trial.cell], time.monotonic()
            try:
                for sender in _to_warm(of_cell, first=config.arrivals is None or trial.block == -1):
                    of_cell.send(sender, servers.images[trial.image], warmup=True)
            except SendError as error:
                failures[trial.cell] = error
            else:
                answered.add(trial.cell)
            seconds[trial.cell, trial.image] = time.monotonic() - start
            servers.check()
            advance(f"{trial.image} {trial.cell.name}")
    for cell, why in failures.items():
        if cell not in answered:
            raise SendError(f"{cell.name} does not work, all its warm-ups failed: {why}") from why
    return seconds


def _to_warm(of_cell: CellSenders, *, first: bool) -> list[Sender]:
    """Return a cell's senders, each of which may have a connection of its own; in later rounds one serves."""
    senders = list(dict.fromkeys(of_cell.senders))
    return senders if first else senders[:1]


def _run_trials(
    config: ExperimentConfig,
    servers: RunningServers,
    senders: Mapping[Cell, CellSenders],
    remaining: Sequence[Trial],
    log: TrialLog,
    progress: ProgressBar,
) -> None:
    with progress(len(remaining), "sending") as advance:
        for trial in remaining:
            result = run_trial(config, trial, senders[trial.cell], servers.images[trial.image])
            servers.check()
            log.add(result)
            if log.failed > config.max_failures:
                raise SendError(
                    f"{log.failed} images failed, more than max_failures = {config.max_failures}; "
                    f"the last one, {trial.image} by {trial.cell.name}: {result.failure}"
                )
            advance(f"{trial.image} {trial.cell.name}")
