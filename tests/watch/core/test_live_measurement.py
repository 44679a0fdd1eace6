"""Live figures: in whatever order and pieces spans come, and however often, at the end they are those of the tables."""

import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from drawn_worlds import repeated, request, world
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sketch_support import HOSTS, PERCENTILES, apart, figures, images, images_on_hosts
from traces_builder import EPOCH, EVENT_SOURCE, HTTP, KAFKA, STRAIGHT, Store, linked, spans, spans_in, with_options

from benchmarks import simulated_clocks
from otel_kfs.analysis import pipeline
from otel_kfs.analysis.duration_sketch import ACCURACY
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.analysis.skew_correction import offsets
from otel_kfs.traces.formats.otlp_protobuf import exported_spans
from otel_kfs.traces.query import open_store
from otel_kfs.watch.core.live_measurement import LiveMeasurement
from otel_kfs.watch.core.open_traces import TraceBounds

pytestmark = pytest.mark.sketch

DATA = Path(__file__).parents[2] / "data"
DRAWN = {
    "all sorts": images(20),
    "steady clocks": images_on_hosts(HOSTS["steady"], 8),
    "drifting clocks": images_on_hosts(HOSTS["drifting"], 8),
    "recorded": spans_in(open_store(str(DATA / "traces")).parts()),
    "other programs": spans_in(open_store(str(DATA / "recorded" / "*.jsonl")).parts()),
    # Hosts that have no name, one name with others, or other names later.
    **{
        f"{naming} hosts": simulated_clocks.read_back(simulated_clocks.world(seed, 5, naming).seen)
        for seed, naming in enumerate(simulated_clocks.NAMINGS)
    },
}


def of_tables(drawn):
    """What `tables --sketch` shows of spans: exact figures, percentiles, what was left out, clocks."""
    return of_store(Store(drawn))


def of_store(store):
    sketches = pipeline.read_sketches(store, processes=1)
    return shown(*sketches.correct_skew(), sketches.coverage, offsets(sketches))


@cache
def expected(name):
    return of_tables(DRAWN[name])


def shown(series, bounds, coverage, of_clocks):
    exact = figures(series, bounds), dict(bounds), coverage, dict(of_clocks)
    return exact, figures(series, bounds, PERCENTILES)


def shown_live(measurement):
    return shown(measurement.series, measurement.bounds, measurement.coverage, measurement.offsets)


def off(one, other):
    """By which share percentiles differ that differ by more than sketches may."""
    found = {key: [apart(*two) for two in zip(one[key], other[key], strict=True)] for key in one}
    return {key: by for key, by in found.items() if None in by or max(by) > 1.01 * ACCURACY}


def assert_as_tables(snapshot, of_all):
    exact, near = shown_live(snapshot.since_start)
    for one, other in zip(exact, of_all[0], strict=True):
        # A part of what differs tells more than all of it.
        assert not isinstance(one, dict) or one.keys() == other.keys()
        assert one == other or [(key, of, other[key]) for key, of in one.items() if of != other[key]][:2] == []
    assert off(near, of_all[1]) == {}


def batches(sent, order):
    at = 0
    while at < len(sent):
        size = order.choice((1, 3, 16, 200))
        yield sent[at : at + size]
        at += size


