"""Traces that look alike: whatever is found in one is what the search would have found in each."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from traces_builder import EVENT_SOURCE, HTTP, KAFKA, STRAIGHT, spans, with_options

from otel_kfs import alike, names
from otel_kfs.alike import Ways
from otel_kfs.measurement import Measurement, measured
from otel_kfs.segments import journeys
from otel_kfs.traces.batch import Batch
from otel_kfs.traces.span import Forest

DRAWINGS = [
    HTTP,
    KAFKA,
    STRAIGHT,
    EVENT_SOURCE,
    with_options(HTTP, "send image", "warmup"),
    with_options(HTTP, "POST", "failed"),
    with_options(HTTP, "POST", "@pod"),
]
# Parts of a request, and the same names over something that counts.
UPLOADED = HTTP.replace(
    "    POST /v1/models             SERVER    200  970",
    "    upload                      INTERNAL  140  {uploaded}\n"
    "    wait                        INTERNAL  195  985\n"
    "    POST /v1/models             SERVER    200  970",
    1,
)
OVER = HTTP.replace("  POST                          CLIENT", "  upload                        INTERNAL", 1)
DRAWINGS += [UPLOADED.format(uploaded=195), OVER]
SIZES = [0, 1_100_000, 10**18, 2**63 - 1, 2**63, -1, True, 1.0, "1100000", [1]]


def as_a_whole(found):
    """What the search finds in all traces."""
    measurement = measured(*journeys(Forest(found)))
    measurement.sort()
    return measurement


def by_likeness(found):
    """What is found when the search sees one trace of each kind."""
    batch = Batch()
    for span in found:
        batch.add(span)
    measurement = Measurement()
    Ways(measurement).measure([(batch.whats, batch.traces)], {})
    measurement.sort()
    return measurement


@st.composite
def traces(draw):
    """Traces that look alike, or nearly so: other times, sizes and spans, ties and repetitions among them."""
    pattern = spans(draw(st.sampled_from(DRAWINGS)))
    if draw(st.booleans()):
        pattern = [span for span in pattern if draw(st.integers(0, 9))]
    times = sorted({time for span in pattern for time in (span.start, span.end)})
    found = []
    for number in range(draw(st.integers(2, 6))):
        lengths = draw(st.lists(st.sampled_from([0, 1, 7, 10**9, 2**51]), min_size=len(times), max_size=len(times)))
        at, moments = draw(st.sampled_from([0, 10**18, 2**62 - 2**50, 2**64 - 2**57])), {}
        for time, length in zip(times, lengths, strict=True):
            at = moments[time] = at + (length if draw(st.booleans()) else 5)
        for span in pattern:
            sizes = {names.IMAGE_SIZE, names.PAYLOAD_SIZE} & span.attributes.keys()
            attributes = {**span.attributes, **{key: draw(st.sampled_from(SIZES)) for key in sizes}}
            start, end = moments[span.start], moments[span.end]
            found.append(
                replace(
                    span,
                    trace_id=f"{span.trace_id}{number}",
                    span_id=f"{span.span_id}-{number}",
                    parent_id=span.parent_id and f"{span.parent_id}-{number}",
                    links=tuple(f"{link}-{number}" for link in span.links),
                    attributes=attributes,
                    start=start,
                    end=end,
                )
            )
        if found and draw(st.integers(0, 4)) == 0:
            found.append(found[-1])
    return found


@settings(max_examples=300)
@given(traces())
def test_each_trace_is_measured_as_if_it_were_searched(found):
    assert by_likeness(found) == as_a_whole(found)


def test_one_of_each_kind_is_searched(monkeypatch):
    searched = []
    real = alike.journeys
    monkeypatch.setattr(alike, "journeys", lambda forest: searched.append(1) or real(forest))
    found = [span for number in range(20) for drawing in (HTTP, KAFKA) for span in spans(drawing, f"{number}{drawing}")]
    assert by_likeness(found) == as_a_whole(found)
    assert len(searched) == 2


def test_the_moment_an_upload_ended_tells_no_traces_apart(monkeypatch):
    searched = []
    real = alike.journeys
    monkeypatch.setattr(alike, "journeys", lambda forest: searched.append(1) or real(forest))
    found = [span for number in range(141, 199) for span in spans(UPLOADED.format(uploaded=number), f"{number}")]
    assert by_likeness(found) == as_a_whole(found)
    assert len(searched) == 1
