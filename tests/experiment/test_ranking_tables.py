"""The tables and records of a ranking: a row a cell, a row a segment, what is missing below."""

import math
from array import array

import pytest
from experiment_support import configured
from ranking_support import SEGMENTS, TEXT, image, images, ranked
from traces_builder import MS

from otel_kfs.analysis.measurement import measured
from otel_kfs.experiment import ranking, ranking_tables
from otel_kfs.report import render
from otel_kfs.report.tables.table import Column

pytestmark = pytest.mark.analysis


def test_the_answer_is_how_much_faster_a_cell_is_than_the_baseline_and_what_saves_most():
    exact = {name: [image(name, lengths)] * 10 for name, lengths in (("json", SEGMENTS), ("raw", {"encode": 10}))}
    found = ranked(*exact.values(), text=TEXT.replace(', "kafka"', ""))
    assert ranking_tables.ranking_answer(found) == (
        "At 1.1MB HTTP, raw takes 10.0 ms: 16.00 times as fast as the baseline, HTTP, json (160.0 ms); `transformer "
        "decode` saves most, 100.0 ms."
    )


def test_a_cell_that_is_not_faster_beyond_noise_is_not_called_faster():
    equal = [[image(name, SEGMENTS)] * 10 for name in ("json", "raw")]
    assert ranking_tables.ranking_answer(ranked(*equal)) == (
        "At 1.1MB no cell is faster than the baseline, HTTP, json (160.0 ms), beyond noise."
    )


def test_too_few_blocks_are_said_to_be_too_few():
    few = [[image("json", SEGMENTS)] * 2, [image("raw", {"encode": 10})] * 2]
    assert ranking_tables.ranking_answer(ranked(*few)) == (
        "At 1.1MB too few blocks tell a cell from the baseline, HTTP, json (160.0 ms): it takes 4."
    )


def test_a_baseline_alone_has_nothing_beside_it():
    assert ranking_tables.ranking_answer(ranked(images("json"))) == (
        "At 1.1MB there is nothing to compare the baseline with: HTTP, json (159.9 ms)."
    )


def test_a_cell_without_images_and_one_with_failures_are_named_below_the_table():
    found = ranked(images("json"), images("raw"))
    first, _ = ranking_tables.ranking_tables(found, {("kafka", "json", "a.jpg"): 3, ("http", "raw", "a.jpg"): 1})
    assert first.notes[:4] == (
        "no image was measured: Kafka, json",
        "no image was measured: Kafka, raw",
        *(
            f"{name}: {count} images of all sizes failed or were not sent"
            for name, count in [("HTTP, raw", 1), ("Kafka, json", 3)]
        ),
    )


def test_the_tables_have_a_row_a_cell_and_a_row_a_segment():
    exact = {name: [image(name, lengths)] * 10 for name, lengths in (("json", SEGMENTS), ("raw", {"encode": 10}))}
    found = ranked(*exact.values(), text=TEXT.replace(', "kafka"', ""))
    cells, segments = ranking_tables.ranking_tables(found)
    assert cells.title == "1.1MB: total (4-1) by cell, milliseconds"
    assert cells.rows == (
        (
            *(1, "HTTP, raw", 10, 10 * MS, (10 * MS, 10 * MS), -150 * MS, (-150 * MS, -150 * MS)),
            *("16.00", "faster", "transformer decode 100.0"),
        ),
        (2, "HTTP, json", 10, 160 * MS, (160 * MS, 160 * MS), None, None, "1.00", "baseline", None),
    )
    assert segments.columns == (
        Column("Segment", "text"),
        Column("baseline", "milliseconds"),
        Column("#1", "milliseconds"),
    )
    assert segments.rows == (
        ("encode", 40 * MS, -30 * MS),
        ("transformer decode", 100 * MS, -100 * MS),
        ("predictor predict", 20 * MS, -20 * MS),
        ("total (4-1)", 160 * MS, -150 * MS),
    )