@pytest.mark.parametrize("name", DRAWN)
@settings(max_examples=4)
@given(st.integers(0, 2**32))
def test_in_any_order_pieces_and_repetition_the_end_is_as_tables_have_it(name, seed):
    drawn, order = DRAWN[name], random.Random(seed)
    sent = drawn + order.sample(drawn, len(drawn) // order.choice((2, 10, len(drawn))))
    if order.random() < 0.7:
        order.shuffle(sent)
    live, now = LiveMeasurement(0.0), 0.0
    for batch in batches(sent, order):
        live.add(batch, now)
        now += order.choice((0.0, 0.1, 4.0, 30.0))
        if order.random() < 0.2:
            live.snapshot(now)
    snapshot = live.finish(now)
    assert_as_tables(snapshot, expected(name))
    # Each span is kept or was there already.
    assert (snapshot.counts.spans, snapshot.counts.duplicates + snapshot.kept_spans) == (len(sent), len(sent))


@given(st.integers(0, 2**32))
def test_whatever_comes_by_otlp_the_end_is_as_tables_have_it_of_the_same_requests_in_a_file(seed):
    draw = random.Random(seed)
    requests = [*map(request, batches(repeated(world(draw), draw), draw))]
    live, now = LiveMeasurement(0.0, TraceBounds(linger=draw.choice((1.0, 10.0, 1000.0)), remember=1e9)), 0.0
    for one in requests:
        live.add(exported_spans(one)[0], now)
        now += draw.choice((0.0, 0.1, 4.0, 200.0))
        if draw.random() < 0.2:
            live.snapshot(now)
    draw.shuffle(requests)
    with TemporaryDirectory() as folder:
        kept = Path(folder) / "watch.otlp"
        kept.write_bytes(b"".join(len(one).to_bytes(4, "big") + one for one in requests))
        assert_as_tables(live.finish(now), of_store(open_store(str(kept))))


@settings(max_examples=4)
@given(st.integers(0, 2**32))
def test_images_on_one_clock_are_counted_exactly_however_little_is_kept(seed):
    order = random.Random(seed)
    drawn = [spans((HTTP, KAFKA)[number % 2], f"trace{number:02}-") for number in range(40)]
    # A trace's spans come in any order and pieces, but not long after its others: there is no room to remember it.
    live, now = LiveMeasurement(0.0, TraceBounds(spans=60, linger=1.0), kept_images=3), 0.0
    for image in drawn:
        for batch in batches(order.sample(image, len(image)), order):
            live.add(batch, now)
            now += 0.01
            assert live.snapshot(now).kept_spans <= 60
    assert_as_tables(live.finish(now), of_tables([span for image in drawn for span in image]))
    counts = live.counts
    assert (counts.too_late, counts.dropped, counts.given_up, counts.incomplete) == (0, 0, 0, 0)


def test_between_hosts_a_bound_of_images_that_can_t_be_kept_still_holds():
    by_trace = {}
    for span in DRAWN["steady clocks"]:
        by_trace.setdefault(span.trace_id, []).append(span)
    live = LiveMeasurement(0.0, TraceBounds(remember=1.0), kept_images=4)
    for number, image in enumerate(by_trace.values()):
        live.add(image, 10.0 * number)
        live.tick(10.0 * number + 5)
    exact, _ = shown_live(live.finish(1000.0).since_start)
    (in_all, bounds, coverage, _), _ = expected("steady clocks")
    assert exact[2] == coverage
    assert {key: n for key, (n, *_) in exact[0].items()} == {key: n for key, (n, *_) in in_all.items()}
    means = {key: abs(exact[0][key][1] - of[1]) for key, of in in_all.items()}
    assert {key: by for key, by in means.items() if by > exact[1].get(key, 0) + bounds.get(key, 0)} == {}
    # What is known of the clocks later narrows bounds, and the first images were settled before.
    assert {key for key, bound in bounds.items() if exact[1][key] < bound} == set()


# --- when an image is measured ---


class Told:
    """Everything that an observer is told, in order."""

    def __init__(self):
        self.all = []

    def measured(self, path):
        self.all.append(("measured", path.trace_id, len(path.sections)))

    def left_out(self, reason, count):
        self.all.append((reason, count))

    def corrected(self, before, after):
        self.all.append(("corrected", before.trace_id, after and len(after.sections)))


def watched(**bounds):
    told = Told()
    return LiveMeasurement(0.0, TraceBounds(**bounds), observers=[told]), told


@pytest.mark.parametrize("drawing", [HTTP, KAFKA, STRAIGHT, EVENT_SOURCE])
def test_an_image_is_measured_with_the_last_span_that_its_path_needs_and_not_before(drawing):
    live, told = watched()
    # As processes end them: what is below ends first.
    *others, last = sorted(spans(drawing), key=lambda span: span.end)
    live.add(others, 0.0)
    assert told.all == []
    live.add([last], 0.1)
    assert [one[:2] for one in told.all] == [("measured", "a")]


def test_a_consumer_in_a_trace_of_its_own_is_waited_for():
    drawn = linked()
    live, told = watched()
    live.add([span for span in drawn if span.trace_id == "sender"], 0.0)
    live.tick(9.9)
    assert told.all == []
    live.add([span for span in drawn if span.trace_id != "sender"], 9.9)
    assert [one[:2] for one in told.all] == [("measured", "sender")]


def test_what_is_not_there_when_the_linger_time_is_over_is_measured_without_it_and_corrected_later():
    live, told = watched(linger=5.0)
    drawn = spans(HTTP)
    live.add(drawn[:9], 0.0)  # the transformer, and the request to the predictor
    live.tick(4.9)
    assert told.all == []
    live.tick(5.0)
    assert [one[0] for one in told.all] == ["measured"]
    live.add(drawn[9:], 400.0)
    assert live.counts.late == len(drawn) - 9
    live.tick(400.1)
    assert [one[0] for one in told.all] == ["measured", "corrected"]
    assert_as_tables(live.finish(401.0), of_tables(drawn))
    assert (live.counts.incomplete, live.counts.corrected) == (1, 1)


def test_a_record_that_is_processed_long_after_is_no_longer_left_out():
    live, told = watched(linger=1.0)
    drawn = spans(KAFKA)
    live.add(drawn[:3], 0.0)
    live.tick(2.0)
    live.add(drawn[3:], 300.0)
    live.tick(300.1)
    reason = "delivered, but not processed"
    assert [one[:2] for one in told.all] == [(reason, 1), ("measured", "a"), (reason, -1)]


def test_a_consumer_s_own_trace_that_comes_after_both_were_measured_joins_them():
    live, _ = watched(linger=1.0)
    drawn = linked()
    for number, trace in enumerate(("sender", "bridge")):
        live.add([span for span in drawn if span.trace_id == trace], 100.0 * number)
        live.tick(100.0 * number + 50)
    assert_as_tables(live.finish(300.0), of_tables(drawn))


def test_a_server_without_spans_takes_the_linger_time_to_be_believed():
    live, told = watched(linger=3.0)
    live.add(spans(HTTP)[:3], 0.0)
    live.tick(2.9)
    assert told.all == []
    live.tick(3.0)
    assert [one[:2] for one in told.all] == [("measured", "a")]


def test_what_fails_is_left_out_as_soon_as_it_is_there():
    live, told = watched()
    live.add(spans(with_options(HTTP, "POST", "failed")), 0.0)
    assert told.all == [("the request failed", 1)]


def test_the_same_spans_again_change_nothing_and_are_counted():
    live, told = watched()
    drawn = spans(HTTP)
    live.add(drawn, 0.0)
    live.add(drawn[3:], 1.0)
    live.tick(1.1)
    assert (len(told.all), live.counts.duplicates, live.counts.late) == (1, len(drawn) - 3, 0)


# --- bounds ---


def test_more_open_traces_than_there_is_room_for_are_given_up_oldest_first_and_counted():
    live, told = watched(spans=27)
    for number in range(4):
        live.add(spans(HTTP, f"t{number}-")[:9], 0.1 * number)
    assert [one[:2] for one in told.all] == [("measured", "t0-")]
    assert (live.counts.given_up, live.snapshot(1.0).kept_spans) == (1, 27)
    live.add(spans(HTTP, "t0-")[9:], 1.0)
    assert live.counts.too_late == 7


def test_remembered_traces_make_room_before_any_open_one_does():
    live, told = watched(spans=27)
    live.add(spans(HTTP, "whole-"), 0.0)
    for number in range(3):
        live.add(spans(HTTP, f"t{number}-")[:9], 1.0)
    assert (live.counts.given_up, [one[1] for one in told.all]) == (0, ["whole-"])
    assert live.snapshot(1.0).remembered_traces == 0


def test_a_trace_beyond_its_bound_is_measured_by_the_spans_that_came_first_and_the_others_are_counted():
    live, _ = watched(spans_of_trace=16)
    drawn = spans(HTTP)
    live.add(drawn, 0.0)
    live.add([replace(drawn[-1], span_id=f"more{number}") for number in range(100)], 0.1)
    assert (live.counts.dropped, live.finish(1.0).since_start.coverage.measured) == (100, 1)


def test_what_a_span_links_to_is_bounded_too():
    live, _ = watched(spans=100)
    (batch,) = spans("process images  CONSUMER  0  9  .messaging.batch.message_count=5000")
    links = tuple(f"{number:016x}" for number in range(5000))
    live.add([replace(batch, links=links, linked_traces=tuple(f"linked{link}" for link in links))], 0.0)
    snapshot = live.snapshot(0.1)
    assert (snapshot.counts.given_up, snapshot.open_traces, snapshot.remembered_traces) == (1, 0, 0)


def test_a_large_trace_to_which_a_span_comes_now_and_then_is_not_measured_each_time(monkeypatch):
    live, _ = watched(linger=0.0)
    drawn = spans(HTTP)
    live.add([replace(drawn[-1], span_id=f"more{number}") for number in range(2000)] + drawn, 0.0)
    live.tick(0.0)
    searches = []
    monkeypatch.setattr(live, "_find", lambda graph: searches.append(len(graph)) or critical_paths(graph))
    for number in range(100):
        live.add([replace(drawn[-1], span_id=f"late{number}")], 0.1 * number)
        live.tick(0.1 * number)
    assert len(searches) < 7
    assert live.finish(10.0).since_start.coverage.measured == 1
    assert searches[-1] == 2000 + len(drawn) + 100


def test_a_trace_that_nobody_foresaw_is_left_out_and_logged_and_the_others_are_measured(caplog):
    def find(graph):
        if any(span.trace_id == "bad" for span in graph):
            raise ZeroDivisionError
        return critical_paths(graph)

    live = LiveMeasurement(0.0, find=find)
    live.add([*spans(HTTP, "bad"), *spans(HTTP, "good")], 0.0)
    coverage = live.finish(1.0).since_start.coverage
    assert (coverage.measured, dict(coverage.left_out)) == (1, {"an error of otel-kfs, which its log tells": 1})
    assert {record.getMessage() for record in caplog.records} == {"a trace can't be measured: bad"}


def test_spans_of_1970_and_of_2500_are_measured_as_tables_measure_them():
    centuries = 480 * 365 * 86_400 * 10**9
    drawn = [
        replace(span, trace_id=f"t{by}", start=span.start + by, end=span.end + by)
        for by in (-EPOCH, centuries)
        for span in spans(HTTP, "t")
    ]
    live, _ = watched()
    live.add(drawn, 0.0)
    assert_as_tables(live.finish(1.0), of_tables(drawn))


def test_the_last_minute_has_what_was_measured_in_it_and_rates():
    live, _ = watched()
    for number in range(200):
        live.add(spans(STRAIGHT, f"t{number}-"), float(number))
        live.tick(float(number))
    snapshot = live.snapshot(200.0)
    assert snapshot.since_start.coverage.measured == 200
    assert 60 <= snapshot.last_minute.coverage.measured <= 65
    assert snapshot.images_per_second == pytest.approx(1, rel=0.05)
    assert live.snapshot(300.0).last_minute.coverage.measured == 0
    assert snapshot.spans_per_second == pytest.approx(len(spans(STRAIGHT)), rel=0.05)
