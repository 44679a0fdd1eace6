"""How many spans a second `otel-kfs watch` takes, and how long its senders wait; beside the Collector.

    python benchmarks/watch_load.py [--rate 50000] [--seconds 10] [--images 1] [--collector]

Sender processes hold requests that are encoded already - an image over HTTP, from the sender to the predictor, in 16
spans, or several - put a new trace id into each and send it over gRPC, at an even rate or (--rate 0) as fast as
answers come, each with so many requests under way. What is printed: spans acknowledged a second, how long the
acknowledgements took, the receiver's CPU time and what it comes to in spans a second a core, its memory in the middle
and at the end. And what decoding the same requests takes of one core in this process: it tells how busy the machine
was. With --collector, the Collector that `make validate-deploy` builds (an OTLP receiver and a file exporter, in
protobuf) takes the same.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MS = 1_000_000  # ns
TRACE = b"TRACEID-TRACEID-"
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

# Name, kind, start, end (ms), the parent's place, service.
IMAGE = (
    ("send image", 1, 0, 1000, None, "image-sender"),
    ("encode", 1, 10, 110, 0, "image-sender"),
    ("POST", 3, 130, 990, 0, "image-sender"),
    ("POST /v1/models", 2, 200, 970, 2, "transformer"),
    ("receive", 1, 150, 200, 3, "transformer"),
    ("decode", 1, 210, 240, 3, "transformer"),
    ("preprocess", 1, 250, 400, 3, "transformer"),
    ("predict", 1, 410, 940, 3, "transformer"),
    ("POST", 3, 500, 930, 7, "transformer"),
    ("POST /v1/models", 2, 540, 910, 8, "predictor"),
    ("receive", 1, 520, 540, 9, "predictor"),
    ("decode", 1, 550, 600, 9, "predictor"),
    ("preprocess", 1, 605, 610, 9, "predictor"),
    ("predict", 1, 620, 880, 9, "predictor"),
    ("postprocess", 1, 885, 895, 9, "predictor"),
    ("postprocess", 1, 945, 960, 3, "transformer"),
)
SPANS = len(IMAGE)
STEPS = {"decode", "preprocess", "predict", "postprocess", "receive"}


def request() -> bytes:
    """One image's spans as an export of each service, in one request."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found, now = ExportTraceServiceRequest(), time.time_ns()
    scopes = {}
    for service in dict.fromkeys(line[-1] for line in IMAGE):
        resource = found.resource_spans.add()
        for key, value in (("service.name", service), ("host.name", "node"), ("telemetry.sdk.language", "python")):
            resource.resource.attributes.add(key=key).value.string_value = value
        scopes[service] = resource.scope_spans.add()
        scopes[service].scope.name = "otel_kfs"
    for number, (name, kind, start, end, parent, service) in enumerate(IMAGE):
        span = scopes[service].spans.add(name=name, kind=kind, trace_id=TRACE, span_id=b"span%04d" % number)
        span.start_time_unix_nano, span.end_time_unix_nano = now + start * MS, now + end * MS
        if parent is not None:
            span.parent_span_id = b"span%04d" % parent
        texts = {"http.request.method": "POST", "url.full": "http://ingress/v1/models/m:predict"} if kind > 1 else {}
        if name in STEPS:
            texts["otel_kfs.role"] = service
        numbers = {"http.response.status_code": 200, "server.port": 8080} if kind > 1 else {}
        if parent is None:
            texts |= {"otel_kfs.transport": "http"}
            numbers |= {"otel_kfs.image.size": 1_100_000, "otel_kfs.payload.size": 1_500_000}
        for key, text in texts.items():
            span.attributes.add(key=key).value.string_value = text
        for key, integer in numbers.items():
            span.attributes.add(key=key).value.int_value = integer
    return found.SerializeToString()


# --- a sender ---


def send(address: str, rate: float, seconds: float, under_way: int, images: int) -> None:
    """Send for so long; print as JSON the latencies (ms), and what was answered otherwise."""
    import grpc

    export = grpc.insecure_channel(address).unary_unary(METHOD)
    template, draw, size = request(), random.Random(os.getpid()), images * SPANS

    def drawn() -> bytes:
        # One message behind the other is one message with the spans of all.
        return b"".join([template.replace(TRACE, draw.randbytes(16)) for _ in range(images)])

    done: queue.SimpleQueue[tuple[float, object]] = queue.SimpleQueue()
    places = threading.Semaphore(under_way)
    export(drawn(), timeout=30)
    print("ready", flush=True)
    sys.stdin.readline()
    begin = time.monotonic()
    sent = 0
    while (now := time.monotonic()) < begin + seconds:
        if rate and (wait := begin + sent * size / rate - now) > 0:
            time.sleep(wait)
        places.acquire()
        due = begin + sent * size / rate if rate else time.monotonic()

        def answered(future: grpc.Future, due: float = due) -> None:
            done.put((1000 * (time.monotonic() - due), future.code()))
            places.release()

        export.future(drawn(), timeout=30).add_done_callback(answered)
        sent += 1
    found = [done.get() for _ in range(sent)]
    elapsed = time.monotonic() - begin
    ok = [latency for latency, code in found if code is grpc.StatusCode.OK]
    others: dict[str, int] = {}
    for _, code in found:
        if code is not grpc.StatusCode.OK:
            others[str(code)] = others.get(str(code), 0) + 1
    print(json.dumps({"latencies": ok, "others": others, "seconds": elapsed}), flush=True)


