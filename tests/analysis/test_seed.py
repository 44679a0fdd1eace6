"""What the tables of 2020 say, and what they could not say: facts of the published figures, in exact decimals."""

import json
from decimal import Decimal
from itertools import combinations
from pathlib import Path

import pytest

ROWS = json.loads((Path(__file__).parents[1] / "data" / "seed.json").read_text())["rows"]
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['transport']}-{row['image_megabytes']}MB")


def between(row, later, earlier):
    """The difference of two published stamps."""
    return Decimal(row["stamps"][later - 1]) - Decimal(row["stamps"][earlier - 1])


def test_there_are_four_sizes_each_way():
    assert [(row["transport"], row["image_megabytes"], row["payload_megabytes"]) for row in ROWS] == [
        (transport, image, payload)
        for transport in ("http", "kafka")
        for image, payload in (("1.1", "1.5"), ("3.3", "4.6"), ("4.7", "6.4"), ("10.2", "13.9"))
    ]


@every_row
def test_the_stamps_come_one_after_the_other(row):
    assert row["stamps"] == sorted(row["stamps"], key=Decimal)


@every_row
def test_2_1_is_the_difference_of_its_stamps(row):
    assert Decimal(row["2-1"]) == between(row, 2, 1)


@every_row
def test_4_1_is_the_difference_of_its_stamps(row):
    assert Decimal(row["4-1"]) == between(row, 4, 1)


@every_row
def test_the_column_headed_4_3_holds_3_2(row):
    assert Decimal(row["4-3"]) == between(row, 3, 2)


@every_row
def test_the_column_headed_3_2_holds_the_difference_of_no_two_stamps(row):
    differences = {between(row, later, earlier) for earlier, later in combinations((1, 2, 3, 4), 2)}
    assert Decimal(row["3-2"]) not in differences


@every_row
def test_the_real_4_3_is_0_23_to_0_312_s_at_every_size(row):
    assert Decimal("0.23") <= between(row, 4, 3) <= Decimal("0.312")


@every_row
def test_the_columns_do_not_add_up_as_they_are_headed(row):
    assert Decimal(row["2-1"]) + Decimal(row["3-2"]) + Decimal(row["4-3"]) != Decimal(row["4-1"])


@every_row
def test_the_columns_add_up_with_the_difference_that_no_column_holds(row):
    assert Decimal(row["2-1"]) + Decimal(row["4-3"]) + between(row, 4, 3) == Decimal(row["4-1"])


def test_kafka_s_2_1_is_1_5_to_2_05_s_longer_at_every_size():
    http, kafka = ROWS[:4], ROWS[4:]
    longer = [Decimal(k["2-1"]) - Decimal(h["2-1"]) for h, k in zip(http, kafka, strict=True)]
    assert longer == [Decimal("1.503"), Decimal("1.556"), Decimal("1.564"), Decimal("2.045")]


def test_one_row_carries_two_labels():
    differing = [(r["transport"], r["label_of_times"], r["label_of_differences"]) for r in ROWS]
    assert [row for row in differing if row[1] != row[2]] == [("kafka", "1.5MB", "1.1MB")]
