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


def deltas(*pieces, index=0):
    return [{"choices": [{"index": index, "delta": piece}]} for piece in pieces]


def message_of(events):
    (choice,) = read_stream(stream(events))["choices"]
    return choice["message"]


def call_piece(index, arguments, **head):
    function = {"name": head.pop("name"), "arguments": arguments} if "name" in head else {"arguments": arguments}
    return {"index": index, **head, "function": function}


def test_calls_of_tools_are_put_together_by_their_index():
    events = deltas(
        {"role": "assistant", "content": None, "tool_calls": None},
        {"tool_calls": [call_piece(0, "", id="a", type="function", name="look")]},
        {"tool_calls": [call_piece(1, '{"b"', id="b", type="function", name="zoom"), call_piece(0, '{"a":')]},
        {"tool_calls": [call_piece(0, "1}", id=None, type="function")]},
        {"tool_calls": [call_piece(1, ":2}", id="b")]},
    )
    assert message_of(events) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}},
            {"id": "b", "type": "function", "function": {"name": "zoom", "arguments": '{"b":2}'}},
        ],
    }


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([{"refusal": "I "}, {"refusal": "can't"}], {"content": None, "refusal": "I can't"}),
        (
            [{"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}],
            {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
        ),
        (
            [{"reasoning_content": "it is "}, {"reasoning_content": "a cat"}, {"content": "cat"}],
            {"content": "cat", "reasoning_content": "it is a cat"},
        ),
        ([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}], {"content": "ab"}),
        ([{"role": None, "content": "a"}, {"content": None}], {"content": "a"}),
        (  # without an index, as some servers send whole calls
            [{"tool_calls": [{"id": "a"}]}, {"tool_calls": [{"id": "b"}]}],
            {"content": None, "tool_calls": [{"id": "a"}, {"id": "b"}]},
        ),
        ([None, "text", 3], {"content": ""}),
    ],
)
def test_a_message_has_all_that_its_pieces_have(pieces, message):
    assert message_of(deltas(*pieces)) == {"role": "assistant", **message}


def test_log_probabilities_follow_one_another():
    events = [
        {"choices": [{"delta": {"content": text}, "logprobs": {"content": [{"token": text}], "refusal": None}}]}
        for text in "ab"
    ]
    (choice,) = read_stream(stream(events))["choices"]
    assert choice["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}


def test_the_pieces_of_a_completion_are_one_text():
    events = [{"object": "text_completion", "choices": [{"index": 0, "text": text}]} for text in ("a ", "cat")]
    assert read_stream(stream(events)) == {
        "object": "text_completion",
        "choices": [{"index": 0, "text": "a cat", "finish_reason": None}],
    }


CALLS = st.lists(st.tuples(st.text(), st.lists(st.text(), max_size=4)), min_size=1, max_size=3)


@given(choices=st.lists(CALLS, min_size=1, max_size=3), data=st.data())
def test_calls_of_tools_are_whole_however_they_are_cut_and_take_turns(choices, data):
    queues = [
        [
            {"choices": [{"index": at, "delta": {"tool_calls": [call_piece(number, text, **head)]}}]}
            for text, head in [
                ("", {"id": f"{at}-{number}", "type": "function", "name": name}),
                *((a, {}) for a in texts),
            ]
        ]
        for at, calls in enumerate(choices)
        for number, (name, texts) in enumerate(calls)
    ]
    events = []
    while queues := [queue for queue in queues if queue]:
        events.append(data.draw(st.sampled_from(queues)).pop(0))
    assert [choice["message"]["tool_calls"] for choice in read_stream(stream(events))["choices"]] == [
        [
            {"id": f"{at}-{number}", "type": "function", "function": {"name": name, "arguments": "".join(texts)}}
            for number, (name, texts) in enumerate(calls)
        ]
        for at, calls in enumerate(choices)
    ]


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
