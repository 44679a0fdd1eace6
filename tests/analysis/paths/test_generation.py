"""Answers of OpenAI routes, and answers in pieces: `first token` and `generate` in the place of `predict`."""

import pytest
from msgspec.structs import replace
from path_support import one
from traces_builder import MS, STRAIGHT, at, spans

from otel_kfs import semconv
from otel_kfs.report.segment_names import segment_name

CHAT = """
send image                        INTERNAL    0  500  transport=http image=1100000 payload=1500000
  encode                          INTERNAL   10  110
  POST                            CLIENT    130  490
    POST /openai/v1/completions   SERVER    200  470
      receive                     INTERNAL  150  200
      decode                      INTERNAL  210  240
      chat m                      INTERNAL  250  440  role=predictor
"""
BEHIND = """
send image                        INTERNAL    0  500  transport=http image=1100000 payload=1500000
  encode                          INTERNAL   10  110
  POST                            CLIENT    130  490
    POST /openai/v1/completions   SERVER    150  480
      receive                     INTERNAL  150  160
      chat m                      INTERNAL  170  470  role=transformer
        POST                      CLIENT    180  460
          POST /v1/completions    SERVER    190  450
            receive               INTERNAL  190  200
            chat m                INTERNAL  210  440  role=predictor
"""
OPERATION = {semconv.GEN_AI_OPERATION_NAME: "chat"}
BEFORE = (
    "client 10, encode 100, client 20, predictor request 20, predictor receive 50, predictor 10, predictor decode 30"
)


def first_after(seconds):
    return {semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: seconds}


def path_of(drawing, **attributes):
    """The path with further attributes on the spans of a name."""
    drawn = [
        replace(span, attributes={**span.attributes, **attributes.get(span.name.partition(" ")[0], {})})
        for span in spans(drawing)
    ]
    return one(*drawn)


def text_of(path):
    return ", ".join(f"{segment_name(section.segment)} {section.duration / MS:g}" for section in path.sections)


def test_a_streamed_chat_is_the_time_to_its_first_token_and_the_rest():
    path = path_of(CHAT, chat=OPERATION | first_after(0.15))
    assert text_of(path) == (
        f"{BEFORE}, predictor 10, predictor first token 150, predictor generate 40, predictor response 50, client 10"
    )
    assert path.stamps == (at(0), at(200), None, at(500))


def test_a_whole_answer_is_generated_in_one_stretch():
    assert text_of(path_of(CHAT, chat=OPERATION)) == (
        f"{BEFORE}, predictor 10, predictor generate 190, predictor response 50, client 10"
    )


@pytest.mark.parametrize("seconds", [-0.1, 0.2, "0.1", None, float("nan"), float("inf"), True])
def test_a_time_to_the_first_token_that_can_t_be_is_not_believed(seconds):
    assert ("first token" in text_of(path_of(CHAT, chat=OPERATION | first_after(seconds)))) is False


def test_a_predict_in_pieces_has_the_same_segments_and_its_postprocess_is_part_of_them():
    drawing = STRAIGHT.replace("445  460", "320  321")
    assert text_of(path_of(drawing, predict=first_after(0.05))).endswith(
        "predictor 10, predictor first token 50, predictor generate 80, predictor response 50, client 10"
    )


def test_a_model_that_asks_another_one_by_the_same_route_is_a_transformer():
    path = path_of(BEHIND, chat=OPERATION)
    assert text_of(path) == (
        "client 10, encode 100, client 20, transformer request 20, transformer receive 10, "
        "transformer (no transformer decode span) 10, transformer serialise 10, predictor request 10, "
        "predictor receive 10, predictor (no predictor decode span) 10, predictor generate 230, predictor response 20, "
        "transformer 10, transformer response 20, client 10"
    )


def test_the_span_of_another_instrumentation_in_the_server_is_no_step_of_it():
    drawing = CHAT.replace("  role=predictor", "")
    assert text_of(path_of(drawing, chat=OPERATION)) == text_of(path_of(drawing))


# --- a client's own span of its call of a model: our sender's, or that of an instrumentation of OpenAI's library ---

SERVED = """
    POST                          CLIENT    130  490
      POST /v1/chat/completions  SERVER    200  470
        receive                   INTERNAL  150  200
        decode                    INTERNAL  210  240
        chat m                    INTERNAL  250  440  role=predictor
"""
CALLED = f"""
send image                        INTERNAL    0  500  transport=http image=1100000 payload=1500000
  encode                          INTERNAL   10  110
  chat m                          CLIENT    115  495{SERVED}"""
ASKED = f"""
answer a question                 INTERNAL    0  500
  chat m                          CLIENT    115  495{SERVED}"""
RETRIED = CALLED.replace(SERVED, f"\n    POST   CLIENT   118  121  failed{SERVED}")


def test_a_sender_s_span_of_its_call_changes_nothing_of_an_image_s_path():
    ours, without = path_of(CALLED, chat=OPERATION), path_of(CHAT, chat=OPERATION)
    assert (text_of(ours), ours.stamps, ours.hosts) == (text_of(without), without.stamps, without.hosts)


def test_the_attempts_below_it_are_retries():
    path = path_of(RETRIED, chat=OPERATION)
    assert (path.requests, text_of(path)) == (
        2,
        text_of(path_of(CALLED, chat=OPERATION)).replace("client 20, ", "client 8, retries 12, "),
    )


def test_so_it_is_where_it_is_somebody_else_s_and_the_outermost_one_too():
    whole = text_of(path_of(ASKED, chat=OPERATION))
    alone = text_of(path_of("\n".join(line[2:] for line in ASKED.splitlines()[2:]), chat=OPERATION))
    served = text_of(path_of(CALLED, chat=OPERATION)).removeprefix("client 10, encode 100, client 20, ")
    assert whole == f"client 130, {served}"
    assert alone == f"client 15, {served.removesuffix('client 10')}client 5"


def test_one_without_requests_below_it_is_the_request_itself():
    bare = """
chat m                            CLIENT    115  495
  POST /openai/v1/completions     SERVER    200  470  service=m @pod
    receive                       INTERNAL  150  200
    chat m                        INTERNAL  250  440  role=predictor
"""
    assert text_of(path_of(bare, chat=OPERATION)).startswith("predictor request 35, predictor receive 50")
