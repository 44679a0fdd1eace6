"""The quartiles that benchmarks print."""

import pytest

from benchmarks.quartiles import quartiles


@pytest.mark.parametrize(
    ("values", "found"), [([3.0], (3, 3, 3)), ([4, 2], (2.5, 3, 3.5)), ([5, 1, 3, 2, 4], (2, 3, 4))]
)
def test_they_are_those_of_one_round_as_of_many(values, found):
    assert quartiles(values) == found
