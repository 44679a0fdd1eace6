"""A sender's call of a chat model: the span `chat {model}` around its request, and the `gen_ai.client` metrics.

Neither prompt nor answer is written, unless the user asks for that by the conventions' own switch.

Source: OpenTelemetry's semantic conventions for generative AI, "Inference": a CLIENT span around the request, which has
its own by the conventions for HTTP.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import orjson
from opentelemetry.trace import Span, SpanKind

from otel_kfs import semconv
from otel_kfs.client.encodings import openai_chat
from otel_kfs.errors import SendError
from otel_kfs.telemetry import provider
from otel_kfs.telemetry.gen_ai.answered_call import record_answer
from otel_kfs.telemetry.gen_ai.gen_ai_metrics import GenAIMetrics
from otel_kfs.telemetry.gen_ai.message_content import captures_content, input_messages
from otel_kfs.telemetry.gen_ai.request_attributes import request_attributes
from otel_kfs.telemetry.safe_tracer import mark_failed, never_raises

metrics = GenAIMetrics()

_PORTS = {"http": 80, "https": 443}
_DATA = b"data:"
_LINE_START = 64  # bytes of a line that tell what it is


class ChatCalls:
    """What calls of one chat route have in common."""

    def __init__(self, url: str, model: str, *, stream: bool) -> None:
        """Describe calls of `model` at the chat route `url`; with `stream` the answers come in pieces."""
        parts = urlsplit(url)
        # KServe's routes begin with /openai; others speak OpenAI's own.
        provider_name = "kserve" if parts.path.endswith("/" + openai_chat.PATH) else "openai"
        self._asked: dict[str, Any] = {
            semconv.GEN_AI_OPERATION_NAME: semconv.CHAT,
            semconv.GEN_AI_PROVIDER_NAME: provider_name,
        }
        with suppress(ValueError):  # no port, or host, that there can be: the request says so
            server = {semconv.SERVER_ADDRESS: parts.hostname, semconv.SERVER_PORT: parts.port or _PORTS[parts.scheme]}
            self._asked |= server
        self._model = model
        self._stream = stream

    @contextmanager
    def call(self, payload: bytes, *, is_given: bool = False) -> Iterator[ChatCall]:
        """Make the span of one call, current inside the `with`.

        With `is_given` the payload is the user's own, and says itself which model it is for.
        """
        captures = captures_content()
        body = _read(payload) if is_given or captures else {}
        model, stream = (body.get("model"), body.get("stream")) if is_given else (self._model, self._stream)
        asked = {**self._asked, semconv.GEN_AI_REQUEST_MODEL: model} if isinstance(model, str) else self._asked
        call = ChatCall(asked, captures)
        attributes = {**asked, semconv.GEN_AI_REQUEST_STREAM: True} if stream is True else asked
        name = semconv.gen_ai(semconv.CHAT, asked.get(semconv.GEN_AI_REQUEST_MODEL))
        # The exception is an event of the root span, as it is whatever was sent; its text may quote the answer.
        with provider.tracer().start_as_current_span(
            name, kind=SpanKind.CLIENT, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as call.span:
            if body and call.span.is_recording():
                call.write_request(body)
            try:
                yield call
            except BaseException as error:
                call.failed(error)
                raise


class ChatCall:
    """One call: what is seen of its answer."""

    span: Span

    def __init__(self, asked: Mapping[str, Any], captures: bool) -> None:
        self._asked = asked
        self._captures = captures
        self._start = time.time_ns()
        self._pieces = array("q")
        self._line = b""  # the beginning of the one that has not ended

    @property
    def watch(self) -> Callable[[bytes], None] | None:
        """What is to be called with the answer as it comes; None where nobody wants to know of its pieces."""
        return self._take if self.span.is_recording() or metrics.enabled else None

    @never_raises("the pieces of an answer")
    def _take(self, content: bytes) -> None:
        """Take note of the events that end in what has come of a text/event-stream."""
        now = time.time_ns()
        lines = (self._line + content).split(b"\n")
        self._line = lines.pop()[:_LINE_START]
        for line in lines:
            if line.startswith(_DATA) and line[len(_DATA) : _LINE_START].strip() != b"[DONE]":
                self._pieces.append(now)

    @never_raises("the request of a chat")
    def write_request(self, body: Mapping[str, Any]) -> None:
        """Write on the span what the request sets; where the user asks for it, prompt and kind of picture, too."""
        self.span.set_attributes(request_attributes(body, body))
        if self._captures:
            self.span.set_attribute(semconv.GEN_AI_INPUT_MESSAGES, json.dumps(input_messages(body)))

    @never_raises("the answer of a chat")
    def answered(self, answer: Any) -> None:
        """Write down the model's answer."""
        self._record(answer)

    @never_raises("the failure of a chat")
    def failed(self, error: BaseException) -> None:
        """Write down why there is no answer."""
        status = error.status if isinstance(error, SendError) else None
        kind = str(status) if status is not None and status >= 400 else type(error).__qualname__
        mark_failed(self.span, kind, kind)
        self._record(None, kind)

    def _record(self, answer: Any, error_type: str | None = None) -> None:
        if self._pieces:
            first = (self._pieces[0] - self._start) / 1e9
            self.span.set_attribute(semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, first)
            self.span.set_attribute(semconv.RESPONSE_CHUNKS, len(self._pieces))
        record_answer(
            self.span,
            metrics,
            self._start,
            self._asked,
            answer,
            error_type=error_type,
            pieces=self._pieces,
            captures=self._captures,
        )


def _read(payload: bytes) -> Mapping[str, Any]:
    """Return a request's fields; none if it is no JSON object, which is for the server to say."""
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, Mapping) else {}
