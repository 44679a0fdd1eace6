"""`openai`: a chat's message with the image in it, and a streamed answer put together."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kfs.client.encodings import by_name
from otel_kfs.client.encodings.openai_chat import openai_chat, read_stream
from otel_kfs.errors import ConfigError


def test_a_message_is_the_prompt_and_then_the_image_as_a_data_uri():
    body, headers = openai_chat("m", "What is it?").encode(b"\xff\xd8", "image/jpeg")
    url = f"data:image/jpeg;base64,{base64.b64encode(bytes([0xFF, 0xD8])).decode()}"
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    assert json.loads(body) == {"model": "m", "messages": [{"role": "user", "content": content}]}
    assert headers == {"content-type": "application/json"}


def test_a_stream_is_asked_for_with_the_tokens_that_it_used():
    body, _ = openai_chat("m", stream=True).encode(b"", "image/jpeg")
    asked = json.loads(body)
    assert (asked["stream"], asked["stream_options"]) == (True, {"include_usage": True})


def test_by_its_name_alone_it_lacks_the_model():
    with pytest.raises(ConfigError, match="the encoding 'openai' names a model: it is for HttpSender"):
        by_name("openai")


def stream(events, end=b"data: [DONE]\n\n"):
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + end


@given(texts=st.lists(st.lists(st.text(), max_size=5), min_size=1, max_size=3))
def test_the_pieces_of_each_choice_are_put_together(texts):
    pieces = [(index, text) for index, parts in enumerate(texts) for text in parts]
    pieces.sort(key=lambda piece: piece[1])
    said = {index: "".join(text for at, text in pieces if at == index) for index in range(len(texts))}
    events = [
        {"id": "1", "object": "chat.completion.chunk", "choices": [{"index": at, "delta": {"content": text}}]}
        for at, text in pieces
    ]
    ends = [{"index": at, "delta": {}, "finish_reason": "stop"} for at in range(len(texts))]
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    answer = read_stream(stream([*events, {"choices": ends}, {"id": "1", "choices": [], "usage": usage}]))
    assert sorted(answer.pop("choices"), key=lambda choice: choice["index"]) == [
        {"index": at, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for at, text in said.items()
    ]
    assert answer == {"id": "1", "object": "chat.completion", "usage": usage}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the stream breaks off before its end"),
        (stream([{"choices": []}], end=b""), "the stream breaks off before its end"),
        (stream([3]), "an event of the stream is no JSON object"),
        (b"data: {not json\n\n", "Expecting property name"),
        (stream([{"error": {"message": "no room"}}]), "the model failed in mid-stream: {'message': 'no room'}"),
    ],
)
def test_a_stream_that_is_none_says_why(content, why):
    with pytest.raises(ValueError, match=why):
        read_stream(content)


@given(content=st.binary(max_size=200))
def test_whatever_comes_is_read_or_is_a_value_error(content):
    with suppress(ValueError):
        assert read_stream(b"data: " + content + b"\ndata: [DONE]\n")["object"] == "chat.completion"
