"""What tracing costs end to end: the same pictures to the same processes, traced and untraced, in turns.

    python benchmarks/overhead.py [--transport kafka] [--starts 4] [--repeat 50]

The example's transformer and predictor each hold two twins of their model in one process, one traced and one that is
let alone (twins.py), and one sender sends to both: one start of a process differs from the next by more than tracing
costs. Through Kafka (the demo's broker) each twin has a topic, and both topics one process that consumes them and asks
the model, by our clients and by confluent_kafka's and requests' own. One picture goes to the one, then to the other, in
an order drawn anew. Printed is, for each size, the ratio of the medians, traced / untraced, with a 95 % interval
(scipy's BCa bootstrap of the pairs), and the difference.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.stats
from quartiles import quartiles
from twins import EXCLUDED, PLAIN, TRACED

from otel_kfs.cli.output import progress
from otel_kfs.demo import embedded_broker, example
from otel_kfs.demo.processes import Processes, free_port
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

# The same through Kafka: the record lies in the topic of the model's name when it answers.
KAFKA_SENDER = """
import base64, sys, time
import confluent_kafka, orjson
import otel_kfs
from otel_kfs.client.kafka_access.kafka_settings import producer_config
servers, traced = sys.argv[1:]
otel_kfs.configure("image-sender")
sender = otel_kfs.KafkaSender(servers, traced)
producer = confluent_kafka.Producer(producer_config(servers, 60.0, {}))
def send_plain(model, path):
    with open(path, "rb") as file:
        content = file.read()
    image = {"image_bytes": {"b64": base64.b64encode(content).decode("ascii")}}
    producer.produce(model, orjson.dumps({"instances": [image]}))
    producer.flush()
for line in sys.stdin:
    model, path = line.rstrip().split(" ", 1)
    start = time.perf_counter_ns()
    sender.send(path) if model == traced else send_plain(model, path)
    print(time.perf_counter_ns() - start, flush=True)
"""

# A thread a topic; a line for each record that the model has answered.
CONSUMER = """
import sys, threading
import confluent_kafka, orjson, requests
import otel_kfs
from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS
from otel_kfs.kafka import Consumer, process
from otel_kfs.client.kafka_access.kafka_settings import consumer_config
from otel_kfs.client.model_request.model_client import ModelClient
from otel_kfs.client.model_request.model_url import predict_url
servers, url, traced, plain = sys.argv[1:]
otel_kfs.configure("kafka-bridge")
otel_kfs.telemetry.provider.instrument_requests()
settings = consumer_config(servers, "overhead", CONSUMER_SETTINGS)
def ready(*_):
    print("ready", flush=True)
def run_traced():
    consumer, client = Consumer(settings), ModelClient(predict_url(url, traced))
    consumer.subscribe([traced], on_assign=ready)
    while True:
        if (record := consumer.poll(0.1)) is not None:
            with process(record, consumer=consumer):
                assert client.post(record.value())["predictions"]
            print(traced, flush=True)
def run_plain():
    consumer, session = confluent_kafka.Consumer({**settings, "group.id": "overhead-plain"}), requests.Session()
    consumer.subscribe([plain], on_assign=ready)
    while True:
        if (record := consumer.poll(0.1)) is not None:
            answer = session.post(predict_url(url, plain), data=record.value(), timeout=600)
            answer.raise_for_status()
            assert orjson.loads(answer.content)["predictions"]
            print(plain, flush=True)
threads = [threading.Thread(target=run, daemon=True) for run in (run_traced, run_plain)]
for thread in threads:
    thread.start()
