"""From drawn spans to critical paths: which segments there are, and how long they are."""

import dataclasses
import re
from itertools import pairwise

import pytest
from msgspec.structs import replace
from path_support import (
    HTTP_SEGMENTS,
    KAFKA_SEGMENTS,
    REDELIVERED,
    RETRIED,
    UNTRACED,
    below,
    indented,
    linked,
    one,
    reasons,
    text_of,
)
from traces_builder import EVENT_SOURCE, HTTP, KAFKA, STRAIGHT, at, sections, spans, with_options, without

from otel_kfs import semconv
from otel_kfs.analysis.paths import critical_path
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import CriticalPath, critical_paths
from otel_kfs.traces.span import SpanGraph


def test_the_example_in_the_module_s_text_is_true():
    text = critical_path.__doc__
    drawing = "\n".join(line[4:46] for line in re.findall(r"^    .*(?:INTERNAL|SERVER|CLIENT) .*$", text, re.M))
    marked = " ".join(text.partition("last line:")[2].partition("\n\nThe server")[0].split())
    expected = re.sub(r"(?:^|(?<=, ))\S ", "", marked)
    path = one(*spans(with_options(drawing, "preprocess", "role=predictor")))
    assert (text_of(with_options(drawing, "preprocess", "role=predictor")), path.stamps) == (
        expected,
        (at(0), at(30), at(58), at(100)),
    )


# --- whole paths ---


@pytest.mark.parametrize(
    ("queued", "expected"),
    [
        (15, "transformer request 5, transformer queue 15, transformer receive 50"),
        (400, "transformer request 0, transformer queue 20, transformer receive 50"),
        (10**40, "transformer request 0, transformer queue 20, transformer receive 50"),
        (0, "transformer request 20, transformer receive 50"),
        (-5, "transformer request 20, transformer receive 50"),
    ],
)
def test_a_request_that_had_been_there_before_its_server_looked_was_in_a_queue(queued, expected):
    drawing = with_options(HTTP, "receive", f"queued={queued}")
    assert text_of(drawing) == HTTP_SEGMENTS.replace("transformer request 20, transformer receive 50", expected)


def test_what_another_host_says_of_its_queue_is_by_its_clock():
    drawing = with_options(with_options(HTTP, "POST /v1/models", "@other"), "receive", "queued=15")
    assert text_of(drawing) == HTTP_SEGMENTS.replace(
        "request 20, transformer", "request 5, transformer queue 15, transformer"
    )


def test_an_image_over_http():
    assert one(*spans(HTTP)) == CriticalPath(
        trace_id="a",
        root_id="a0",
        transport="http",
        image_size=1_100_000,
        payload_size=1_500_000,
        stamps=(at(0), at(200), at(400), at(1000)),
        sections=sections(HTTP_SEGMENTS),
        hosts=("host",) * 4,
        requests=1,
        deliveries=1,
    )


def test_an_image_through_kafka():
    assert one(*spans(KAFKA)) == CriticalPath(
        trace_id="a",
        root_id="a0",
        transport="kafka",
        image_size=1_100_000,
        payload_size=1_500_000,
        stamps=(at(0), at(400), at(600), at(1000)),
        sections=sections(KAFKA_SEGMENTS),
        hosts=("host",) * 4,
        requests=1,
        deliveries=1,
    )


def test_an_image_straight_to_a_predictor():
    assert one(*spans(STRAIGHT)) == CriticalPath(
        trace_id="a",
        root_id="a0",
        transport="http",
        image_size=1_100_000,
        payload_size=1_500_000,
        stamps=(at(0), at(200), at(300), at(500)),
        hosts=("host",) * 4,
        sections=sections(
            "client 10, encode 100, client 20, predictor request 20, predictor receive 50, predictor 10, "
            "predictor decode 30, predictor 10, predictor preprocess 50, predictor 10, predictor predict 130, "
            "predictor 5, predictor postprocess 15, predictor response 30, client 10"
        ),
    )


def test_an_image_that_an_event_source_posted():
    assert one(*spans(EVENT_SOURCE)) == CriticalPath(
        trace_id="a",
        root_id="a0",
        transport="kafka",
        image_size=1_100_000,
        payload_size=1_500_000,
        stamps=(at(0), at(260), at(350), at(500)),
        hosts=("host",) * 4,
        sections=sections(
            "client 10, encode 100, client 20, deliver 60, event source 40, transformer receive 30, transformer 10, "
            "transformer decode 20, transformer 10, transformer preprocess 50, transformer 10, transformer predict 90, "
            "transformer 10, transformer postprocess 10, transformer response 30"
        ),
    )


