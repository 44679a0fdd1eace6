"""A model's call by an OpenAI route: its metrics, and the prompts and answers that the user asks for."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_kfs import semconv
from otel_kfs.serving import model_spans
from otel_kfs.serving.kserve import openai_calls
from otel_kfs.telemetry.gen_ai import gen_ai_metrics
from otel_kfs.telemetry.gen_ai.answered_call import field_of
from otel_kfs.telemetry.gen_ai.gen_ai_metrics import GenAIMetrics
from otel_kfs.telemetry.gen_ai.message_content import output_messages

SWITCH = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
SHARED = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "kserve",
    "gen_ai.request.model": "m",
}
ANSWERED = {**SHARED, "gen_ai.response.model": "m-1"}


class Model:
    """Answers a chat whole or in pieces, and fails where it is told to."""

    name = "m"

    async def create_chat_completion(self, request):
        if request.fails:
            raise ZeroDivisionError("broken")
        if request.stream:
            return self.pieces()
        message = SimpleNamespace(content="a cat")
        choice = SimpleNamespace(index=0, message=message, finish_reason="stop")
        return SimpleNamespace(id="1", model="m-1", choices=[choice], usage=SimpleNamespace(**USAGE), error=None)

    async def pieces(self):
        for index, text in ((0, "a "), (1, "two "), (0, "cat"), (1, "cats")):
            choice = {"index": index, "delta": {"content": text}}
            yield f"data: {json.dumps({'id': '1', 'model': 'm-1', 'choices': [choice]})}\n\n"
        ends = [{"index": index, "delta": {}, "finish_reason": "stop"} for index in (0, 1)]
        yield f"data: {json.dumps({'choices': ends, 'usage': USAGE})}\n\n".encode()
        yield "data: [DONE]\n\n"


@pytest.fixture
def spans(spans_of_models):
    return spans_of_models


@pytest.fixture
def points(monkeypatch):
    """What has been measured: by metric, each point's attributes, and how many values it is of."""
    reader = InMemoryMetricReader()
    monkeypatch.setattr(openai_calls, "metrics", GenAIMetrics(MeterProvider([reader]), of_server=True))

    def read():
        gen_ai_metrics.flush()
        data = reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics if data else []
        return {
            metric.name: [(dict(point.attributes), point.count) for point in metric.data.data_points]
            for metric in metrics
        }

    return read


def ask(stream=False, fails=False, **fields):
    model = Model()
    model_spans.trace_steps(model, lambda _: "predictor", None, openai_calls.OPERATIONS, openai_calls.OpenAICall)

    async def answer():
        given = await model.create_chat_completion(
            request=SimpleNamespace(model="m", stream=stream, fails=fails, **fields)
        )
        return [piece async for piece in given] if stream else given

    return asyncio.run(answer())


def test_a_whole_answer_is_measured_by_its_duration_and_its_tokens(spans, points):
    ask()
    tokens = [({**ANSWERED, "gen_ai.token.type": kind}, 1) for kind in ("input", "output")]
    assert points() == {
        "gen_ai.client.operation.duration": [(ANSWERED, 1)],
        "gen_ai.server.request.duration": [(ANSWERED, 1)],
        "gen_ai.client.token.usage": tokens,
    }


def test_a_streamed_answer_is_measured_by_its_first_piece_and_by_each_one_after_it(spans, points):
    ask(stream=True)
    found = points()
    del found["gen_ai.client.token.usage"]
    assert found == {
        "gen_ai.client.operation.duration": [(ANSWERED, 1)],
        "gen_ai.server.request.duration": [(ANSWERED, 1)],
        "gen_ai.client.operation.time_to_first_chunk": [(ANSWERED, 1)],
        "gen_ai.server.time_to_first_token": [(ANSWERED, 1)],
        "gen_ai.client.operation.time_per_output_chunk": [(ANSWERED, 4)],  # the end's mark is none
        "gen_ai.server.time_per_output_token": [(ANSWERED, 1)],
    }


