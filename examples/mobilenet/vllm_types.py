"""Stands in for the part of vLLM that KServe's OpenAI routes import, where vLLM itself is not installed.

KServe 0.21 takes the types of its OpenAI requests and answers from vLLM, which is several gigabytes and brings an
engine that these examples have no use for. `install()` puts these few in its place; where vLLM is installed, it does
nothing. They have the fields that KServe's own code, these examples and OpenAI's clients use.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import sys
import time
import uuid
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Base(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


def _now() -> int:
    return int(time.time())


def _id(prefix: str) -> Any:
    return Field(default_factory=lambda: f"{prefix}-{uuid.uuid4().hex}")


class UsageInfo(_Base):
    prompt_tokens: int = 0
    total_tokens: int = 0
    completion_tokens: int | None = 0


class ModelCard(_Base):
    id: str
    object: str = "model"
    created: int = Field(default_factory=_now)
    owned_by: str = "vllm"


class ModelList(_Base):
    object: str = "list"
    data: list[ModelCard] = Field(default_factory=list)


class DeltaMessage(_Base):
    role: str | None = None
    content: str | None = None


class _Request(_Base):
    model: str | None = None
    frequency_penalty: float | None = 0.0
    logit_bias: dict[str, float] | None = None
    max_tokens: int | None = None
    n: int | None = 1
    presence_penalty: float | None = 0.0
    seed: int | None = None
    stop: str | list[str] | None = []
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    request_id: str = Field(default_factory=lambda: uuid.uuid4().hex)


class ChatCompletionRequest(_Request):
    messages: list[dict[str, Any]]
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    max_completion_tokens: int | None = None


class CompletionRequest(_Request):
    prompt: list[int] | list[list[int]] | str | list[str] | None = None
    logprobs: int | None = None
    max_tokens: int | None = 16


class ChatMessage(_Base):
    role: str
    content: str | None = None


class ChatCompletionLogProb(_Base):
    token: str
    logprob: float = -9999.0
    bytes: list[int] | None = None


class ChatCompletionLogProbsContent(ChatCompletionLogProb):
    top_logprobs: list[ChatCompletionLogProb] = Field(default_factory=list)


class ChatCompletionLogProbs(_Base):
    content: list[ChatCompletionLogProbsContent] | None = None


class ChatCompletionResponseChoice(_Base):
    index: int
    message: ChatMessage
    logprobs: ChatCompletionLogProbs | None = None
    finish_reason: str | None = "stop"


class ChatCompletionResponse(_Base):
    id: str = _id("chatcmpl")
    object: str = "chat.completion"
    created: int = Field(default_factory=_now)
    model: str
    choices: list[ChatCompletionResponseChoice]
    system_fingerprint: str | None = None
    usage: UsageInfo


class ChatCompletionResponseStreamChoice(_Base):
    index: int
    delta: DeltaMessage
    logprobs: ChatCompletionLogProbs | None = None
    finish_reason: str | None = None


class ChatCompletionStreamResponse(_Base):
    id: str = _id("chatcmpl")
    object: str = "chat.completion.chunk"
    created: int = Field(default_factory=_now)
    model: str
    choices: list[ChatCompletionResponseStreamChoice]
    usage: UsageInfo | None = None
    system_fingerprint: str | None = None


class CompletionLogProbs(_Base):
    text_offset: list[int] = Field(default_factory=list)
    token_logprobs: list[float | None] = Field(default_factory=list)
    tokens: list[str] = Field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] = Field(default_factory=list)


class CompletionResponseChoice(_Base):
    index: int
    text: str
    logprobs: CompletionLogProbs | None = None
    finish_reason: str | None = None


class CompletionResponse(_Base):
    id: str = _id("cmpl")
    object: str = "text_completion"
    created: int = Field(default_factory=_now)
    model: str
    choices: list[CompletionResponseChoice]
    system_fingerprint: str | None = None
    usage: UsageInfo


class CompletionResponseStreamChoice(_Base):
    index: int
    text: str
    logprobs: CompletionLogProbs | None = None
    finish_reason: str | None = None


class CompletionStreamResponse(_Base):
    id: str = _id("cmpl")
    object: str = "text_completion"
    created: int = Field(default_factory=_now)
    model: str
    choices: list[CompletionResponseStreamChoice]
    usage: UsageInfo | None = None
    system_fingerprint: str | None = None


class EmbeddingCompletionRequest(_Base):
    model: str | None = None
    input: list[int] | list[list[int]] | str | list[str]
    encoding_format: str = "float"
    dimensions: int | None = None


class EmbeddingResponseData(_Base):
    index: int
    object: str = "embedding"
    embedding: list[float] | str


class EmbeddingResponse(_Base):
    id: str = _id("embd")
    object: str = "list"
    created: int = Field(default_factory=_now)
    model: str | None = None
    data: list[EmbeddingResponseData]
    usage: UsageInfo


class RerankRequest(_Base):
    model: str | None = None
    query: str
    documents: str | list[str]
    top_n: int = Field(default=0, ge=0)


class RerankResponse(_Base):
    id: str
    model: str
    usage: UsageInfo
    results: list[dict[str, Any]]


def with_cancellation(handler: Any) -> Any:
    """Cancel a route's handler when its client hangs up before there is an answer."""

    async def hung_up(request: Any) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    @functools.wraps(handler)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        answering = asyncio.create_task(handler(*args, **kwargs))
        listening = asyncio.create_task(hung_up(kwargs.get("raw_request") or args[1]))
        done, pending = await asyncio.wait([answering, listening], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return answering.result() if answering in done else None

    return wrapper


# Where vLLM 0.24 has them.
_MODULES = {
    "openai.chat_completion.protocol": (
        ChatCompletionLogProb,
        ChatCompletionLogProbs,
        ChatCompletionLogProbsContent,
        ChatCompletionRequest,
        ChatCompletionResponse,
        ChatCompletionResponseChoice,
        ChatCompletionResponseStreamChoice,
        ChatCompletionStreamResponse,
        ChatMessage,
    ),
    "openai.completion.protocol": (
        CompletionLogProbs,
        CompletionRequest,
        CompletionResponse,
        CompletionResponseChoice,
        CompletionResponseStreamChoice,
        CompletionStreamResponse,
    ),
    "openai.engine.protocol": (DeltaMessage, ModelCard, ModelList, UsageInfo),
    "pooling.embed.protocol": (EmbeddingCompletionRequest, EmbeddingResponse, EmbeddingResponseData),
    "pooling.scoring.protocol": (RerankRequest, RerankResponse),
    "serve.utils.api_utils": (with_cancellation,),
}
_MESSAGE_TYPES = (
    "ChatCompletionContentPartParam",
    "CustomChatCompletionMessageParam",
    "ChatCompletionMessageParam",
    "ChatCompletionToolMessageParam",
    "ChatCompletionContentPartTextParam",
    "ChatCompletionAssistantMessageParam",
    "ConversationMessage",
)


def install() -> bool:
    """Let `import vllm` find these types, unless vLLM is installed; return whether that was needed."""
    if importlib.util.find_spec("vllm") is not None:
        return False
    content: dict[str, dict[str, Any]] = {
        name: {thing.__name__: thing for thing in things} for name, things in _MODULES.items()
    }
    content["pooling.embed.protocol"]["EmbeddingRequest"] = EmbeddingCompletionRequest
    content["chat_utils"] = dict.fromkeys(_MESSAGE_TYPES, dict[str, Any])
    for name, names in content.items():
        path = ["vllm", "entrypoints", *name.split(".")]
        for length in range(1, len(path) + 1):
            module = sys.modules.setdefault(".".join(path[:length]), ModuleType(".".join(path[:length])))
            module.__path__ = []
        vars(module).update(names)
    return True
