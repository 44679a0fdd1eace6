"""`openai`: the image as a data URI in a chat's message, after a prompt; a third longer than the image.

Source: OpenAI's API reference, "Create chat completion" (`image_url` parts, server-sent events with `stream`), which
KServe and vLLM implement.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import orjson

from otel_kfs.client.encodings import answer_json
from otel_kfs.client.encodings.encoded import Encoded, Encoding

NAME: Final = "openai"
PROMPT: Final = "What does this picture show?"
PATH: Final = "openai/v1/chat/completions"  # of KServe, below the server's URL
EVENT_STREAM: Final = "text/event-stream"


def openai_chat(model: str, prompt: str = PROMPT, *, stream: bool = False) -> Encoding:
    """Return the encoding for one model and prompt; with `stream` the answer is to come piece by piece."""
    return Encoding(NAME, partial(_encode, model, prompt, stream), protocol=NAME)


def _encode(model: str, prompt: str, stream: bool, image: bytes, media_type: str) -> Encoded:
    url = f"data:{media_type};base64,{base64.b64encode(image).decode('ascii')}"
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": url}}]
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": content}]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return Encoded(orjson.dumps(body), {"content-type": "application/json"})


def read_stream(content: bytes) -> dict[str, Any]:
    """Return a streamed answer as the one that would have come in one piece.

    Raises:
        ValueError: it breaks off before its `[DONE]`, says that the model failed, or is no such stream.
    """
    answer: dict[str, Any] = {}
    texts: dict[int, list[str]] = {}
    reasons: dict[int, Any] = {}
    for event in _events(content):
        if "error" in event:
            raise ValueError(f"the model failed in mid-stream: {event['error']}")
        answer |= {key: value for key, value in event.items() if key != "choices" and value is not None}
        for choice in _mappings(event.get("choices")):
            index = number if isinstance(number := choice.get("index"), int) else 0
            delta = choice.get("delta")
            text = delta.get("content") if isinstance(delta, Mapping) else None
            texts.setdefault(index, []).append(text if isinstance(text, str) else "")
            reasons[index] = choice.get("finish_reason") or reasons.get(index)
    answer["object"] = "chat.completion"
    answer["choices"] = [
        {
            "index": index,
            "message": {"role": "assistant", "content": "".join(pieces)},
            "finish_reason": reasons[index],
        }
        for index, pieces in texts.items()
    ]
    return answer


def _events(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield what a stream's events hold, up to the one that ends it."""
    for line in content.splitlines():
        field, _, value = line.partition(b":")
        if field != b"data":
            continue
        if value.strip() == b"[DONE]":
            return
        event = answer_json.loads(value)
        if not isinstance(event, dict):
            raise ValueError("an event of the stream is no JSON object")  # noqa: TRY004 - it is not the caller's type
        yield event
    raise ValueError("the stream breaks off before its end")


def _mappings(value: Any) -> Iterable[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