def test_a_call_that_fails_is_measured_with_what_it_failed_of(spans, points):
    with pytest.raises(ZeroDivisionError):
        ask(fails=True)
    failed = [({**SHARED, "error.type": "ZeroDivisionError"}, 1)]
    assert points() == {"gen_ai.client.operation.duration": failed, "gen_ai.server.request.duration": failed}


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_behind_a_decorator_is_one_span_and_measured_once(spans, points, monkeypatch, stream):
    own = Model.create_chat_completion

    def decorated(self, request):
        return own(self, request)

    monkeypatch.setattr(Model, "create_chat_completion", decorated)
    answer = ask(stream)
    assert len(answer) == 6 if stream else answer.model == "m-1"
    (span,) = spans.get_finished_spans()
    assert (span.name, span.attributes["gen_ai.usage.output_tokens"]) == ("chat m", 4)
    assert points()["gen_ai.client.operation.duration"] == [(ANSWERED, 1)]


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({"stop": "end"}, {"gen_ai.request.stop_sequences": ("end",)}),
        ({"stop": ["a", "b", 3]}, {"gen_ai.request.stop_sequences": ("a", "b")}),
        ({"stop": []}, {}),
        ({"stop": 3}, {}),
        ({"response_format": {"type": "json_object"}}, {"gen_ai.output.type": "json"}),
        ({"response_format": SimpleNamespace(type="json_schema")}, {"gen_ai.output.type": "json"}),
        ({"response_format": {"type": "text"}}, {"gen_ai.output.type": "text"}),
        ({"response_format": {"type": []}}, {}),
        ({"response_format": "json"}, {}),
        ({"dimensions": 8}, {"gen_ai.embeddings.dimension.count": 8}),
        ({"encoding_format": "base64"}, {"gen_ai.request.encoding_formats": ("base64",)}),
        ({"max_tokens": 5, "top_p": 0.5}, {"gen_ai.request.max_tokens": 5, "gen_ai.request.top_p": 0.5}),
        ({"temperature": None, "seed": "three"}, {}),
    ],
)
def test_what_a_request_asks_for_is_on_the_span_as_the_conventions_name_it(spans, fields, written):
    ask(**fields)
    (asked,) = spans.get_finished_spans()
    spans.clear()
    ask()
    (without,) = spans.get_finished_spans()
    assert dict(asked.attributes.items() - without.attributes.items()) == written


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_that_were_cached_and_those_of_thinking_are_told(spans, monkeypatch, stream):
    monkeypatch.setitem(USAGE, "prompt_tokens_details", {"cached_tokens": 2})
    monkeypatch.setitem(USAGE, "completion_tokens_details", {"reasoning_tokens": 1})
    ask(stream)
    (span,) = spans.get_finished_spans()
    assert (
        span.attributes[semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS],
        span.attributes[semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS],
    ) == (2, 1)


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/"}}
MESSAGES = [
    {"role": "system", "content": "be short"},
    {"role": "user", "content": [{"type": "text", "text": "what is it?"}, PICTURE]},
]
SAID = [{"role": "assistant", "parts": [{"type": "text", "content": "a cat"}], "finish_reason": "stop"}]
SAID_TWICE = [*SAID, {"role": "assistant", "parts": [{"type": "text", "content": "two cats"}], "finish_reason": "stop"}]


@pytest.mark.parametrize(("stream", "said"), [(False, SAID), (True, SAID_TWICE)])
@pytest.mark.parametrize("switch", ["true", "SPAN_ONLY", "span_and_event"])
def test_messages_are_written_where_the_user_asks_for_them_a_picture_as_its_size(
    spans, monkeypatch, switch, stream, said
):
    monkeypatch.setenv(SWITCH, switch)
    ask(stream, messages=MESSAGES)
    (span,) = spans.get_finished_spans()
    assert json.loads(span.attributes[semconv.GEN_AI_INPUT_MESSAGES]) == [
        {"role": "system", "parts": [{"type": "text", "content": "be short"}]},
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "what is it?"},
                {"type": "blob", "modality": "image", "mime_type": "image/jpeg", "content": "27 characters"},
            ],
        },
    ]
    assert json.loads(span.attributes[semconv.GEN_AI_OUTPUT_MESSAGES]) == said


