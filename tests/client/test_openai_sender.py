"""One image, one trace, to a chat route."""

import json

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import SpanKind, StatusCode
from sender_support import by_name
from support import JPG, HttpServer

from otel_kfs import HttpSender, semconv
from otel_kfs.client.model_request import chat_call
from otel_kfs.errors import ConfigError, SendError
from otel_kfs.telemetry.gen_ai import gen_ai_metrics
from otel_kfs.telemetry.gen_ai.gen_ai_metrics import GenAIMetrics


@pytest.fixture
def server():
    with HttpServer().running() as server:
        server.answers(200, b'{"choices": [{"index": 0, "message": {"content": "a cat"}}]}')
        yield server


def streams(server, *events, end=b"data: [DONE]\n\n"):
    content = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + end

    def answer(_, handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    server.answer = answer


def sender(server, path="", **options):
    return HttpSender(f"{server.url}{path}", model="m", encoding="openai", **options)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", "/openai/v1/chat/completions"),
        ("/", "/openai/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
    ],
)
def test_an_image_goes_to_the_chat_route_after_its_prompt(server, path, asked):
    answer = sender(server, path, prompt="What is it?").send(JPG)
    assert answer["choices"][0]["message"]["content"] == "a cat"
    (request,) = server.requests
    body = json.loads(request.body)
    assert (request.path, body["model"], body["messages"][0]["content"][0]["text"]) == (asked, "m", "What is it?")


def test_the_root_span_tells_the_encoding_and_neither_prompt_nor_image(spans, server):
    sender(server, prompt="a secret").send(JPG)
    root = by_name(spans)["send image"]
    assert (root.attributes[semconv.TRANSPORT], root.attributes[semconv.ENCODING]) == ("http", "openai")
    assert "a secret" not in str([dict(span.attributes) for span in spans.get_finished_spans()])


