"""What the spans of other programs' model servers say that they did: Triton's, vLLM's, those of ASGI servers."""

import json

import pytest
from path_support import below, one, text_of
from traces_builder import UNTRACED_PREDICTOR, at, otlp_line, spans

from otel_kfs.analysis.paths.server_spans import in_turn
from otel_kfs.traces.formats.otlp import read_export, read_line

CLIENT = "POST  CLIENT  0  100  service=client\n"


def behind(drawing):
    """A client's request whose server the drawing shows."""
    return CLIENT + "\n".join(f"  {line}" for line in drawing.splitlines() if line.strip())


TRITON = """
InferRequest      SERVER  10  95  service=triton
  mobilenet       SERVER  12  90
    compute       SERVER  40  85
"""
TRITON_WITH_EVENTS = """
InferRequest      SERVER  10  95  service=triton events=HTTP_RECV_START:8,HTTP_RECV_END:11,HTTP_SEND_START:92
  mobilenet       SERVER  12  90  events=REQUEST_START:12,QUEUE_START:14,REQUEST_END:90
    compute       SERVER  40  85  events=COMPUTE_START:40,COMPUTE_INPUT_END:45,COMPUTE_OUTPUT_START:80,COMPUTE_END:85
"""


def test_a_triton_s_model_has_a_queue_and_computes():
    assert text_of(behind(TRITON)) == (
        "predictor request 10, predictor 2, predictor queue and input 28, predictor 0, predictor compute 45, "
        "predictor 10, predictor response 5"
    )


def test_a_triton_s_events_part_the_queue_from_the_input_the_model_and_the_output():
    path = one(*spans(behind(TRITON_WITH_EVENTS)))
    assert (path.stamps, path.second_is_spans) == ((at(0), at(11), None, at(100)), False)
    assert text_of(behind(TRITON_WITH_EVENTS)) == (
        "predictor request 8, predictor 0, predictor receive 3, predictor 3, predictor queue 26, predictor 0, "
        "predictor input 5, predictor 0, predictor compute 35, predictor 0, predictor output 5, predictor 7, "
        "predictor response 3, predictor 0, predictor response 5"
    )


def test_a_triton_s_ensemble_names_its_models():
    drawing = """
InferRequest      SERVER  10  95  service=triton
  pipeline        SERVER  12  90
    resize        SERVER  15  40
      compute     SERVER  20  38
    mobilenet     SERVER  42  88
      compute     SERVER  50  80
"""
    assert text_of(behind(drawing)) == (
        "predictor request 10, predictor 5, predictor resize queue and input 5, predictor 0, "
        "predictor resize compute 18, predictor 4, predictor mobilenet queue and input 8, predictor 0, "
        "predictor mobilenet compute 30, predictor 15, predictor response 5"
    )


def test_a_triton_behind_a_transformer_is_no_proxy():
    drawing = UNTRACED_PREDICTOR.format("\n".join(f"{' ' * 10}{line}" for line in TRITON.strip().splitlines()))
    assert "transformer serialise 2, predictor request 6, predictor 2, predictor queue and input 28" in text_of(drawing)


LATENCIES = (
    ".gen_ai.latency.time_in_queue=0.010 .gen_ai.latency.time_in_model_prefill=0.020 "
    ".gen_ai.latency.time_in_model_decode=0.040 .gen_ai.latency.time_to_first_token=0.035"
)


def test_a_vllm_s_request_tells_its_phases_by_attributes():
    drawing = f"llm_request  SERVER  10  95  service=vllm {LATENCIES}"
    assert text_of(behind(drawing)) == (
        "predictor request 10, predictor 5, predictor queue 10, predictor 0, predictor prefill 20, predictor 0, "
        "predictor generate 40, predictor 10, predictor response 5"
    )


def test_phases_that_do_not_fit_their_span_are_cut():
    drawing = f"llm_request  SERVER  10  60  service=vllm {LATENCIES}"
    assert text_of(behind(drawing)) == (
        "predictor request 10, predictor 5, predictor queue 10, predictor 0, predictor prefill 20, predictor 0, "
        "predictor generate 15, predictor 0, predictor response 40"
    )


