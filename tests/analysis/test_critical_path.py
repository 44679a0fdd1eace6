"""From drawn spans to journeys: which segments there are, how long they are, and why an image is left out."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces_builder import EVENT_SOURCE, HTTP, KAFKA, MS, STRAIGHT, at, segments, spans, with_options, without

from otel_kfs import semconv
from otel_kfs.analysis.critical_path import ORDER, Coverage, CriticalPath, critical_paths, on_the_way
from otel_kfs.traces.span import SpanGraph

STEPS = ("receive", "decode", "preprocess", "predict", "explain", "postprocess")
HTTP_WAY = (
    "client 10, encode 100, client 20, transformer request 20, transformer receive 50, transformer 10, "
    "transformer decode 30, transformer 10, transformer preprocess 150, transformer 10, transformer serialise 90, "
    "predictor request 20, predictor receive 20, predictor 10, predictor decode 50, predictor 5, "
    "predictor preprocess 5, predictor 10, predictor predict 260, predictor 5, predictor postprocess 10, "
    "predictor response 35, transformer 10, transformer 5, transformer postprocess 15, transformer response 30, "
    "client 10"
)
KAFKA_WAY = (
    "client 10, encode 100, client 20, deliver 160, broker 40, bridge 20, transformer request 10, "
    "transformer receive 40, transformer 10, transformer decode 30, transformer 10, transformer preprocess 150, "
    "transformer 10, transformer serialise 90, predictor request 20, predictor receive 20, predictor 10, "
    "predictor decode 50, predictor 5, predictor preprocess 5, predictor 10, predictor predict 60, predictor 5, "
    "predictor postprocess 10, predictor response 35, transformer 10, transformer 5, transformer postprocess 15, "
    "transformer response 30, bridge 10"
)


def one(*drawn):
    """The one journey in some spans."""
    (journey,), account = critical_paths(SpanGraph(drawn))
    assert account.left_out == {}
    return journey


def way(drawing):
    """Its segments as text, the form of HTTP_WAY."""
    return ", ".join(f"{segment.name} {segment.length / MS:g}" for segment in one(*spans(drawing)).segments)


def reasons(*drawn):
    """Why images are left out, where none is measured."""
    found, account = critical_paths(SpanGraph(drawn))
    assert (found, account.measured) == ([], 0)
    return dict(account.left_out)


# --- whole journeys ---


def test_an_image_over_http():
    assert one(*spans(HTTP)) == CriticalPath(
        trace_id="a",
        transport="http",
        image_size=1_100_000,
        payload_size=1_500_000,
        stamps=(at(0), at(200), at(400), at(1000)),
        segments=segments(HTTP_WAY),
        requests=1,
        deliveries=1,
    )


def test_an_image_through_kafka():
    assert one(*spans(KAFKA)) == CriticalPath(
        trace_id="a",
        transport="kafka",
        image_size=1_100_000,
        payload_size=1_500_000,
        stamps=(at(0), at(400), at(600), at(1000)),
        segments=segments(KAFKA_WAY),
        requests=1,
        deliveries=1,
    )


def test_an_image_straight_to_a_predictor():
    assert one(*spans(STRAIGHT)) == CriticalPath(
        trace_id="a",
        transport="http",
        image_size=1_100_000,
        payload_size=1_500_000,
        stamps=(at(0), at(200), at(300), at(500)),
        segments=segments(
            "client 10, encode 100, client 20, predictor request 20, predictor receive 50, predictor 10, "
            "predictor decode 30, predictor 10, predictor preprocess 50, predictor 10, predictor predict 130, "
            "predictor 5, predictor postprocess 15, predictor response 30, client 10"
        ),
    )


def test_an_image_that_an_event_source_posted():
    assert one(*spans(EVENT_SOURCE)) == CriticalPath(
        trace_id="a",
        transport="kafka",
        image_size=1_100_000,
        payload_size=1_500_000,
        stamps=(at(0), at(260), at(350), at(500)),
        segments=segments(
            "client 10, encode 100, client 20, deliver 60, event source 40, transformer receive 30, transformer 10, "
            "transformer decode 20, transformer 10, transformer preprocess 50, transformer 10, transformer predict 90, "
            "transformer 10, transformer postprocess 10, transformer response 30"
        ),
    )


def test_a_model_that_explains():
    assert "transformer 10, transformer explain 130, transformer 5" in way(
        STRAIGHT.replace("predict    ", "explain    ").replace("predictor", "transformer")
    )


def test_the_order_in_which_spans_were_read_does_not_matter():
    assert one(*reversed(spans(KAFKA))) == one(*spans(KAFKA))


def test_sizes_that_nobody_wrote_are_unknown():
    journey = one(*spans(HTTP.replace("image=1100000 payload=1500000", "")))
    assert (journey.image_size, journey.payload_size) == (None, None)


@pytest.mark.parametrize("written", ["1100000", True, [1], None])
def test_a_size_that_is_no_number_is_unknown(written):
    root, *others = spans(HTTP)
    root = replace(root, attributes={semconv.IMAGE_SIZE: written, semconv.PAYLOAD_SIZE: written})
    journey = one(root, *others)
    assert (journey.image_size, journey.payload_size) == (None, None)


def test_each_image_gets_a_journey_by_the_order_of_sending():
    later, earlier = spans(HTTP, "later"), spans(KAFKA, "earlier")
    shifted = [replace(span, start=span.start + 1, end=span.end + 1) for span in later]
    found, account = critical_paths(SpanGraph([*shifted, *earlier]))
    assert ([journey.trace_id for journey in found], account) == (["earlier", "later"], Coverage(measured=2))


def test_two_senders_in_one_trace_are_two_images():
    batch, *others = spans(f"two images  INTERNAL  0  1000\n{indented(STRAIGHT)}\n{indented(HTTP)}")
    found, account = critical_paths(SpanGraph([batch, *others]))
    assert ([journey.stamps[3] for journey in found], account) == ([at(500), at(1000)], Coverage(measured=2))


def indented(drawing):
    return "\n".join(f"  {line}" for line in drawing.splitlines() if line)


def test_every_name_of_a_whole_journey_has_its_place_in_the_order():
    used = {segment.name for drawing in WAYS.values() for segment in one(*spans(drawing)).segments}
    assert {name for name in used if on_the_way(name)[2] == len(ORDER)} == set()


def test_what_a_second_server_does_comes_after_the_first_ones_share():
    found = [
        "transformer response",
        "predictor 2 request",
        "transformer 2 decode",
        "predictor response",
        "proxy 2 request",
    ]
    assert sorted(found, key=on_the_way) == [
        "proxy 2 request",
        "transformer 2 decode",
        "predictor response",
        "predictor 2 request",
        "transformer response",
    ]


def test_the_order_names_no_segment_twice():
    assert len(set(ORDER)) == len(ORDER)


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
    assert swallowed in way(without(HTTP, name))


def test_a_missing_last_step_is_named_in_the_response():
    drawing = "\n".join(line for line in HTTP.splitlines() if not line.startswith("      postprocess"))
    assert "transformer 10, transformer response (no transformer postprocess span) 50, client 10" in way(drawing)


def test_a_missing_model_step_is_named():
    assert "predictor (no predictor predict span) 145, predictor postprocess 15" in way(without(STRAIGHT, "predict"))


def test_two_missing_spans_in_a_row_are_both_named():
    drawing = without(without(STRAIGHT, "predict"), "postprocess")
    assert "predictor response (no predictor predict, predictor postprocess span) 190" in way(drawing)


def test_a_server_without_a_role_is_taken_for_its_place_in_the_way():
    assert way(HTTP.replace("role=transformer", "").replace("role=predictor", "")) == HTTP_WAY


# --- retries, redeliveries, links ---

RETRIED = STRAIGHT.replace(
    "  POST                          CLIENT    130  490",
    "  POST                          CLIENT    115  120  failed\n  POST                          CLIENT    130  490",
)
REDELIVERED = KAFKA.replace(
    "    process images              CONSUMER  330 1000",
    "    process images              CONSUMER  300  320  failed\n"
    "      POST                      CLIENT    305  315  failed\n"
    "    process images              CONSUMER  330 1000",
)


def test_a_retry_is_a_segment_from_the_first_request_to_the_last():
    assert way(RETRIED).startswith("client 10, encode 100, client 5, retries 15, predictor request 20, ")


def test_retries_are_counted():
    found, account = critical_paths(SpanGraph(spans(RETRIED)))
    assert (found[0].requests, account) == (2, Coverage(measured=1, retried=1))


def test_a_redelivered_record_is_followed_to_where_it_was_answered():
    assert way(REDELIVERED) == KAFKA_WAY.replace("broker 40", "broker 10, redeliveries 30")


def test_redeliveries_are_counted():
    found, account = critical_paths(SpanGraph(spans(REDELIVERED)))
    assert (found[0].deliveries, account) == (2, Coverage(measured=1, redelivered=1))


def test_a_delivery_after_the_answer_is_not_on_the_way():
    again = KAFKA + "\n    process images              CONSUMER 1010 1200"
    found, account = critical_paths(SpanGraph(spans(again)))
    assert (way(again), account) == (KAFKA_WAY, Coverage(measured=1))
    assert found[0].deliveries == 1


def test_another_consumer_group_s_deliveries_are_not_redeliveries():
    other = with_options(KAFKA, "process images", "group=models")
    other += "\n    process images              CONSUMER  350  400  group=archive"
    found, account = critical_paths(SpanGraph(spans(other)))
    assert (way(other), account) == (KAFKA_WAY, Coverage(measured=1))
    assert found[0].deliveries == 1


UNTRACED = """
        send image          INTERNAL    0  100
          encode            INTERNAL    0   10
          POST              CLIENT     10   95
            POST :predict   SERVER     20   90
              receive       INTERNAL   20   30
              decode        INTERNAL   30   35
              preprocess    INTERNAL   35   45
              predict       INTERNAL   45   80
                POST        CLIENT     50   78
              postprocess   INTERNAL   80   85
