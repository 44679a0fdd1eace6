"""KServe's OpenAI routes: a model's call as OpenTelemetry's conventions for generative AI name it.

The span is INTERNAL, because the model is in this process, and it covers the whole answer: a streamed one to its last
piece. Prompts and answers are written only where `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` asks for it.

Sources: KServe 0.21's `kserve.protocol.rest.openai`, whose requests and answers are vLLM's; OpenTelemetry's semantic
conventions for generative AI, "Inference" and "Embeddings".
"""

from __future__ import annotations

import json
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span

from otel_kfs import semconv
from otel_kfs.serving.model_spans import StepSpan, record_decode, tracer
from otel_kfs.serving.server_errors import never_raises
from otel_kfs.serving.streamed_answer import StreamedAnswer
from otel_kfs.telemetry.gen_ai.answered_call import choices_of, field_of, record_answer
from otel_kfs.telemetry.gen_ai.gen_ai_metrics import GenAIMetrics
from otel_kfs.telemetry.gen_ai.message_content import captures_content, input_messages
from otel_kfs.telemetry.gen_ai.request_attributes import request_attributes

OPERATIONS = {
    "create_completion": semconv.TEXT_COMPLETION,
    "create_chat_completion": semconv.CHAT,
    "create_embedding": semconv.EMBEDDINGS,
    "create_rerank": semconv.RERANK,
}

_CALLED = otel_context.create_key("otel_kfs_openai_model")  # in a context: the model that is being called
_LARGEST_PIECE = 65_536  # bytes or characters of a streamed piece that is looked into
_LAST_PIECES = 3  # of a stream that are looked into: the usage, the end's mark, one to spare
_MOST_CHOICES = 128  # and for each choice one more, which says why it ended

metrics = GenAIMetrics(of_server=True)


class OpenAICall(StepSpan):
    """One call of a model; a call that its own method makes of another one is a part of it."""

    __slots__ = ("_answer", "_captures", "_request", "_shared")

    def __init__(
        self,
        name: str,
        model: Any,
        role_of_model: Callable[[Any], str],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Take the arguments of the method, which gets the request first."""
        super().__init__(name, model, role_of_model)
        self._request = args[0] if args else kwargs.get("request")
        self._answer: Any = None
        self._shared: dict[str, Any] = {}  # the attributes that its metrics have, too
        self._captures = False

    def begin(self) -> tuple[Span, Context] | None:
        """Start the span, unless the model calls itself: a chat that is answered by way of a completion."""
        current = otel_context.get_current()
        if otel_context.get_value(_CALLED, current) is self.model:
            return None
        record_decode()
        operation = OPERATIONS[self.name]
        asked = field_of(self._request, "model")
        self._shared = {semconv.GEN_AI_OPERATION_NAME: operation, semconv.GEN_AI_PROVIDER_NAME: "kserve"}
        if isinstance(asked, str):
            self._shared[semconv.GEN_AI_REQUEST_MODEL] = asked
        else:
            asked = None
        self.started = time.time_ns()
        name = semconv.gen_ai(operation, asked)
        attributes = {**self.attributes(), **self._shared}
        span = tracer(current).start_span(name, current, attributes=attributes, start_time=self.started)
        if span.is_recording():
            self._write_request(span)
        return span, self.inside(current)

    def inside(self, context: Context) -> Context:
        """Return what holds inside: that this model is being called."""
        return otel_context.set_value(_CALLED, self.model, context)

    def take(self, answer: Any) -> None:
        """Take note of a whole answer."""
        self._answer = answer

    def watches(self) -> bool:
        """Whether anybody wants to know of an answer's pieces: metrics do where no span does."""
        return bool(self._shared) and (super().watches() or metrics.enabled)

    def stream(self) -> StreamedAnswer:
        """Return the callback that ends the span of a streamed answer."""
        choices = field_of(self._request, "n")
        choices = min(choices, _MOST_CHOICES) if isinstance(choices, int) and choices > 0 else 1
        kept = None if self._captures else choices + _LAST_PIECES
        return _OpenAIStream(self.span, self.started, self._shared, self._captures, kept)

    def finish(self, span: Span, error: BaseException | None) -> None:
        """Write down the answer, or what the method raised, and end the span."""
        if self.streamed is None and not self.goes_on and self._shared:
            failed = None if error is None else type(error).__qualname__
            record_answer(
                span,
                metrics,
                self.started,
                self._shared,
                self._answer,
                error_type=failed,
                captures=self._captures,
            )
        super().finish(span, error)

    @never_raises("an OpenAI request")
    def _write_request(self, span: Span) -> None:
        # A server's request is an object, and another model's in the same process may be what its JSON holds.
        fields = self._request if isinstance(self._request, Mapping) else vars(self._request)
        given = getattr(self._request, "model_fields_set", fields)
        span.set_attributes(request_attributes(fields, given))
        self._captures = captures_content()
        if self._captures:
            span.set_attribute(semconv.GEN_AI_INPUT_MESSAGES, json.dumps(input_messages(fields)))


class _OpenAIStream(StreamedAnswer):
    """An answer in pieces, each an event of a text/event-stream."""

    def __init__(self, span: Span, start: int, shared: dict[str, Any], captures: bool, kept: int | None) -> None:
        """Go on with a span; its last pieces, `kept` of them or all, are looked into at the end."""
        super().__init__(span, start)
        self._shared = shared
        self._kept: deque[Any] = deque(maxlen=kept)
        self._captures = captures
        self._pieces = array("q") if metrics.enabled else None  # when each was there, in ns since the epoch

    def take(self, piece: Any) -> None:
        """Take note of a piece; the last ones tell of the tokens that were used."""
        self._kept.append(piece)
        if self._pieces is not None:
            self._pieces.append(time.time_ns())
        super().take(piece)

    def finish(self, error: BaseException | None) -> None:
        """Write down how the answer ended, with the tokens that it used as far as it says so."""
        if self._kept and _is_end_mark(self._kept[-1]):  # it is no chunk of the answer
            self.count -= 1
            if self._pieces:
                self._pieces.pop()
        super().finish(error)
        answers = [answer for piece in self._kept for answer in _answers_of(piece)]
        merged: dict[str, Any] = {}
        for answer in answers:
            merged |= {key: value for key, value in answer.items() if value}
        choices = [choice for answer in answers for choice in choices_of(answer)]
        if choices:
            merged["choices"] = choices
        failed = None if error is None else type(error).__qualname__
        record_answer(
            self.span,
            metrics,
            self.start,
            self._shared,
            merged,
            error_type=failed,
            pieces=self._pieces or (),
            captures=self._captures,
        )


def _is_end_mark(piece: Any) -> bool:
    return piece.strip() in {"data: [DONE]", b"data: [DONE]"} if isinstance(piece, str | bytes) else False


def _answers_of(piece: Any) -> Iterator[Mapping[str, Any]]:
    """Return what the events of a streamed piece hold, where they are JSON."""
    if isinstance(piece, bytes):
        piece = piece[: _LARGEST_PIECE + 1].decode(errors="replace")
    if not isinstance(piece, str):
        dumped = getattr(piece, "model_dump", None)
        if dumped is not None:
            yield dumped()
        return
    if len(piece) > _LARGEST_PIECE:
        return
    for line in piece.splitlines():
        if line.startswith("data:"):
            try:
                answer = json.loads(line[5:])
            except ValueError:  # "[DONE]"
                continue
            if isinstance(answer, dict):
                yield answer
