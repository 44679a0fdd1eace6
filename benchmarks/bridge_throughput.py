"""How many records a second a bridge takes to a model, beside a hand-written loop that does the same; prints a table.

    python benchmarks/bridge_throughput.py [--rounds 5] [--batch 8] [--concurrency 8] [--size 1kB]

The broker is the real Kafka of deploy/services, the model a process that answers at once. In each round every case
reads the same records, one after another in an order drawn anew, each as a process and a group of its own. A rate is
that of the records' arrival at the model, from the first to the last one, so that nobody's start counts.

`loop` is confluent_kafka's consumer and a `requests.Session`: poll, post, commit (which is not waited for).
`loop, waiting` waits for each commit, too. `bridge` is `otel-kfs bridge` as a user starts it: traced to a file, or with
OTEL_SDK_DISABLED. With --batch there are the same bridges with so many records in a request. A figure is the median
over the rounds; a ratio to `loop` the median of the rounds' own ratios, with the lowest and the highest.
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
from pathlib import Path

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy" / "services"))
import services

SIZES = {"1kB": (1_000, 3_000), "60kB": (60_000, 1_000), "1.5MB": (1_500_000, 100)}  # bytes, records a run
LIMIT_SECONDS = 300.0

# HTTP/1.1 of its own, for a real server would cost more than what is measured. It answers one prediction an instance,
# and a GET with how many instances came, and when the first request and the last one did.
MODEL = """
import asyncio, json, sys, time
import orjson
seen = {"instances": 0, "beside_first": 0, "first": 0.0, "last": 0.0}
def answer(head, body):
    if head.startswith(b"GET"):
        told = json.dumps(seen).encode()
        seen.update(instances=0, beside_first=0, first=0.0, last=0.0)
        return told
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

Rates = dict[str, list[float]]
Case = tuple[list[str], dict[str, str]]  # a command, and what its environment has besides


class Model:
    """The model's process."""

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


def rate(command: list[str], environment: dict[str, str], model: Model, records: int) -> float:
    """Run a case to its end; return records a second."""
    model.seen()
    instances, beside_first, first, last = 0.0, 0.0, 0.0, 0.0
    # Errors go where the user sees them; what a bridge prints for each record is written, as for a user, but not read.
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + LIMIT_SECONDS
        while instances < records:
            time.sleep(0.2)
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{command[2:4]} took {instances:g} of {records} records")
            seen = model.seen()
            if seen["instances"]:
                first = first or seen["first"]
                # What came with the first request of all was there before the time began to run.
                beside_first += seen["beside_first"] if not instances else seen["instances"]
                instances, last = instances + seen["instances"], seen["last"]
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    return beside_first / (last - first)


def cases(
    servers: str, topic: str, model: Model, options: argparse.Namespace, folder: str
) -> dict[str, Callable[[], Case]]:
    """Return what starts each case: its command and environment."""
    one, many = f"{model.url}/v1/models/one:predict", f"{model.url}/v1/models/batch:predict"

    def loop(waiting: str) -> Case:
        return [sys.executable, "-c", LOOP, servers, topic, uuid.uuid4().hex, one, waiting], {}

    def bridge(url: str, *more: str, traced: bool) -> Case:
        command = [sys.executable, "-m", "otel_kfs.cli", "--quiet", "bridge", "--bootstrap-servers", servers]
        command += ["--topic", topic, "--group", uuid.uuid4().hex, "--url", url, *more]
        command += ["--concurrency", str(options.concurrency)]
        if not traced:
            return command, {"OTEL_SDK_DISABLED": "true"}
        return [*command, "--traces-file", f"{folder}/{uuid.uuid4().hex}.jsonl"], {}

    found = {
        "loop": lambda: loop("no"),
        "loop, waiting": lambda: loop("yes"),
        "bridge, traced": lambda: bridge(one, traced=True),
        "bridge, untraced": lambda: bridge(one, traced=False),
    }
    if options.batch > 1:
        batch = ("--batch", str(options.batch))
        found[f"batch {options.batch}, traced"] = lambda: bridge(many, *batch, traced=True)
        found[f"batch {options.batch}, untraced"] = lambda: bridge(many, *batch, traced=False)
    return {name: case for name, case in found.items() if not options.case or name in options.case}


def measure(servers: str, size: str, model: Model, options: argparse.Namespace) -> Rates:
    """Return the records a second of each case, round by round; one round before them warms up."""
    number_of_bytes, records = SIZES[size]
    topic = fill(servers, number_of_bytes, records)
    rates: Rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds + 1):
            here = cases(servers, topic, model, options, folder)
            for name, start in random.sample(list(here.items()), len(here)):
                found = rate(*start(), model, records)
                if number:
                    rates.setdefault(name, []).append(found)
    return {name: rates[name] for name in here}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--size", action="append", choices=SIZES, help="repeatable; all of them unless given")
    parser.add_argument("--case", action="append", help="repeatable; all of them unless given")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, confluent-kafka {confluent_kafka.__version__}, ", end="")
    print(f"{options.rounds} rounds, --concurrency {options.concurrency}, {os.cpu_count()} cores, ", end="")
    print(
        f"load average {os.getloadavg()[0]:.1f}\n\n| records of | case | records/s | of the loop |\n|---|---|--:|--:|"
    )
    model = Model()
    try:
        with services.kafka() as kafka:
            for size in options.size or SIZES:
                rates = measure(kafka.bootstrap_servers, size, model, options)
                for name, found in rates.items():
                    ratios = [a / b for a, b in zip(found, rates.get("loop", found), strict=True)]
                    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
                    print(f"| {size} | {name} | {statistics.median(found):.0f} | {ratio} |", flush=True)
    finally:
        model.process.kill()
        model.process.wait()


if __name__ == "__main__":
    main()