"""


def test_a_predictor_that_is_not_traced_is_one_stretch():
    expected = (
        "client 0, encode 10, client 0, transformer request 10, transformer receive 10, transformer 0, "
        "transformer decode 5, transformer 0, transformer preprocess 10, transformer 0, transformer serialise 5, "
        "predictor 28, transformer 2, transformer 0, transformer postprocess 5, transformer response 10, client 5"
    )
    assert way(UNTRACED) == expected


def test_a_record_that_was_sent_again_is_followed_from_the_last_time():
    last = "  send images                   PRODUCER  130  290"
    drawing = KAFKA.replace(last, f"  send images                   PRODUCER  115  120  failed\n{last}")
    assert way(drawing) == KAFKA_WAY


def linked():
    """The image through Kafka, with the bridge's half in a trace of its own that links to the sender's."""
    *sender, process = [line for line in KAFKA.splitlines() if line.strip()][:4]
    bridge = [process, *[line for line in KAFKA.splitlines() if line.strip()][4:]]
    sent = spans(with_options("\n".join(sender), "send images", "id=sent"), "a")
    return sent, spans(with_options("\n".join(line[4:] for line in bridge), "process images", "links=sent"), "b")


def test_a_link_in_another_trace_does_as_well_as_a_parent():
    sent, processed = linked()
    assert one(*sent, *processed) == replace(one(*spans(KAFKA)), linked=("b",))


def test_every_delivery_in_a_trace_of_its_own_is_linked():
    sent, processed = linked()
    before = spans("process images  CONSUMER  300  320  failed links=sent", "c")
    assert one(*sent, *processed, *before).linked == ("c", "b")


def test_another_group_s_trace_is_not_on_the_way():
    sent, processed = linked()
    other = spans("process images  CONSUMER  300  320  group=archive links=sent", "c")
    assert one(*sent, *processed, *other).linked == ("b",)


def test_polls_are_on_nobody_s_way():
    sent, processed = linked()
    (poll,) = spans("poll images  CLIENT  300  325  links=sent", "c")
    assert one(*sent, *processed, poll) == one(*sent, *processed)


def test_an_acknowledgement_after_the_consumer_has_the_record_ends_delivery_where_processing_starts():
    assert "client 20, deliver 200, broker 0, bridge 20" in way(KAFKA.replace("130  290", "130  999"))


# --- proxies: what Istio's Envoy, Kourier and Knative's programs write ---

SERVED = """
receive   INTERNAL   40   50
decode    INTERNAL   50   55
preprocess  INTERNAL 55   65  role=predictor
predict   INTERNAL   65   80
postprocess  INTERNAL  80  85
"""
STEPS_WAY = (
    "predictor receive 10, predictor 0, predictor decode 5, predictor 0, predictor preprocess 10, predictor 0, "
    "predictor predict 15, predictor 0, predictor postprocess 5"
)


def behind(*above, end=100):
    """An image whose server's span, and its steps, lie below the spans of `above`, each below the one before."""
    lines = [f"send image  INTERNAL  0  {end}", "  encode  INTERNAL  0  10"]
    lines += [" " * (2 * depth) + text for depth, text in enumerate(above, 1)]
    depth = 2 * len(above) + 2
    lines.append(f"{' ' * depth}POST :predict  SERVER  38  86  service=mobilenet @pod")
    lines += [f"{' ' * (depth + 2)}{text}" for text in SERVED.split("\n") if text]
    return "\n".join(lines)


