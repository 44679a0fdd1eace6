"""A model behind LitServe, which has it in a process of its own: litserve_server.py PORT."""

import base64
import sys
from typing import Any

from litserve import LitAPI, LitServer


class Classifier(LitAPI):
    """Tells how many bytes each image has."""

    def setup(self, device: str) -> None:
        """Have nothing to load."""

    def predict(self, x: dict[str, Any]) -> dict[str, list[int]]:
        """Answer one request."""
        return {"predictions": [len(base64.b64decode(one["image_bytes"]["b64"])) for one in x["instances"]]}


if __name__ == "__main__":
    server = LitServer(Classifier(api_path="/classify"), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