def test_a_vllm_s_spans_go_before_its_attributes():
    drawing = f"""
POST /v1/chat/completions  SERVER  5  98  service=vllm
  llm_request              SERVER  10  95  {LATENCIES}
    vllm.request.queue     INTERNAL  12  20
    vllm.request.wait_remote_kv  INTERNAL  20  25
    vllm.request.prefill   INTERNAL  25  40
    vllm.request.decode    INTERNAL  40  90
"""
    assert text_of(behind(drawing)) == (
        "predictor request 5, predictor 7, predictor queue 8, predictor 0, predictor wait remote kv 5, predictor 0, "
        "predictor prefill 15, predictor 0, predictor generate 50, predictor 8, predictor response 2"
    )


def test_the_gateway_of_llm_d_is_an_ingress():
    drawing = """
gateway.request                    SERVER  5   98  service=llm-d-router/epp
  gateway.request_orchestration    SERVER  6   9
    run_scheduler_profile          INTERNAL  7  8
  llm_request                      SERVER  20  95  service=vllm
"""
    assert text_of(behind(drawing)) == (
        "ingress request 5, predictor request 15, predictor 75, predictor response 3, ingress response 2"
    )


ASGI = """
POST /v2/models/m/infer               SERVER  10  90  service=mlserver
  POST /v2/models/m/infer http receive  INTERNAL  12  14  .asgi.event.type=http.request
  POST /v2/models/m/infer http receive  INTERNAL  14  20  .asgi.event.type=http.request
  POST /v2/models/m/infer http send     INTERNAL  80  81  .asgi.event.type=http.response.start
  POST /v2/models/m/infer http send     INTERNAL  84  85  .asgi.event.type=http.response.body
"""


def test_the_last_part_of_the_body_that_an_asgi_server_received_is_stamp_2():
    path = one(*spans(behind(ASGI)))
    assert (path.stamps, path.second_is_spans) == ((at(0), at(20), None, at(100)), False)
    assert text_of(behind(ASGI)) == (
        "predictor request 10, predictor 0, predictor receive 10, predictor 60, predictor response 10, predictor 0, "
        "predictor response 10"
    )


def test_what_other_spans_of_a_server_have_none_below_them_are_its_steps():
    drawing = ASGI.replace(
        "  POST /v2/models/m/infer http send     INTERNAL  80",
        "  work  INTERNAL  25  70\n    tokenize  INTERNAL  30  40\n    run_model  INTERNAL  41  69\n"
        "  POST /v2/models/m/infer http send     INTERNAL  80",
    )
    assert (
        "predictor receive 10, predictor 10, predictor tokenize 10, predictor 1, predictor run model 28, "
        in text_of(behind(drawing))
    )


def test_of_steps_that_overlap_the_last_to_end_counts():
    drawing = """
POST /v2/models/m/infer  SERVER  10  90  service=server
  one                    INTERNAL  20  60
  two                    INTERNAL  30  70
"""
    assert text_of(behind(drawing)) == (
        "predictor request 10, predictor 20, predictor two 40, predictor 20, predictor response 10"
    )


def test_a_server_s_spans_of_a_second_instrumentation_are_one_process():
    drawing = below(ASGI, "POST /v2/models/m/infer", "POST  SERVER  9  91  service=mlserver")
    assert text_of(behind(drawing)).startswith("predictor request 9, ")


def test_a_span_s_end_after_its_caller_has_the_answer_is_the_answer_s():
    drawing = "POST /v2/models/m/infer  SERVER  10  120  service=server"
    assert text_of(behind(drawing)) == "predictor request 10, predictor 90, predictor response 0"


@pytest.mark.parametrize("read", [read_line, lambda line: list(read_export(json.loads(line)))])
def test_the_events_that_are_read_are_those_that_tables_are_made_of(read):
    found = read(otlp_line(spans(TRITON_WITH_EVENTS)).encode())
    assert [span.events for span in found] == [
        (("HTTP_RECV_START", at(8)), ("HTTP_RECV_END", at(11)), ("HTTP_SEND_START", at(92))),
        (("QUEUE_START", at(14)),),
        (("COMPUTE_INPUT_END", at(45)), ("COMPUTE_OUTPUT_START", at(80))),
    ]


def test_spans_that_follow_one_another_are_in_turn():
    first, second, third = spans("one  CLIENT  0  10\ntwo  CLIENT  5  20\nthree  CLIENT  20  30")
    assert in_turn([third, first, second]) == [second, third]