def test_knatives_programs_are_segments_in_the_order_of_the_way():
    drawing = behind(
        "POST  CLIENT  10  99  @pod",
        "ingress  SERVER  12  98  service=kourier-knative",
        "router  CLIENT  13  97",
        "POST  SERVER  15  96  service=activator",
        "activator_proxy  INTERNAL  22  95",
        "HTTP POST  CLIENT  23  94",
        "POST  SERVER  26  93  service=mobilenet",
        "kn.queueproxy.proxy  INTERNAL  27  92",
        "HTTP POST  CLIENT  28  90",
    )
    assert way(drawing) == (
        "client 0, encode 10, client 0, ingress request 2, ingress 1, activator request 2, activator 8, "
        f"queue-proxy request 3, queue-proxy 2, predictor request 12, {STEPS_WAY}, "
        "predictor response 5, queue-proxy 3, queue-proxy response 1, activator 2, activator response 1, ingress 1, "
        "ingress response 1, client 1"
    )


@pytest.mark.parametrize(
    ("span", "name"),
    [
        ("mobilenet.default:80/*  CLIENT  20  95  service=istio-ingressgateway.istio-system", "ingress"),
        ("mobilenet.default:80/*  SERVER  20  95  service=istio-ingressgateway.istio-system", "ingress"),
        ("ingress  SERVER  20  95  service=edge", "ingress"),
        ("mobilenet.default:80/*  SERVER  20  95  service=mobilenet.default", "proxy"),
        ("mobilenet.default:80/*  CLIENT  20  95  service=mobilenet.default", "proxy"),
        ("POST  SERVER  20  95  service=activator", "activator"),
    ],
)
def test_a_proxy_with_one_span_is_what_lies_before_and_behind_it(span, name):
    """Envoy makes one span, SERVER or CLIENT by the traffic's direction, unless it is told to make one upstream."""
    assert way(behind("POST  CLIENT  10  99  @pod", span)) == (
        f"client 0, encode 10, client 0, {name} request 10, predictor request 20, {STEPS_WAY}, predictor response 10, "
        f"{name} response 4, client 1"
    )


