"""Round ticks, and axes of whatever values there are."""

import math

import pytest

from otel_kfs.report.charts.axis import Axis, axis, milliseconds, tick, within


def test_ticks_are_round_and_within():
    assert Axis(0, 730, 0, 100).ticks(4) == [0, 200, 400, 600]


def test_ticks_go_through_zero():
    assert [tick(value) for value in Axis(-0.3, 0.52, 0, 100).ticks(4)] == ["\u22120.2", "0", "0.2", "0.4"]


def test_a_value_lies_in_proportion():
    scale = Axis(0, 10, 100, 300)
    assert [scale(0), scale(5), scale(10)] == [100, 200, 300]


@pytest.mark.parametrize("values", [[], [0], [5, 5], [-3], [1e-12], [1e15, 1e15]])
@pytest.mark.parametrize("zero", [True, False])
def test_an_axis_of_one_value_or_none_is_still_an_axis(values, zero):
    scale = axis(values, 0, 100, zero=zero)
    assert scale.low < scale.high
    assert all(0 <= scale(value) <= 100 for value in values)


def test_an_axis_from_zero_starts_there():
    assert axis([3, 7], 0, 100).low == 0


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0"),
        (12_345, "0.01"),
        (996_000, "1.0"),
        (5_340_000, "5.3"),
        (99_960_000, "100"),
        (742_400_000, "742"),
        (-3_210_000, "\u22123.2"),
    ],
)
def test_a_length_has_the_digits_that_matter(nanoseconds, text):
    assert milliseconds(nanoseconds) == text


@pytest.mark.parametrize(
    ("nanoseconds", "bound", "text"),
    [
        (5_034_000_000, 0, "5034"),
        (5_034_000_000, math.inf, "5034 \u00b1?"),
        (33_040_000, 4_110_000, "33.0 \u00b14.2"),  # what is rounded off widens it
        (-742_000_000, 1_000, "\u2212742 \u00b11"),
        (40_000, 10_000, "0.04 \u00b10.01"),
    ],
)
def test_a_duration_between_two_clocks_stands_beside_what_they_leave_open(nanoseconds, bound, text):
    assert within(nanoseconds, bound) == text
