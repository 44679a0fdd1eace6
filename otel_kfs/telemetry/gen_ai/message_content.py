"""Prompts and answers as the conventions for generative AI write them on a span; a picture as what it is, without it.

Source: OpenTelemetry's semantic conventions for generative AI, the JSON schemas of `gen_ai.input.messages` and
`gen_ai.output.messages`; the switch is that of OpenTelemetry's own instrumentations (opentelemetry-util-genai).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Message = dict[str, Any]


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
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]  # no other iterable: it might be read only once
    return {"role": str(message.get("role")), "parts": [part for given in parts if (part := _part(given)) is not None]}


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


def output_messages(choices: Sequence[Any], field: Callable[[Any, str], Any]) -> list[Message]:
    """Return what an answer's choices say, the pieces of one choice put together; `field` gets at their fields."""
    texts: dict[int, list[str]] = {}
    reasons: dict[int, str] = {}
    for choice in choices:
        index = field(choice, "index") or 0
        said = field(choice, "message") or field(choice, "delta") or choice
        text = field(said, "content") or field(said, "text")
        texts.setdefault(index, []).append(text if isinstance(text, str) else "")
        if isinstance(reason := field(choice, "finish_reason"), str):
            reasons[index] = reason
    return [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "".join(pieces)}],
            "finish_reason": reasons.get(index, ""),
        }
        for index, pieces in texts.items()
    ]