def test_a_second_proxy_of_one_name_is_numbered():
    drawing = behind(
        "POST  CLIENT  10  99  @pod",
        "out  CLIENT  12  98  service=sender.default",
        "in  SERVER  15  97  service=m.default",
    )
    assert way(drawing) == (
        "client 0, encode 10, client 0, proxy request 2, proxy 2 request 3, predictor request 25, "
        f"{STEPS_WAY}, predictor response 12, proxy 2 response 1, proxy response 1, client 1"
    )


def test_a_proxys_span_that_ends_after_the_answer_is_there_ends_with_it():
    drawing = behind("POST  CLIENT  10  95  @pod", "in  SERVER  15  97  service=m.default")
    assert way(drawing).endswith("predictor response 10, proxy response 0, client 5")


def test_a_proxy_that_names_no_host_is_on_one_of_its_own():
    drawing = behind("POST  CLIENT  10  99  @pod", "in  SERVER  15  97  service=m.default @")
    drawing = drawing.replace("service=mobilenet @pod", "service=mobilenet @host")
    found = one(*spans(drawing))
    assert [segment.hosts for segment in found.segments if segment.hosts] == [
        ("host", "pod"),
        ("pod", "m.default"),
        ("m.default", "host"),
        ("host", "m.default"),
        ("m.default", "pod"),
        ("pod", "host"),
    ]


def below(drawing, name, span):
    """The drawing with another span between the last line of that name and what it is below."""
    lines = drawing.splitlines()
    number = max(number for number, text in enumerate(lines) if text.strip().startswith(f"{name}  "))
    indent = len(lines[number]) - len(lines[number].lstrip())
    end = next(
        (n for n in range(number + 1, len(lines)) if len(lines[n]) - len(lines[n].lstrip()) <= indent), len(lines)
    )
    inner = [f"  {text}" for text in lines[number:end]]
    return "\n".join([*lines[:number], " " * indent + span, *inner, *lines[end:]])


