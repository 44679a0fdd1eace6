"""Traces that look alike: whatever is found in one is what the search would have found in each."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_builder import EVENT_SOURCE, HTTP, KAFKA, STRAIGHT, spans, with_options

from otel_kfs import semconv
from otel_kfs.analysis import alike, model_calls
from otel_kfs.analysis.alike import Ways
from otel_kfs.analysis.critical_path import critical_paths
from otel_kfs.analysis.measurement import Measurement, measured
from otel_kfs.traces.batch import Batch
from otel_kfs.traces.span import Kind, Span, SpanGraph

# Past a gateway, with requests to others, and again.
PROXIED = """
send image                      INTERNAL    0 1000  transport=http image=1100000
  encode                        INTERNAL   10  110
  PUT                           CLIENT    111  119  url=http://store/1
  POST                          CLIENT    120  125  url=http://model failed
  POST                          CLIENT    130  990  url=http://model
    router                      SERVER    140  985  @gateway service=istio-ingressgateway
      POST                      CLIENT    150  980
        POST /v1/models         SERVER    200  970  @pod service=model
          receive               INTERNAL  160  200
          preprocess            INTERNAL  250  400  role=transformer
            GET                 CLIENT    260  390
          predict               INTERNAL  410  940  role=transformer
            POST                CLIENT    500  600  url=http://one
              POST              SERVER    540  590  @one
                receive         INTERNAL  520  540
                preprocess      INTERNAL  545  550  role=predictor
                predict         INTERNAL  560  580  role=predictor
            POST                CLIENT    605  610  url=http://two failed
            POST                CLIENT    505  930  url=http://two
              POST              SERVER    550  910  @two
                receive         INTERNAL  520  540
                preprocess      INTERNAL  555  560  role=predictor
                predict         INTERNAL  620  880  role=predictor
"""
GROUPS = """
send image                      INTERNAL    0  300  transport=kafka payload=1500000
  send images                   PRODUCER  130  350
    process images              CONSUMER  330  380  group=a failed
      POST                      CLIENT    340  370  failed
    process images              CONSUMER  400 1000  group=a attempt=3
      POST                      CLIENT    410  990
        POST /v1/models         SERVER    500  970
          receive               INTERNAL  460  500
          preprocess            INTERNAL  550  600  role=transformer
    process images              CONSUMER  320  360  group=b
