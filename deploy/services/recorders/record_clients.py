"""Python's clients under the instrumentations of OpenTelemetry's contrib: httpx, aiohttp, kafka-python, aiokafka."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from service_kafka import kafka
from service_process import HERE

from otel_kfs.demo.model_servers import MODEL
from recorders.recording import Expected, Recording, environment_for, expected

FILES = HERE / "recorders" / "clients"
TOPIC = "mobilenet"


def post(recording: Recording, library: str) -> Expected:
    """Post the images to the transformer."""
    url, _ = recording.model_servers()
    payloads = [str(payload) for payload in recording.payloads()]
    _run(recording, f"{library}-client", "post.py", library, f"{url}/v1/models/{MODEL}:predict", *payloads)
    return expected(len(payloads), f"{library}-client", "mobilenet-transformer", "mobilenet-predictor")


def produce(recording: Recording, library: str) -> Expected:
    """Produce them, for our bridge to hand to the transformer."""
    producer = f"{library}-producer"
    with kafka() as broker:
        url, _ = recording.model_servers()
        recording.bridge(broker.bootstrap_servers, TOPIC, url)
        payloads = [str(payload) for payload in recording.payloads()]
        _run(recording, producer, "produce.py", library, broker.bootstrap_servers, TOPIC, *payloads)
        recording.wait_for_answers(len(payloads))
        recording.processes.stop()  # before the broker, without which the bridge would end with an error
    return expected(len(payloads), producer, "kafka-bridge", "mobilenet-transformer", "mobilenet-predictor")


def consume(recording: Recording, library: str) -> Expected:
    """Produce them, consume them by the same library and post them to the transformer by httpx."""
    producer, consumer = f"{library}-producer", f"{library}-consumer"
    with kafka() as broker:
        url, _ = recording.model_servers()
        payloads = [str(payload) for payload in recording.payloads()]
        _run(recording, producer, "produce.py", library, broker.bootstrap_servers, TOPIC, *payloads)
        where = [broker.bootstrap_servers, TOPIC, f"{url}/v1/models/{MODEL}:predict", str(len(payloads))]
        _run(recording, consumer, "consume.py", library, *where)
    return expected(len(payloads), producer, consumer, "mobilenet-transformer", "mobilenet-predictor")


RECORDINGS = {
    "httpx": partial(post, library="httpx"),
    "aiohttp": partial(post, library="aiohttp"),
    "kafka-python-producer": partial(produce, library="kafka-python"),
    "kafka-python-consumer": partial(consume, library="kafka-python"),
    "aiokafka-producer": partial(produce, library="aiokafka"),
    "aiokafka-consumer": partial(consume, library="aiokafka"),
}


def _run(recording: Recording, service: str, script: str, *arguments: str) -> None:
    run_instrumented(recording, service, "clients", FILES, script, *arguments)


def run_instrumented(
    recording: Recording, service: str, environment: str, folder: Path, script: str, *arguments: str
) -> None:
    """Run a folder's script to its end, in an environment with its requirements, under OpenTelemetry's own command."""
    bin_folder = environment_for(environment, folder / "requirements.txt")
    command = [str(bin_folder / "opentelemetry-instrument"), str(bin_folder / "python"), str(folder / script)]
    recording.run(service, [*command, *arguments], recording.instrumented(service))