ANSWER = {
    "id": "1",
    "model": "m-1",
    "choices": [{"index": 0, "message": {"content": "a cat"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}
DELTAS = [{"id": "1", "model": "m-1", "choices": [{"index": 0, "delta": {"content": text}}]} for text in ("a ", "cat")]
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": ANSWER["usage"]}


def asked_of(server, **more):
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "kserve",
        "gen_ai.request.model": "m",
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
        **more,
    }


def chat_of(spans):
    """The one span of the call of the model, which is around the request's."""
    found = by_name(spans)
    (call,) = (span for name, span in found.items() if name.startswith("chat"))
    ids = {name: span.context.span_id for name, span in found.items()}
    assert (call.kind, call.parent.span_id, found["POST"].parent.span_id) == (
        SpanKind.CLIENT,
        ids["send image"],
        call.context.span_id,
    )
    return call


def test_the_call_of_the_model_is_a_span_around_the_request(spans, server):
    server.answers(200, json.dumps(ANSWER).encode())
    sender(server).send(JPG)
    call = chat_of(spans)
    assert (call.name, call.status.is_unset, dict(call.attributes)) == (
        "chat m",
        True,
        asked_of(
            server,
            **{
                "gen_ai.response.id": "1",
                "gen_ai.response.model": "m-1",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.usage.input_tokens": 3,
                "gen_ai.usage.output_tokens": 2,
            },
        ),
    )


def test_of_a_streamed_answer_it_tells_when_the_first_piece_was_there(spans, server):
    streams(server, *DELTAS, END)
    sender(server, stream=True).send(JPG)
    call = chat_of(spans)
    found = dict(call.attributes)
    assert 0 < found.pop("gen_ai.response.time_to_first_chunk") * 1e9 < call.end_time - call.start_time
    assert (found["gen_ai.request.stream"], found["otel_kfs.response.chunks"]) == (True, 3)
    assert found["gen_ai.usage.output_tokens"] == 2


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [(404, b"{}", "404"), (500, b"{}", "500"), (200, b"no json", "SendError"), (413, b"", "413")],
)
def test_a_call_without_an_answer_says_what_it_failed_of_and_the_root_has_the_exception(
    spans, server, status, content, kind
):
    server.answers(status, content)
    with pytest.raises(SendError):
        sender(server).send(JPG)
    call = chat_of(spans)
    assert (call.attributes["error.type"], call.status.status_code, call.status.description, call.events) == (
        kind,
        StatusCode.ERROR,
        kind,
        (),
    )
    assert [event.name for event in by_name(spans)["send image"].events] == ["exception"]


@pytest.mark.parametrize(
    ("body", "name"),
    [({"model": "other", "stream": True}, "chat other"), ({}, "chat"), ([], "chat"), ({"model": 3}, "chat")],
)
def test_a_payload_of_the_user_s_own_says_itself_which_model_is_asked(spans, server, body, name):
    sender(server).send_json(json.dumps(body).encode())
    call = chat_of(spans)
    assert (call.name, call.attributes.get("gen_ai.request.model")) == (name, name.partition(" ")[2] or None)


def test_a_payload_of_the_user_s_own_says_what_is_asked_of_the_model(spans, server):
    asked = {"max_tokens": 7, "temperature": 0.5, "top_p": True, "n": 2, "stop": ["a", 3], "seed": None}
    asked |= {"response_format": {"type": "json_schema"}, "messages": [{"role": "user", "content": "a secret"}]}
    sender(server).send_json(json.dumps({"model": "m", **asked}).encode())
    assert dict(chat_of(spans).attributes) == asked_of(
        server,
        **{
            "gen_ai.request.max_tokens": 7,
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.choice.count": 2,
            "gen_ai.request.stop_sequences": ("a",),
            "gen_ai.output.type": "json",
        },
    )


SWITCH = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@pytest.mark.parametrize("stream", [False, True])
def test_prompt_and_answer_are_written_where_the_user_asks_for_them(spans, server, monkeypatch, stream):
    monkeypatch.setenv(SWITCH, "span_only")
    if stream:
        streams(server, *DELTAS, END)
    else:
        server.answers(200, json.dumps(ANSWER).encode())
    sender(server, prompt="what is it?", stream=stream).send(JPG)
    written = chat_of(spans).attributes
    (message,) = json.loads(written["gen_ai.input.messages"])
    size = f"{len('data:image/jpeg;base64,') + 4 * ((len(JPG) + 2) // 3)} characters"
    assert message == {
        "role": "user",
        "parts": [
            {"type": "text", "content": "what is it?"},
            {"type": "blob", "modality": "image", "mime_type": "image/jpeg", "content": size},
        ],
    }
    assert json.loads(written["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "a cat"}], "finish_reason": "stop"}
    ]


@pytest.mark.parametrize("switch", ["", "no_content", "event_only"])
@pytest.mark.parametrize("stream", [False, True])
def test_and_nowhere_else(spans, server, monkeypatch, switch, stream):
    monkeypatch.setenv(SWITCH, switch)
    if stream:
        streams(server, *DELTAS, END)
    else:
        server.answers(200, json.dumps(ANSWER).encode())
    sender(server, prompt="a secret", stream=stream).send(JPG)
    written = str([(dict(span.attributes), span.events, span.name) for span in spans.get_finished_spans()])
    assert not [text for text in ("a secret", "a cat", "base64") if text in written]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_is_measured_as_the_conventions_have_it_of_a_client(server, monkeypatch, stream):
    reader = InMemoryMetricReader()
    monkeypatch.setattr(chat_call, "metrics", GenAIMetrics(MeterProvider([reader])))
    if stream:
        streams(server, *DELTAS, END)
    else:
        server.answers(200, json.dumps(ANSWER).encode())
    sender(server, stream=stream).send(JPG)
    gen_ai_metrics.flush()
    answered = asked_of(server, **{"gen_ai.response.model": "m-1"})
    tokens = [({**answered, "gen_ai.token.type": kind}, 1, count) for kind, count in (("input", 3), ("output", 2))]
    found = {
        metric.name: [(dict(point.attributes), point.count, point.sum) for point in metric.data.data_points]
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    }
    assert found.pop("gen_ai.client.token.usage") == tokens
    counts = {name: [point[:2] for point in points] for name, points in found.items()}
    expected = {"gen_ai.client.operation.duration": [(answered, 1)]}
    if stream:
        expected |= {
            "gen_ai.client.operation.time_to_first_chunk": [(answered, 1)],
            "gen_ai.client.operation.time_per_output_chunk": [(answered, 2)],
        }
    assert counts == expected


def test_a_call_that_fails_is_measured_with_what_it_failed_of(server, monkeypatch):
    reader = InMemoryMetricReader()
    monkeypatch.setattr(chat_call, "metrics", GenAIMetrics(MeterProvider([reader])))
    server.answers(500, b"{}")
    with pytest.raises(SendError):
        sender(server).send(JPG)
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert [(metric.name, dict(point.attributes)) for point in metric.data.data_points] == [
        ("gen_ai.client.operation.duration", asked_of(server, **{"error.type": "500"}))
    ]


def test_a_streamed_answer_is_returned_whole(server):
    deltas = ({"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("a ", "cat"))
    streams(server, *deltas)
    answer = sender(server, stream=True).send(JPG)
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "a cat"}, "finish_reason": None}
    ]
    assert json.loads(server.requests[0].body)["stream"] is True


def test_a_stream_that_breaks_off_is_an_error_that_says_so(server):
    streams(server, {"choices": []}, end=b"")
    with pytest.raises(SendError) as raised:
        sender(server, stream=True).send(JPG)
    assert str(raised.value) == (
        f"{server.url}/openai/v1/chat/completions answered 200 with a stream that can't be read: the stream breaks off "
        "before its end"
    )


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_an_error_is_one_whatever_its_status(spans, server, stream):
    error = {"message": "no room", "type": "server_error", "code": 507}
    if stream:
        streams(server, DELTAS[0], {"error": error})
    else:
        server.answers(200, json.dumps({"error": error}).encode())
    with pytest.raises(SendError) as raised:
        sender(server, stream=stream).send(JPG)
    told = f"answered 200 with an error: {error}"
    if stream:
        told = f"answered 200 with a stream that can't be read: the model failed in mid-stream: {error}"
    assert str(raised.value) == f"{server.url}/openai/v1/chat/completions {told}"
    call, root = chat_of(spans), by_name(spans)["send image"]
    kinds = ("SendError" if stream else "507", "SendError")
    assert tuple(span.attributes["error.type"] for span in (call, root)) == kinds


def test_an_answer_that_says_that_there_is_no_error_is_one(server):
    answer = {"error": None, "choices": []}
    server.answers(200, json.dumps(answer).encode())
    assert sender(server).send(JPG) == answer


def test_an_answer_that_is_no_json_asks_whether_the_url_is_a_chat_route_s(server):
    server.answers(200, b"<html>")
    with pytest.raises(SendError) as raised:
        sender(server).send(JPG)
    what = "answered 200 but not with JSON ('<html>'); is it a model's chat route?"
    assert str(raised.value) == f"{server.url}/openai/v1/chat/completions {what}"


@pytest.mark.parametrize("status", [400, 401, 415, 422, 429, 500, 503])
def test_a_server_that_has_the_route_gets_no_hint(server, status):
    server.answers(status, b"the reason")
    with pytest.raises(SendError) as raised:
        sender(server).send(JPG)
    assert str(raised.value).endswith("the reason")


def test_a_server_without_the_route_is_an_error_with_a_hint(server):
    server.answers(404, b'{"detail": "Not Found"}')
    with pytest.raises(SendError, match="KServe's only where vLLM is installed"):
        sender(server).send(JPG)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"encoding": "openai"}, "the encoding openai names the model in its request: give model"),
        ({"model": "m", "prompt": "?"}, "prompt and stream are for the encoding openai alone"),
        ({"model": "m", "encoding": "raw", "stream": True}, "prompt and stream are for the encoding openai alone"),
    ],
)
def test_what_does_not_fit_together_is_a_config_error(options, why):
    with pytest.raises(ConfigError, match=why):
        HttpSender("http://127.0.0.1:1", **options)
