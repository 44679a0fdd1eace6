"""Simulated hosts, with clocks and names of all sorts: what is printed holds the truth, or says that it is unknown.

`benchmarks/simulated_clocks.py` draws them, and draws more of them than this.
"""

import pytest

from benchmarks import simulated_clocks as room

pytestmark = pytest.mark.analysis


@pytest.mark.parametrize("naming", room.NAMINGS)
def test_every_printed_interval_holds_the_truth_and_segments_add_up(naming):
    found = room.Score()
    for seed in range(12):
        found.add(room.score(room.world(seed, 7, naming)))
    assert found.wrong == []
    # There is something to be wrong about.
    assert min(found.printed[kind] for kind in ("exact", "bounded")) > 100


def test_equal_runs_are_seldom_called_different_whatever_their_clocks():
    # One of 20 is expected; these seeds are always the same.
    assert sum(room.false_alarm(seed) for seed in range(20)) <= 3
