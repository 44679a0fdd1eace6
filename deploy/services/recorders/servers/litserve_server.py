"""A model behind LitServe, which has it in a process of its own: litserve_server.py PORT."""

import base64
import os
import signal
import sys
from types import FrameType
from typing import Any

from litserve import LitAPI, LitServer


class Classifier(LitAPI):
    """Tells how many bytes each image has."""

    def setup(self, device: str) -> None:
        """Have nothing to load."""

    def predict(self, x: dict[str, Any]) -> dict[str, list[int]]:
        """Answer one request."""
        return {"predictions": [len(base64.b64decode(one["image_bytes"]["b64"])) for one in x["instances"]]}


def end_all(number: int, frame: FrameType | None) -> None:
    """End this process and those that LitServe started, which would outlive it."""
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end_all)
    server = LitServer(Classifier(api_path="/classify"), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
