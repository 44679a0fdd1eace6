"""One sender of the soak run: real pictures at the rate that its standard input sets; it prints a JSON line an image.

    python sender.py http --url http://127.0.0.1:8080 --pictures folder < rates
    python sender.py kafka --bootstrap-servers 127.0.0.1:9092 --topic mobilenet --pictures folder < rates

Each line of the input is a number of images a second. The end of the input, and SIGTERM, let the images under way end.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import otel_kfs
from otel_kfs.errors import OtelKfsError

LATE = 1.0  # seconds behind its schedule after which a sender gives the schedule up, instead of sending in a burst


class Pace:
    """When the next image is due, for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rate = 0.0
        self._due = time.monotonic()
        self.over = threading.Event()

    def set(self, rate: float) -> None:
        """Images a second, from now on."""
        with self._lock:
            self._rate, self._due = rate, time.monotonic()

    def wait(self) -> bool:
        """Wait until an image is due; False when there is no further one."""
        while not self.over.is_set():
            with self._lock:
                now = time.monotonic()
                if self._rate:
                    self._due = max(self._due, now - LATE)
                    if self._due <= now:
                        self._due += 1 / self._rate
                        return True
                pause = min(0.1, self._due - now) if self._rate else 0.1
            self.over.wait(pause)
        return False


def main() -> None:
    args = _arguments()
    otel_kfs.configure("image-sender")
    pictures = [(path.stem, path.read_bytes()) for path in sorted(args.pictures.glob("*.jpg"))]
    sender: Any
    if args.transport == "http":
        sender = otel_kfs.HttpSender(args.url, model="mobilenet", timeout=args.timeout, encoding="cloudevent")
    else:
        sender = otel_kfs.KafkaSender(
            args.bootstrap_servers,
            args.topic,
            config={"enable.idempotence": True},
            timeout=args.timeout,
            encoding="cloudevent",
        )
    pace, writing = Pace(), threading.Lock()
    chance = random.Random(args.seed)

    def send() -> None:
        while pace.wait():
            with writing:
                poison = chance.random() < args.poison
                name, picture = chance.choice(pictures)
            told = {
                "picture": name,
                "poison": poison,
                **_sent(sender, picture[: len(picture) // 2] if poison else picture),
            }
            with writing:
                print(json.dumps(told), flush=True)

    threads = [threading.Thread(target=send) for _ in range(args.threads)]
    for thread in threads:
        thread.start()
    try:
        for line in sys.stdin:
            pace.set(float(line))
    finally:
        pace.over.set()
        for thread in threads:
            thread.join()


def _sent(sender: Any, picture: bytes) -> dict[str, Any]:
    try:
        result = sender.send(picture)
    except OtelKfsError as error:
        return {"outcome": "failed", "error": str(error)}
    if isinstance(result, dict):
        return {"outcome": "answered", "class": result["predictions"][0]["class"]}
    return {"outcome": "delivered", "place": [result.partition, result.offset]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transport", choices=["http", "kafka"])
    parser.add_argument("--url")
    parser.add_argument("--bootstrap-servers")
    parser.add_argument("--topic")
    parser.add_argument("--pictures", type=Path, required=True, help="a folder of JPGs")
    parser.add_argument("--poison", type=float, default=0.01, help="the share of images of which half is sent")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one image")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
