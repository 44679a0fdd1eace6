"""One run's images out of many, and a store that is asked until all images are there."""

from __future__ import annotations

import pickle
from datetime import timedelta
from functools import partial

import pytest
from traces_builder import spans_in

from otel_kfs.traces import filters, query
from otel_kfs.traces.batch import batched
from otel_kfs.traces.filters import RunFilter, WaitForImages
from otel_kfs.traces.span import Kind, Span
from otel_kfs.traces.store import ReadProgress


def span(trace, number, name="x", kind=Kind.INTERNAL, links=(), **attributes):
    return Span(
        trace * 32,
        f"{number:016x}",
        None,
        name,
        kind,
        1,
        2,
        service="",
        host="",
        failed=False,
        attributes={f"otel_kfs.{key}".replace("_id", ".id"): value for key, value in attributes.items()},
        links=tuple(f"{link:016x}" for _, link in links),
        linked_traces=tuple(linked * 32 for linked, _ in links),
    )


# The taker of the second run's record comes before the image, as it may.
TAKER = span("c", 31, kind=Kind.CONSUMER, links=[("b", 22)])
SPANS = [
    TAKER,
    span("c", 32, "preprocess"),
    span("a", 11, "send image", run_id="one"),
    span("a", 12, "preprocess"),
    span("b", 21, "send image", run_id="two"),
    span("b", 22, kind=Kind.PRODUCER),
    span("d", 41, kind=Kind.CONSUMER, links=[("a", 11)]),
    span("e", 51, "preprocess"),
]


class Memory:
    """Spans in memory, in two parts; each reading takes the next ones."""

    def __init__(self, *readings):
        self.readings, self.read, self.parts_read = list(readings), 0, [0, 0]

    def spans(self):
        self.read += 1
        yield from self.readings[-1]

    def traces(self, ids):
        return (one for one in self.readings[-1] if one.trace_id in ids)

    def link(self, trace_id):
        return f"http://h/{trace_id}"

    def parts(self):
        return [partial(batched, partial(self.part, number)) for number in range(2)]

    def part(self, number):
        self.parts_read[number] += 1
        reading = self.readings[min(self.parts_read[number], len(self.readings)) - 1]
        return iter(reading[3:] if number else reading[:3])


def ids(spans):
    return [int(one.span_id, 16) for one in spans]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(("run", "expected"), [("one", [11, 12, 41]), ("two", [31, 32, 21, 22]), ("three", [])])
def test_a_run_s_images_are_kept_with_the_traces_that_link_to_them(keep, run, expected):
    store = Memory(SPANS)
    assert ids(RunFilter(store, run, keep=keep).spans()) == expected
    assert (store.read, store.parts_read) == (1, [0, 0] if keep else [1, 1])


@pytest.mark.parametrize("keep", [True, False])
def test_the_parts_of_a_run_give_what_the_whole_gives(keep):
    store = Memory(SPANS)
    parts = pickle.loads(pickle.dumps(RunFilter(store, "two", keep=keep).parts()))
    assert ids(spans_in(parts)) == [31, 32, 21, 22]
    assert store.read == 0  # no span is made an object


def test_traces_and_links_are_the_store_s():
    store = RunFilter(Memory(SPANS), "one", keep=True)
    assert (ids(store.traces(["e" * 32])), store.link("e")) == ([51], "http://h/e")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(filters, "_PAUSE", 0.001)


def image(number, **attributes):
    return span(f"{number:x}", number, "send image", **attributes)


def test_a_store_is_asked_until_the_images_are_there_and_no_more_spans_come():
    late = [image(1), image(2), span("2", 9)]
    store = Memory([], [image(1)], [image(1), image(2)], late, late)
    said = []
    waiting = WaitForImages(store, 2, timedelta(seconds=60), ReadProgress(said.append))
    assert ids(spans_in(waiting.parts())) == [1, 2, 9]
    assert (store.read, store.parts_read) == (0, [5, 5])
    assert [line.split(",")[0] for line in said] == [
        f"waiting for traces: {number} of 2 images" for number in (0, 1, 2, 2)
    ]


def test_warm_ups_are_not_among_the_expected():
    both = [image(1, warmup=True), image(2)]
    store = Memory([image(1, warmup=True)], both, both)
    assert ids(spans_in(WaitForImages(store, 1, timedelta(seconds=60), ReadProgress()).parts())) == [1, 2]
    assert store.parts_read == [3, 3]


def test_all_spans_are_asked_for_when_the_images_are_there():
    store = Memory([], [image(1)], [image(1)])
    assert ids(WaitForImages(store, 1, timedelta(seconds=60), ReadProgress()).spans()) == [1]
    assert (store.read, store.parts_read) == (1, [3, 3])


def test_a_span_that_comes_twice_is_one_of_the_expected_once():
    twice = Memory([image(1), image(1)], [image(1), image(1), image(2)])
    assert ids(spans_in(WaitForImages(twice, 2, timedelta(seconds=60), ReadProgress()).parts())) == [1, 1, 2]
    assert twice.parts_read == [3, 3]


def test_a_store_that_never_has_them_is_read_as_it_is_when_the_time_is_over():
    store = Memory([image(1)])
    assert ids(spans_in(WaitForImages(store, 2, timedelta(milliseconds=20), ReadProgress()).parts())) == [1]
    assert store.parts_read[0] > 1


def test_a_query_puts_them_together(tmp_path):
    store = query.open_store("jaeger:http://127.0.0.1:1?run=one&expect=2&wait=5s")
    assert (type(store), type(store._store)) == (WaitForImages, RunFilter)
    (part,) = store.parts()
    assert part == store._there