def test_the_records_have_the_same_figures():
    exact = {name: [image(name, lengths)] * 10 for name, lengths in (("json", SEGMENTS), ("raw", {"encode": 10}))}
    found = ranked(*exact.values(), text=TEXT.replace(', "kafka"', ""))
    first, second = ranking_tables.ranking_records(found)
    assert first == {
        "size": "1.1MB",
        "rate": None,
        "rank": 1,
        "transport": "http",
        "cell": "raw",
        "n": 10,
        "p50_ns": 10 * MS,
        "p50_low_ns": 10 * MS,
        "p50_high_ns": 10 * MS,
        "baseline": False,
        "times_faster": 16.0,
        "difference_ns": -150 * MS,
        "difference_low_ns": -150 * MS,
        "difference_high_ns": -150 * MS,
        "difference_clock_bound_ns": None,
        "difference_clocks": "exact",
        "p": first["p"],
        "verdict": "faster",
        "clock_bound_ns": None,
        "clocks": "exact",
        "saved_most": "transformer decode",
        "saved_most_ns": 100 * MS,
    }
    assert first["p"] < 0.001
    assert (second["rank"], second["baseline"], second["difference_ns"], second["saved_most"]) == (2, True, None, None)
    assert [(one["segment"], one["difference_ns"]) for one in ranking_tables.segment_records(found)] == [
        ("encode", -30 * MS),
        ("transformer decode", -100 * MS),
        ("predictor predict", -20 * MS),
        ("4-1", -150 * MS),
    ]


def known_within(bound):
    """Rank two cells, of which one is 50 ms faster, where the clocks of two hosts leave open so much."""
    cells = measured([*images("json"), *images("raw", shift={"transformer decode": -50})]).all_series()
    for series in cells:
        series.stamp_bounds = {"4-1": array("d", [bound] * len(series))}
    bounds = {(series.labels, series.size, "4-1"): bound for series in cells}
    return ranking.rankings(cells, configured(TEXT.replace(', "kafka"', "")), bounds=bounds)


def test_a_difference_between_two_hosts_stands_beside_what_their_clocks_leave_open():
    found = known_within(4 * MS)
    cells, _ = ranking_tables.ranking_tables(found)
    (_, _, _, p50, _, difference, _, times, verdict, _), _ = cells.rows
    assert (p50.bound, difference.bound, times, verdict) == (4 * MS, 8 * MS, "1.45", "faster")
    first, _ = ranking_tables.ranking_records(found)
    assert (first["clock_bound_ns"], first["difference_clock_bound_ns"], first["difference_clocks"]) == (
        *(4 * MS, 8 * MS, "bounded"),
    )
    assert ranking_tables.ranking_answer(found) == (
        "At 1.1MB HTTP, raw takes 110.4 ms \u00b14.1 ms: 1.45 times as fast as the baseline, HTTP, json (159.9 ms "
        "\u00b14.1 ms); `transformer decode` saves most, 50.0 ms."
    )


def test_what_nothing_bounds_has_no_factor_and_no_interval_and_the_sentence_says_so():
    found = known_within(math.inf)
    cells, _ = ranking_tables.ranking_tables(found)
    assert [(row[4], *row[6:9]) for row in cells.rows] == [
        (None, None, None, "unknown: nothing bounds the clocks"),
        (None, None, None, "baseline"),
    ]
    assert [one["times_faster"] for one in ranking_tables.ranking_records(found) if not one["baseline"]] == [None]
    assert [one["clocks"] for one in ranking_tables.segment_records(found)] == [*["exact"] * 3, "unbounded"]
    assert ranking_tables.ranking_answer(found) == (
        "At 1.1MB nothing bounds the clocks by which cells differ from the baseline, HTTP, json (159.9 ms \u00b1?)."
    )


def test_what_nothing_bounds_comes_last_however_short_it_seems():
    cells = measured([*images("json"), *images("raw", shift={"transformer decode": -50})]).all_series()
    raw = next(series for series in cells if series.labels.cell == "raw")
    raw.stamp_bounds = {"4-1": array("d", [math.inf] * len(raw))}
    (found,) = ranking.rankings(cells, configured(TEXT), bounds={(raw.labels, raw.size, "4-1"): math.inf})
    assert [one.cell.label for one in found.ranked] == ["json", "raw"]


def test_on_a_narrow_terminal_a_mark_stands_beside_the_size_of_its_difference():
    cells, _ = ranking_tables.ranking_tables(known_within(0))
    (marked,) = [line.split() for line in render.text([cells]).splitlines() if line.rstrip().endswith("  faster")]
    assert marked == ["1", "HTTP,", "raw", "-49.5", "-50.4", "to", "-49.0", "1.45", "faster"]
