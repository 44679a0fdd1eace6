"""A model behind a route of its own, in a web framework: web_server.py flask|fastapi|chat PORT."""

import base64
import sys
from typing import Any

HOST = "127.0.0.1"


def sizes(request: dict[str, Any]) -> dict[str, list[int]]:
    """Return how many bytes each image has."""
    return {"predictions": [len(base64.b64decode(one["image_bytes"]["b64"])) for one in request["instances"]]}


def flask(port: int) -> None:
    """Serve it by Flask."""
    from flask import Flask, request

    app = Flask("classifier")
    app.post("/classify")(lambda: sizes(request.get_json()))
    app.run(HOST, port)


def fastapi(port: int) -> None:
    """Serve it by FastAPI."""
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/classify")
    def classify(request: dict[str, Any]) -> dict[str, list[int]]:
        return sizes(request)

    uvicorn.run(app, host=HOST, port=port)


def chat(port: int) -> None:
    """Answer what OpenAI's clients ask."""
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/v1/chat/completions")
    def complete(request: dict[str, Any]) -> dict[str, Any]:
        answer = {"role": "assistant", "content": f"{len(str(request['messages']))} characters"}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [{"index": 0, "message": answer, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
        }

    uvicorn.run(app, host=HOST, port=port)


if __name__ == "__main__":
    {"flask": flask, "fastapi": fastapi, "chat": chat}[sys.argv[1]](int(sys.argv[2]))
