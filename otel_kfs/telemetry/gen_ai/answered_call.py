"""What an answer says of a call of a model: on the call's span, and in the metrics.

An answer is one of OpenAI's API: JSON, or what a library has made of it, with the same names.

Source: OpenTelemetry's semantic conventions for generative AI, "Inference"; OpenAI's API reference.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from otel_kfs import semconv
from otel_kfs.telemetry.gen_ai.gen_ai_metrics import GenAICall, GenAIMetrics
from otel_kfs.telemetry.gen_ai.message_content import output_messages
from otel_kfs.telemetry.safe_tracer import mark_failed, never_raises


@never_raises("the answer of a model")
def record_answer(
    span: Span,
    metrics: GenAIMetrics,
    start: int,
    asked: Mapping[str, Any],
    answer: Any,
    *,
    error_type: str | None = None,
    pieces: Sequence[int] = (),
    captures: bool = False,
) -> None:
    """Record an answer, or the failure in its place.

    `start`, and when each of its `pieces` was there, are in ns since the epoch. `asked` are the attributes that are
    known of the call before. With `captures` the answer's texts are written, too.
    """
    usage = field_of(answer, "usage")
    incoming, outgoing = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if asked.get(semconv.GEN_AI_OPERATION_NAME) in {semconv.EMBEDDINGS, semconv.RERANK}:
        outgoing = None  # there are none; vLLM's type says 0
    answered_by = field_of(answer, "model")
    if span.is_recording() and answer is not None:
        tokens = {
            semconv.GEN_AI_USAGE_INPUT_TOKENS: incoming,
            semconv.GEN_AI_USAGE_OUTPUT_TOKENS: outgoing,
            semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: _count(
                field_of(usage, "prompt_tokens_details"), "cached_tokens"
            ),
            semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: _count(
                field_of(usage, "completion_tokens_details"), "reasoning_tokens"
            ),
        }
        span.set_attributes({key: count for key, count in tokens.items() if count is not None})
        _write_answer(span, answer, captures)
    if metrics.enabled:
        model = {semconv.GEN_AI_RESPONSE_MODEL: answered_by} if isinstance(answered_by, str) else {}
        kind = _kind_of_error(answer)
        call = GenAICall(
            {**asked, **model},
            trace.set_span_in_context(span, Context()),
            start,
            time.time_ns(),
            kind if error_type is None else error_type,
            incoming,
            outgoing,
            pieces,
        )
        metrics.record(call)


@never_raises("the attributes of an answer")
def _write_answer(span: Span, answer: Any, captures: bool) -> None:
    choices = choices_of(answer)
    in_order = sorted(choices, key=_index)  # those of a stream come as they end
    reasons = [reason for choice in in_order if isinstance(reason := field_of(choice, "finish_reason"), str)]
    written = {
        semconv.GEN_AI_RESPONSE_ID: field_of(answer, "id"),
        semconv.GEN_AI_RESPONSE_MODEL: field_of(answer, "model"),
    }
    span.set_attributes({key: value for key, value in written.items() if isinstance(value, str)})
    if reasons:
        span.set_attribute(semconv.GEN_AI_RESPONSE_FINISH_REASONS, reasons)
    kind = _kind_of_error(answer)
    if kind is not None:
        text = field_of(field_of(answer, "error"), "type")  # the message may quote the prompt
        mark_failed(span, kind, f"{kind}: {text}" if isinstance(text, str) and text != kind else kind)
    if captures and choices:
        span.set_attribute(semconv.GEN_AI_OUTPUT_MESSAGES, json.dumps(output_messages(choices, field_of)))


def field_of(thing: Any, name: str) -> Any:
    """Return one field of an answer, which is JSON or an object; None where it has none of that name."""
    if isinstance(thing, Mapping):
        return thing.get(name)
    return getattr(thing, name, None)


def choices_of(answer: Any) -> list[Any]:
    """Return the choices of an answer, of which an embedding has none."""
    choices = field_of(answer, "choices")
    return choices if isinstance(choices, list) else []


def _index(choice: Any) -> int:
    index = field_of(choice, "index")
    return index if isinstance(index, int) else 0


def _kind_of_error(answer: Any) -> str | None:
    """Return what an answer's error is: its code, or else its type; None where it has no error."""
    error = field_of(answer, "error")
    if error is None:
        return None
    kinds = (field_of(error, name) for name in ("code", "type"))
    return next((str(kind) for kind in kinds if isinstance(kind, str | int)), "_OTHER")


def _count(usage: Any, name: str) -> int | None:
    count = field_of(usage, name)
    return count if type(count) is int and count >= 0 else None
