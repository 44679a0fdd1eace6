"""What a column of lengths is summed up as, beside numpy's and scipy's figures, and how often intervals hold."""

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kfs.analysis import statistics as room
from otel_kfs.analysis.statistics import Interval, Summary, rank_interval, rank_interval_needs, summary
from otel_kfs.errors import MissingExtra

columns = st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=120)


def test_of_one_value_everything_is_that_value():
    assert summary([7]) == Summary(n=1, mean=7, sd=None, p50=7, p90=None, p95=None, p99=None, max=7)


def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle():
    assert summary([4, 2, 1, 21]) == Summary(n=4, mean=7, sd=9, p50=3, p90=None, p95=None, p99=None, max=21)


@pytest.mark.parametrize(
    ("n", "there"),
    [
        (9, (False, False, False)),
        (10, (True, False, False)),
        (19, (True, False, False)),
        (20, (True, True, False)),
        (99, (True, True, False)),
        (100, (True, True, True)),
    ],
)
def test_a_percentile_stands_where_one_value_is_expected_above_it(n, there):
    found = summary(range(n))
    assert tuple(value is not None for value in (found.p90, found.p95, found.p99)) == there


def test_percentiles_are_linear_between_ranks():
    # Rank 1 + 0.95 * 19 = 19.05: the value 1900 and 0.05 of the way to 2000.
    found = summary(range(100, 2001, 100))
    assert (found.p50, found.p90, found.p95, found.max) == (1050, 1810, 1905, 2000)


def test_a_bound_is_handed_on():
    assert summary([7], 3) == replace(summary([7]), bound=3)


@given(columns)
def test_the_order_of_values_does_not_matter_and_figures_rise(values):
    found = summary(values)
    rising = [min(values), *(v for v in (found.p50, found.p90, found.p95, found.p99) if v is not None), found.max]
    assert (found, rising) == (summary(sorted(values)), sorted(rising))


@pytest.mark.analysis
@given(columns)
def test_the_figures_are_numpy_s(values):
    import numpy

    found = summary(values)
    pairs = [(found.mean, numpy.mean(values)), (found.p50, numpy.percentile(values, 50))]
    if found.sd is not None:
        pairs.append((found.sd, numpy.std(values, ddof=1)))
    for number, percentile in ((90, found.p90), (95, found.p95), (99, found.p99)):
        if percentile is not None:
            pairs.append((percentile, numpy.percentile(values, number)))
    # Ours are whole nanoseconds; of 10**12 a float of numpy's has 12 more digits.
    assert [pair for pair in pairs if abs(pair[0] - pair[1]) > 1] == []


# --- intervals ---


@pytest.mark.analysis
def test_five_values_have_no_interval_of_their_median_and_six_have():
    assert (room.median_interval(range(5)), room.median_interval([3] * 6)) == (None, Interval(3, 3))


@pytest.mark.analysis
def test_the_same_values_have_the_same_interval_in_any_order():
    values = [5, 1, 9, 4, 4, 8, 2, 7, 6]
    assert room.median_interval(values) == room.median_interval(sorted(values))


@pytest.mark.analysis
def test_a_summary_has_an_interval_when_asked():
    assert [summary([4] * 9, interval=asked).interval for asked in (False, True)] == [None, Interval(4, 4)]


@pytest.mark.analysis
@pytest.mark.parametrize("n", [6, 9, 20, 101])
def test_resampled_medians_are_distributed_like_scipy_s(n):
    import numpy
    from scipy import stats

    values = numpy.random.default_rng(n).lognormal(10, 1, n)
    ours = room.median_resamples(values, 1)
    theirs = stats.bootstrap(
        (values,), numpy.median, n_resamples=4999, method="percentile", random_state=numpy.random.default_rng(2)
    ).bootstrap_distribution
    # Two samples of one distribution; with fixed seeds this never changes.
    assert stats.ks_2samp(ours, theirs).pvalue > 0.01


@pytest.mark.analysis
def test_the_median_lies_in_93_to_99_of_100_intervals():
    import numpy

    random = numpy.random.default_rng(3)
    inside = {}
    for n in (6, 9, 20, 101):
        found = [room.median_interval(list(random.lognormal(15, 1, n))) for _ in range(600)]
        inside[n] = sum(low <= numpy.exp(15) <= high for low, high in found) / len(found)
    assert {n: share for n, share in inside.items() if not 0.93 <= share <= 0.99} == {}


@pytest.mark.analysis
def test_the_difference_of_medians_lies_in_93_to_99_of_100_intervals():
    import numpy

    random = numpy.random.default_rng(4)
    found = [
        room.difference_interval(list(random.normal(10**8, 10**7, 20)), list(random.normal(9 * 10**7, 10**7, 30)))
        for _ in range(600)
    ]
    assert 0.93 <= sum(low <= 10**7 <= high for low, high in found) / len(found) <= 0.99


@pytest.mark.analysis
@pytest.mark.parametrize(("n", "other"), [(6, 1000), (8, 500), (7, 100), (7, 9)])
def test_the_difference_of_medians_lies_in_95_of_100_intervals_however_unequal_the_sides_are(n, other):
    import numpy

    random = numpy.random.default_rng(5)
    found = [
        room.difference_interval(list(random.lognormal(15, 0.5, n)), list(random.lognormal(15, 0.5, other)))
        for _ in range(500)
    ]
    assert sum(low <= 0 <= high for low, high in found) / len(found) >= 0.95


@pytest.mark.analysis
@pytest.mark.parametrize("sizes", [(5, 20), (20, 5)])
def test_a_difference_has_no_interval_where_one_side_has_too_few_values(sizes):
    assert room.difference_interval(range(sizes[0]), range(sizes[1])) is None


def test_without_scipy_an_interval_is_answered_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(
        MissingExtra, match=r"scipy is not installed; in a clone of otel-kfs, run: pip install '\.\[analysis\]'"
    ):
        room.median_interval(range(20))
    assert not room.intervals_available()


@pytest.mark.analysis
@given(st.lists(st.integers(), min_size=1, max_size=60), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_interval_by_ranks_is_that_of_the_binomial_distribution(values, confidence):
    from scipy import stats

    interval = rank_interval(values, confidence)
    below = int(stats.binom.ppf((1 - confidence) / 2, len(values), 0.5))
    if stats.binom.cdf(below, len(values), 0.5) > (1 - confidence) / 2:
        below -= 1
    ordered = sorted(values)
    assert interval == (None if below < 0 else Interval(ordered[below], ordered[-1 - below]))
    assert (interval is None) is (len(values) < rank_interval_needs(confidence))


@pytest.mark.analysis
@pytest.mark.parametrize("n", [1001, 10_000, 1_000_000])
def test_the_interval_by_ranks_of_many_values_is_hardly_wider(n):
    from scipy import stats

    low, high = rank_interval(range(n))
    exact = int(stats.binom.ppf(0.025, n, 0.5))
    assert exact - 3 <= low <= exact
    assert high == n - 1 - low
