"""What a request costs while the spans' collector is down, slow or refuses, beside one that takes them.

    python benchmarks/export_faults.py [--rounds 1000]

Five senders, each a process of its own with OpenTelemetry's own defaults but for a schedule of 50 ms, so that the
exporter is always at work: their collectors answer, answer after 2 s, answer 503, are not there; the fifth exports
nothing. Each round every sender sends one image by HTTP to the same model server, in an order of its own, and takes the
time. A difference is the median over the rounds of the differences to the sender whose collector answers, in the same
round, with its quartiles. More than 2048 spans, the queue's size, end in each sender: later rounds find it full.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.version import __version__
from quartiles import quartiles

IMAGE = b"\xff\xd8\xff" + bytes(100_000)
SLOW_SECONDS = 2.0


class _Answers(BaseHTTPRequestHandler):
    """The model, and the collectors: what they answer stands in the path."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.path.split("/")[1]
        if kind == "slow":
            time.sleep(SLOW_SECONDS)
        body = b'{"predictions": [1]}' if kind == "model" else b""
        self.send_response(503 if kind == "refuses" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def serve() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


def send(url: str) -> None:
    """Send one image for each line of standard input; prints how many ns it took."""
    import otel_kfs

    otel_kfs.configure("image-sender")
    sender = otel_kfs.HttpSender(url)
    for _ in sys.stdin:
        start = time.perf_counter_ns()
        sender.send(IMAGE)
        print(time.perf_counter_ns() - start, flush=True)


class Sender:
    """One sending process."""

    def __init__(self, port: int, collector: str) -> None:
        settings = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        if not collector:
            settings = {"OTEL_TRACES_EXPORTER": "none"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--send", f"http://127.0.0.1:{port}/model/v1/models/m:predict"],
            env={**{key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send(self) -> float:
        """Send one image; returns milliseconds. An exception of the sender's ends the benchmark."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()) / 1e6

    def end(self) -> tuple[float, str]:
        """Return the seconds until it has ended, and what it said of the spans that it lost."""
        start = time.monotonic()
        _, errors = self.process.communicate(timeout=60)
        said = [line for line in errors.splitlines() if "spans were not exported" in line]
        return time.monotonic() - start, (said or [""])[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--send", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve or args.send:
        return serve() if args.serve else send(args.send)

    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline())
        base = f"http://127.0.0.1:{port}"
        senders = {
            "answers": Sender(port, f"{base}/answers"),
            "is slow": Sender(port, f"{base}/slow"),
            "refuses": Sender(port, f"{base}/refuses"),
            "is not there": Sender(port, "http://127.0.0.1:9"),
            "none: nothing is exported": Sender(port, ""),
        }
        took: dict[str, list[float]] = {name: [] for name in senders}
        for number in range(args.rounds + 20):
            for name, sender in random.sample(list(senders.items()), len(senders)):
                milliseconds = sender.send()
                if number >= 20:  # the first ones warm up
                    took[name].append(milliseconds)
        ends = {name: sender.end() for name, sender in senders.items()}
        server.terminate()

    print(f"Python {platform.python_version()}, OpenTelemetry {__version__}, {args.rounds} rounds; ms\n")
    print("| the collector | median | 95th percentile | difference to the first, median (quartiles) | seconds to end |")
    print("|---|---|---|---|---|")
    for name, times in took.items():
        low, middle, high = quartiles(a - b for a, b in zip(times, took["answers"], strict=True))
        difference = f"{middle:+.2f} ({low:+.2f} - {high:+.2f})" if name != "answers" else ""
        p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
        print(f"| {name} | {statistics.median(times):.2f} | {p95:.2f} | {difference} | {ends[name][0]:.1f} |")
    print()
    for name, (_, said) in ends.items():
        print(f"{name}: {said or 'nothing said'}")
    return None


if __name__ == "__main__":
    main()
