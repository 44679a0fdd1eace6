"""How many records a second a bridge takes to a model, beside a hand-written loop that does the same; prints a table.

    python benchmarks/bridge_throughput.py [--rounds 5] [--batch 8] [--concurrency 8] [--size 1kB]

The broker is the real Kafka of deploy/services, the model a process that answers at once. In each round every case
reads the same records, one after another in an order drawn anew, each as a process and a group of its own. A rate is
that of the records' arrival at the model, from the first to the last one, so that nobody's start counts; CPU is the
process's own, of a record, from the first look at it to the last one.

`loop` is confluent_kafka's consumer and a `requests.Session`: poll, post, commit (which is not waited for).
`loop, waiting` waits for each commit, too. `bridge` is `otel-kfs bridge` as a user starts it: traced by OTLP (protobuf
over HTTP, to a process that takes all), traced to a file, or with OTEL_SDK_DISABLED. With --batch there are the same
bridges with so many records in a request. A figure is the median over the rounds; a ratio to `loop` the median of the
rounds' own ratios, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy" / "services"))
import services

SIZES = {"1kB": (1_000, 3_000), "60kB": (60_000, 1_000), "1.5MB": (1_500_000, 100)}  # bytes, records a run
LIMIT_SECONDS = 300.0

# HTTP/1.1 of its own, for a real server would cost more than what is measured. It answers one prediction an instance,
# a GET with how many instances came, and when the first request and the last one did, and spans with nothing.
MODEL = """
import asyncio, json, sys, time
import orjson
seen = {"instances": 0, "beside_first": 0, "first": 0.0, "last": 0.0}
def answer(head, body):
    if head.startswith(b"GET"):
        told = json.dumps(seen).encode()
        seen.update(instances=0, beside_first=0, first=0.0, last=0.0)
        return told
    if head.startswith(b"POST /v1/traces"):
        return b""
    count = 1 if b"/batch:" in head.partition(b"\\r\\n")[0] else 0
    count = len(orjson.loads(body)["instances"]) if count else 1
    seen["last"] = time.perf_counter()
    if seen["instances"]:
        seen["beside_first"] += count
    else:
        seen["first"] = seen["last"]
    seen["instances"] += count
    return b'{"predictions": [%s]}' % b", ".join([b"285"] * count)
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            size = head.lower().partition(b"content-length:")[2].partition(b"\\r\\n")[0]
            content = answer(head, await reader.readexactly(int(size or 0)))
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n%s"
                         % (len(content), content))
    except asyncio.IncompleteReadError:
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

LOOP = """
import sys
import confluent_kafka, requests
servers, topic, group, url, waiting = sys.argv[1:]
consumer = confluent_kafka.Consumer({
    "bootstrap.servers": servers, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
})
consumer.subscribe([topic])
session = requests.Session()
while True:
    record = consumer.poll(1.0)
    if record is None or record.error():
        continue
    response = session.post(url, data=record.value(), headers={"Content-Type": "application/json"}, timeout=60)
    response.raise_for_status()
    assert response.json()["predictions"]
    consumer.commit(record, asynchronous=waiting != "yes")
"""

Found = dict[str, list["Run"]]  # by case, round by round
Case = tuple[list[str], dict[str, str]]  # a command, and what its environment has besides


class Run(NamedTuple):
    """One run of a case."""

    rate: float  # records a second
    cpu: float  # us a record


