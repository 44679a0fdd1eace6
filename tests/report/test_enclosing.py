"""A printed figure and its bound enclose what they are of, however both are rounded."""

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_kfs.report.answer import _duration
from otel_kfs.report.enclosing import off, percent


@given(st.integers(-(10**13), 10**13), st.integers(1, 10**12))
@example(141_084_430, 3_047_411)  # by itself 141.1 and 3.0
@example(12_345_600_000, 47_000)
@example(312_500_000_000, 1)
def test_a_duration_in_a_sentence_lies_within_what_is_printed(nanoseconds, bound):
    figure, unit, half, _ = _duration(nanoseconds, bound).replace("\u00b1", "").split()
    middle, width = (Fraction(text) * {"ms": 10**6, "s": 10**9}[unit] for text in (figure, half))
    assert middle - width <= nanoseconds - bound
    assert nanoseconds + bound <= middle + width


@given(st.floats(0, 1), st.floats(0.0001, 1), st.integers(0, 1))
@example(0.2060, 0.0090, 0)  # by itself 21 and 1
def test_a_share_lies_within_what_is_printed(share, bound, digits):
    figure, width = (Fraction(text) / 100 for text in percent(share, bound, digits).replace("%", "").split(" \u00b1"))
    noise = Fraction(1, 10**10)
    assert figure - width <= Fraction(share) - Fraction(bound) + noise
    assert Fraction(share) + Fraction(bound) - noise <= figure + width


@pytest.mark.parametrize(
    ("share", "bound", "text"),
    [(0.8, 0.1, "80% \u00b110%"), (0.24, 0, "24%"), (0.24, math.inf, "?"), (0.2475, 0.0097, "25% \u00b12%")],
)
def test_a_share_is_written_with_what_the_clocks_leave_open(share, bound, text):
    assert percent(share, bound) == text


def test_nothing_bounds_it_is_a_question_mark():
    assert (off(1e6, math.inf, 1e6, 1), _duration(100_000_000, math.inf)) == ("?", "100.0 ms \u00b1?")