def test_proxies_before_a_second_server_bear_its_name():
    drawing = HTTP.replace("SERVER    540  910", "SERVER    540  910  service=predictor")
    assert way(below(drawing, "POST /v1/models", "POST  SERVER  510  920  service=activator")) == HTTP_WAY.replace(
        "predictor request 20", "predictor activator request 10, predictor request 10"
    ).replace("predictor response 35", "predictor response 25, predictor activator response 10")


def test_a_predictor_that_is_not_traced_behind_a_proxy_is_what_the_proxy_waited_for():
    drawing = UNTRACED.replace(
        "                POST        CLIENT     50   78",
        "                POST        CLIENT     50   78\n"
        "                  in        SERVER     52   77  service=triton.default",
    )
    assert (
        "transformer serialise 5, predictor proxy request 2, predictor 25, predictor proxy response 1, transformer 2"
        in way(drawing)
    )


def test_a_second_instrumentation_of_one_process_is_no_proxy():
    drawing = below(STRAIGHT, "POST /v1/models", "asgi  SERVER  199  471")
    assert way(below(drawing, "asgi", "urllib3  CLIENT  135  480")) == way(STRAIGHT)


# --- requests to others than the model ---


def test_an_object_store_before_the_model_is_a_segment():
    drawing = STRAIGHT.replace(
        "  POST                          CLIENT    130  490",
        "  S3.PutObject                  CLIENT    112  120\n  POST                          CLIENT    130  490",
    )
    assert way(drawing).startswith("client 10, encode 100, client 2, object store 8, client 10, predictor request 20, ")


def test_an_object_store_before_the_topic_is_a_segment():
    last = "  send images                   PRODUCER  130  290"
    drawing = KAFKA.replace(last, f"  PUT                           CLIENT    112  120\n{last}")
    assert way(drawing) == KAFKA_WAY.replace("encode 100, client 20", "encode 100, client 2, object store 8, client 10")


@pytest.mark.parametrize(
    ("step", "inside"), [("encode", "20  100"), ("preprocess", "260  390"), ("decode", "215  239")]
)
def test_an_object_store_within_a_step_is_part_of_it(step, inside):
    drawing = with_child(HTTP, step, f"S3.GetObject  CLIENT  {inside}")
    assert way(drawing) == HTTP_WAY


def test_an_object_store_within_the_models_method_is_part_of_it():
    assert way(with_child(STRAIGHT, "predict", "GET  CLIENT  320  330")) == way(STRAIGHT)


def with_child(drawing, name, child):
    """The drawing with a span below the first line of that name."""
    lines = drawing.splitlines()
    number = next(number for number, text in enumerate(lines) if text.strip().startswith(f"{name}  "))
    indent = len(lines[number]) - len(lines[number].lstrip()) + 2
    return "\n".join([*lines[: number + 1], " " * indent + child, *lines[number + 1 :]])


def test_a_request_to_somebody_else_is_no_retry():
    drawing = STRAIGHT.replace(
        "  POST                          CLIENT    130  490",
        "  POST                          CLIENT    115  120  failed url=http://auth/token\n"
        "  POST                          CLIENT    130  490  url=http://model/v1/models/m:predict",
    )
    found = one(*spans(drawing))
    assert (way(drawing), found.requests) == (way(STRAIGHT), 1)


def test_what_is_asked_after_the_answer_is_the_askers_own_time():
    drawing = KAFKA + "\n      POST                      CLIENT    992  998"
    assert way(drawing) == KAFKA_WAY


def test_a_record_that_a_model_server_writes_is_not_on_the_way():
    drawing = with_child(STRAIGHT, "postprocess", "send payloads  PRODUCER  446  447")
    assert way(drawing) == way(STRAIGHT)


# --- several servers ---


def test_two_transformers_in_a_row_are_numbered():
    drawing = HTTP.replace("role=predictor", "role=transformer")
    expected = HTTP_WAY.replace("predictor", "transformer 2")
    assert way(drawing) == expected
    assert one(*spans(drawing)).stamps == (at(0), at(200), at(400), at(1000))


