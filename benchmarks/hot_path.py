"""What the steps of the transformer's hot path cost: decoding, bodies and tensors, compared with 2020; prints tables.

    python benchmarks/hot_path.py [--rounds 15] [--picture 10.2MB]

In each round every case runs once, in a new random order, on one thread. A figure is the median CPU time over the
rounds, in milliseconds; a ratio is the median of the rounds' own ratios to the first case, with quartiles: below 1 is
faster. The pictures are the example's; simplejpeg is compared where it is installed (the extra `encodings` has it).
"""

from __future__ import annotations

import argparse
import base64
import gc
import importlib.util
import io
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from PIL import Image
from quartiles import quartiles

EXAMPLE = Path(__file__).parents[1] / "examples" / "mobilenet"
sys.path.insert(0, str(EXAMPLE))

import mobilenet  # noqa: E402
from fast_requests import inflate  # noqa: E402
from pictures import pictures  # noqa: E402

from otel_kfs.client.encodings import by_name  # noqa: E402
from otel_kfs.client.encodings.compression import CODECS, compress  # noqa: E402
from otel_kfs.client.encodings.resizing import resize  # noqa: E402

Cases = dict[str, Callable[[], Any]]
SMALLEST = (mobilenet.SIDE, mobilenet.SIDE)


def decoders(jpg: bytes) -> Cases:
    cases: Cases = {
        "Pillow, the whole picture (seed)": lambda: Image.open(io.BytesIO(jpg)).convert("RGB"),
        "Pillow, draft, in pieces of 64 KB": lambda: draft(jpg, whole=False),
        "Pillow, draft, in one piece (fast)": lambda: draft(jpg, whole=True),
    }
    if importlib.util.find_spec("simplejpeg"):
        import simplejpeg

        side = {"min_height": mobilenet.SIDE, "min_width": mobilenet.SIDE}
        cases["simplejpeg, scaled"] = lambda: simplejpeg.decode_jpeg(jpg, **side)
        cases["simplejpeg, scaled, fast DCT"] = lambda: simplejpeg.decode_jpeg(
            jpg, **side, fastdct=True, fastupsample=True
        )
    cases["resize at the sender: a JPG of 256"] = lambda: resize(jpg, mobilenet.SIDE)
    return cases


def draft(jpg: bytes, whole: bool) -> Image.Image:
    picture = Image.open(io.BytesIO(jpg))
    picture.draft("RGB", SMALLEST)
    if whole:
        picture.decodermaxblock = len(jpg)
    return picture.convert("RGB")


def tensors() -> Cases:
    """To the predictor, and back to an array in it."""
    tensor = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)

    def array(text: bytes | str, loads: Callable[[Any], Any]) -> np.ndarray:
        return np.asarray(loads(text)["instances"], np.float32)

    return {
        "json of lists (seed on KFServing)": lambda: array(json.dumps({"instances": tensor.tolist()}), json.loads),
        "orjson of lists (seed on KServe)": lambda: array(orjson.dumps({"instances": tensor.tolist()}), orjson.loads),
        "orjson of the array": lambda: array(
            orjson.dumps({"instances": tensor}, option=orjson.OPT_SERIALIZE_NUMPY), orjson.loads
        ),
        "bytes (fast)": lambda: np.frombuffer(tensor.tobytes(), "<f4").reshape(-1, 3, 224, 224),
    }


def bodies(jpg: bytes) -> Cases:
    """From the file's bytes to a body, and from it back to the bytes in the transformer."""

    def picture(text: bytes, loads: Callable[[bytes], Any]) -> bytes:
        return base64.b64decode(loads(text)["instances"][0]["image_bytes"]["b64"], validate=True)

    def body(name: str) -> bytes:
        return by_name(name).encode(jpg, "image/jpeg").body

    cases: Cases = {
        "json, read by json (KFServing)": lambda: picture(body("json"), json.loads),
        "json, read by orjson (KServe)": lambda: picture(body("json"), orjson.loads),
        "v2": lambda: body("v2")[-len(jpg) :],
        "raw, cloudevent": lambda: body("raw"),
    }
    for codec in CODECS:
        cases[f"json, {codec}, read by orjson"] = lambda codec=codec: picture(
            inflate(compress(body("json"), codec), codec), orjson.loads
        )
    return cases


def measure(title: str, cases: Cases, rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds + 1):  # the first is a warm-up
        for name in random.sample(list(cases), len(cases)):
            gc.collect()
            start = time.thread_time()
            cases[name]()
            times[name].append((time.thread_time() - start) * 1e3)
    first = next(iter(cases))
    print(f"\n| {title} | ms | relative to the first |\n|---|--:|--:|")
    for name, milliseconds in times.items():
        ratios = [one / base for one, base in zip(milliseconds[1:], times[first][1:], strict=True)]
        low, middle, high = quartiles(ratios)
        shown = f"{middle:.3f} ({low:.3f} - {high:.3f})" if name != first else "1"
        print(f"| {name} | {statistics.median(milliseconds[1:]):.1f} | {shown} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--picture", action="append", help="its name; repeatable  [1.1MB and 10.2MB]")
    args = parser.parse_args()
    wanted = args.picture or ["1.1MB", "10.2MB"]
    print(f"Python {platform.python_version()}, Pillow {Image.__version__}, {args.rounds} rounds")
    for path in pictures():
        if path.stem in wanted:
            jpg = path.read_bytes()
            measure(f"decode, {path.stem}", decoders(jpg), args.rounds)
            measure(f"body, {path.stem}", bodies(jpg), args.rounds)
    measure("tensor", tensors(), args.rounds)


if __name__ == "__main__":
    main()