ASKED_FOR_TOOLS = [
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "a tail"},
]
TOOL_CALLS = [
    {"type": "tool_call", "id": "2", "name": "look", "arguments": {"at": [1, 2]}},
    {"type": "tool_call", "id": "3", "name": "rest", "arguments": "not json"},
]


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_tools_are_messages_parts_too(spans, monkeypatch, stream):
    def call(index, number, name, arguments):
        return {"index": index, "id": number, "function": {"name": name, "arguments": arguments}}

    async def pieces(_):
        deltas = (
            [call(0, "2", "look", '{"at"')],
            [call(0, None, None, ": [1, 2]}"), call(1, "3", "rest", "not ")],
            [call(1, None, None, "json")],
        )
        for delta in deltas:
            yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'tool_calls': delta}}]})}\n\n"
        yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'tool_calls'}]})}\n\n"

    class Asks(Model):
        async def create_chat_completion(self, request):
            if request.stream:
                return pieces(self)
            calls = [call(None, "2", "look", '{"at": [1, 2]}'), call(None, "3", "rest", "not json")]
            message = {"content": None, "tool_calls": calls}
            return {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}

    monkeypatch.setenv(SWITCH, "true")
    model = Asks()
    model_spans.trace_steps(model, lambda _: "predictor", None, openai_calls.OPERATIONS, openai_calls.OpenAICall)

    async def main():
        request = SimpleNamespace(model="m", stream=stream, messages=ASKED_FOR_TOOLS)
        answer = await model.create_chat_completion(request)
        return [piece async for piece in answer] if stream else answer

    asyncio.run(main())
    (span,) = spans.get_finished_spans()
    assert json.loads(span.attributes[semconv.GEN_AI_INPUT_MESSAGES]) == [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "1", "name": "look", "arguments": {"at": "it"}}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "a tail"}]},
    ]
    assert json.loads(span.attributes[semconv.GEN_AI_OUTPUT_MESSAGES]) == [
        {"role": "assistant", "parts": TOOL_CALLS, "finish_reason": "tool_calls"}
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ({"refusal": "I can't"}, [{"type": "refusal", "content": "I can't"}]),
        (
            {"content": "a cat", "reasoning_content": "a tail"},
            [{"type": "reasoning", "content": "a tail"}, {"type": "text", "content": "a cat"}],
        ),
        (
            {"content": None, "function_call": {"name": "look", "arguments": "[1]"}},
            [{"type": "tool_call", "id": None, "name": "look", "arguments": [1]}],
        ),
        ({"content": ""}, [{"type": "text", "content": ""}]),
        ({"content": 3, "function_call": 3, "tool_calls": 3, "refusal": 3}, [{"type": "text", "content": ""}]),
    ],
)
def test_all_that_an_answer_says_is_written_where_the_user_asks_for_it(said, parts, stream):
    pieces = [{"index": 0, "delta" if stream else "message": said}]
    if stream:  # each text in two pieces
        cut = {name: text for name, text in said.items() if isinstance(text, str)}
        pieces = [{"index": 0, "delta": {**said, **{name: text[:2] for name, text in cut.items()}}}]
        pieces.append({"index": 0, "delta": {name: text[2:] for name, text in cut.items()}})
    assert output_messages(pieces, field_of) == [{"role": "assistant", "parts": parts, "finish_reason": ""}]