TWO_PREDICTORS = """
send image            INTERNAL    0  300
  encode              INTERNAL    0   10
  POST                CLIENT     10  290
    POST              SERVER     20  280
      receive         INTERNAL   20   30
      preprocess      INTERNAL   30   50
      predict         INTERNAL   50  250
        POST          CLIENT     60  120
          POST        SERVER     65  115
            receive   INTERNAL   65   70
            preprocess  INTERNAL 70   75  role=predictor
            predict   INTERNAL   75  110
        POST          CLIENT    {start}  240
          POST        SERVER    145  235
            receive   INTERNAL  145  150
            preprocess  INTERNAL 150 155  role=predictor
            predict   INTERNAL  155  230
"""


def test_two_predictors_asked_one_after_the_other_are_both_on_the_way():
    names_ = [segment.name for segment in one(*spans(TWO_PREDICTORS.format(start=130))).segments]
    assert "transformer serialise" in names_
    assert names_.index("predictor predict") < names_.index("predictor 2 request") < names_.index("predictor 2 predict")
    assert ", transformer 10, predictor 2 request 15, predictor 2 receive 5, " in way(TWO_PREDICTORS.format(start=130))


def test_of_two_predictors_asked_side_by_side_the_last_to_answer_is_on_the_way():
    assert ", transformer serialise 50, predictor request 45, predictor receive 5, " in way(
        TWO_PREDICTORS.format(start=100)
    )


def test_a_failed_hop_before_the_one_that_was_answered_is_a_retry():
    drawing = HTTP.replace(
        "        POST                    CLIENT    500  930",
        "        POST                    CLIENT    450  480  failed\n"
        "        POST                    CLIENT    500  930",
    )
    assert way(drawing) == HTTP_WAY.replace("serialise 90", "serialise 40, transformer retries 50")


# --- consumer groups ---


def test_the_consumer_group_that_asks_a_model_is_followed_whichever_had_the_record_first():
    other = with_options(KAFKA, "process images", "group=models")
    other += "\n    process images              CONSUMER  310  320  group=archive"
    assert way(other) == KAFKA_WAY


def test_a_delivery_that_left_no_span_is_known_from_the_next():
    found, account = critical_paths(SpanGraph(spans(with_options(KAFKA, "process images", "attempt=2"))))
    assert (found[0].deliveries, account) == (2, Coverage(measured=1, redelivered=1))


# --- whatever stands between, and times that can't be ---


def test_the_spans_of_another_instrumentation_in_between_are_passed():
    assert way(below(STRAIGHT, "POST /v1/models", "middleware  INTERNAL  199  471")) == way(STRAIGHT)


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
    assert reasons(root, replace(request, parent_id=root.span_id), *circle) == {"no server span": 1}


def test_more_servers_in_a_row_than_can_be_followed_leave_their_image_out():
    root, request = spans("send image  INTERNAL  0  9\n  POST  CLIENT  1  8")
    ids = [request.span_id, *map(str, range(3000))]
    row = [replace(request, span_id=own, parent_id=above) for above, own in pairwise(ids)]
    assert reasons(root, request, *row) == {"too many servers, one behind the other": 1}


def test_requests_that_are_linked_layer_upon_layer_are_followed_once_each():
    # 2^200 ways lead from the first request to the last layer.
    root, *others = spans("send image  INTERNAL  0  9\n  POST  CLIENT  1  8")
    layer = "process images  CONSUMER  2  7\n  POST  CLIENT  3  4  id=one{0}\n  POST  CLIENT  5  6  id=two{0}"
    drawn, above = [root, *others], [others[0].span_id]
    for number in range(200):
        process, *requests = spans(layer.format(number), f"layer{number}-")
        drawn += [replace(process, links=tuple(above)), *requests]
        above = [span.span_id for span in requests]
    found, account = critical_paths(SpanGraph(drawn))
    assert (found, account.left_out["no server span"]) == ([], 1)


def test_servers_that_are_linked_layer_upon_layer_are_entered_once_each():
    # Each on a host of its own, so that no time can tell that the way goes back.
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
    above = [drawn[-1].span_id]
    for number in range(40):
        process, *others = spans(layer.format(number), f"layer{number}-")
        drawn += [replace(process, links=tuple(above)), *others]
        above = [span.span_id for span in others[-2:]]
    found, account = critical_paths(SpanGraph(drawn))
    assert (found, account.left_out["`POST /v1/models` is out of order"]) == ([], 1)


