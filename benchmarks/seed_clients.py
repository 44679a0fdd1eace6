"""The measurement of 2020 with its own two clients, curl and Kafka's console producer, under `otel-kfs exec`.

Needs Java 17 and, the first time, Maven (deploy/services), and the demo's extras. Starts Apache Kafka, the MobileNet
servers and the bridge on 127.0.0.1; sends the four sizes both ways; prints the tables. For comparison the same
payloads go through Kafka from a client that runs already, this process: its tables come second.

    python benchmarks/seed_clients.py --repeat 5 --output /tmp/seed-clients
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import otel_kfs
from otel_kfs.cli.output import progress
from otel_kfs.client.encodings import base64_json
from otel_kfs.demo import demo_run, embedded_broker, example
from otel_kfs.demo.bridge_process import BridgeProcess
from otel_kfs.demo.model_servers import MODEL, settle, start_serving
from otel_kfs.demo.processes import Processes, python
from otel_kfs.telemetry import provider

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deploy" / "services"))
import services
from service_kafka import MAX_RECORD_BYTES

CLI = python("-m", "otel_kfs.cli")
ANSWER_SECONDS = 120.0
HEAP = "-Xmx512M"  # what kafka-console-producer.sh gives its JVM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="times each size goes each way (default: 5)")
    parser.add_argument("--serving", choices=example.SERVINGS, help="left out: the one that is installed")
    parser.add_argument("--output", type=Path, required=True, help="a new folder for traces and logs")
    options = parser.parse_args()
    options.output.mkdir(parents=True)
    measure(options.output, options.repeat, example.serving(options.serving))
    for clients, title in (
        ("traces", "curl and the console producer"),
        ("running", "a Kafka client that runs already"),
    ):
        print(f"\n=== {title} ===\n", flush=True)
        subprocess.run([*CLI, "tables", "--trace-query", str(options.output / clients)], check=True)


def measure(output: Path, repeat: int, serving: str) -> None:
    """Send everything; leaves the traces in `traces`, and those of the running client in `running`."""
    traces, running = output / "traces", output / "running"
    traces.mkdir()
    running.mkdir()
    example.make_model()
    payloads = []
    for picture in example.make_pictures(print):
        payloads.append(output / f"{picture.stem}.json")
        payloads[-1].write_bytes(base64_json.encode(picture.read_bytes(), "image/jpeg").body)

    with services.kafka() as kafka, Processes(output / "logs") as processes:
        embedded_broker.create_topic(kafka.bootstrap_servers, MODEL)
        transformer, predictor = start_serving(processes, serving, traces)
        options = {"--bootstrap-servers": kafka.bootstrap_servers, "--topic": MODEL, "--model": MODEL}
        bridge = BridgeProcess(processes, "bridge", traces, transformer, options, {})
        url = f"{transformer}/v1/models/{MODEL}:predict"

        # The servers' first requests and the bridge's first fetch pay for caches and connections.
        provider.configure("image-sender", traces_file=running / "image-sender.jsonl")
        http = otel_kfs.HttpSender(url)
        topic = otel_kfs.KafkaSender(kafka.bootstrap_servers, MODEL)
        offset = 0
        for payload in payloads * demo_run.WARMUPS:
            http.send_json(payload, warmup=True)
            offset = topic.send_json(payload, warmup=True).offset
            bridge.wait(offset, ANSWER_SECONDS)

        execute = [*CLI, "exec", "--traces-file", str(traces / "image-sender.jsonl"), "--"]
        curl = [*execute, "curl", "-sS", "--fail", "-o", str(output / "answer.json"), url]
        producer = kafka.tool("org.apache.kafka.tools.ConsoleProducer")
        producer[1:1] = [HEAP]
        producer += ["--bootstrap-server", kafka.bootstrap_servers, "--topic", MODEL]
        producer += ["--command-property", f"max.request.size={MAX_RECORD_BYTES}"]
        with progress(repeat * len(payloads) * 3, "sending") as done:
            for _ in range(repeat):
                for payload in payloads:
                    subprocess.run([*curl, "-d", f"@{payload}"], check=True)
                    done(f"{payload.stem} by curl")
                    with payload.open("rb") as lines:
                        subprocess.run([*execute, *producer], stdin=lines, check=True)
                    offset += 1
                    bridge.wait(offset, ANSWER_SECONDS)
                    done(f"{payload.stem} by the console producer")
                    offset = topic.send_json(payload).offset
                    bridge.wait(offset, ANSWER_SECONDS)
                    done(f"{payload.stem} by a running client")
        settle([transformer, predictor])
        provider.flush()
    for file in traces.glob("*.jsonl"):
        if not (running / file.name).exists():
            shutil.copy(file, running)


if __name__ == "__main__":
    main()
