"""The example's fast predictor, whose model can be told to fail: what stands in the file SOAK_MOOD is what it does.

`503` answers that status, `slow SECONDS` waits before each answer, and without the file it is the example's own.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "mobilenet"))

import fast_predictor
import kfserving
import numpy as np
import tornado.web

import otel_kfs

MOOD = Path(os.environ["SOAK_MOOD"])


class Predictor(fast_predictor.Predictor):
    """MobileNetV2, in a mood."""

    def predict(self, request: np.ndarray) -> dict[str, Any]:
        """Answer, unless told otherwise."""
        mood = MOOD.read_text() if MOOD.exists() else ""
        if mood == "503":
            raise tornado.web.HTTPError(503, reason="the model is out of service")
        if mood.startswith("slow"):
            time.sleep(float(mood.split()[1]))
        return super().predict(request)


if __name__ == "__main__":
    otel_kfs.configure("mobilenet-predictor")
    predictor = otel_kfs.trace_model(Predictor("mobilenet"))
    predictor.load()
    kfserving.KFServer().start([predictor])
