"""What a measurement shows: which differences are called ones, and what is called the largest."""

import math
import random

import pytest
from comparison_support import MB, all_series, drawn, image
from traces_builder import MS, segment

from otel_kfs.analysis.findings import findings


def found(*paths):
    return findings(all_series(*paths))


def drawn_from(scatter, n, **more):
    return [image({"encode": round(MS * scatter.expovariate(1 / 50))}, **more) for _ in range(n)]


def test_equal_ways_of_sending_are_called_different_in_five_of_a_hundred_measurements_at_most():
    scatter = random.Random(1)
    certain = [
        one.labels_difference.certainty
        for one in (
            found(*(path for transport in ("http", "kafka") for path in drawn_from(scatter, 15, transport=transport)))
            for _ in range(100)
        )
    ]
    assert certain.count("differs") <= 5


def test_the_more_series_there_are_the_more_images_it_takes():
    def needed(ways):
        return found(*(drawn("encode 10", cell=str(number)) for number in range(ways))).needed

    assert [needed(ways) for ways in (1, 2, 4, 8)] == [6, 7, 8, 9]


def test_all_ways_of_sending_count_where_the_same_segment_is_the_largest_in_each():
    (parts,) = found(drawn("encode 10, deliver 30"), drawn("encode 20, deliver 40", transport="kafka")).parts
    assert [(part.segment, part.mean, part.share, part.images, part.of) for part in parts.parts] == [
        (segment("deliver"), 35 * MS, 0.7, 2, 2),
        (segment("encode"), 15 * MS, 0.3, 2, 2),
    ]


def test_the_slowest_counts_where_each_has_another_largest_segment():
    (parts,) = found(drawn("encode 30, deliver 10"), drawn("encode 20, deliver 40", transport="kafka")).parts
    assert ([labels.transport for labels in parts.labels], parts.largest.segment, parts.largest.share) == (
        ["kafka"],
        segment("deliver"),
        pytest.approx(2 / 3),
    )


def test_what_grows_is_told_only_where_the_larger_size_takes_longer_beyond_noise():
    def growth(more):
        paths = [
            drawn(f"encode {20 + n}, deliver {more * size // MB}", image_size=size)
            for size in (MB, 10 * MB)
            for n in range(10)
        ]
        of = found(*paths).growth
        return of.certainty, of.largest and (of.largest.segment, of.largest.share)

    assert growth(0) == ("noise", None)
    assert growth(10) == ("differs", (segment("deliver"), 1.0))


def test_a_part_that_nothing_bounds_leaves_the_largest_open():
    paths = [drawn("encode 30, transformer request 20!, transformer predict 10, transformer response 25!other>one")]
    (parts,) = found(*paths).parts
    assert (parts.largest, [part.share_bound for part in parts.parts]) == (None, [0, math.inf, math.inf, 0])
