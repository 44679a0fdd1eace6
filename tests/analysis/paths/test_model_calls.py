"""Which requests a path goes through: past proxies, to one server or several, and not to object stores."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from path_support import HTTP_SEGMENTS, KAFKA_SEGMENTS, TWO_PREDICTORS, UNTRACED, below, one, text_of
from traces_builder import EVENT_SOURCE, HTTP, KAFKA, STRAIGHT, at, spans

from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.span import SpanGraph

# --- proxies: what Istio's Envoy, Kourier and Knative's programs write ---


SERVED = """
receive   INTERNAL   40   50
decode    INTERNAL   50   55
preprocess  INTERNAL 55   65  role=predictor
predict   INTERNAL   65   80
postprocess  INTERNAL  80  85
"""
SERVED_SEGMENTS = (
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


def test_knatives_programs_are_segments_in_the_order_of_the_path():
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
    assert text_of(drawing) == (
        "client 0, encode 10, client 0, ingress request 2, ingress 1, activator request 2, activator 8, "
        f"queue-proxy request 3, queue-proxy 2, predictor request 12, {SERVED_SEGMENTS}, "
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
    assert text_of(behind("POST  CLIENT  10  99  @pod", span)) == (
        f"client 0, encode 10, client 0, {name} request 10, predictor request 20, {SERVED_SEGMENTS}, "
        f"predictor response 10, {name} response 4, client 1"
    )


def test_a_second_proxy_of_one_name_is_numbered():
    drawing = behind(
        "POST  CLIENT  10  99  @pod",
        "out  CLIENT  12  98  service=sender.default",
        "in  SERVER  15  97  service=m.default",
    )
    assert text_of(drawing) == (
        "client 0, encode 10, client 0, proxy request 2, proxy 2 request 3, predictor request 25, "
        f"{SERVED_SEGMENTS}, predictor response 12, proxy 2 response 1, proxy response 1, client 1"
    )


def test_a_proxys_span_that_ends_after_the_answer_is_there_ends_with_it():
    drawing = behind("POST  CLIENT  10  95  @pod", "in  SERVER  15  97  service=m.default")
    assert text_of(drawing).endswith("predictor response 10, proxy response 0, client 5")


def test_a_sidecars_span_that_ends_after_its_gateway_has_the_answer_ends_with_it():
    drawing = behind(
        "POST  CLIENT  10  99  @pod",
        "ingress  SERVER  12  98  service=edge @node",
        "router egress  CLIENT  13  92",
        "in  SERVER  15  95  service=m.default",
    )
    assert text_of(drawing).endswith("predictor response 7, proxy response 0, ingress 6, ingress response 1, client 1")


def test_a_server_of_others_behind_a_proxy_ends_with_the_proxys_request():
    drawing = """
        POST                     CLIENT  10  99
          ingress                SERVER  12  98  service=edge @node
            router egress        CLIENT  13  92
              POST /v2/models/m/infer  SERVER  15  95  service=triton
    """
    assert text_of(drawing) == (
        "ingress request 2, ingress 1, predictor request 2, predictor 77, predictor response 0, ingress 6, "
        "ingress response 1"
    )


def test_a_proxy_that_names_no_host_is_on_one_of_its_own():
    drawing = behind("POST  CLIENT  10  99  @pod", "in  SERVER  15  97  service=m.default @")
    drawing = drawing.replace("service=mobilenet @pod", "service=mobilenet @host")
    found = one(*spans(drawing))
    assert [section.hosts for section in found.sections if section.hosts] == [
        ("host", "pod"),
        ("pod", "m.default"),
        ("m.default", "host"),
        ("host", "m.default"),
        ("m.default", "pod"),
        ("pod", "host"),
    ]


def test_proxies_before_a_second_server_bear_its_name():
    drawing = HTTP.replace("SERVER    540  910", "SERVER    540  910  service=predictor")
    assert text_of(
        below(drawing, "POST /v1/models", "POST  SERVER  510  920  service=activator")
    ) == HTTP_SEGMENTS.replace("predictor request 20", "predictor activator request 10, predictor request 10").replace(
        "predictor response 35", "predictor response 25, predictor activator response 10"
    )


@pytest.mark.parametrize("service", ["queue-proxy.ingress", "istio-ingressgateway"])
def test_a_predictor_that_is_not_traced_behind_a_proxy_is_what_the_proxy_waited_for(service):
    drawing = UNTRACED.replace(
        "                POST        CLIENT     50   78",
        "                POST        CLIENT     50   78\n"
        f"                  in        SERVER     52   77  service={service}",
    )
    assert (
        "transformer serialise 5, predictor ingress request 2, predictor 25, predictor ingress response 1, "
        "transformer 2" in text_of(drawing)
    )


def test_a_server_s_span_that_nothing_leaves_is_the_predictor():
    drawing = UNTRACED.replace(
        "                POST        CLIENT     50   78",
        "                POST        CLIENT     50   78\n"
        "                  in        SERVER     52   77  service=triton.default",
    )
    assert "transformer serialise 5, predictor request 2, predictor 25, predictor response 1, transformer 2" in text_of(
        drawing
    )


def test_a_second_instrumentation_of_one_process_is_no_proxy():
    drawing = below(STRAIGHT, "POST /v1/models", "asgi  SERVER  199  471")
    assert text_of(below(drawing, "asgi", "urllib3  CLIENT  135  480")) == text_of(STRAIGHT)


# --- requests to others than the model ---


def test_an_object_store_before_the_model_is_a_segment():
    drawing = STRAIGHT.replace(
        "  POST                          CLIENT    130  490",
        "  S3.PutObject                  CLIENT    112  120\n  POST                          CLIENT    130  490",
    )
    assert text_of(drawing).startswith(
        "client 10, encode 100, client 2, object store 8, client 10, predictor request 20, "
    )


def test_an_object_store_before_the_topic_is_a_segment():
    last = "  send images                   PRODUCER  130  290"
    drawing = KAFKA.replace(last, f"  PUT                           CLIENT    112  120\n{last}")
    assert text_of(drawing) == KAFKA_SEGMENTS.replace(
        "encode 100, client 20", "encode 100, client 2, object store 8, client 10"
    )


@pytest.mark.parametrize(
    ("step", "inside"), [("encode", "20  100"), ("preprocess", "260  390"), ("decode", "215  239")]
)
def test_an_object_store_within_a_step_is_part_of_it(step, inside):
    drawing = with_child(HTTP, step, f"S3.GetObject  CLIENT  {inside}")
    assert text_of(drawing) == HTTP_SEGMENTS


def test_an_object_store_within_the_models_method_is_part_of_it():
    assert text_of(with_child(STRAIGHT, "predict", "GET  CLIENT  320  330")) == text_of(STRAIGHT)


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
    assert (text_of(drawing), found.requests) == (text_of(STRAIGHT), 1)


def test_what_is_asked_after_the_answer_is_the_askers_own_time():
    drawing = KAFKA + "\n      POST                      CLIENT    992  998"
    assert text_of(drawing) == KAFKA_SEGMENTS


def test_a_record_that_a_model_server_writes_is_not_on_the_path():
    drawing = with_child(STRAIGHT, "postprocess", "send payloads  PRODUCER  446  447")
    assert text_of(drawing) == text_of(STRAIGHT)


# --- several servers ---


def test_two_transformers_in_a_row_are_numbered():
    drawing = HTTP.replace("role=predictor", "role=transformer")
    expected = HTTP_SEGMENTS.replace("predictor", "transformer 2")
    assert text_of(drawing) == expected
    assert one(*spans(drawing)).stamps == (at(0), at(200), at(400), at(1000))


def test_two_predictors_asked_one_after_the_other_are_both_on_the_path():
    names_ = [segment_name(section.segment) for section in one(*spans(TWO_PREDICTORS.format(start=130))).sections]
    assert "transformer serialise" in names_
    assert names_.index("predictor predict") < names_.index("predictor 2 request") < names_.index("predictor 2 predict")
    assert ", transformer 10, predictor 2 request 15, predictor 2 receive 5, " in text_of(
        TWO_PREDICTORS.format(start=130)
    )


def test_of_two_predictors_asked_side_by_side_the_last_to_answer_is_on_the_path():
    assert ", transformer serialise 50, predictor request 45, predictor receive 5, " in text_of(
        TWO_PREDICTORS.format(start=100)
    )


def test_a_failed_hop_before_the_one_that_was_answered_is_a_retry():
    drawing = HTTP.replace(
        "        POST                    CLIENT    500  930",
        "        POST                    CLIENT    450  480  failed\n"
        "        POST                    CLIENT    500  930",
    )
    assert text_of(drawing) == HTTP_SEGMENTS.replace("serialise 90", "serialise 40, transformer retries 50")


# --- what leads to a model, and what does not ---


def behind_router(second, received, predicted):
    """Two nodes of an InferenceGraph side by side below the client's request; the router has no span."""
    return f"""
send image         INTERNAL    0  400
  encode           INTERNAL    0    5
  POST             CLIENT      5  398
    POST           SERVER     30  100  service=classifier
      receive      INTERNAL   30   33  role=predictor
      decode       INTERNAL   33   33
      preprocess   INTERNAL   33   34
      predict      INTERNAL   34   97
      postprocess  INTERNAL   97   98
    POST           SERVER    {second}  service=detector
      receive      INTERNAL  {received}  role=predictor
      decode       INTERNAL  116  116
      preprocess   INTERNAL  116  116
      predict      INTERNAL  {predicted}
      postprocess  INTERNAL  377  378
"""


