"""The traces of one run's images out of many."""

from __future__ import annotations

import pickle
from functools import partial

import pytest
from traces_builder import spans_in

from otel_kfs.traces.batch import trimmed_batches
from otel_kfs.traces.filters import RunFilter
from otel_kfs.traces.span import Kind, Span


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
        return [partial(trimmed_batches, partial(self.part, number)) for number in range(2)]

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
