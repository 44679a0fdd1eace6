"""Image sizes: which are equal, and their labels."""

import re
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_kfs.analysis.image_size import (
    TOLERANCE,
    SizeRange,
    equal_sizes,
    group_labels,
    labelled_size,
    nearest_equal,
    rounded_size,
    size_label,
)


def grouped(sizes):
    """The label of each size, by way of what keeps images apart."""
    ranges = {}
    for size in sizes:
        of_size = SizeRange(size, size)
        ranges[rounded_size(size, None)] = of_size.widen(ranges.get(rounded_size(size, None)))
    labels = group_labels(ranges)
    return {size: labels[rounded_size(size, None)] for size in sizes}


@pytest.mark.parametrize(
    ("image_size", "payload_size", "label"),
    [
        (1_112_057, 1_482_786, "1.1MB"),
        (10_200_000, None, "10.2MB"),
        (49_999, None, "50.0kB"),
        (50_000, None, "50.0kB"),
        (149_999, None, "150.0kB"),
        (999_949, None, "999.9kB"),
        (999_950, None, "1.0MB"),
        (810, None, "810B"),
        (0, None, "0B"),
        (2_500_000_000, None, "2.5GB"),
        (None, 13_900_000, "13.9MB JSON"),
        (None, None, "?"),
    ],
)
def test_a_size_s_label(image_size, payload_size, label):
    assert size_label(image_size, payload_size) == label


@settings(max_examples=200)
@given(st.lists(st.integers(1, 10**10) | st.integers(10**6, 1_050_000), min_size=1, max_size=40))
@example([950_001, 1_049_999])  # 950.0kB and 1.0MB, which is as far from the one size as from the other
def test_a_group_holds_equal_sizes_and_its_label_names_it(sizes):
    labels = grouped(sizes)
    groups = {label: [size for size in labels if labels[size] == label] for label in labels.values()}
    for label, group in groups.items():
        assert max(group) <= min(group) * (1 + TOLERANCE)
        assert abs(labelled_size(label) - min(group)) <= last_digit(label) / 2 + 1


def last_digit(label):
    """What the last digit of a label is worth, bytes."""
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", label).groups()
    return {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}[unit] / 10 ** len(number.partition(".")[2])


@settings(max_examples=50)
@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=40), st.integers())
def test_groups_do_not_depend_on_the_order_of_images(sizes, seed):
    assert grouped(Random(seed).sample(sizes, len(sizes))) == grouped(sizes)


def test_two_sizes_beside_each_other_are_equal_wherever_digits_round():
    assert all(len(set(grouped([size, size + 1]).values())) == 1 for size in range(990_000, 1_020_000, 7))


def test_grouping_what_is_grouped_changes_nothing():
    ranges = {"1.11MB": SizeRange(1_110_000, 1_112_000), "1.13MB": SizeRange(1_130_000, 1_140_000), "?": None}
    assert group_labels(ranges) == {label: label for label in ranges}


@pytest.mark.parametrize(
    ("label", "size"),
    [("1.1MB", 1_100_000), ("13.9MB JSON", 13_900_000), ("50 kB", 50_000), ("810B", 810), ("1GiB", 10**9), ("?", None)],
)
def test_the_size_that_a_label_names(label, size):
    assert labelled_size(label) == size


def test_the_nearest_equal_size():
    assert (equal_sizes(100, 101), equal_sizes(100, 102)) == (True, False)
    assert nearest_equal(1000, [("a", 995), ("b", 1002), ("c", 2000)]) == "b"
    assert nearest_equal(1000, [("c", 2000)]) is None