def test_servers_below_one_request_that_follow_one_another_are_all_on_the_path():
    found = text_of(behind_router("110  380", "110  116", "116  377"))
    assert ", predictor 0, predictor predict 63, predictor 0, predictor postprocess 1, predictor response 2, " in found
    assert ", predictor 2 request 10, predictor 2 receive 6, " in found
    assert found.endswith(", predictor 2 postprocess 1, predictor 2 response 20, client 2")


def test_of_servers_below_one_request_that_overlap_the_last_to_end_is_on_the_path():
    found = text_of(behind_router("99  380", "99  116", "116  377"))
    assert found.startswith("client 0, encode 5, client 0, predictor request 94, predictor receive 17, ")
    assert "predictor 2" not in found


def test_the_failed_tries_of_a_proxy_are_its_retries():
    drawing = behind(
        "POST  CLIENT  10  99  @pod",
        "ingress  SERVER  12  98  service=gateway",
        "router up egress  CLIENT  30  95",
    )
    tries = "".join(f"      router up egress  CLIENT  {start}  {start + 2}  .error=true\n" for start in (13, 20))
    drawing = drawing.replace("      router up egress", f"{tries}      router up egress", 1)
    path = one(*spans(drawing))
    assert "ingress request 2, ingress 1, ingress retries 17, predictor request 10, " in text_of(drawing)
    assert path.requests == 3


