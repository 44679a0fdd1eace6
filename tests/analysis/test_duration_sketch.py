"""Sketches beside samples: what is exact is the same, percentiles are within 1 %, and nothing grows with the images."""

import dataclasses
import json
import math
import pickle
import sys
from fractions import Fraction
from itertools import pairwise

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sketch_support import EXACT, HOSTS, PERCENTILES, SECOND, Clock, apart, figures, images, images_on_hosts
from test_pipeline import MANY
from traces_builder import HTTP, KAFKA, Store, otlp_line, segment, spans

from otel_kfs import cli
from otel_kfs.analysis import pipeline
from otel_kfs.analysis.duration_sketch import ACCURACY, Sketch, Sketches
from otel_kfs.analysis.reading import group_by_trace
from otel_kfs.analysis.skew_correction import correct_skew, offsets, two_clocks
from otel_kfs.analysis.statistics import summary
from otel_kfs.report.tables import table_notes
from otel_kfs.report.terminal_bars import bar_charts

pytestmark = pytest.mark.sketch

lengths = st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=300)


def parts(count, of=MANY):
    return Store(*(of[number::count] for number in range(count)))


@pytest.fixture
def few(monkeypatch):
    """Anything is much."""
    monkeypatch.setattr(group_by_trace, "FEW", 10)


def without_bounds(chart):
    return dataclasses.replace(chart, bars=tuple(dataclasses.replace(bar, bound=0, bounds=()) for bar in chart.bars))


def bounds_of(charts):
    bars = [bar for chart in charts for bar in chart.bars]
    return [bound for bar in bars for bound in (bar.bound, *(bar.bounds or [0] * len(bar.parts)))]


def assert_same(sketches, measurement):
    """What tables show of the two is the same, but for percentiles."""
    all_series, _ = correct_skew(measurement)
    bounds = {
        (series.labels, series.size, name): max(series.bounds(name))  # a sketch has no single ones
        for series in all_series
        for name in series.columns()
        if series.bounds(name)
    }
    found, found_bounds = sketches.correct_skew()
    assert (figures(found, found_bounds), found_bounds) == (figures(all_series, bounds), bounds)
    assert sketches.coverage == measurement.coverage
    assert offsets(sketches) == offsets(measurement)
    drawn, of_samples = bar_charts(found), bar_charts(all_series)
    assert [without_bounds(chart) for chart in drawn] == [without_bounds(chart) for chart in of_samples]
    # A sketch has the widest of a column's bounds for all of it.
    assert all(one <= two * (1 + 1e-9) for one, two in zip(bounds_of(of_samples), bounds_of(drawn), strict=True))
    exact, near = figures(all_series, bounds, PERCENTILES), figures(found, found_bounds, PERCENTILES)
    off = {key: [apart(*two) for two in zip(exact[key], near[key], strict=True)] for key in exact}
    assert {key: by for key, by in off.items() if None in by or max(by) > 1.01 * ACCURACY} == {}


# --- one column ---


@settings(deadline=None)  # the first example imports scipy
@given(lengths)
def test_n_mean_sd_and_extremes_are_exact(values):
    sketch, exact = Sketch.of(values), summary(values)
    found = summary(sketch)
    assert (found.n, found.mean, found.max) == (exact.n, exact.mean, exact.max)
    assert (found.sd is None, sketch.least, sketch.total) == (exact.sd is None, min(values), sum(values))
    # Either rounds a float of its own.
    assert abs((found.sd or 0) - (exact.sd or 0)) <= 1


@given(lengths)
def test_every_rank_is_within_the_bound(values):
    sketch = Sketch.of(values)
    off = [abs(Fraction(sketch.at(rank)) - value) for rank, value in enumerate(sorted(values))]
    assert [
        (value, by)
        for value, by in zip(sorted(values), off, strict=True)
        if by > Fraction(101, 100) * Fraction(ACCURACY) * abs(value)
    ] == []


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300))
def test_percentiles_of_lengths_are_within_the_bound(values):
    exact, found = summary(values), summary(Sketch.of(values))
    off = [apart(getattr(exact, one), getattr(found, one)) for one in PERCENTILES]
    assert [by for by in off if by is None or by > 1.01 * ACCURACY] == []


@given(lengths, st.lists(st.integers(0, 299), max_size=5))
def test_merged_in_any_pieces_it_is_the_same(values, cuts):
    edges = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    merged = None
    for first, last in reversed(list(pairwise(edges))):
        piece = Sketch.of(values[first:last])
        if merged is None:
            merged = piece
        else:
            merged.merge(piece)
    assert (summary(merged), merged.least) == (summary(Sketch.of(values)), min(values))


