"""The order of sending: fair in every block, drawn anew for each, and the same again from the same seed."""

from collections import Counter
from dataclasses import replace

import pytest
from experiment_support import EMBEDDED, OWN, plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_kfs.experiment import schedule

TEXT = f'images = ["a.jpg"]\nrepeat = 6\n{OWN}[matrix]\nencoding = ["json", "raw", "v2"]\nresize = ["none", 9]'


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), repeat=st.integers(1, 5))
def test_every_block_has_every_cell_with_every_image_once(tmp_path, seed, repeat):
    chosen = replace(plan(TEXT, tmp_path), seed=seed, repeat=repeat, images=("a", "b"))
    turns = list(schedule.turns(chosen))
    assert [turn.block for turn in turns] == [block for block in range(repeat) for _ in range(12)]
    for block in range(repeat):
        found = Counter((turn.cell, turn.image) for turn in turns if turn.block == block)
        assert found == Counter({(cell, image): 1 for cell in chosen.cells for image in ("a", "b")})
    assert len({turn.key for turn in turns}) == len(turns)


def test_the_same_seed_gives_the_same_order_and_another_seed_another():
    chosen = plan(TEXT)
    assert list(schedule.turns(chosen)) == list(schedule.turns(plan(TEXT)))
    assert list(schedule.turns(chosen)) != list(schedule.turns(replace(chosen, seed=2)))


def test_each_block_has_an_order_of_its_own():
    chosen = plan(TEXT)
    orders = {tuple(turn.cell for turn in schedule.in_block(chosen, block)) for block in range(6)}
    assert len(orders) == 6


def test_no_cell_comes_always_early_or_late():
    chosen = replace(plan(TEXT), repeat=200)
    places = Counter()
    for block in range(chosen.repeat):
        for place, turn in enumerate(schedule.in_block(chosen, block)):
            places[turn.cell.name] += place
    # The mean of 200 places of 0 to 5 is 2.5, with a standard error of 0.12.
    assert all(abs(total / chosen.repeat - 2.5) < 0.5 for total in places.values())


@pytest.mark.kfserving
def test_the_embedded_pictures_are_images_like_others():
    assert {turn.image for turn in schedule.in_block(plan(EMBEDDED), 0)} == {"1.1MB", "3.3MB", "4.7MB", "10.2MB"}
