"""The order in which an experiment sends, and when the images of an open loop are due; both drawn from a seed.

Each block has every cell and image once, in an order drawn anew. Whatever makes a machine slow for a while (another
program, heat, a full disk) then falls on all cells alike. The order depends on the seed and the block's number alone,
so that a run that is resumed goes on where it was.

In a closed loop a slow answer delays the next image, and the delay is in no latency: "coordinated omission" (Tene,
"How NOT to measure latency", 2013). In an open loop an image is due whether or not those before it were answered, and
its latency counts from then, as in wrk2. (k6's arrival-rate executors drop an image when no thread is free; here it
starts late.) A Poisson process is what many independent senders add up to.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

from otel_kfs.experiment.config.experiment_config import Arrivals, Cell, ExperimentConfig


class Trial(NamedTuple):
    """One cell sends one image; in an open loop, a whole stage of them."""

    block: int
    cell: Cell
    image: str

    @property
    def key(self) -> tuple[int, str, str, str]:
        """What tells it from the other trials of its run."""
        return self.block, self.cell.transport, self.cell.label, self.image


def trials(config: ExperimentConfig) -> Iterator[Trial]:
    """Yield every trial, block by block."""
    for block in range(config.repeat):
        yield from in_block(config, block)


def in_block(config: ExperimentConfig, block: int) -> list[Trial]:
    """Return one block's trials, in the order drawn for it."""
    drawn = [Trial(block, cell, image) for cell, image in itertools.product(config.cells, config.images)]
    random.Random(f"{config.seed} {block}").shuffle(drawn)  # noqa: S311 - an order, no secret
    return drawn


def due_times(arrivals: Arrivals, rate: float, seed: str) -> list[float]:
    """Return when a stage's images are due, in seconds from its start: the first at once, all within its duration."""
    if arrivals.pattern == "constant":
        return [number / rate for number in range(round(rate * arrivals.duration))]
    drawn = random.Random(seed)  # noqa: S311 - times, no secret
    times, at = [], 0.0
    while at < arrivals.duration:
        times.append(at)
        at += drawn.expovariate(rate)
    return times
