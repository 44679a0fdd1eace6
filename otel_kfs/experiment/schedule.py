"""The order in which an experiment sends: blocks of every cell and image once, each in an order drawn anew.

Whatever makes a machine slow for a while (another program, heat, a full disk) then falls on all cells alike. The order
depends on the seed and the block's number alone, so that a run that is taken up again goes on where it was.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

from otel_kfs.experiment.config import ExperimentConfig, PlannedCell


class Trial(NamedTuple):
    """A cell's turn with one image; in an open loop a whole stage of them."""

    block: int
    cell: PlannedCell
    image: str

    @property
    def key(self) -> tuple[int, str, str, str]:
        """What tells it from the other turns of its run."""
        return self.block, self.cell.transport, self.cell.label, self.image


def turns(plan: ExperimentConfig) -> Iterator[Trial]:
    """Every turn, block by block."""
    for block in range(plan.repeat):
        yield from in_block(plan, block)


def in_block(plan: ExperimentConfig, block: int) -> list[Trial]:
    """One block's turns, in the order drawn for it."""
    found = [Trial(block, cell, image) for cell, image in itertools.product(plan.cells, plan.images)]
    random.Random(f"{plan.seed} {block}").shuffle(found)  # noqa: S311 - an order, no secret
    return found
