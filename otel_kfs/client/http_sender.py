"""The client sender over HTTP: one image, one root span, one POST."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from otel_kfs import semconv
from otel_kfs.client.encodings import openai_chat
from otel_kfs.client.model_request.answer_limits import DEFAULT_ANSWER_SIZE
from otel_kfs.client.model_request.chat_call import ChatCalls
from otel_kfs.client.model_request.model_client import EXCERPT_LENGTH, ModelClient
from otel_kfs.client.model_request.model_url import predict_url, redact_url
from otel_kfs.client.sender import Sender
from otel_kfs.errors import ConfigError, SendError
from otel_kfs.telemetry import provider

if TYPE_CHECKING:
    import requests
    from typing_extensions import Unpack

    from otel_kfs.client.payload_options import PayloadKeywords


class HttpSender(Sender[dict[str, Any]]):
    """Sends images straight to a model server, or to the ingress before it; `send` returns the model's answer."""

    transport = semconv.HTTP

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        host: str | None = None,
        timeout: float = 600.0,
        run_id: str | None = None,
        session: requests.Session | None = None,
        max_answer_size: int = DEFAULT_ANSWER_SIZE,
        prompt: str | None = None,
        stream: bool = False,
        **options: Unpack[PayloadKeywords],
    ) -> None:
        """Make a sender to a model.

        `url` is the server's or the ingress's where `model` is given, else the model's whole URL. `host` is the Host
        header by which an ingress finds the model; `timeout` is in seconds, for the whole of one request;
        `max_answer_size` in bytes of a decompressed answer. A `session` of yours brings credentials, certificates,
        proxies.

        With `encoding="openai"` the image goes to the model's chat route, after the `prompt`; with `stream` the answer
        comes piece by piece, and `send` returns it whole. `model` must be given, and `url` may be the chat route's own.

        Further keywords: `encoding` ("json"), `compression`, `resize`, `cell`; see `Sender`.

        Raises:
            ConfigError: `url` is not one, or the other arguments do not fit together.
        """
        is_chat = options.get("encoding") == openai_chat.NAME
        if is_chat:
            if not model:
                raise ConfigError("the encoding openai names the model in its request: give model")
            options["encoding"] = openai_chat.openai_chat(model, prompt or openai_chat.PROMPT, stream=stream)
        elif prompt is not None or stream:
            raise ConfigError("prompt and stream are for the encoding openai alone")
        super().__init__(run_id, **options)
        provider.instrument_requests()
        url = predict_url(url, model, self._options.encoding.protocol)
        self._client = ModelClient(url, host=host, timeout=timeout, session=session, max_answer_size=max_answer_size)
        self._chats = ChatCalls(url, model, stream=stream) if is_chat and model else None

    def _deliver(self, payload: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        return self._ask(payload, headers, is_given=False)

    def _deliver_json(self, payload: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        return self._ask(payload, headers, is_given=True)

    def _ask(self, payload: bytes, headers: Mapping[str, str], *, is_given: bool) -> dict[str, Any]:
        if self._chats is None:
            return self._post(payload, headers)
        with self._chats.call(payload, is_given=is_given) as call:
            answer = self._post(payload, headers, call.watch)
            call.answered(answer)
        if answer.get("error") is not None:
            what = repr(answer["error"])[:EXCERPT_LENGTH]
            raise SendError(f"{redact_url(self._client.url)} answered 200 with an error: {what}", 200)
        return answer

    def _post(
        self, payload: bytes, headers: Mapping[str, str], watch: Callable[[bytes], None] | None = None
    ) -> dict[str, Any]:
        try:
            return self._client.post(payload, headers, watch=watch)
        except SendError as error:
            if hint := self._options.hint(error.status):
                raise SendError(f"{error}; {hint}", error.status) from error
            raise
