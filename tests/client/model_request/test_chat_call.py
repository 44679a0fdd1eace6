"""A sender's call of a chat model: its pieces, seen as they come, however the network cuts them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import INVALID_SPAN

from otel_kfs.client.model_request.chat_call import ChatCall, ChatCalls

LONG = b'data: {"text": "' + b"data: " * 50 + b'"}'
OTHERS = [b"data: [DONE]", b"data:[DONE] ", b"", b": a comment", b"event: x", b"no data: here"]
LINES = st.lists(st.sampled_from([b"data: {}", b'data: {"a": 1}', b"data:{}", LONG, *OTHERS]), max_size=12)


def events_seen(pieces):
    call = ChatCall({}, captures=False)
    call.span = INVALID_SPAN
    for piece in pieces:
        call._take(piece)
    return len(call._pieces)


@given(lines=LINES, end=st.sampled_from([b"\n", b"\r\n"]), cuts=st.lists(st.integers(0, 500), max_size=8))
def test_the_events_of_a_stream_are_counted_however_it_is_cut(lines, end, cuts):
    content = b"".join(line + end for line in lines)
    places = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    pieces = [content[start:stop] for start, stop in itertools.pairwise(places)]
    events = [line for line in lines if line.startswith(b"data:") and line[5:].strip() != b"[DONE]"]
    assert events_seen(pieces) == len(events)


def test_of_a_line_without_an_end_the_beginning_alone_is_kept():
    call = ChatCall({}, captures=False)
    call.span = INVALID_SPAN
    for _ in range(1_000):
        call._take(b"x" * 65_536)
    assert len(call._line) == 64


@pytest.mark.parametrize("url", ["http://host:99999/v1/chat/completions", "http://host:no/v1/chat/completions"])
def test_a_port_that_there_can_t_be_is_for_the_request_to_say(url):
    assert "server.port" not in ChatCalls(url, "m", stream=False)._asked


@pytest.mark.parametrize(
    ("url", "provider", "port"),
    [
        ("http://host/openai/v1/chat/completions", "kserve", 80),
        ("https://host/openai/v1/chat/completions", "kserve", 443),
        ("http://host:8000/v1/chat/completions", "openai", 8000),
    ],
)
def test_a_route_tells_whose_api_it_is(url, provider, port):
    asked = ChatCalls(url, "m", stream=False)._asked
    assert (asked["gen_ai.provider.name"], asked["server.address"], asked["server.port"]) == (provider, "host", port)