def test_the_failed_tries_of_a_hop_are_counted():
    drawing = HTTP.replace(
        "        POST                    CLIENT    500  930",
        "        POST                    CLIENT    450  480  failed\n"
        "        POST                    CLIENT    500  930",
    )
    assert one(*spans(drawing)).requests == 2


@pytest.mark.parametrize("more", ["", "url=http://other/v1/models/m:predict failed", ".http.url=http://other/ failed"])
def test_an_earlier_request_that_was_answered_or_went_elsewhere_is_no_retry(more):
    drawing = STRAIGHT.replace(
        "  POST                          CLIENT    130  490",
        f"  POST                          CLIENT    115  120  {more}\n"
        "  POST                          CLIENT    130  490  .http.url=http://model/v1/models/m:predict",
    )
    found = one(*spans(drawing))
    assert (text_of(drawing), found.requests) == (text_of(STRAIGHT), 1)


def test_an_early_get_is_the_client_s_own_time():
    drawing = STRAIGHT.replace(
        "  POST                          CLIENT    130  490",
        "  GET                           CLIENT    112  120\n  POST                          CLIENT    130  490",
    )
    assert text_of(drawing) == text_of(STRAIGHT)


@pytest.mark.parametrize("times", ["115  120", "295  299"])
def test_a_record_that_leads_to_no_model_is_not_followed(times):
    drawing = f"{KAFKA}\n  send audit                    PRODUCER  {times}\n    process audit  CONSUMER  296  320"
    assert text_of(drawing) == KAFKA_SEGMENTS


def test_an_earlier_consumer_without_a_group_is_not_followed():
    drawing = f"{KAFKA}\n    process images              CONSUMER  291  300  service=archive"
    assert text_of(drawing) == KAFKA_SEGMENTS


def test_of_an_event_source_s_subscribers_the_model_server_is_followed():
    drawing = f"{EVENT_SOURCE}\n    POST /                      SERVER    195  220  service=logger"
    assert text_of(drawing) == text_of(EVENT_SOURCE)


@settings(max_examples=20)
@given(st.permutations(range(3)))
def test_siblings_that_start_and_end_together_are_in_one_order_whatever_was_read_first(order):
    drawn = spans("root  INTERNAL  0  9\n  POST  CLIENT  1  8\n  POST  CLIENT  1  8\n  POST  CLIENT  1  8")
    graph = SpanGraph([drawn[0], *(drawn[1 + number] for number in order)])
    assert graph.children(drawn[0]) == drawn[1:]