@pytest.mark.parametrize("role", ["", 7])
def test_a_role_that_is_none_is_taken_for_the_servers_place_in_the_way(role):
    drawn = [
        replace(span, attributes={**span.attributes, semconv.ROLE: role}) if span.attributes.get(semconv.ROLE) else span
        for span in spans(HTTP)
    ]
    assert one(*drawn).segments == segments(HTTP_WAY)


def test_a_span_of_another_program_before_processing_does_not_move_the_acknowledgement():
    queued = KAFKA.replace("      POST ", "      time in queue             INTERNAL  250  330\n      POST ", 1)
    assert one(*spans(queued)).segments == segments(KAFKA_WAY)


def test_an_acknowledgement_after_a_posted_record_has_arrived_ends_delivery_where_it_is_received():
    late = EVENT_SOURCE.replace("PRODUCER  130  190", "PRODUCER  130  240")
    assert late != EVENT_SOURCE
    assert "deliver 100, event source 0, transformer receive 30" in way(late)


# --- what came before what ---


def test_a_request_to_another_host_came_before_it_was_there_and_the_answer_before_it_was_back():
    drawing = HTTP.replace(
        "POST /v1/models       SERVER    540  910", "POST /v1/models       SERVER    540  910  @predictor"
    )
    drawing = with_options(drawing, "POST /v1/models", "@transformer")
    assert one(*spans(drawing)).before == (
        ("host", at(130), "transformer", at(150)),
        ("transformer", at(500), "predictor", at(520)),
        ("predictor", at(895), "transformer", at(930)),
        ("transformer", at(960), "host", at(990)),
    )


def test_a_record_was_produced_before_it_was_processed_and_that_is_all_that_is_certain():
    drawing = with_options(KAFKA, "process images", "@bridge")
    assert one(*spans(drawing)).before == (("host", at(130), "bridge", at(330)),)


def test_on_one_host_nothing_is_to_be_told():
    assert one(*spans(KAFKA)).before == ()


# --- images that are left out ---


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


def test_a_server_that_is_not_traced_leaves_its_image_out():
    drawing = "send image  INTERNAL  0  50\n  POST  CLIENT  10  40"
    assert reasons(*spans(drawing)) == {"no server span": 1}


@pytest.mark.parametrize("name", ["receive", "preprocess"])
def test_a_server_without_a_stamp_s_span_leaves_its_image_out(name):
    assert reasons(*spans(without(STRAIGHT, name))) == {f"no `{name}` span in the predictor": 1}


def test_spans_out_of_order_on_one_host_leave_their_image_out():
    assert reasons(*spans(STRAIGHT.replace("210  240", "190  240"))) == {"`decode` is out of order": 1}


def test_a_trace_that_has_lost_its_root_is_left_out():
    _, *others = spans(HTTP)
    assert reasons(*others) == {"no `send image` span": 1}


def test_a_linked_trace_that_has_lost_its_image_s_is_left_out():
    _, processed = linked()
    assert reasons(*processed) == {"no `send image` span": 1}


