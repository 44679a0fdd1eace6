"""How often an experiment calls two equal cells different, where images queue: a Markdown table.

    python benchmarks/false_alarms.py --runs 300

Both cells are one simulated server. An image takes it a random time with a mean of 100 ms (log-normal, a third of that
as deviation), and it is somewhat faster or slower in each trial. In the open loop it does one image after another, in
the closed one all images of a trial at once, each the slower. The last column is what the rank test says that takes
images for independent.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from otel_kfs.analysis.comparison import FALSE_ALARMS, rank_test
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.critical_path import CriticalPath
from otel_kfs.experiment import ranking
from otel_kfs.experiment.config.experiment_config import Arrivals, Cell, ExperimentConfig, ServersConfig
from otel_kfs.experiment.schedule import Trial, due_times
from otel_kfs.experiment.trial_log import TrialResult

SERVICE = 0.1  # seconds, the mean
SPREAD = 0.33  # of the logarithm
STAGE_SPREAD, VOLLEY_SPREAD = 0.03, 0.1  # of the server's speed, from stage to stage and from volley to volley
BLOCKS = 10
STAGE = 10.0  # seconds


class Verdict(NamedTuple):
    """What an experiment says of two cells, and what a test of images would."""

    by_blocks: str
    by_images: bool


def experiment(seed: int, *, utilisation: float | None = None, at_once: int = 1, slower: float = 1.0) -> Verdict:
    """Simulate an experiment of two cells, of which the second takes `slower` times as long for an image.

    With a utilisation it is an open loop, else a closed one with so many images at once.
    """
    rate = None if utilisation is None else utilisation / SERVICE
    cells = tuple(Cell(rate=rate, concurrency=at_once, label=label, base_label=label) for label in ("a", "b"))
    arrivals = None if rate is None else Arrivals(rates=(rate,), duration=STAGE)
    config = ExperimentConfig(Path(), {}, cells, cells[:1], ("image",), ServersConfig(), BLOCKS, arrivals=arrivals)
    scatter = random.Random(f"{seed} {utilisation} {at_once} {slower}")
    paths, results, start = [], [], 0.0
    for block in range(BLOCKS):
        for cell in scatter.sample(cells, 2):
            due = [0.0] * at_once
            if arrivals is not None and rate is not None:
                due = due_times(arrivals, rate, f"{seed} {block} image")
            factor = scatter.lognormvariate(0, VOLLEY_SPREAD if rate is None else STAGE_SPREAD)
            mean = SERVICE * factor * (slower if cell.label == "b" else 1.0)
            work = [mean * scatter.lognormvariate(-(SPREAD**2) / 2, SPREAD) for _ in due]
            answered = _shared(work) if rate is None else list(_one_by_one(due, work))
            for first, last in zip(due, answered, strict=True):
                paths.append(_path(cell, start + first, start + last))
            results.append(_result(Trial(block, cell, "image"), start, due, answered, arrivals))
            start += max(answered) + STAGE
    series = measured(paths).all_series()
    (found,) = ranking.rankings(series, config, results)
    (verdict,) = (one.verdict for one in found.ranked if not one.baseline)
    a, b = (one.totals() for one in series)
    return Verdict(verdict, rank_test(a, b) <= FALSE_ALARMS)


def _one_by_one(due: list[float], work: list[float]) -> Iterator[float]:
    """Yield when each image is answered by a server that does one after another, in seconds."""
    free = 0.0
    for moment, seconds in zip(due, work, strict=True):
        free = max(free, moment) + seconds
        yield free


def _shared(work: list[float]) -> list[float]:
    """Return when each image is answered by a server that shares its time among all that are left, in seconds."""
    return [sum(min(seconds, other) for other in work) for seconds in work]


def _path(cell: Cell, first: float, last: float) -> CriticalPath:
    start, end = round(first * 1e9), round(last * 1e9)
    return CriticalPath(
        trace_id=f"{cell.label}{start}",
        transport=cell.transport,
        image_size=1_100_000,
        payload_size=None,
        stamps=(start, start, start, end),
        sections=(),
        cell=cell.label,
    )


def _result(
    trial: Trial, start: float, due: list[float], answered: list[float], arrivals: Arrivals | None
) -> TrialResult:
    last = None if arrivals is None else round((start + max(due)) * 1e9)
    seconds = STAGE if arrivals else max(answered)
    return TrialResult(*trial.key, sent=len(due), start=round(start * 1e9), seconds=seconds, last_due=last)


def main() -> None:
    """Print how many of the runs called the cells different."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    runs = parser.parse_args().runs
    print("| equal cells | called different, by blocks | by images |\n|:--|--:|--:|")
    kinds = [(f"open loop, utilisation {share}", {"utilisation": share}) for share in (0.3, 0.6, 0.8)]
    kinds += [(f"closed loop, {count} at a time", {"at_once": count}) for count in (1, 4, 16)]
    for name, options in kinds:
        found = [experiment(seed, **options) for seed in range(runs)]
        by_blocks = sum(one.by_blocks in {"faster", "slower"} for one in found)
        by_images = sum(one.by_images for one in found)
        print(f"| {name} | {by_blocks} of {runs} | {by_images} of {runs} |", flush=True)
    print("\n| second cell 20 % slower | found by blocks |\n|:--|--:|")
    for name, options in kinds:
        slower = [experiment(seed, slower=1.2, **options).by_blocks for seed in range(runs // 3)]
        print(f"| {name} | {slower.count('slower')} of {runs // 3} |", flush=True)


if __name__ == "__main__":
    main()
