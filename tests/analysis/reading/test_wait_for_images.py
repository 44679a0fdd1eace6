"""A store that shows spans late is asked until what is expected is whole; what is missing in the end is an error."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from traces_builder import EVENT_SOURCE, HTTP, KAFKA, STRAIGHT, linked, spans, spans_in, with_options

from otel_kfs.analysis import pipeline
from otel_kfs.analysis.corrected_measurement import read
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.analysis.reading import wait_for_images
from otel_kfs.analysis.reading.wait_for_images import WaitForImages
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query
from otel_kfs.traces.batch import trimmed_batches
from otel_kfs.traces.span import Kind
from otel_kfs.traces.store import ReadProgress


class Clock:
    """Stands still but for sleeping."""

    now = 100.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


class LateStore:
    """Shows spans from some second of a clock on."""

    def __init__(self, clock, *deliveries):
        self._clock, self._begin, self._deliveries, self.looks = clock, clock.now, deliveries, 0

    def spans(self):
        return (span for second, some in self._deliveries if second <= self.seconds for span in some)

    def traces(self, ids):
        return (span for span in self.spans() if span.trace_id in ids)

    def link(self, trace_id):
        return f"http://h/{trace_id}"

    def parts(self):
        self.looks += 1
        return [partial(trimmed_batches, self.spans)]

    @property
    def seconds(self):
        return self._clock.now - self._begin


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(wait_for_images, "time", clock)
    return clock


def waiting(store, expect, wait=60, say=None, **which):
    paths_in = partial(critical_paths, **which)
    return WaitForImages(store, expect, timedelta(seconds=wait), ReadProgress(say), paths_in)


def found(store, expect, **options):
    return [span.name for span in spans_in(waiting(store, expect, **options).parts())]


def missing(store, expect, **options):
    with pytest.raises(TraceQueryError) as raised:
        found(store, expect, **options)
    message = str(raised.value)
    assert "\n" not in message
    return message.partition("missing: ")[2].partition(". ")[0]


def names(*drawn):
    return [span.name for span in drawn]


def of_predictor(drawn):
    """The spans of the server that the model asks, from its SERVER span on."""
    server = [number for number, span in enumerate(drawn) if span.name == "POST /v1/models"][1]
    return drawn[server : server + 6]


def apart(drawn):
    """The spans of the predictor, and the others."""
    theirs = of_predictor(drawn)
    return theirs, [span for span in drawn if span not in theirs]


def test_what_is_whole_is_read_at_the_first_look(clock):
    store = LateStore(clock, (0, spans(HTTP)))
    assert found(store, 1) == names(*spans(HTTP))
    assert (store.looks, store.seconds) == (1, 0)


def test_images_are_waited_for_and_said_to_be(clock):
    said = []
    store = LateStore(clock, (0, spans(HTTP, "a")), (3, spans(HTTP, "b")))
    assert len(found(store, 2, say=said.append)) == 2 * len(spans(HTTP))
    assert said == [
        "waiting for traces: 1 of 2 images, 60 s left",
        "waiting for traces: 1 of 2 images, 58 s left",
    ]


@pytest.mark.parametrize("late", [5, 7, 9])
def test_a_server_whose_batch_comes_seconds_later_is_waited_for(clock, late):
    theirs, others = apart(spans(HTTP))
    assert sorted(found(LateStore(clock, (0, others), (late, theirs)), 1)) == sorted(names(*spans(HTTP)))


def test_a_server_that_is_never_traced_is_waited_for_as_long_as_two_batches_take(clock):
    _, others = apart(spans(HTTP))
    store = LateStore(clock, (0, others))
    assert found(store, 1) == names(*others)
    assert store.seconds == 10


def test_a_span_whose_parent_is_not_there_is_waited_for(clock):
    for span in [
        one for one in spans(HTTP) if one.parent_id and any(two.parent_id == one.span_id for two in spans(HTTP))
    ]:
        rest = [one for one in spans(HTTP) if one != span]
        store = LateStore(clock, (0, rest), (30, [span]))
        assert sorted(found(store, 1)) == sorted(names(*spans(HTTP)))


def test_the_trace_of_a_linked_consumer_is_waited_for(clock):
    drawn = linked()
    theirs = [span for span in drawn if span.trace_id == "bridge"]
    store = LateStore(clock, (0, [span for span in drawn if span not in theirs]), (25, theirs))
    assert len(found(store, 1)) == len(drawn)


def test_a_failed_image_is_one_of_the_expected_once_nothing_more_comes(clock):
    failed = spans(with_options(HTTP, "POST", "failed"), "b")
    store = LateStore(clock, (0, [*spans(HTTP, "a"), *failed]))
    assert len(found(store, 2)) == 2 * len(failed)
    assert store.seconds == 10


def test_a_failed_image_does_not_take_the_place_of_one_that_is_late(clock):
    failed = spans(with_options(HTTP, "POST", "failed"), "b")
    store = LateStore(clock, (0, failed), (7, spans(HTTP, "a")))
    assert len(found(store, 1)) == 2 * len(failed)


def test_warm_ups_are_not_among_the_expected(clock):
    store = LateStore(clock, (0, spans(with_options(HTTP, "send image", "warmup"), "b")), (20, spans(HTTP, "a")))
    assert len(found(store, 1)) == 2 * len(spans(HTTP))


def test_another_run_s_images_are_not_among_the_expected(clock):
    monday, tuesday = (spans(with_options(HTTP, "send image", f"run={run}"), run) for run in ("monday", "tuesday"))
    together = [replace(span, trace_id="monday") for span in tuesday]
    store = LateStore(clock, (0, together), (20, monday))
    assert len(found(store, 1, run="monday")) == 2 * len(monday)


def test_images_before_a_server_that_the_user_names_are_among_the_expected(clock):
    drawn = spans("GET /  CLIENT  0  90  service=app\n  rank  SERVER  10  80  service=ranker")
    assert found(LateStore(clock, (0, drawn)), 1, servers=["ranker"]) == ["GET /", "rank"]
    assert missing(LateStore(clock, (0, drawn)), 1) == "1 (no span is there)"


def test_a_span_that_comes_twice_counts_once(clock):
    store = LateStore(clock, (0, spans(HTTP, "a") * 2), (4, spans(HTTP, "b")))
    assert len(found(store, 2)) == 3 * len(spans(HTTP))


@pytest.mark.parametrize(
    ("drawn", "reason"),
    [
        (spans(KAFKA)[:3], "1 (delivered, but not processed); 1 (no span is there)"),
        (spans(HTTP)[1:], "1 (no `send image` span); 1 (no span is there)"),
        (spans(HTTP), "1 (no span is there)"),
        ([], "2 (no span is there)"),
    ],
    ids=["no consumer", "no root", "another image", "nothing"],
)
def test_what_is_missing_when_the_time_is_over_is_an_error(clock, drawn, reason):
    assert missing(LateStore(clock, (0, drawn)), 2) == reason


def test_an_image_of_which_a_span_between_is_missing_is_missing(clock):
    whole = spans(HTTP)
    torn = [span for span in whole if span is not of_predictor(whole)[0]]
    reason = "1 (a span's parent is not there (the first: `receive` in trace a))"
    assert missing(LateStore(clock, (0, torn)), 1) == reason


def test_the_error_says_what_was_there_and_what_to_do(clock):
    with pytest.raises(TraceQueryError) as raised:
        found(LateStore(clock, (0, spans(HTTP))), 40, wait=5)
    assert str(raised.value) == (
        "after 5 s, 1 of the 40 images that are expected were complete; missing: 39 (no span is there). "
        "Wait longer (--wait 5m), or leave --expect out to read what is there"
    )


def test_it_is_looked_once_more_when_the_time_is_over(clock):
    store = LateStore(clock, (5, spans(HTTP)))
    assert found(store, 1, wait=5) == names(*spans(HTTP))
    assert store.seconds == 5


def test_what_may_never_have_been_recorded_is_no_error_when_the_time_is_over(clock):
    _, others = apart(spans(HTTP))
    store = LateStore(clock, (0, others))
    assert found(store, 1, wait=3) == names(*others)
    assert store.seconds == 3


DRAWN = {
    "http": spans(HTTP, "a"),
    "kafka": spans(KAFKA, "b"),
    "straight": spans(STRAIGHT, "c"),
    "linked": linked(),
    "event source": spans(EVENT_SOURCE, "d"),
}


def exported(drawn, delays):
    """Each span with the second at which its process exports it: in the order of their ends, children first."""
    by_id = {span.span_id: span for span in drawn}

    def process_of(span):
        entered = span.kind in {Kind.SERVER, Kind.CONSUMER} or span.parent_id not in by_id
        return span.span_id if entered else process_of(by_id[span.parent_id])

    seconds = dict.fromkeys(map(process_of, drawn), 0.0)
    for number, span in sorted(enumerate(drawn), key=lambda one: (one[1].end, -one[0])):
        process = process_of(span)
        seconds[process] = max(seconds[process], delays.get(number, 0.0))
        yield seconds[process], [span]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(DRAWN)), min_size=1, max_size=3, unique=True),
    st.dictionaries(st.integers(0, 40), st.floats(0, 9), max_size=20),
)
def test_however_late_each_process_exports_its_spans_all_are_read_that_come_within_two_batches(kinds, delays):
    drawn = [span for kind in kinds for span in DRAWN[kind]]
    clock = Clock()
    store = LateStore(clock, *exported(drawn, delays))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wait_for_images, "time", clock)
        measured = pipeline.read(waiting(store, len(kinds), wait=100), processes=1)
    assert measured == pipeline.read(LateStore(Clock(), (0, drawn)), processes=1)
    assert measured.coverage.measured == len(kinds)


def test_a_query_that_expects_images_waits_where_images_are_measured(monkeypatch, clock):
    store = LateStore(clock, (7, spans(with_options(HTTP, "send image", "run=one"))))
    monkeypatch.setattr("otel_kfs.traces.stores.jaeger.from_query", lambda *_: store)
    assert read("jaeger:http://127.0.0.1:1?expect=1&wait=8s&run=one", processes=1).coverage.measured == 1
    with pytest.raises(TraceQueryError, match="1 of the 2 images that are expected were complete"):
        read("jaeger:http://127.0.0.1:1?expect=2&wait=8s", processes=1)


def test_where_spans_are_read_nobody_counts_images():
    with pytest.raises(TraceQueryError, match="expect counts images, and here spans are read"):
        query.open_store("jaeger:http://127.0.0.1:1?expect=2")


def test_the_spans_traces_and_links_are_the_store_s(clock):
    store = waiting(LateStore(clock, (3, spans(HTTP))), 1)
    assert names(*store.spans()) == names(*spans(HTTP))
    assert (names(*store.traces(["a"])), store.link("a")) == (names(*spans(HTTP)), "http://h/a")
