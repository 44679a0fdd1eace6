"""Why images are left out, and how they are counted."""

from itertools import chain

import pytest
from msgspec.structs import replace
from path_support import linked, one, reasons
from traces_builder import EVENT_SOURCE, HTTP, KAFKA, STRAIGHT, spans, with_options

from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.traces.span import SpanGraph

STEPS = ("receive", "decode", "preprocess", "predict", "explain", "postprocess")


def test_warm_ups_are_left_out():
    assert reasons(*spans(with_options(HTTP, "send image", "warmup"))) == {"warm-up": 1}


def test_a_failed_request_is_left_out():
    assert reasons(*spans(with_options(HTTP, "POST", "failed"))) == {"the request failed": 1}


def test_a_failed_image_is_left_out():
    assert reasons(*spans(with_options(HTTP, "send image", "failed"))) == {"the request failed": 1}


def test_a_record_whose_processing_failed_is_left_out():
    assert reasons(*spans(with_options(KAFKA, "process images", "failed"))) == {"the request failed": 1}


def test_a_failed_request_of_an_event_source_is_left_out():
    assert reasons(*spans(with_options(EVENT_SOURCE, "POST /", "failed"))) == {"the request failed": 1}


def test_an_image_that_was_never_sent_is_left_out():
    drawing = "send image  INTERNAL  0  50  failed\n  encode  INTERNAL  10  40  failed"
    assert reasons(*spans(drawing)) == {"sent nothing": 1}


def test_a_sender_whose_client_is_not_traced_is_left_out():
    assert reasons(*spans("send image  INTERNAL  0  50\n  encode  INTERNAL  10  40")) == {"no request span": 1}


def test_a_record_that_the_broker_refused_is_left_out():
    assert reasons(*spans(with_options(KAFKA, "send images", "failed"))) == {"not delivered to the broker": 1}


def test_a_record_that_nobody_processed_is_left_out():
    sent, _ = linked()
    assert reasons(*sent) == {"delivered, but not processed": 1}


def test_a_request_to_something_else_than_a_model_leaves_its_image_out():
    assert reasons(*spans("send image  INTERNAL  0  50\n  PUT  CLIENT  10  40")) == {"no request span": 1}


def test_spans_out_of_order_on_one_host_leave_their_image_out():
    assert reasons(*spans(STRAIGHT.replace("210  240", "190  240"))) == {"`decode` is out of order": 1}


def test_a_trace_that_has_lost_its_root_is_left_out():
    _, *others = spans(HTTP)
    assert reasons(*others) == {"no `send image` span": 1}


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_images_of_one_trace_that_have_lost_their_roots_are_as_many(kept):
    images = [[replace(span, trace_id="t") for span in spans(HTTP, name)] for name in "abc"]
    drawn = [*chain.from_iterable(images[:kept]), *chain.from_iterable(image[1:] for image in images[kept:])]
    found, coverage = critical_paths(SpanGraph(drawn))
    assert (len(found), coverage.left_out) == (kept, {"no `send image` span": 3 - kept})
    assert [path.sections for path in found] == [one(*image).sections for image in images[:kept]]


def test_a_linked_trace_that_has_lost_its_image_s_is_left_out():
    _, processed = linked()
    assert reasons(*processed) == {"no `send image` span": 1}


@pytest.mark.parametrize(
    "left",
    [
        "process images  CONSUMER  330  1000\n  POST  CLIENT  350  990",
        "process images  CONSUMER  330  1000",
        *(f"POST  CLIENT  190  980  links=b/x\n  {step}  INTERNAL  210  240" for step in STEPS),
    ],
)
def test_whatever_is_left_of_an_image_without_its_root_is_counted_as_one(left):
    assert reasons(*spans(left)) == {"no `send image` span": 1}


@pytest.mark.parametrize("left", ["poll images  CLIENT  0  9", "POST  CLIENT  0  9", "send images  PRODUCER  0  9"])
def test_what_other_programs_do_as_well_is_no_image(left):
    assert critical_paths(SpanGraph(spans(left))) == ([], Coverage())


def test_traces_that_link_to_one_image_without_its_root_are_one():
    processed = "process images  CONSUMER  330  1000  group={}  links=b/x"
    drawn = [*spans(processed.format("one")), *spans(processed.format("two"), "c")]
    assert reasons(*drawn) == {"no `send image` span": 1}


def test_a_trace_that_links_to_an_image_belongs_to_it_even_if_the_span_itself_is_lost():
    sent = spans("send image  INTERNAL  0  300  transport=kafka", "b")
    assert reasons(*sent, *spans("process images  CONSUMER  330  1000  links=b/x")) == {"no request span": 1}


def test_reasons_are_counted():
    lost = with_options(HTTP, "POST", "failed")
    warm = with_options(HTTP, "send image", "warmup")
    drawn = [
        span for trace, drawing in zip("abcd", (lost, warm, lost, HTTP), strict=True) for span in spans(drawing, trace)
    ]
    _, coverage = critical_paths(SpanGraph(drawn))
    assert coverage == Coverage(measured=1, left_out={"the request failed": 2, "warm-up": 1})


def test_no_spans_are_no_images():
    assert critical_paths(SpanGraph([])) == ([], Coverage())


def test_the_spans_of_other_programs_are_no_images():
    assert critical_paths(SpanGraph(spans("GET  SERVER  0  10\n  query  CLIENT  2  8"))) == ([], Coverage())
