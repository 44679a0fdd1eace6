"""The order of sending, fair in every block, and when images are due: always the same from the same seed."""

import itertools
import math
import statistics
from collections import Counter
from dataclasses import replace

import pytest
from experiment_support import EMBEDDED, OWN, configured
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_kfs.experiment import schedule
from otel_kfs.experiment.config.experiment_config import Arrivals
from otel_kfs.experiment.schedule import due_times

TEXT = f'images = ["a.jpg"]\nrepeat = 6\n{OWN}[matrix]\nencoding = ["json", "raw", "v2"]\nresize = ["none", 9]'


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), repeat=st.integers(1, 5))
def test_every_block_has_every_cell_with_every_image_once(tmp_path, seed, repeat):
    config = replace(configured(TEXT, tmp_path), seed=seed, repeat=repeat, images=("a", "b"))
    trials = list(schedule.trials(config))
    assert [trial.block for trial in trials] == [block for block in range(repeat) for _ in range(12)]
    for block in range(repeat):
        found = Counter((trial.cell, trial.image) for trial in trials if trial.block == block)
        assert found == Counter({(cell, image): 1 for cell in config.cells for image in ("a", "b")})
    assert len({trial.key for trial in trials}) == len(trials)


def test_the_same_seed_gives_the_same_order_and_another_seed_another():
    config = configured(TEXT)
    assert list(schedule.trials(config)) == list(schedule.trials(configured(TEXT)))
    assert list(schedule.trials(config)) != list(schedule.trials(replace(config, seed=2)))


def test_each_block_has_an_order_of_its_own():
    config = configured(TEXT)
    orders = {tuple(trial.cell for trial in schedule.in_block(config, block)) for block in range(6)}
    assert len(orders) == 6


def test_no_cell_comes_always_early_or_late():
    config = replace(configured(TEXT), repeat=200)
    places = Counter()
    for block in range(config.repeat):
        for place, trial in enumerate(schedule.in_block(config, block)):
            places[trial.cell.name] += place
    # The mean of 200 places of 0 to 5 is 2.5, with a standard error of 0.12.
    assert all(abs(total / config.repeat - 2.5) < 0.5 for total in places.values())


@pytest.mark.kfserving
def test_the_embedded_pictures_are_images_like_others():
    assert {trial.image for trial in schedule.in_block(configured(EMBEDDED), 0)} == {
        "1.1MB",
        "3.3MB",
        "4.7MB",
        "10.2MB",
    }


# --- when images are due ---


def test_a_constant_rate_is_even():
    assert due_times(Arrivals("constant", duration=2.0), 4.0, "x") == [0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


@settings(max_examples=50)
@given(st.floats(0.5, 50), st.floats(1, 100), st.text(max_size=5), st.sampled_from(["constant", "poisson"]))
def test_images_are_due_in_order_from_the_start_and_within_the_duration(rate, duration, seed, pattern):
    found = due_times(Arrivals(pattern, duration=duration), rate, seed)
    assert found == sorted(found)
    assert not found or (found[0] == 0 and found[-1] < duration + 1 / rate)
    assert found == due_times(Arrivals(pattern, duration=duration), rate, seed)


def test_poisson_arrivals_have_the_rate_and_gaps_that_scatter_as_much_as_they_are_long():
    found = due_times(Arrivals("poisson", duration=1000.0), 10.0, "seed")
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert math.isclose(len(found), 10_000, rel_tol=0.04)  # four standard deviations
    assert math.isclose(statistics.stdev(gaps), statistics.fmean(gaps), rel_tol=0.05)


def test_another_seed_gives_other_times():
    arrivals = Arrivals("poisson", duration=10.0)
    assert due_times(arrivals, 5.0, "a") != due_times(arrivals, 5.0, "b")