@pytest.mark.parametrize("index", [None, [1], {}, "0", 0.5])
def test_a_choice_whose_index_is_none_is_the_first(index):
    choices = [{"index": given, "delta": {"content": text}} for given, text in ((0, "a "), (index, "cat"))]
    (message,) = output_messages(choices, field_of)
    assert message["parts"] == [{"type": "text", "content": "a cat"}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("switch", ["", "false", "no_content", "event_only"])
def test_messages_are_written_nowhere_else(spans, monkeypatch, switch, stream):
    monkeypatch.setenv(SWITCH, switch)
    ask(stream, messages=MESSAGES)
    (span,) = spans.get_finished_spans()
    assert not {semconv.GEN_AI_INPUT_MESSAGES, semconv.GEN_AI_OUTPUT_MESSAGES} & set(span.attributes)


@pytest.mark.parametrize(
    "messages", [None, "text", [3], [{"role": "user", "content": iter(["read once"])}], [{"content": [{"type": "x"}]}]]
)
def test_a_request_of_another_shape_is_answered_all_the_same(spans, monkeypatch, messages):
    monkeypatch.setenv(SWITCH, "true")
    assert ask(messages=messages).model == "m-1"
    assert messages is None or not isinstance(messages[0], dict) or list(messages[0]["content"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_the_sampler_drops_is_measured_all_the_same(points, stream):
    model_spans.use_provider(TracerProvider(sampler=ALWAYS_OFF))
    ask(stream)
    model_spans.use_provider(None)
    found = points()
    assert found["gen_ai.client.operation.duration"] == [(ANSWERED, 1)]
    assert ("gen_ai.client.operation.time_to_first_chunk" in found) is stream


@pytest.mark.parametrize("stream", [False, True])
def test_metrics_that_fail_change_neither_the_answer_nor_the_span(spans, monkeypatch, stream):
    class Broken:
        def record(self, *_):
            raise RuntimeError("no metrics today")

    metrics = GenAIMetrics(MeterProvider(), of_server=True)
    for name, instrument in vars(metrics).items():
        if hasattr(instrument, "record"):
            setattr(metrics, name, Broken())
    monkeypatch.setattr(openai_calls, "metrics", metrics)
    answer = ask(stream)
    assert len(answer) == 6 if stream else answer.model == "m-1"
    (span,) = spans.get_finished_spans()
    assert (span.name, span.status.is_unset) == ("chat m", True)


def test_an_exemplar_leads_to_the_call_s_own_span(spans, monkeypatch):
    reader = InMemoryMetricReader()
    monkeypatch.setattr(openai_calls, "metrics", GenAIMetrics(MeterProvider([reader]), of_server=True))
    ask(stream=True)
    gen_ai_metrics.flush()
    (span,) = spans.get_finished_spans()
    metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    led = {
        (metric.name, one.span_id) for metric in metrics for point in metric.data.data_points for one in point.exemplars
    }
    assert led == {(metric.name, span.context.span_id) for metric in metrics}


def test_the_mark_of_a_stream_s_end_is_no_chunk(spans):
    assert len(ask(stream=True)) == 6
    (span,) = spans.get_finished_spans()
    assert span.attributes[semconv.RESPONSE_CHUNKS] == 5


@pytest.mark.parametrize("count", [2, 9, 200])
def test_each_choice_of_a_stream_has_its_reason_to_end_in_the_choices_order(spans, monkeypatch, count):
    async def pieces(_):
        yield "data: {}\n\n"
        for index in reversed(range(count)):
            yield f"data: {json.dumps({'choices': [{'index': index, 'finish_reason': str(index)}]})}\n\n"
        yield f"data: {json.dumps({'choices': [], 'usage': USAGE})}\n\n"
        yield "data: [DONE]\n\n"

    monkeypatch.setattr(Model, "pieces", pieces)
    ask(stream=True, n=count)
    (span,) = spans.get_finished_spans()
    reasons = span.attributes["gen_ai.response.finish_reasons"]
    assert (reasons[:2], len(reasons)) == (("0", "1"), min(count, 129))  # so many of the last pieces are kept


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        ({"message": "a secret", "type": "server_error", "code": None}, "server_error", "server_error"),
        ({"message": "a secret", "type": "BadRequestError", "code": 400}, "400", "400: BadRequestError"),
        ({"message": "a secret"}, "_OTHER", "_OTHER"),
        ("a secret", "_OTHER", "_OTHER"),
    ],
)
def test_a_stream_with_an_error_in_it_has_failed_of_what_that_says(spans, points, monkeypatch, error, kind, text):
    async def pieces(_):
        yield f"data: {json.dumps({'error': error})}\n\n"
        yield "data: [DONE]\n\n"

    monkeypatch.setattr(Model, "pieces", pieces)
    ask(stream=True)
    (span,) = spans.get_finished_spans()
    assert (span.attributes["error.type"], span.status.description) == (kind, text)
    assert points()["gen_ai.client.operation.duration"] == [({**SHARED, "error.type": kind}, 1)]


def test_a_request_that_another_model_makes_of_a_dict_is_a_span_all_the_same(spans):
    class OfDict(Model):
        async def create_chat_completion(self, request):
            return {"model": request["model"], "choices": []}

    model = OfDict()
    model_spans.trace_steps(model, lambda _: "predictor", None, openai_calls.OPERATIONS, openai_calls.OpenAICall)
    asyncio.run(model.create_chat_completion({"model": "m", "seed": 7, "messages": []}))
    (span,) = spans.get_finished_spans()
    assert (span.name, span.attributes["gen_ai.request.seed"]) == ("chat m", 7)


@pytest.mark.parametrize("choices", [3, [3], [{"delta": 3}], [{"index": [], "delta": {"content": 3}}], {"a": 1}])
def test_pieces_of_another_shape_are_handed_on_and_the_span_ends(spans, points, monkeypatch, choices):
    async def pieces(_):
        yield f"data: {json.dumps({'choices': choices})}\n\n"
        yield "data: not json\n\n"
        yield 3

    monkeypatch.setattr(Model, "pieces", pieces)
    assert len(ask(stream=True)) == 3
    (span,) = spans.get_finished_spans()
    assert span.attributes[semconv.RESPONSE_CHUNKS] == 3
    assert points()["gen_ai.client.operation.time_per_output_chunk"] == [(SHARED, 2)]