class Model:
    """The model's process, or a collector's."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", MODEL], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def seen(self) -> dict[str, float]:
        """Return what has come since the last time this was asked."""
        with urllib.request.urlopen(f"{self.url}/") as response:
            return json.load(response)  # type: ignore[no-any-return]


def fill(servers: str, size: int, records: int) -> str:
    """Return a new topic with so many records, each a request of about so many bytes with one instance."""
    topic = f"records-{size}-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    producer = confluent_kafka.Producer({"bootstrap.servers": servers, "message.max.bytes": 10_000_000})
    image = base64.b64encode(os.urandom((size - 50) * 3 // 4)).decode()
    value = json.dumps({"instances": [{"image_bytes": {"b64": image}}]})
    for _ in range(records):
        producer.produce(topic, value)
        producer.poll(0)
    assert producer.flush(60) == 0
    return topic


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(command: list[str], environment: dict[str, str], model: Model, records: int) -> Run:
    """Run a case to its end."""
    model.seen()
    instances, beside_first, first, last = 0.0, 0.0, 0.0, 0.0
    cpu, beside_look = 0.0, 0.0
    # Errors go where the user sees them; what a bridge prints for each record is written, as for a user, but not read.
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + LIMIT_SECONDS
        while instances < records:
            time.sleep(0.2)
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{command[2:4]} took {instances:g} of {records} records")
            seen = model.seen()
            if seen["instances"]:
                if not instances:
                    cpu, beside_look = cpu_seconds(process), seen["instances"]
                first = first or seen["first"]
                # What came with the first request of all was there before the time began to run.
                beside_first += seen["beside_first"] if not instances else seen["instances"]
                instances, last = instances + seen["instances"], seen["last"]
        cpu = cpu_seconds(process) - cpu
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    return Run(beside_first / (last - first), cpu / (instances - beside_look) * 1e6)


def cases(
    servers: str, topic: str, model: Model, collector: Model, options: argparse.Namespace, folder: str
) -> dict[str, Callable[[], Case]]:
    """Return what starts each case: its command and environment."""
    one, many = f"{model.url}/v1/models/one:predict", f"{model.url}/v1/models/batch:predict"

    def loop(waiting: str) -> Case:
        return [sys.executable, "-c", LOOP, servers, topic, uuid.uuid4().hex, one, waiting], {}

    def bridge(url: str, tracing: str, *more: str) -> Case:
        command = [sys.executable, "-m", "otel_kfs.cli", "--quiet", "bridge", "--bootstrap-servers", servers]
        command += ["--topic", topic, "--group", uuid.uuid4().hex, "--url", url, *more]
        command += ["--concurrency", str(options.concurrency)]
        if options.max_in_flight:
            command += ["--max-in-flight", str(options.max_in_flight)]
        if tracing == "traced to a file":
            command += ["--traces-file", f"{folder}/{uuid.uuid4().hex}.jsonl"]
        otlp = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        return command, {"traced by OTLP": otlp, "untraced": {"OTEL_SDK_DISABLED": "true"}}.get(tracing, {})

    found = {"loop": lambda: loop("no"), "loop, waiting": lambda: loop("yes")}
    for tracing in ("traced by OTLP", "traced to a file", "untraced"):
        found[f"bridge, {tracing}"] = partial(bridge, one, tracing)
        if options.batch > 1:
            batch = ("--batch", str(options.batch))
            found[f"batch {options.batch}, {tracing}"] = partial(bridge, many, tracing, *batch)
    return {name: case for name, case in found.items() if not options.case or name in options.case}


def measure(servers: str, size: str, model: Model, collector: Model, options: argparse.Namespace) -> Found:
    """Return the runs of each case, round by round; one round before them warms up."""
    number_of_bytes, records = SIZES[size]
    topic = fill(servers, number_of_bytes, records)
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds + 1):
            here = cases(servers, topic, model, collector, options, folder)
            for name, start in random.sample(list(here.items()), len(here)):
                one = run(*start(), model, records)
                if number:
                    found.setdefault(name, []).append(one)
    return {name: found[name] for name in here}


def median(of: list[float]) -> str:
    """Write a median with the lowest and the highest."""
    return f"{statistics.median(of):.2f} ({min(of):.2f} - {max(of):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--max-in-flight", type=int)
    parser.add_argument("--size", action="append", choices=SIZES, help="repeatable; all of them unless given")
    parser.add_argument("--case", action="append", help="repeatable; all of them unless given")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, confluent-kafka {confluent_kafka.__version__}, ", end="")
    print(f"{options.rounds} rounds, --concurrency {options.concurrency}, {os.cpu_count()} cores, ", end="")
    print(f"load average {os.getloadavg()[0]:.1f}\n")
    print("| records of | case | records/s | of the loop | CPU, us a record | of the loop |\n|---|---|--:|--:|--:|--:|")
    model, collector = Model(), Model()
    try:
        with services.kafka() as kafka:
            for size in options.size or SIZES:
                found = measure(kafka.bootstrap_servers, size, model, collector, options)
                for name, runs in found.items():
                    pairs = list(zip(runs, found.get("loop", runs), strict=True))
                    rate, cpu = (statistics.median(values) for values in zip(*runs, strict=True))
                    rates, cpus = median([a.rate / b.rate for a, b in pairs]), median([a.cpu / b.cpu for a, b in pairs])
                    print(f"| {size} | {name} | {rate:.0f} | {rates} | {cpu:.0f} | {cpus} |", flush=True)
    finally:
        for each in (model, collector):
            each.process.kill()
            each.process.wait()


if __name__ == "__main__":
    main()
