"""MobileNetV2 on KServe behind two routes: V1, and a chat whose message holds the picture. otel_kfs: two lines.

python kserve_chat.py --http_port 8082

It stands in for a model that sees and speaks: the picture's class is MobileNet's own work, the sentence around it is
not. Where vLLM is not installed, of which KServe's OpenAI routes need the types, `vllm_types` stands in for those.
"""

from collections.abc import AsyncGenerator
from typing import Any

import kserve
import vllm_types
from kserve.errors import InvalidInput
from mobilenet import MobileNet, to_tensor

import otel_kfs

vllm_types.install()

from kserve.protocol.rest.openai import OpenAIGenerativeModel  # noqa: E402 - it imports vLLM
from kserve.protocol.rest.openai.types import (  # noqa: E402
    ChatCompletion,
    ChatCompletionChoice,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatMessage,
    ChoiceDelta,
    ChunkChoice,
    CompletionRequest,
    UsageInfo,
)

WORDS_OF_A_PICTURE = 1  # what it counts as in `usage`


class Chat(kserve.Model, OpenAIGenerativeModel):
    def load(self) -> bool:
        self.model = MobileNet()
        return super().load()

    def preprocess(self, payload: dict, headers: dict | None = None) -> dict:
        try:
            pictures = [instance["image_bytes"]["b64"] for instance in payload["instances"]]
            return {"instances": [to_tensor(picture) for picture in pictures]}
        except (KeyError, TypeError) as error:
            raise InvalidInput(f"not V1 JSON with pictures in base64: {error!r}") from None
        except ValueError as error:
            raise InvalidInput(str(error)) from None

    def predict(self, payload: dict, headers: dict | None = None) -> dict:
        return {"predictions": [self.model.classify(tensor) for tensor in payload["instances"]]}

    async def create_completion(self, request: CompletionRequest, raw_request: Any = None, context: Any = None) -> Any:
        raise InvalidInput("this model looks at pictures: ask it by /chat/completions")

    async def create_chat_completion(
        self, request: ChatCompletionRequest, raw_request: Any = None, context: Any = None
    ) -> Any:
        prompt, picture = _prompt_and_picture(request.messages)
        if request.stream:
            return self._pieces(prompt, picture)
        words = self._answer(picture)
        message = ChatMessage(role="assistant", content="".join(words))
        choice = ChatCompletionChoice(index=0, message=message, finish_reason="stop")
        return ChatCompletion(model=self.name, choices=[choice], usage=_usage(prompt, len(words)))

    async def _pieces(self, prompt: str, picture: str) -> AsyncGenerator[str, None]:
        words = self._answer(picture)
        chunk = ChatCompletionChunk(model=self.name, choices=[])
        for number, word in enumerate(words, 1):
            reason = "stop" if number == len(words) else None
            delta = ChoiceDelta(role="assistant", content=word)
            chunk.choices = [ChunkChoice(index=0, delta=delta, finish_reason=reason)]
            yield f"data: {chunk.model_dump_json()}\n\n"
        chunk.choices, chunk.usage = [], _usage(prompt, len(words))
        yield f"data: {chunk.model_dump_json()}\n\n"
        yield "data: [DONE]\n\n"

    def _answer(self, picture: str) -> list[str]:
        try:
            found = self.model.classify(to_tensor(picture))
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        text = f"It shows class {found['class']} of ImageNet, with a probability of {found['score']:.2f}."
        return [f"{word} " for word in text.split()[:-1]] + text.split()[-1:]


def _prompt_and_picture(messages: list[dict]) -> tuple[str, str]:
    """Return the text of the messages, and the base64 of their one picture."""
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents for part in (content if isinstance(content, list) else [content])]
    texts = [part if isinstance(part, str) else part.get("text") for part in parts if isinstance(part, str | dict)]
    urls = [part["image_url"]["url"] for part in parts if isinstance(part, dict) and "image_url" in part]
    if len(urls) != 1 or not urls[0].startswith("data:"):
        raise InvalidInput("give one picture, as an image_url that is a data URI")
    return " ".join(filter(None, texts)), urls[0].partition(",")[2]


def _usage(prompt: str, completion: int) -> UsageInfo:
    asked = len(prompt.split()) + WORDS_OF_A_PICTURE
    return UsageInfo(prompt_tokens=asked, completion_tokens=completion, total_tokens=asked + completion)


if __name__ == "__main__":
    otel_kfs.configure("mobilenet-chat")
    chat = otel_kfs.trace_model(Chat("mobilenet"))
    chat.load()
    kserve.ModelServer().start([chat])
