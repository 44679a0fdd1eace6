"""What tracing costs end to end: the same pictures to the same processes, traced and untraced, in turns.

    python benchmarks/overhead.py [--starts 4] [--repeat 50]

The example's transformer and predictor each hold two twins of their model in one process, one traced and one that is
let alone (twins.py), and one sender sends to both: one start of a process differs from the next by more than tracing
costs. One picture goes to the one, then to the other, in an order drawn anew. Printed is, for each size, the ratio of
the medians, traced / untraced, with a 95 % interval (scipy's BCa bootstrap of the pairs), and the difference.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.stats
from twins import EXCLUDED, PLAIN, TRACED

from otel_kfs.demo import example
from otel_kfs.demo.processes import Processes, free_port
from otel_kfs.output import progress
from otel_kfs.traces import query

WARMUPS = 3
ROLES = ("sender", "transformer", "predictor")
TWINS = Path(__file__).with_name("twins.py")

# What it is told is a model and a picture; the plain twin's request is requests' alone.
SENDER = """
import base64, sys, time
import orjson, requests
import otel_kfs
url, traced = sys.argv[1:]
otel_kfs.configure("image-sender")
sender = otel_kfs.HttpSender(url, model=traced)
session = requests.Session()
def send_plain(model, path):
    with open(path, "rb") as file:
        content = file.read()
    image = {"image_bytes": {"b64": base64.b64encode(content).decode("ascii")}}
    answer = session.post(f"{url}/v1/models/{model}:predict", data=orjson.dumps({"instances": [image]}), timeout=600)
    answer.raise_for_status()
    return orjson.loads(answer.content)
for line in sys.stdin:
    model, path = line.rstrip().split(" ", 1)
    start = time.perf_counter_ns()
    answer = sender.send(path) if model == traced else send_plain(model, path)
    took = time.perf_counter_ns() - start
    assert answer["predictions"], answer
    print(took, flush=True)
"""

Took = dict[Path, list[tuple[int, int]]]  # ns, traced and plain, of each pair


class Sender:
    """The sender's process, which says how long each picture took."""

    def __init__(self, url: str, folder: Path) -> None:
        environment = {**os.environ, **EXCLUDED, "OTEL_KFS_TRACES_FILE": str(folder / "sender.jsonl")}
        command = [sys.executable, "-c", SENDER, url, TRACED]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def send(self, model: str, picture: Path) -> int:
        """How many nanoseconds one picture took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{model} {picture}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate(timeout=30)


def start(processes: Processes, serving: str, folder: Path) -> str:
    """Start the predictor and the transformer; returns the transformer's URL."""
    ports = {role: free_port() for role in ROLES[1:]}
    transformer, predictor = example.scripts(serving)
    scripts = {
        "predictor": [str(predictor)],
        "transformer": [str(transformer), "--predictor_host", f"127.0.0.1:{ports['predictor']}"],
    }
    for role, script in scripts.items():
        options = ["--http_port", str(ports[role]), *example.server_options(serving)]
        environment = {**EXCLUDED, "OTEL_KFS_TRACES_FILE": str(folder / f"{role}.jsonl")}
        processes.start(role, [sys.executable, str(TWINS), *script, *options], environment)
    for role, port in ports.items():
        processes.wait_until(role, lambda port=port: ready(port), 60)
    return f"http://127.0.0.1:{ports['transformer']}"


def ready(port: int) -> bool:
    try:
        for model in (TRACED, PLAIN):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/{model}", timeout=5).close()
    except OSError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=4, help="times that all processes are started anew")
    parser.add_argument("--repeat", type=int, default=50, help="pairs of each start, after three that are not counted")
    parser.add_argument("--serving", choices=example.SERVINGS)
    args = parser.parse_args()
    serving = example.serving(args.serving)
    example.make_model()
    pictures = example.make_pictures(lambda line: print(line, file=sys.stderr))
    took: Took = {picture: [] for picture in pictures}
    with progress(args.starts * (WARMUPS + args.repeat), "rounds") as done:
        for _ in range(args.starts):
            one_start(serving, took, args.repeat, done)
    print(f"{serving}, HTTP, {args.starts} starts of {args.repeat} pairs; medians in milliseconds\n")
    print("| Size | untraced | traced | traced / untraced | 95 % interval | difference of a pair, ms (quartiles) |")
    print("|:--|--:|--:|--:|:--|:--|")
    for picture, pairs in took.items():
        traced, plain = np.array(pairs).T / 1e6
        interval = scipy.stats.bootstrap(
            (traced, plain), ratio, paired=True, vectorized=True, method="BCa", random_state=1
        ).confidence_interval
        low, middle, high = statistics.quantiles(traced - plain, n=4)
        print(
            f"| {picture.stem} | {np.median(plain):.1f} | {np.median(traced):.1f} | {ratio(traced, plain):.4f} "
            f"| {interval.low:.4f} to {interval.high:.4f} | {middle:+.2f} ({low:+.2f} - {high:+.2f}) |"
        )


def ratio(traced: np.ndarray, plain: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.median(traced, axis) / np.median(plain, axis)


def one_start(serving: str, took: Took, repeat: int, done: Callable[[str], None]) -> None:
    """Start all processes, and send each picture `repeat` times to each twin."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as name, Processes(Path(name) / "logs") as processes:
        sender = Sender(start(processes, serving, Path(name)), Path(name))
        for number in range(-WARMUPS, repeat):
            for picture, pairs in took.items():
                pair = {model: sender.send(model, picture) for model in random.sample((TRACED, PLAIN), 2)}
                if number >= 0:
                    pairs.append((pair[TRACED], pair[PLAIN]))
            done("")
        sender.close()
        processes.stop()
        check(Path(name), len(took) * (WARMUPS + repeat))


def check(folder: Path, sent: int) -> None:
    """Each traced request has left its spans in all three processes, and no other request one."""
    traces = {role: {span.trace_id for span in query.spans(str(folder / f"{role}.jsonl"))} for role in ROLES}
    counts = {role: len(traces[role] & traces["sender"]) for role in ROLES}
    strange = set().union(*traces.values()) - traces["sender"]
    # A server that is stopped may take the last request's spans with it.
    if strange or counts["sender"] != sent or min(counts.values()) < sent - 1:
        sys.exit(f"of {sent} traced requests there are traces {counts}, and of others {len(strange)}")


if __name__ == "__main__":
    main()