def test_a_model_that_explains():
    assert "transformer 10, transformer explain 130, transformer 5" in text_of(
        STRAIGHT.replace("predict    ", "explain    ").replace("predictor", "transformer")
    )


def test_the_order_in_which_spans_were_read_does_not_matter():
    assert one(*reversed(spans(KAFKA))) == one(*spans(KAFKA))


def test_sizes_that_nobody_wrote_are_unknown():
    path = one(*spans(HTTP.replace("image=1100000 payload=1500000", "")))
    assert (path.image_size, path.payload_size) == (None, None)


@pytest.mark.parametrize("written", ["1100000", True, [1], None])
def test_a_size_that_is_no_number_is_unknown(written):
    root, *others = spans(HTTP)
    root = replace(root, attributes={semconv.IMAGE_SIZE: written, semconv.PAYLOAD_SIZE: written})
    path = one(root, *others)
    assert (path.image_size, path.payload_size) == (None, None)


def test_each_image_gets_a_path_by_the_order_of_sending():
    later, earlier = spans(HTTP, "later"), spans(KAFKA, "earlier")
    shifted = [replace(span, start=span.start + 1, end=span.end + 1) for span in later]
    found, coverage = critical_paths(SpanGraph([*shifted, *earlier]))
    assert ([path.trace_id for path in found], coverage) == (["earlier", "later"], Coverage(measured=2))


def test_two_senders_in_one_trace_are_two_images():
    batch, *others = spans(f"two images  INTERNAL  0  1000\n{indented(STRAIGHT)}\n{indented(HTTP)}")
    found, coverage = critical_paths(SpanGraph([batch, *others]))
    assert ([path.stamps[3] for path in found], coverage) == ([at(500), at(1000)], Coverage(measured=2))


def test_an_image_that_was_due_earlier_begins_with_its_late_start():
    late = HTTP.replace(
        "  encode                        INTERNAL   10  110",
        "  late start  INTERNAL  0  8\n  encode  INTERNAL  10  110",
    )
    assert text_of(late).startswith("late start 8, client 2, encode 100, client 20, ")


# --- spans that are missing but can be done without ---


@pytest.mark.parametrize(
    ("name", "swallowed"),
    [
        ("encode", "client (no encode span) 130"),
        ("decode", "transformer (no transformer decode span) 50"),
        ("postprocess", "predictor response (no predictor postprocess span) 50"),
    ],
)
def test_a_missing_span_is_named_in_the_segment_that_swallows_its_time(name, swallowed):
    assert swallowed in text_of(without(HTTP, name))


def test_a_missing_last_step_is_named_in_the_response():
    drawing = "\n".join(line for line in HTTP.splitlines() if not line.startswith("      postprocess"))
    assert "transformer 10, transformer response (no transformer postprocess span) 50, client 10" in text_of(drawing)


def test_a_missing_model_step_is_named():
    assert "predictor (no predictor predict span) 145, predictor postprocess 15" in text_of(
        without(STRAIGHT, "predict")
    )


def test_two_missing_spans_in_a_row_are_both_named():
    drawing = without(without(STRAIGHT, "predict"), "postprocess")
    assert "predictor response (no predictor predict, predictor postprocess span) 190" in text_of(drawing)


def test_a_server_without_a_role_is_taken_for_its_place_on_the_path():
    assert text_of(HTTP.replace("role=transformer", "").replace("role=predictor", "")) == HTTP_SEGMENTS


# --- retries, redeliveries, links ---


def test_a_retry_is_a_segment_from_the_first_request_to_the_last():
    assert text_of(RETRIED).startswith("client 10, encode 100, client 5, retries 15, predictor request 20, ")


def test_retries_are_counted():
    found, coverage = critical_paths(SpanGraph(spans(RETRIED)))
    assert (found[0].requests, coverage) == (2, Coverage(measured=1, retried=1))


RETRIED_BY_THE_TRANSPORT = STRAIGHT.replace(
    "  POST                          CLIENT    130  490",
    "  POST                          CLIENT    115  490\n"
    "    upload                      INTERNAL  115  116\n"
    "    wait                        INTERNAL  116  129\n"
    "    upload                      INTERNAL  130  131",
)


