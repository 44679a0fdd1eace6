"""What a request to a generative AI model sets, as attributes of its call's span; neither a prompt nor an input.

Source: OpenTelemetry's semantic conventions for generative AI, "Inference" and "Embeddings"; OpenAI's API reference.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from otel_kfs import semconv
from otel_kfs.telemetry.gen_ai.answered_call import field_of

_NUMBERS = {
    "max_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "max_completion_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "top_p": semconv.GEN_AI_REQUEST_TOP_P,
    "top_k": semconv.GEN_AI_REQUEST_TOP_K,
    "seed": semconv.GEN_AI_REQUEST_SEED,
    "frequency_penalty": semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY,
    "presence_penalty": semconv.GEN_AI_REQUEST_PRESENCE_PENALTY,
    "dimensions": semconv.GEN_AI_EMBEDDINGS_DIMENSION_COUNT,
}
_OUTPUT_TYPES = {"text": "text", "json_object": "json", "json_schema": "json"}  # by a response_format's type


def request_attributes(fields: Mapping[str, Any], given: Container[str]) -> dict[str, Any]:
    """Return the attributes of a request's `fields`; `given` are those that the caller has set, and no defaults."""
    found: dict[str, Any] = {
        key: fields[field] for field, key in _NUMBERS.items() if field in given and _is_number(fields.get(field))
    }
    if fields.get("stream") is True:
        found[semconv.GEN_AI_REQUEST_STREAM] = True
    if type(choices := fields.get("n")) is int and choices != 1:
        found[semconv.GEN_AI_REQUEST_CHOICE_COUNT] = choices
    stops = fields.get("stop")
    if "stop" in given and isinstance(stops, str | list) and stops:
        texts = [stops] if isinstance(stops, str) else [text for text in stops if isinstance(text, str)]
        found[semconv.GEN_AI_REQUEST_STOP_SEQUENCES] = texts
    if "encoding_format" in given and isinstance(encoding := fields.get("encoding_format"), str):
        found[semconv.GEN_AI_REQUEST_ENCODING_FORMATS] = [encoding]
    output = field_of(fields.get("response_format"), "type")
    if isinstance(output, str) and output in _OUTPUT_TYPES:
        found[semconv.GEN_AI_OUTPUT_TYPE] = _OUTPUT_TYPES[output]
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
