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
    calls.add(message.get("tool_calls"), lambda call, name: call.get(name) if isinstance(call, Mapping) else None)
    return {"role": role, "parts": [*parts, *calls.parts()]}


class _ToolCalls:
    """The calls of tools that one message asks for; a stream brings each in pieces."""

    def __init__(self) -> None:
        self._heads: dict[int, Message] = {}
        self._arguments: dict[int, list[str]] = {}

    def add(self, calls: Any, field: Field) -> None:
        """Add what a message, or a piece of one, holds; `field` gets at the fields."""
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            index = given if isinstance(given := field(call, "index"), int) else place
            head = self._heads.setdefault(index, {"type": "tool_call", "id": None, "name": ""})
            function = field(call, "function")
            for key, value in (("id", field(call, "id")), ("name", field(function, "name"))):
                if isinstance(value, str) and value:
                    head[key] = value
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


def output_messages(choices: Sequence[Any], field: Field) -> list[Message]:
    """Return what an answer's choices say, the pieces of one choice put together; `field` gets at their fields."""
    texts: dict[int, list[str]] = {}
    calls: dict[int, _ToolCalls] = {}
    reasons: dict[int, str] = {}
    for choice in choices:
        index = field(choice, "index") or 0
        said = field(choice, "message") or field(choice, "delta") or choice
        text = field(said, "content") or field(said, "text")
        texts.setdefault(index, []).append(text if isinstance(text, str) else "")
        calls.setdefault(index, _ToolCalls()).add(field(said, "tool_calls"), field)
        if isinstance(reason := field(choice, "finish_reason"), str):
            reasons[index] = reason
    return [
        {
            "role": "assistant",
            "parts": _said("".join(pieces), calls[index].parts()),
            "finish_reason": reasons.get(index, ""),
        }
        for index, pieces in texts.items()
    ]


def _said(text: str, calls: list[Message]) -> list[Message]:
    return [{"type": "text", "content": text}, *calls] if text or not calls else calls