def test_an_attempt_that_the_client_s_transport_repeats_within_its_span_is_a_retry():
    assert text_of(RETRIED_BY_THE_TRANSPORT) == text_of(RETRIED)
    found, coverage = critical_paths(SpanGraph(spans(RETRIED_BY_THE_TRANSPORT)))
    assert (found[0].requests, coverage) == (2, Coverage(measured=1, retried=1))


def test_a_redelivered_record_is_followed_to_where_it_was_answered():
    assert text_of(REDELIVERED) == KAFKA_SEGMENTS.replace("broker 40", "broker 10, redeliveries 30")


def test_redeliveries_are_counted():
    found, coverage = critical_paths(SpanGraph(spans(REDELIVERED)))
    assert (found[0].deliveries, coverage) == (2, Coverage(measured=1, redelivered=1))


def test_a_delivery_after_the_answer_is_not_on_the_path():
    again = KAFKA + "\n    process images              CONSUMER 1010 1200"
    found, coverage = critical_paths(SpanGraph(spans(again)))
    assert (text_of(again), coverage) == (KAFKA_SEGMENTS, Coverage(measured=1))
    assert found[0].deliveries == 1


def test_another_consumer_group_s_deliveries_are_not_redeliveries():
    other = with_options(KAFKA, "process images", "group=models")
    other += "\n    process images              CONSUMER  350  400  group=archive"
    found, coverage = critical_paths(SpanGraph(spans(other)))
    assert (text_of(other), coverage) == (KAFKA_SEGMENTS, Coverage(measured=1))
    assert found[0].deliveries == 1


def test_a_predictor_that_is_not_traced_is_one_stretch():
    expected = (
        "client 0, encode 10, client 0, transformer request 10, transformer receive 10, transformer 0, "
        "transformer decode 5, transformer 0, transformer preprocess 10, transformer 0, transformer serialise 5, "
        "predictor 28, transformer 2, transformer 0, transformer postprocess 5, transformer response 10, client 5"
    )
    assert text_of(UNTRACED) == expected


def test_a_record_that_was_sent_again_is_followed_from_the_last_time():
    last = "  send images                   PRODUCER  130  290"
    drawing = KAFKA.replace(last, f"  send images                   PRODUCER  115  120  failed\n{last}")
    assert text_of(drawing) == KAFKA_SEGMENTS


def test_a_link_in_another_trace_does_as_well_as_a_parent():
    sent, processed = linked()
    assert one(*sent, *processed) == dataclasses.replace(one(*spans(KAFKA)), linked=("b",))


def test_every_delivery_in_a_trace_of_its_own_is_linked():
    sent, processed = linked()
    before = spans("process images  CONSUMER  300  320  failed links=a/sent", "c")
    assert one(*sent, *processed, *before).linked == ("c", "b")


def test_another_group_s_trace_is_not_on_the_path():
    sent, processed = linked()
    other = spans("process images  CONSUMER  300  320  group=archive links=a/sent", "c")
    assert one(*sent, *processed, *other).linked == ("b",)


def test_polls_are_on_nobody_s_path():
    sent, processed = linked()
    (poll,) = spans("poll images  CLIENT  300  325  links=a/sent", "c")
    assert one(*sent, *processed, poll) == one(*sent, *processed)


def test_an_acknowledgement_after_the_consumer_has_the_record_ends_delivery_where_processing_starts():
    assert "client 20, deliver 200, broker 0, bridge 20" in text_of(KAFKA.replace("130  290", "130  999"))


# --- consumer groups ---


def test_the_consumer_group_that_asks_a_model_is_followed_whichever_had_the_record_first():
    other = with_options(KAFKA, "process images", "group=models")
    other += "\n    process images              CONSUMER  310  320  group=archive"
    assert text_of(other) == KAFKA_SEGMENTS


def test_a_delivery_that_left_no_span_is_known_from_the_next():
    found, coverage = critical_paths(SpanGraph(spans(with_options(KAFKA, "process images", "attempt=2"))))
    assert (found[0].deliveries, coverage) == (2, Coverage(measured=1, redelivered=1))


# --- whatever stands between, and times that can't be ---


def test_the_spans_of_another_instrumentation_in_between_are_passed():
    assert text_of(below(STRAIGHT, "POST /v1/models", "middleware  INTERNAL  199  471")) == text_of(STRAIGHT)


def test_a_clients_span_that_ended_before_the_server_answered_leaves_its_image_out():
    drawing = STRAIGHT.replace("CLIENT    130  490", "CLIENT    130  300")
    assert reasons(*spans(drawing)) == {"`POST` is out of order": 1}