"""
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
DRAWINGS += [UPLOADED.format(uploaded=195), OVER, PROXIED, GROUPS]
SIZES = [0, 1_100_000, 10**18, 2**63 - 1, 2**63, -1, True, 1.0, "1100000", [1]]


def as_a_whole(found):
    """What the search finds in all traces."""
    measurement = measured(*critical_paths(SpanGraph(found)))
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


# What the search looks for by name, and what it does not know.
NAMES = [name for name in vars(semconv).values() if isinstance(name, str) and "." not in name]
NAMES += [*model_calls._QUEUE_PROXY_S, *model_calls._ACTIVATOR_S]
NAMES.sort()


def renamed(pattern, number):
    """Another trace of the same pattern."""
    return [
        replace(
            span,
            trace_id=f"{span.trace_id}{number}",
            span_id=f"{span.span_id}-{number}",
            parent_id=span.parent_id and f"{span.parent_id}-{number}",
            links=tuple(f"{link}-{number}" for link in span.links),
            linked_traces=tuple(f"{span.trace_id}{number}" for _ in span.links),
        )
        for span in pattern
    ]


def with_sizes(draw, span):
    sizes = {semconv.IMAGE_SIZE, semconv.PAYLOAD_SIZE} & span.attributes.keys()
    return {**span.attributes, **{key: draw(st.sampled_from(SIZES)) for key in sizes}}


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
        for span in renamed(pattern, number):
            start, end = moments[span.start], moments[span.end]
            found.append(replace(span, attributes=with_sizes(draw, span), start=start, end=end))
        if found and draw(st.integers(0, 4)) == 0:
            found.append(found[-1])
    return found


def added(draw, pattern):
    """Some span more: of any name and kind, anywhere, linked to anything."""
    near = draw(st.sampled_from(pattern))
    return Span(
        trace_id=near.trace_id,
        span_id=f"added{len(pattern)}",
        parent_id=draw(st.sampled_from([near.span_id, near.parent_id, "nobody", None])),
        name=draw(st.sampled_from(NAMES)),
        kind=draw(st.sampled_from(Kind)),
        start=near.start,
        end=near.end,
        service=draw(st.sampled_from([near.service, "another", "activator"])),
        host=draw(st.sampled_from([near.host, "another", ""])),
        failed=draw(st.booleans()),
        attributes={},
        links=draw(st.sampled_from([(), (draw(st.sampled_from(pattern)).span_id,)])),
    )


def changed(draw, pattern):
    """Something else in one of the spans: its place below others, in a circle perhaps, its kind, host or failure."""
    place = draw(st.integers(0, len(pattern) - 1))
    span = pattern[place]
    change = draw(
        st.sampled_from(
            [
                {"parent_id": draw(st.sampled_from(pattern)).span_id},
                {"kind": draw(st.sampled_from(Kind))},
                {"host": draw(st.sampled_from(["another", ""]))},
                {"failed": not span.failed},
            ]
        )
    )
    return [*pattern[:place], replace(span, **change), *pattern[place + 1 :]]


def with_tie(draw, of_trace):
    """One of several below one span starts when another one does."""
    place = draw(st.integers(0, len(of_trace) - 1))
    span = of_trace[place]
    start = draw(st.sampled_from([one.start for one in of_trace if one.parent_id == span.parent_id]))
    return [*of_trace[:place], replace(span, start=start), *of_trace[place + 1 :]]


@st.composite
def disorder(draw):
    """Traces of one pattern in which something is wrong, each with times and an order of its own."""
    pattern = spans(draw(st.sampled_from(DRAWINGS)))
    for _ in range(draw(st.integers(0, 2))):
        pattern = [*pattern, added(draw, pattern)] if draw(st.booleans()) else changed(draw, pattern)
    times = sorted({time for span in pattern for time in (span.start, span.end)})
    found = []
    for number in range(draw(st.integers(2, 6))):
        of_trace = renamed(pattern, number)
        for _ in range(draw(st.integers(0, 3))):
            of_trace = with_tie(draw, of_trace)
        if draw(st.booleans()):  # an end before its start, perhaps
            place, edge = draw(st.integers(0, len(of_trace) - 1)), draw(st.sampled_from(["start", "end"]))
            of_trace[place] = replace(of_trace[place], **{edge: draw(st.sampled_from(times))})
        if draw(st.booleans()):
            of_trace.reverse()
        found += of_trace
    return found


@settings(max_examples=300)
@given(traces())
def test_each_trace_is_measured_as_if_it_were_searched(found):
    assert by_likeness(found) == as_a_whole(found)


@settings(max_examples=300)
@given(disorder())
def test_each_trace_is_measured_as_if_it_were_searched_whatever_is_wrong_in_it(found):
    assert by_likeness(found) == as_a_whole(found)


@pytest.mark.parametrize("kind", [Kind.INTERNAL, Kind.UNSPECIFIED])
@pytest.mark.parametrize("drawing", [HTTP, KAFKA, PROXIED])
def test_a_span_of_any_name_anywhere_is_passed_over_only_if_the_search_does(drawing, kind):
    for name in NAMES:
        for place, span in enumerate(spans(drawing)):
            more = Span(span.trace_id, "more", span.span_id, name, kind, span.start, span.end, "", "", False, {})
            below = spans(drawing)
            assert by_likeness([*below, more]) == as_a_whole([*below, more]), (name, span.name)
            between = replace(more, parent_id=span.parent_id)
            below[place] = replace(span, parent_id="more")
            assert by_likeness([*below, between]) == as_a_whole([*below, between]), (name, span.name)


def test_a_span_that_is_linked_is_not_passed_over():
    sent = spans(KAFKA)
    sent[3] = replace(sent[3], parent_id=None, links=("confirm",), linked_traces=("a",))
    found = [*sent, replace(sent[1], span_id="confirm", parent_id=sent[2].span_id, name="confirm")]
    assert (by_likeness(found).account.measured, by_likeness(found)) == (1, as_a_whole(found))


def test_of_requests_that_start_at_once_the_first_is_that_which_was_read_first():
    failed = "  POST                          CLIENT    130  140  failed\n"
    retried, not_retried = HTTP.replace("  POST   ", f"{failed}  POST   ", 1), HTTP + failed
    found = [*spans(retried, "a"), *spans(not_retried, "b")]
    assert (by_likeness(found).account.retried, by_likeness(found)) == (1, as_a_whole(found))


def test_of_two_spans_with_one_id_the_last_counts():
    for one, other in [(spans(HTTP), spans(STRAIGHT)), (spans(STRAIGHT), spans(HTTP))]:
        found = [*one, replace(other[-1], span_id=one[-1].span_id, start=one[0].start)]
        assert by_likeness(found) == as_a_whole(found)


@pytest.fixture
def searched(monkeypatch):
    """Grows by one with each search."""
    searched = []
    real = alike.journeys
    monkeypatch.setattr(alike, "journeys", lambda forest: searched.append(1) or real(forest))
    return searched


def test_one_of_each_kind_is_searched(searched):
    found = [span for number in range(20) for drawing in (HTTP, KAFKA) for span in spans(drawing, f"{number}{drawing}")]
    assert by_likeness(found) == as_a_whole(found)
    assert len(searched) == 2


def test_spans_that_the_search_passes_over_tell_no_traces_apart(searched):
    found = [span for number in range(141, 199) for span in spans(UPLOADED.format(uploaded=number), f"{number}-")]
    found += [span for number in range(20) for span in [*spans(HTTP, f"{number}-"), *look_ups(number)]]
    assert by_likeness(found) == as_a_whole(found)
    assert len(searched) == 1


def look_ups(number):
    """A span of another program, each time below another one."""
    span = spans(HTTP, f"{number}-")[number % 16]
    return [
        replace(
            span, span_id=f"{number}-another", parent_id=span.span_id, name="look up", kind=Kind.INTERNAL, attributes={}
        )
    ]


def test_moments_that_the_search_does_not_compare_tell_no_traces_apart(searched):
    # The transformer's own span may end before or after its `postprocess`: nobody asks.
    ends = [950, 955, 965, 970]
    found = [
        span
        for number, end in enumerate(ends)
        for span in spans(HTTP.replace("SERVER    200  970", f"SERVER    200  {end}"), f"{number}")
    ]
    assert by_likeness(found) == as_a_whole(found)
    assert len(searched) == 1


def test_the_order_in_which_spans_were_read_tells_no_traces_apart(searched):
    found = [span for number in range(16) for span in turned(spans(HTTP, f"{number}-"), number)]
    assert by_likeness(found) == as_a_whole(found)
    assert len(searched) == 1


def turned(of_trace, number):
    return of_trace[number:] + of_trace[:number]