@pytest.mark.parametrize(
    "left",
    [
        "process images  CONSUMER  330  1000\n  POST  CLIENT  350  990",
        "process images  CONSUMER  330  1000",
        *(f"POST /v1/models  SERVER  200  970\n  {step}  INTERNAL  210  240" for step in STEPS),
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
    _, account = critical_paths(SpanGraph(drawn))
    assert account == Coverage(measured=1, left_out={"the request failed": 2, "warm-up": 1})


def test_no_spans_are_no_images():
    assert critical_paths(SpanGraph([])) == ([], Coverage())


def test_the_spans_of_other_programs_are_no_images():
    assert critical_paths(SpanGraph(spans("GET  SERVER  0  10\n  query  CLIENT  2  8"))) == ([], Coverage())


# --- clocks of two hosts ---


def shifted(drawn, host, milliseconds):
    """The spans as a host whose clock is ahead would have written them."""
    offset = milliseconds * MS
    return [replace(s, start=s.start + offset, end=s.end + offset) if s.host == host else s for s in drawn]


def test_segments_between_two_hosts_say_so_and_hold_their_clocks_difference():
    drawing = with_options(HTTP, "POST /v1/models", "@server")
    assert one(*shifted(spans(drawing), "server", 1000)).segments == segments(
        HTTP_WAY.replace("transformer request 20", "transformer request 1020!host>server").replace(
            "transformer response 30", "transformer response -970!server>host"
        )
    )


def test_the_stamps_stay_what_each_host_wrote():
    drawing = with_options(HTTP, "POST /v1/models", "@server")
    assert one(*shifted(spans(drawing), "server", 1000)).stamps == (at(0), at(1200), at(1400), at(1000))


def test_an_acknowledgement_by_another_host_s_clock_is_not_moved():
    drawing = with_options(KAFKA, "process images", "@bridge")
    found = one(*shifted(spans(drawing), "bridge", -100)).segments
    assert found == segments(KAFKA_WAY.replace("broker 40", "broker -60!host>bridge"))


# --- whatever the times are ---

WAYS = {
    "http": HTTP,
    "kafka": KAFKA,
    "event source": EVENT_SOURCE,
    "straight": STRAIGHT,
    "retried": RETRIED,
    "redelivered": REDELIVERED,
    "two predictors": TWO_PREDICTORS.format(start=130),
    "mesh": below(STRAIGHT, "POST /v1/models", "POST  SERVER  140  480  service=activator").replace(
        "SERVER    200  470", "SERVER    200  470  service=m"
    ),
}
EDGES = {way: sorted({edge for s in spans(drawing) for edge in (s.start, s.end)}) for way, drawing in WAYS.items()}
SPARE = {"encode", "decode", "postprocess"}
HOSTS = st.sampled_from(["one", "two"])


@st.composite
def images(draw):
    """One of the ways above with any gaps and lengths, without any of the spans that can be spared."""
    name = draw(st.sampled_from(sorted(WAYS)))
    edges, moment = {}, at(0)
    for edge in EDGES[name]:
        moment += draw(st.integers(0, 10**12))
        edges[edge] = moment
    drawn = [replace(span, start=edges[span.start], end=edges[span.end]) for span in spans(WAYS[name])]
    return [span for span in drawn if span.name not in SPARE or draw(st.booleans())]


@st.composite
def images_on_two_hosts(draw):
    """Such an image, each span on one of two hosts whose clocks differ by anything."""
    offset = draw(st.integers(-(10**13), 10**13))
    moved = []
    for span in draw(images()):
        host = draw(HOSTS)
        shift = offset if host == "two" else 0
        moved.append(replace(span, host=host, start=span.start + shift, end=span.end + shift))
    return moved


def assert_whole(journey):
    """The segments follow one another without a gap from stamp 1 to stamp 4."""
    starts = [segment.start for segment in journey.segments]
    ends = [segment.end for segment in journey.segments]
    assert [*starts, journey.stamps[3]] == [journey.stamps[0], *ends]
    assert sum(segment.length for segment in journey.segments) == journey.stamps[3] - journey.stamps[0]


@given(images())
def test_segments_add_up_to_the_whole_whatever_the_times(drawn):
    assert_whole(one(*drawn))


@given(images())
def test_no_segment_of_one_host_is_negative_or_crosses(drawn):
    assert [s for s in one(*drawn).segments if s.length < 0 or s.hosts] == []


@given(images())
def test_stamps_come_one_after_the_other_on_one_host(drawn):
    stamps = one(*drawn).stamps
    assert sorted(stamps) == list(stamps)


@given(images())
def test_every_stamp_and_every_end_of_a_segment_is_the_edge_of_a_span(drawn):
    journey = one(*drawn)
    points = {*journey.stamps, *(point for segment in journey.segments for point in (segment.start, segment.end))}
    assert points - {edge for span in drawn for edge in (span.start, span.end)} == set()


@given(images_on_two_hosts())
def test_segments_add_up_to_the_whole_whatever_the_clocks(drawn):
    found, account = critical_paths(SpanGraph(drawn))
    assert account.measured == 1
    assert_whole(found[0])


@given(images_on_two_hosts())
def test_a_negative_segment_always_crosses_hosts(drawn):
    found, _ = critical_paths(SpanGraph(drawn))
    assert [segment for segment in found[0].segments if segment.length < 0 and not segment.hosts] == []


def test_an_image_that_was_due_earlier_begins_with_its_late_start():
    late = HTTP.replace(
        "  encode                        INTERNAL   10  110",
        "  late start  INTERNAL  0  8\n  encode  INTERNAL  10  110",
    )
    assert way(late).startswith("late start 8, client 2, encode 100, client 20, ")
