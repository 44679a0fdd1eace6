"""Prompts and answers as the conventions for generative AI write them on a span; a picture as what it is, without it.

Source: OpenTelemetry's semantic conventions for generative AI, the JSON schemas of `gen_ai.input.messages` and
`gen_ai.output.messages`; the switch is that of OpenTelemetry's own instrumentations (opentelemetry-util-genai).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Message = dict[str, Any]
Field = Callable[[Any, str], Any]  # of a thing, the field of that name


def captures_content() -> bool:
    """Whether the user asks for prompts and answers on spans."""
    asked = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "")
    return asked.strip().lower() in {"true", "span_only", "span_and_event"}


def input_messages(request: Mapping[str, Any]) -> list[Message]:
    """Return the messages of a request's fields: a chat's, or the one that a prompt, an input or a query is."""
    messages = request.get("messages")
    if isinstance(messages, list):
        return [_message(message) for message in messages if isinstance(message, Mapping)]
    texts: list[str] = []
    for field in ("prompt", "input", "query", "documents"):
        value = request.get(field)
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            texts += [text for text in value if isinstance(text, str)]
    return [{"role": "user", "parts": [{"type": "text", "content": text} for text in texts]}]


def _message(message: Mapping[str, Any]) -> Message:
    content, role = message.get("content"), str(message.get("role"))
    given = content if isinstance(content, list) else [content]  # no other iterable: it might be read only once
    parts = [part for one in given if (part := _part(one)) is not None]
    if role == "tool":
        response = parts[0]["content"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
        return {
            "role": role,
            "parts": [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": response}],
        }
    calls = _ToolCalls()
    calls.add(message, lambda call, name: call.get(name) if isinstance(call, Mapping) else None)
    return {"role": role, "parts": [*parts, *calls.parts()]}


class _ToolCalls:
    """The calls of tools that one message asks for; a stream brings each in pieces."""

    def __init__(self) -> None:
        self._heads: dict[int, Message] = {}
        self._arguments: dict[int, list[str]] = {}

    def add(self, message: Any, field: Field) -> None:
        """Add what a message, or a piece of one, holds; `field` gets at the fields."""
        calls = given if isinstance(given := field(message, "tool_calls"), list) else []
        only = field(message, "function_call")  # of OpenAI's older messages
        if isinstance(field(only, "name"), str) or isinstance(field(only, "arguments"), str):
            calls = [*calls, {"function": only}]
        for place, call in enumerate(calls):
            index = given if isinstance(given := field(call, "index"), int) else place
            head = self._heads.setdefault(index, {"type": "tool_call", "id": None, "name": ""})
            function = field(call, "function")
            if isinstance(identity := field(call, "id"), str) and identity:
                head["id"] = identity
            if isinstance(name := field(function, "name"), str):
                head["name"] += name
            if isinstance(arguments := field(function, "arguments"), str):
                self._arguments.setdefault(index, []).append(arguments)

    def parts(self) -> list[Message]:
        """Return the calls, with their arguments as what they mean where they are JSON."""
        return [
            {**head, "arguments": _read("".join(self._arguments.get(index, ())))} for index, head in self._heads.items()
        ]


def _read(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def _part(part: Any) -> Message | None:
    if isinstance(part, str):
        return {"type": "text", "content": part}
    if not isinstance(part, Mapping):
        return None
    if isinstance(text := part.get("text"), str):
        return {"type": "text", "content": text}
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if not isinstance(url, str):
        return {"type": str(part.get("type"))}
    if url.startswith("data:"):
        kind = url[5:100].partition(";")[0]
        return {"type": "blob", "modality": "image", "mime_type": kind, "content": f"{len(url)} characters"}
    return {"type": "uri", "modality": "image", "uri": url}


# The texts of an answer, and the type of the part that each is.
_TEXTS = {
    "reasoning_content": "reasoning",  # of vLLM and others, which call it by either name
    "reasoning": "reasoning",
    "content": "text",
    "text": "text",  # of a completion
    "refusal": "refusal",
}


def output_messages(choices: Sequence[Any], field: Field) -> list[Message]:
    """Return what an answer's choices say, the pieces of one choice put together; `field` gets at their fields."""
    texts: dict[int, list[tuple[str, str]]] = {}
    calls: dict[int, _ToolCalls] = {}
    reasons: dict[int, str] = {}
    for choice in choices:
        index = given if isinstance(given := field(choice, "index"), int) else 0
        said = field(choice, "message") or field(choice, "delta") or choice
        found = texts.setdefault(index, [])
        for name, kind in _TEXTS.items():
            if isinstance(text := field(said, name), str):
                found.append((kind, text))
        calls.setdefault(index, _ToolCalls()).add(said, field)
        if isinstance(reason := field(choice, "finish_reason"), str):
            reasons[index] = reason
    return [
        {
            "role": "assistant",
            "parts": _said(pieces, calls[index].parts()),
            "finish_reason": reasons.get(index, ""),
        }
        for index, pieces in texts.items()
    ]


def _said(pieces: Sequence[tuple[str, str]], calls: list[Message]) -> list[Message]:
    whole = {kind: "".join(text for one, text in pieces if one == kind) for kind in dict.fromkeys(_TEXTS.values())}
    parts = [{"type": kind, "content": text} for kind, text in whole.items() if text]
    return [*parts, *calls] or [{"type": "text", "content": ""}]