@pytest.mark.parametrize("last", [2**63, 2**64 - 1])
def test_times_that_do_not_fit_64_bits_leave_their_image_out(last):
    root, *others = spans(STRAIGHT)
    assert reasons(replace(root, end=last), *others) == {"times that are too far apart": 1}


def test_clocks_that_are_centuries_apart_leave_their_image_out():
    drawn = spans(with_options(HTTP, "POST /v1/models", "@server"))
    assert reasons(*(replace(s, start=2**63 - 1, end=2**63 - 1) if s.host == "server" else s for s in drawn)) == {
        "times that are too far apart": 1
    }


def test_requests_in_a_circle_end():
    root, request, server = spans("send image  INTERNAL  0  9\n  POST  CLIENT  1  8\n    POST  SERVER  2  7")
    circle = [replace(request, span_id="x", parent_id=server.span_id), replace(server, span_id="y", parent_id="x")]
    circle.append(replace(server, parent_id="y", span_id=server.span_id))
    found = one(root, replace(request, parent_id=root.span_id), *circle)
    assert found.sections == sections("client (no encode span) 1, server (untraced) 7, client 1")


def test_more_servers_in_a_row_than_can_be_followed_leave_their_image_out():
    root, request = spans("send image  INTERNAL  0  9\n  POST  CLIENT  1  8")
    ids = [request.span_id, *map(str, range(3000))]
    row = [replace(request, span_id=own, parent_id=above) for above, own in pairwise(ids)]
    assert reasons(root, request, *row) == {"too many servers, one behind the other": 1}


def linking(span, others):
    return replace(span, links=tuple(o.span_id for o in others), linked_traces=tuple(o.trace_id for o in others))


def test_requests_that_are_linked_layer_upon_layer_are_followed_once_each():
    # 2^200 routes lead from the first request to the last layer.
    root, *others = spans("send image  INTERNAL  0  9\n  POST  CLIENT  1  8")
    layer = "process images  CONSUMER  2  7\n  POST  CLIENT  3  4  id=one{0}\n  POST  CLIENT  5  6  id=two{0}"
    drawn, above = [root, *others], others
    for number in range(200):
        process, *requests = spans(layer.format(number), f"layer{number}-")
        drawn += [linking(process, above), *requests]
        above = requests
    (found,), _ = critical_paths(SpanGraph(drawn))
    assert found.stamps == (at(0), None, None, at(9))


def test_servers_that_are_linked_layer_upon_layer_are_entered_once_each():
    # Each on a host of its own, so that no time can tell that the path goes back.
    layer = """
process images      CONSUMER  1  90  @host{0}
  POST /v1/models   SERVER    1  90
    receive         INTERNAL  1  2
    preprocess      INTERNAL  3  4
    predict         INTERNAL  5  80
      POST          CLIENT    6  7   id=one{0}
      POST          CLIENT    8  9   id=two{0}
"""
    drawn = spans("send image  INTERNAL  0  99\n  POST  CLIENT  1  98")
    above = drawn[-1:]
    for number in range(40):
        process, *others = spans(layer.format(number), f"layer{number}-")
        drawn += [linking(process, above), *others]
        above = others[-2:]
    found, coverage = critical_paths(SpanGraph(drawn))
    assert (found, coverage.left_out["`POST /v1/models` is out of order"]) == ([], 1)


@pytest.mark.parametrize("role", ["", 7])
def test_a_role_that_is_none_is_taken_for_the_servers_place_on_the_path(role):
    drawn = [
        replace(span, attributes={**span.attributes, semconv.ROLE: role}) if span.attributes.get(semconv.ROLE) else span
        for span in spans(HTTP)
    ]
    assert one(*drawn).sections == sections(HTTP_SEGMENTS)


def test_a_span_of_another_program_before_processing_does_not_move_the_acknowledgement():
    queued = KAFKA.replace("      POST ", "      time in queue             INTERNAL  250  330\n      POST ", 1)
    assert one(*spans(queued)).sections == sections(KAFKA_SEGMENTS)


def test_an_acknowledgement_after_a_posted_record_has_arrived_ends_delivery_where_it_is_received():
    late = EVENT_SOURCE.replace("PRODUCER  130  190", "PRODUCER  130  240")
    assert late != EVENT_SOURCE
    assert "deliver 100, event source 0, transformer receive 30" in text_of(late)
