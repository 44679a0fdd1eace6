"""What tracing costs end to end: the same pictures to the same servers, traced and untraced, in turns.

    python benchmarks/overhead.py [--starts 5] [--repeat 10]

Two sets of the example's servers run side by side: in one, `otel_kfs.configure` and `trace_model` do nothing, so that
it holds no instrumentation at all. One picture goes to the one, then to the other; whose turn is first changes with
every round. Printed is, for each size, the ratio of the medians, traced / untraced: its median over the starts of the
servers, its lowest and its highest, because one start differs from another by more than tracing costs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from otel_kfs.demo import example
from otel_kfs.demo.processes import Processes, free_port
from otel_kfs.output import progress

MODES = ("untraced", "traced")
WARMUPS = 3

# Run in place of a server's script: the untraced one is the same file without what otel_kfs does.
UNTRACED = """
import sys, otel_kfs
from otel_kfs.demo import loopback
otel_kfs.configure = lambda *args, **kwargs: None
otel_kfs.trace_model = lambda model, role=None: model
loopback.main()
"""

# A sender of its own process for each mode: what is instrumented stays so for a process's whole life.
SENDER = """
import base64, sys, time
import orjson, requests
if {traced}:
    import otel_kfs
    otel_kfs.configure("image-sender")
    send = otel_kfs.HttpSender({url!r}, model="mobilenet").send
else:
    session = requests.Session()
    def send(path):
        with open(path, "rb") as file:
            content = file.read()
        image = {{"image_bytes": {{"b64": base64.b64encode(content).decode("ascii")}}}}
        payload = orjson.dumps({{"instances": [image]}})
        answer = session.post({url!r} + "/v1/models/mobilenet:predict", data=payload, timeout=600)
        answer.raise_for_status()
        return orjson.loads(answer.content)
for line in sys.stdin:
    start = time.perf_counter_ns()
    send(line.strip())
    print(time.perf_counter_ns() - start, flush=True)
"""


class Sender:
    """One mode's process, which says how long each picture took."""

    def __init__(self, mode: str, url: str, folder: Path) -> None:
        environment = {**os.environ, "OTEL_KFS_TRACES_FILE": str(folder / "traces" / f"{mode}-sender.jsonl")}
        script = SENDER.format(traced=mode == "traced", url=url)
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def send(self, picture: Path) -> int:
        """How many nanoseconds one picture took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{picture}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate(timeout=30)


def start(processes: Processes, mode: str, serving: str, folder: Path) -> str:
    """Start one mode's predictor and transformer; returns the transformer's URL."""
    ports = {role: free_port() for role in ("predictor", "transformer")}
    transformer, predictor = example.scripts(serving)
    scripts = {
        "predictor": [str(predictor)],
        "transformer": [str(transformer), "--predictor_host", f"127.0.0.1:{ports['predictor']}"],
    }
    for role, script in scripts.items():
        name = f"{mode}-{role}"
        run = ["-m", "otel_kfs.demo.loopback"] if mode == "traced" else ["-c", UNTRACED]
        options = ["--http_port", str(ports[role]), *example.server_options(serving)]
        environment = {"OTEL_KFS_TRACES_FILE": str(folder / "traces" / f"{name}.jsonl")}
        processes.start(name, [sys.executable, *run, *script, *options], environment)
    for role, port in ports.items():
        processes.wait_until(f"{mode}-{role}", lambda port=port: ready(port), 60)
    return f"http://127.0.0.1:{ports['transformer']}"


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/mobilenet", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=5, help="times that all servers are started anew")
    parser.add_argument("--repeat", type=int, default=10, help="rounds of each, after three that are not counted")
    parser.add_argument("--serving", choices=example.SERVINGS)
    args = parser.parse_args()
    serving = example.serving(args.serving)
    example.make_model()
    pictures = example.make_pictures(lambda line: print(line, file=sys.stderr))
    # What one start of the servers has in luck (where their memory lies, which core) all its pictures have.
    ratios: dict[Path, list[float]] = {picture: [] for picture in pictures}
    medians: dict[str, dict[Path, list[float]]] = {mode: {picture: [] for picture in pictures} for mode in MODES}
    with progress(args.starts * (WARMUPS + args.repeat), "rounds") as done:
        for _ in range(args.starts):
            took = one_start(serving, pictures, args.repeat, done)
            for picture in pictures:
                plain, traced = (statistics.median(took[mode][picture]) for mode in MODES)
                medians["untraced"][picture].append(plain)
                medians["traced"][picture].append(traced)
                ratios[picture].append(traced / plain)
    print(f"{serving}, HTTP, {args.starts} starts of {args.repeat} rounds; medians in milliseconds\n")
    print("| Size | untraced | traced | traced / untraced: median of the starts | lowest to highest |")
    print("|:--|--:|--:|--:|:--|")
    for picture in pictures:
        plain, traced = (statistics.median(medians[mode][picture]) / 1e6 for mode in MODES)
        each = ratios[picture]
        print(
            f"| {picture.stem} | {plain:.1f} | {traced:.1f} | {statistics.median(each):.3f} "
            f"| {min(each):.3f} to {max(each):.3f} |"
        )


def one_start(
    serving: str, pictures: list[Path], repeat: int, done: Callable[[str], None]
) -> dict[str, dict[Path, list[int]]]:
    """Start both sets of servers, and send each picture `repeat` times to each; how long each took (ns)."""
    folder = Path(tempfile.mkdtemp(prefix="overhead-"))
    took: dict[str, dict[Path, list[int]]] = {mode: {picture: [] for picture in pictures} for mode in MODES}
    with Processes(folder / "logs") as processes:
        senders = {mode: Sender(mode, start(processes, mode, serving, folder), folder) for mode in MODES}
        for number in range(-WARMUPS, repeat):
            for picture in pictures:
                for mode in MODES if number % 2 else MODES[::-1]:
                    nanoseconds = senders[mode].send(picture)
                    if number >= 0:
                        took[mode][picture].append(nanoseconds)
            done("")
        for sender in senders.values():
            sender.close()
    return took


if __name__ == "__main__":
    main()
