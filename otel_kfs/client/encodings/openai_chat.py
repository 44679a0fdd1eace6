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
ROUTE: Final = "/chat/completions"  # how the path of every server's ends
PATH: Final = f"openai/v1{ROUTE}"  # of KServe, below the server's URL
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

    Source: OpenAI's API reference, "The chat completion chunk object", and its Python client's `accumulate_delta`.

    Raises:
        ValueError: it breaks off before its `[DONE]`, says that the model failed, or is no such stream.
        RecursionError: it is nested too deeply.
    """
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for event in _events(content):
        if event.get("error") is not None:
            raise ValueError(f"the model failed in mid-stream: {event['error']}")
        answer |= {key: value for key, value in event.items() if key != "choices" and value is not None}
        for piece in _mappings(event.get("choices")):
            choice = choices.setdefault(_index(piece) or 0, {"finish_reason": None})
            for key, value in piece.items():
                if key in {"delta", "logprobs", "text"}:
                    choice[key] = _continued(choice.get(key), value)
                elif value is not None:
                    choice[key] = value
    kind = answer.get("object")
    answer["object"] = kind.removesuffix(".chunk") if isinstance(kind, str) else "chat.completion"
    answer["choices"] = [_whole_choice(index, choices[index]) for index in sorted(choices)]
    return answer


class _Pieces(list[str]):
    """A text that further pieces may continue."""


class _Entries:
    """A list that further pieces may continue: entries with an `index` each for itself, others by new ones."""

    def __init__(self) -> None:
        self._indexed: dict[int, Any] = {}
        self._others: list[Any] = []

    def add(self, entries: list[Any]) -> None:
        for entry in entries:
            if (index := _index(entry)) is None:
                self._others.append(entry)
            else:
                known = self._indexed.get(index)
                self._indexed[index] = _continued(known, {key: entry[key] for key in entry if key != "index"})

    def whole(self) -> list[Any]:
        return [*(_whole(self._indexed[index]) for index in sorted(self._indexed)), *self._others]


_NOT_CONTINUED = frozenset({"id", "role", "type"})  # some servers repeat them in each piece


def _continued(known: Any, piece: Any) -> Any:
    """Return a part of a message, of which `known` came before, with what a piece adds to it."""
    if isinstance(piece, dict):
        parts = known if isinstance(known, dict) else {}
        for key, value in piece.items():
            if key not in _NOT_CONTINUED:
                parts[key] = _continued(parts.get(key), value)
            elif value or key not in parts:
                parts[key] = value
        return parts
    if isinstance(piece, str):
        texts = known if isinstance(known, _Pieces) else _Pieces()
        texts.append(piece)
        return texts
    if isinstance(piece, list):
        entries = known if isinstance(known, _Entries) else _Entries()
        entries.add(piece)
        return entries
    return known if piece is None else piece


def _whole(part: Any) -> Any:
    """Return what a part of a message is once all its pieces are there."""
    if isinstance(part, dict):
        return {key: _whole(value) for key, value in part.items()}
    if isinstance(part, _Pieces):
        return "".join(part)
    return part.whole() if isinstance(part, _Entries) else part


def _whole_choice(index: int, choice: dict[str, Any]) -> dict[str, Any]:
    whole = {**_whole(choice), "index": index}
    said = whole.pop("delta", None)
    if "text" in whole:  # of a completion, which has no message
        return whole
    message = dict(said) if isinstance(said, dict) else {}
    role, is_empty = message.pop("role", None) or "assistant", not message
    # Beside a call of a tool, say, the content is null.
    del whole["index"]
    return {"index": index, "message": {"role": role, "content": "" if is_empty else None, **message}, **whole}


def _index(entry: Any) -> int | None:
    index = entry.get("index") if isinstance(entry, Mapping) else None
    return index if isinstance(index, int) else None


def _events(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield what a stream's events hold, up to the one that ends it."""
    for line in content.splitlines():
        field, _, value = line.partition(b":")
        if field != b"data":
            continue
        if value.strip() == b"[DONE]":
            return
        try:
            event = answer_json.loads(value)
        except ValueError as error:
            raise ValueError(f"an event of the stream is no JSON ({error})") from error
        if not isinstance(event, dict):
            raise ValueError("an event of the stream is no JSON object")  # noqa: TRY004 - it is not the caller's type
        yield event
    raise ValueError("the stream breaks off before its end")


def _mappings(value: Any) -> Iterable[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