def test_the_deviation_of_times_that_are_far_from_zero_is_not_cancelled():
    # The squares are 10**36 and differ in the last digits alone.
    assert summary(Sketch.of([10**18, 10**18 + 2])).sd == 1


@pytest.mark.analysis
@settings(deadline=None)
@given(st.lists(st.integers(10**6, 10**9), min_size=6, max_size=300))
def test_the_median_s_interval_has_the_ranks_of_the_bootstrap_s(values):
    ordered = sorted(values)
    low, high = summary(Sketch.of(values), interval=True).interval
    interval = summary(values, interval=True).interval
    # 4999 resamples know their quantiles' ranks to a few in a hundred.
    slack = 2 + len(values) // 50
    ranks = [sum(value < end for value in ordered) for end in interval]
    around = [(ordered[max(0, r - slack)], ordered[min(len(ordered) - 1, r + slack)]) for r in ranks]
    assert around[0][0] * 0.989 <= low <= around[0][1] * 1.011
    assert around[1][0] * 0.989 <= high <= around[1][1] * 1.011


@pytest.mark.analysis
def test_five_lengths_have_no_interval_and_six_have():
    found = [summary(Sketch.of([7] * n), interval=True).interval for n in (5, 6)]
    assert found == [None, (7, 7)]


# --- a store ---


def test_sketches_of_few_spans_show_what_samples_show():
    assert_same(pipeline.read_sketches(Store(MANY), processes=1), pipeline.read(Store(MANY), processes=1))


def test_sketches_of_partitions_show_what_samples_show(few):
    assert_same(pipeline.read_sketches(parts(7), processes=1), pipeline.read(Store(MANY), processes=1))


def test_processes_side_by_side_make_the_same_sketches(few):
    one, two = (pipeline.read_sketches(parts(7), processes=count) for count in (1, 2))
    assert [figures(*of.correct_skew(), (*EXACT, *PERCENTILES)) for of in (one, two)] == 2 * [
        figures(*one.correct_skew(), (*EXACT, *PERCENTILES))
    ]
    assert_same(two, pipeline.read(Store(MANY), processes=1))


def test_the_segments_of_a_series_add_up_to_the_whole_to_the_nanosecond(few):
    all_series, _ = pipeline.read_sketches(parts(7), processes=1).correct_skew()
    sums = [[column.total for column in series.columns().values()] for series in all_series]
    assert len(sums) == 3  # HTTP, the same without a size, and Kafka
    assert [sum(segments) for *segments, _ in sums] == [whole for *_, whole in sums]


@pytest.mark.parametrize("clocks", HOSTS)
@pytest.mark.parametrize("processes", [1, 2])
def test_lengths_between_hosts_are_corrected_each_by_its_own_moment_as_samples_are(few, clocks, processes):
    drawn = images_on_hosts(HOSTS[clocks])
    sketches = pipeline.read_sketches(parts(3, drawn), processes=processes)
    measurement = pipeline.read(Store(drawn), processes=1)
    assert {name for *_, name in sketches.correct_skew()[1]} >= {
        segment("transformer request"),
        segment("predictor response"),
    }
    assert_same(sketches, measurement)


def test_a_segment_that_some_images_have_between_clocks_that_contradict_each_other_stays_as_it_was_read(few):
    # The first half has no such image; in the second, one host's clock was set meanwhile.
    steady, set_later = (images_on_hosts({**HOSTS["steady"], "transformer": Clock(at * SECOND)}, 120) for at in (5, 9))
    drawn = []
    for one, two in zip(steady, set_later, strict=True):
        number = int(one.trace_id[1:], 16)
        host = "other" if one.host == "transformer" and number >= 60 else one.host
        drawn.append(replace(one if number < 90 else two, host=host))
    sketches = pipeline.read_sketches(parts(3, drawn), processes=1)
    all_series, bounds = sketches.correct_skew()
    crossing = {segment("transformer request"), segment("transformer response")}
    assert {bound for (*_, one), bound in bounds.items() if one in crossing} == {math.inf}
    assert table_notes.clock_notes(two_clocks(all_series, bounds)) == [table_notes.BOUND, table_notes.CLOCKS]
    assert_same(sketches, pipeline.read(Store(drawn), processes=1))


# --- what does not grow ---


