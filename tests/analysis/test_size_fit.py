"""Costs per request and per MB: exact lines, lines that add up, and intervals as the definition has them."""

from array import array
from dataclasses import replace
from math import inf, isclose

import numpy as np
import pytest
from report_support import contents_of, measurement_of_both_transports
from scipy import stats
from traces_builder import critical_path, critical_path_of

from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.size_fit import Line, fits, line

SIZES = np.array([1e6, 1e6, 2e6, 3e6, 3e6, 10e6])
LENGTHS = np.array([12.0, 15.0, 19.0, 33.0, 31.0, 95.0])


def test_a_line_goes_through_lengths_that_lie_on_one():
    found = line(SIZES[:5], 5 + 3 * SIZES[:5] / 1e6)
    assert found is not None
    assert np.allclose(
        [found.n, found.fixed, found.per_megabyte, found.fixed_error, found.per_megabyte_error], [5, 5, 3, 0, 0]
    )


def test_a_line_is_that_of_least_squares():
    found, expected = line(SIZES, LENGTHS), stats.linregress(SIZES / 1e6, LENGTHS)
    assert np.allclose([found.fixed, found.per_megabyte], [expected.intercept, expected.slope])


def test_the_intervals_are_those_of_hc3_and_student():
    sizes, lengths = np.append(SIZES, 10e6), np.append(LENGTHS, 101.0)
    found = line(sizes, lengths)
    design = np.column_stack([np.ones(7), sizes / 1e6])
    bread = np.linalg.inv(design.T @ design)
    residuals = lengths - design @ [found.fixed, found.per_megabyte]
    weights = (residuals / (1 - np.sum(design @ bread * design, axis=1))) ** 2
    covariance = bread @ (design.T * weights) @ design @ bread
    expected = stats.t.ppf(0.975, 5) * np.sqrt(np.diag(covariance))
    assert np.allclose([found.fixed_error, found.per_megabyte_error], expected)


def test_a_size_with_one_image_alone_of_two_leaves_the_intervals_open():
    found = line(np.array([1e6, 1e6, 2e6]), np.array([1.0, 2.0, 4.0]))
    assert (found.fixed_error, found.per_megabyte_error) == (None, None)


@pytest.mark.parametrize("sizes", [[], [1e6], [1e6, 1e6, 1e6]])
def test_without_two_sizes_there_is_no_line(sizes):
    assert line(np.array(sizes), np.ones(len(sizes))) is None


def test_two_images_have_a_line_without_intervals():
    assert line(np.array([1e6, 2e6]), np.array([5.0, 7.0])) == Line(2, 3.0, 2.0, None, None)


def test_the_segments_costs_add_up_to_those_of_the_whole():
    for of_labels in contents_of(measurement_of_both_transports()).by_labels:
        parts = of_labels.fits.segments.values()
        assert isclose(sum(part.fixed for part in parts), of_labels.fits.total.fixed, rel_tol=1e-9)
        assert isclose(sum(part.per_megabyte for part in parts), of_labels.fits.total.per_megabyte, rel_tol=1e-9)


def test_every_image_counts_with_its_own_size():
    sizes = [*range(50_000, 150_000, 1_000), 1_000_000, 1_003_000, 1_009_000]
    paths = [critical_path(0, 0, 0, 10 + size // 1000, image_size=size) for size in sizes]
    found = fits(measured(paths).all_series()).total
    assert found is not None
    assert (round(found.fixed / 1e6, 6), round(found.per_megabyte / 1e6, 6)) == (10, 1000)


def test_sizes_that_count_as_equal_have_no_line():
    assert line(np.array([1e6, 1.009e6, 1.005e6]), np.array([1.0, 2.0, 3.0])) is None


def test_images_of_unknown_size_are_left_out():
    all_series = [series.series for series in contents_of(measurement_of_both_transports()).by_labels[0].series]
    all_series[0].image_sizes = array("q")
    assert fits(all_series).total.n == 6


def test_what_clocks_leave_open_of_each_duration_is_left_open_of_the_line():
    sizes, bounds = np.array([1e6, 1e6, 3e6, 3e6]), np.array([2.0, 2.0, 1.0, 1.0])
    found = line(sizes, 5 + 3 * sizes / 1e6, bounds)
    # The steepest line rises from 2 below to 1 above: 3 in 2 MB; the highest at 0 MB is 1.5 for the small ones' 2.
    assert np.allclose([found.fixed_bound, found.per_megabyte_bound], [3.5, 1.5])


def test_a_duration_that_nothing_bounds_leaves_the_line_unknown():
    found = line(SIZES, LENGTHS, np.array([0, 0, 0, 0, 0, inf]))
    assert (found.fixed_bound, found.per_megabyte_bound) == (inf, inf)
    of = measured([replace(critical_path_of("client 10, broker 50!"), image_size=size) for size in (1_000, 9_000)])
    lines = fits(corrected(of).series)
    assert [one.fixed_bound for one in (lines.total, *lines.segments.values())] == [inf, 0, inf]
