"""Live figures: in whatever order and pieces spans come, and however often, at the end they are those of the tables."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sketch_support import HOSTS, PERCENTILES, apart, figures, images, images_on_hosts
from traces_builder import Store, spans_in

from otel_kfs.analysis import pipeline
from otel_kfs.analysis.duration_sketch import ACCURACY
from otel_kfs.analysis.skew_correction import offsets
from otel_kfs.traces.query import open_store
from otel_kfs.watch.core.live_measurement import LiveMeasurement

pytestmark = pytest.mark.sketch

DATA = Path(__file__).parents[2] / "data"
DRAWN = {
    "all sorts": images(20),
    "steady clocks": images_on_hosts(HOSTS["steady"], 8),
    "drifting clocks": images_on_hosts(HOSTS["drifting"], 8),
    "recorded": spans_in(open_store(str(DATA / "traces")).parts()),
    "other programs": spans_in(open_store(str(DATA / "recorded" / "*.jsonl")).parts()),
}


def of_tables(drawn):
    """What `tables --sketch` shows of spans: exact figures, percentiles, what was left out, clocks."""
    sketches = pipeline.read_sketches(Store(drawn), processes=1)
    return shown(*sketches.correct_skew(), sketches.coverage, offsets(sketches))


def shown(series, bounds, coverage, of_clocks):
    exact = figures(series, bounds), dict(bounds), coverage, dict(of_clocks)
    return exact, figures(series, bounds, PERCENTILES)


def shown_live(measurement):
    return shown(measurement.series, measurement.bounds, measurement.coverage, measurement.offsets)


def off(one, other):
    """By which share percentiles differ that differ by more than sketches may."""
    found = {key: [apart(*two) for two in zip(one[key], other[key], strict=True)] for key in one}
    return {key: by for key, by in found.items() if None in by or max(by) > 1.01 * ACCURACY}


EXPECTED = {name: of_tables(drawn) for name, drawn in DRAWN.items()}


def assert_as_tables(snapshot, expected):
    exact, near = shown_live(snapshot.since_start)
    assert exact == expected[0]
    assert off(near, expected[1]) == {}


@pytest.mark.parametrize("name", DRAWN)
@settings(max_examples=6)
@given(st.integers(0, 2**32))
def test_in_any_order_pieces_and_repetition_the_end_is_as_tables_have_it(name, seed):
    drawn = DRAWN[name]
    order = random.Random(seed)
    sent = drawn + order.sample(drawn, len(drawn) // order.choice((2, 10, len(drawn))))
    if order.random() < 0.7:
        order.shuffle(sent)
    live, now = LiveMeasurement(0.0), 0.0
    at = 0
    while at < len(sent):
        size = order.choice((1, 3, 16, 200))
        live.add(sent[at : at + size], now)
        at += size
        now += order.choice((0.0, 0.1, 4.0, 30.0))
        if order.random() < 0.2:
            live.snapshot(now)
    assert_as_tables(live.finish(now), EXPECTED[name])
    assert live.counts.spans == len(sent)