# --- receivers ---


@contextmanager
def watching(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "otel_kfs.cli", "watch", "--grpc-port", "0", "--http-port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        line = process.stderr.readline()
        port = re.search(r"gRPC on port (\d+)", line)
        assert port, line + process.stderr.read()
        yield f"127.0.0.1:{port[1]}", process
        process.terminate()
        output, errors = process.communicate(timeout=60)
        print("  it printed: " + "\n    ".join((output + errors).strip().splitlines()[-3:]))


@contextmanager
def collecting(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    sys.path.append(str(Path(__file__).parents[1] / "deploy" / "validate"))
    import validate

    program = validate.folder("collector") / "otelcol"
    config = folder / "collector.yaml"
    config.write_text(f"""
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:14399"}}}}}}}}
exporters: {{file: {{path: {folder}/collector.otlp, format: proto}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
""")
    with subprocess.Popen(
        [program, "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if "Everything is ready" in line:
                break
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield "127.0.0.1:14399", process
        process.terminate()


def cpu(process: subprocess.Popen[str]) -> float:
    """Seconds of CPU that a process took."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: subprocess.Popen[str]) -> int:
    """MB in memory."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) // 1000


def load(name: str, address: str, process: subprocess.Popen[str], arguments: argparse.Namespace) -> None:
    command = [sys.executable, __file__, "--send", address, "--seconds", str(arguments.seconds)]
    command += ["--rate", str(arguments.rate / arguments.senders), "--under-way", str(arguments.under_way)]
    command += ["--images", str(arguments.images)]
    senders = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(arguments.senders)
    ]
    for sender in senders:
        assert sender.stdout.readline() == "ready\n"
    before, begin = cpu(process), time.monotonic()
    for sender in senders:
        sender.stdin.write("\n")
        sender.stdin.flush()
    time.sleep(arguments.seconds / 2)
    middle = memory(process)
    found = [json.loads(sender.communicate()[0]) for sender in senders]
    seconds = time.monotonic() - begin
    time.sleep(3)  # for what is acknowledged and waits
    used, end = cpu(process) - before, memory(process)
    latencies = sorted(latency for one in found for latency in one["latencies"])
    spans = SPANS * arguments.images * len(latencies)
    print(
        f"{name}: {spans / seconds:,.0f} spans/s acknowledged; p50 {latencies[len(latencies) // 2]:.1f} ms, "
        f"p99 {latencies[len(latencies) * 99 // 100]:.1f} ms, at most {latencies[-1]:.0f} ms; "
        f"CPU {used / seconds:.2f} cores: {spans / used:,.0f} spans/s a core; "
        f"memory {middle} MB, at the end {end} MB"
    )
    for code in sorted({code for one in found for code in one["others"]}):
        print(f"  {sum(one['others'].get(code, 0) for one in found)} requests: {code}")


def decoding() -> None:
    from otel_kfs.traces.formats.otlp_protobuf import exported_spans

    content, count = request(), 3000
    begin = time.process_time()
    for _ in range(count):
        exported_spans(content)
    print(f"decoding alone: {count * SPANS / (time.process_time() - begin):,.0f} spans/s a core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=50_000, help="spans a second; 0: as fast as they are answered")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--senders", type=int, default=3)
    parser.add_argument("--images", type=int, default=1, help="in a request")
    parser.add_argument("--under-way", type=int, default=16, help="requests of a sender at once")
    parser.add_argument("--collector", action="store_true", help="the Collector, too")
    parser.add_argument("--watch", nargs=argparse.REMAINDER, default=[], help="options of `otel-kfs watch`")
    parser.add_argument("--send", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send:
        send(arguments.send, arguments.rate, arguments.seconds, arguments.under_way, arguments.images)
        return
    size = SPANS * arguments.images, len(request()) * arguments.images
    print(f"{size[0]} spans a request of {size[1]:,} bytes, {arguments.senders} senders")
    decoding()
    with tempfile.TemporaryDirectory() as folder:
        with watching(Path(folder), *arguments.watch) as (address, process):
            load("watch", address, process, arguments)
        with watching(Path(folder), "--traces-file", "watch.otlp", *arguments.watch) as (address, process):
            load("watch --traces-file", address, process, arguments)
        if arguments.collector:
            with collecting(Path(folder)) as (address, process):
                load("Collector", address, process, arguments)


if __name__ == "__main__":
    main()