sys.stdin.read()
"""

Took = dict[Path, list[tuple[int, int]]]  # ns, traced and plain, of each pair


class Client:
    """The sender's process, and that of the consumer if there is one."""

    def __init__(self, transport: str, processes: Processes, url: str, folder: Path) -> None:
        self._folder = folder
        self._consumer = None
        if transport == "http":
            self._sender = self._start("sender", SENDER, url, TRACED)
            return
        servers = embedded_broker.start(processes, TRACED)
        embedded_broker.create_topic(servers, PLAIN)
        self._consumer = self._start("consumer", CONSUMER, servers, url, TRACED, PLAIN)
        self._sender = self._start("sender", KAFKA_SENDER, servers, TRACED)
        for _ in (TRACED, PLAIN):
            assert self._line(self._consumer) == "ready"

    def _start(self, role: str, script: str, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, **EXCLUDED, "OTEL_KFS_TRACES_FILE": str(self._folder / f"{role}.jsonl")}
        command = [sys.executable, "-c", script, *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().rstrip()

    def send(self, model: str, picture: Path) -> int:
        """How many nanoseconds one picture took, until the model's answer."""
        assert self._sender.stdin is not None
        start = time.perf_counter_ns()
        self._sender.stdin.write(f"{model} {picture}\n")
        self._sender.stdin.flush()
        took = int(self._line(self._sender))
        if self._consumer is None:
            return took
        assert self._line(self._consumer) == model
        return time.perf_counter_ns() - start

    def close(self) -> None:
        """Let the processes end."""
        for process in filter(None, (self._sender, self._consumer)):
            process.communicate(timeout=30)


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
    parser.add_argument("--transport", choices=("http", "kafka"), default="http")
    args = parser.parse_args()
    serving = example.serving(args.serving)
    example.make_model()
    pictures = example.make_pictures(lambda line: print(line, file=sys.stderr))
    took: Took = {picture: [] for picture in pictures}
    with progress(args.starts * (WARMUPS + args.repeat), "rounds") as done:
        for _ in range(args.starts):
            one_start(serving, args.transport, took, args.repeat, done)
    print(f"{serving}, {args.transport}, {args.starts} starts of {args.repeat} pairs; medians in milliseconds\n")
    print("| Size | untraced | traced | traced / untraced | 95 % interval | difference of a pair, ms (quartiles) |")
    print("|:--|--:|--:|--:|:--|:--|")
    for picture, pairs in took.items():
        traced, plain = np.array(pairs).T / 1e6
        interval = scipy.stats.bootstrap(
            (traced, plain), ratio, paired=True, vectorized=True, method="BCa", random_state=1
        ).confidence_interval
        low, middle, high = quartiles(traced - plain)
        print(
            f"| {picture.stem} | {np.median(plain):.1f} | {np.median(traced):.1f} | {ratio(traced, plain):.4f} "
            f"| {interval.low:.4f} to {interval.high:.4f} | {middle:+.2f} ({low:+.2f} - {high:+.2f}) |"
        )


def ratio(traced: np.ndarray, plain: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.median(traced, axis) / np.median(plain, axis)


def one_start(serving: str, transport: str, took: Took, repeat: int, done: Callable[[str], None]) -> None:
    """Start all processes, and send each picture `repeat` times to each twin."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as name, Processes(Path(name) / "logs") as processes:
        client = Client(transport, processes, start(processes, serving, Path(name)), Path(name))
        for number in range(-WARMUPS, repeat):
            for picture, pairs in took.items():
                pair = {model: client.send(model, picture) for model in random.sample((TRACED, PLAIN), 2)}
                if number >= 0:
                    pairs.append((pair[TRACED], pair[PLAIN]))
            done("")
        client.close()
        processes.stop()
        check(Path(name), len(took) * (WARMUPS + repeat))


def check(folder: Path, sent: int) -> None:
    """Each traced request has left its spans in the sender and both servers, and no other request one."""
    traces = {role: {span.trace_id for span in query.spans(str(folder / f"{role}.jsonl"))} for role in ROLES}
    counts = {role: len(traces[role] & traces["sender"]) for role in ROLES}
    strange = set().union(*traces.values()) - traces["sender"]
    # A server that is stopped may take the last request's spans with it.
    if strange or counts["sender"] != sent or min(counts.values()) < sent - 1:
        sys.exit(f"of {sent} traced requests there are traces {counts}, and of others {len(strange)}")


if __name__ == "__main__":
    main()
