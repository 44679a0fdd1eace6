"""When images are due: evenly, or as a Poisson process, always the same from one seed."""

import itertools
import math
import statistics

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_kfs.experiment.arrivals import due
from otel_kfs.experiment.config import Arrivals


def test_a_constant_rate_is_even():
    assert due(Arrivals("constant", duration=2.0), 4.0, "x") == [0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


@settings(max_examples=50)
@given(st.floats(0.5, 50), st.floats(1, 100), st.text(max_size=5), st.sampled_from(["constant", "poisson"]))
def test_images_are_due_in_order_from_the_start_and_within_the_duration(rate, duration, seed, pattern):
    found = due(Arrivals(pattern, duration=duration), rate, seed)
    assert found == sorted(found)
    assert not found or (found[0] == 0 and found[-1] < duration + 1 / rate)
    assert found == due(Arrivals(pattern, duration=duration), rate, seed)


def test_poisson_arrivals_have_the_rate_and_gaps_that_scatter_as_much_as_they_are_long():
    found = due(Arrivals("poisson", duration=1000.0), 10.0, "seed")
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert math.isclose(len(found), 10_000, rel_tol=0.04)  # four standard deviations
    assert math.isclose(statistics.stdev(gaps), statistics.fmean(gaps), rel_tol=0.05)


def test_another_seed_gives_other_times():
    chosen = Arrivals("poisson", duration=10.0)
    assert due(chosen, 5.0, "a") != due(chosen, 5.0, "b")