def kept(count):
    """Bytes of the sketches of so many images, pickled."""
    drawn = [one for number in range(count) for one in spans((HTTP, KAFKA)[number % 2], f"trace{number:06}-")]
    return len(pickle.dumps(pipeline.read_sketches(parts(5, drawn), processes=1)))


def test_sketches_of_ten_times_as_many_images_are_as_large(few):
    small, large = kept(40), kept(400)
    # Whole numbers have a byte or two more.
    assert abs(large - small) < small / 100


def most_at_once(count, monkeypatch):
    """How many images a measurement had at most before it was emptied into sketches."""
    found = []
    take = Sketches.take

    def watched(sketches, measurement, clocks):
        found.append(sum(map(len, measurement.by_key.values())))
        take(sketches, measurement, clocks)
        found.append(len(measurement.by_key) + len(measurement.linked))

    with monkeypatch.context() as patch:
        patch.setattr(Sketches, "take", watched)
        sketches = pipeline.read_sketches(parts(5, images(count)), processes=1)
    assert set(found[1::2]) == {0}
    assert sum(found[::2]) == sketches.coverage.measured
    return max(found)


def test_no_more_images_are_in_memory_at_a_time_however_many_there_are(few, monkeypatch):
    monkeypatch.setattr(pipeline, "_AT_ONCE", 10)
    assert max(most_at_once(count, monkeypatch) for count in (90, 1800)) < 15


# --- the command ---


@pytest.fixture
def traces(tmp_path):
    """One image over HTTP."""
    file = tmp_path / "traces.jsonl"
    file.write_text(otlp_line(spans(HTTP)))
    return file


def otel_kfs(*arguments):
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def tables_of(query, *arguments):
    return otel_kfs("tables", "--trace-query", query, "--sketch", *arguments)


def test_without_a_layout_it_prints_the_segments_and_says_how_near_percentiles_are(traces):
    code, out, errors = tables_of(traces)
    assert (code, errors) == (0, "")
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("total (4-1)")] == ["1000.0"]
    first, second = out.split("\n\n")[:2]
    assert first.startswith("An image of 1.1MB takes 1000.0 ms over HTTP (one image): 26% of the time is")
    assert second.splitlines()[0] == "HTTP: segments, milliseconds"
    assert out.splitlines()[-3] == "percentiles within 1 %, from sketches"
    assert out.splitlines()[-1] == "1 image measured; percentiles within 1 %, from sketches"


def test_json_says_how_near_percentiles_are(traces):
    code, out, errors = tables_of(traces, "--format", "json", "--layout", "statistics")
    document = json.loads(out)
    assert (code, document["percentiles_within"]) == (0, 0.01)
    assert [record["mean_ns"] for record in document["statistics"]][-1] == 1_000_000_000
    assert errors == "1 image measured; percentiles within 1 %, from sketches\n"


@pytest.mark.parametrize("layout", ["segments", "statistics"])
def test_csv_of_one_image_is_that_of_samples(traces, layout):
    arguments = ("--format", "csv", "--layout", layout)
    _, exact, _ = otel_kfs("tables", "--trace-query", traces, *arguments)
    assert tables_of(traces, *arguments)[1] == exact


def test_single_images_are_refused(traces):
    assert tables_of(traces, "--layout", "seed") == (
        1,
        "",
        "Error: --layout seed shows single images, which --sketch does not keep; choose one of them\n",
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("compare", "a", "b"), "the rank test of a comparison needs every duration"),
        (("report", "--trace-query", "a"), "a report draws every image"),
    ],
)
def test_other_commands_say_why_they_need_samples(arguments, why):
    code, out, errors = otel_kfs(*arguments, "--sketch")
    assert (code, out, errors.splitlines()[-1]) == (2, "", f"Error: --sketch is only for `otel-kfs tables`: {why}")


def test_no_image_is_the_same_error_as_of_samples(tmp_path):
    file = tmp_path / "traces.jsonl"
    file.write_text(otlp_line(spans("poll images  CLIENT  0  9")))
    exact = otel_kfs("tables", "--trace-query", file)
    assert (exact[0], tables_of(file)) == (1, exact)


def test_without_the_library_it_is_one_line_that_says_what_to_install(traces, monkeypatch):
    monkeypatch.setitem(sys.modules, "ddsketch", None)
    assert tables_of(traces) == (
        1,
        "",
        "Error: ddsketch is not installed; in a clone of otel-kfs, run: pip install '.[sketch]'\n",
    )
