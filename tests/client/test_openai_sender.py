"""One image, one trace, to a chat route."""

import json

import pytest
from sender_support import by_name
from support import JPG, HttpServer

from otel_kfs import HttpSender, semconv
from otel_kfs.errors import ConfigError, SendError


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
