"""Kafka's console producer and consumer under OpenTelemetry's Java agent, and the same under `otel-kfs exec`."""

from __future__ import annotations

import sys

from service_kafka import Kafka, kafka
from service_maven import fetch_jars
from service_process import HERE

from recorders.recording import Expected, Recording, expected

TOPIC = "mobilenet"
PRODUCER, CONSUMER = "org.apache.kafka.tools.ConsoleProducer", "org.apache.kafka.tools.consumer.ConsoleConsumer"


def producer(recording: Recording) -> Expected:
    """Produce the images with the console producer, for our bridge to hand to the transformer."""
    return _to_bridge(recording)


def producer_under_exec(recording: Recording) -> Expected:
    """Run the same console producer, with its agent, under `otel-kfs exec`."""
    file = recording.traces / "image-sender.jsonl"
    return _to_bridge(recording, sys.executable, "-m", "otel_kfs.cli", "exec", "--traces-file", str(file), "--")


def consumer(recording: Recording) -> Expected:
    """Produce them, and consume them with the console consumer, which asks no model."""
    with kafka() as broker:
        count = _produce(recording, broker)
        options = ["--from-beginning", "--max-messages", str(count), "--group", "console"]
        recording.run("consumer", _tool(recording, broker, CONSUMER, *options))
    return expected(count, "kafka-console-producer", "kafka-console-consumer")


RECORDINGS = {
    "java-console-producer": producer,
    "java-console-producer-under-exec": producer_under_exec,
    "java-console-consumer": consumer,
}


def _to_bridge(recording: Recording, *before: str) -> Expected:
    """Produce the images, by a command that may stand before the producer's, and have the bridge ask the model."""
    with kafka() as broker:
        url, _ = recording.model_servers()
        recording.bridge(broker.bootstrap_servers, TOPIC, url)
        count = _produce(recording, broker, *before)
        recording.wait_for_answers(count)
        recording.processes.stop()  # before the broker, without which the bridge would end with an error
    return expected(count, "kafka-console-producer", "kafka-bridge", "mobilenet-transformer", "mobilenet-predictor")


def _produce(recording: Recording, broker: Kafka, *before: str) -> int:
    lines = [payload.read_bytes() + b"\n" for payload in recording.payloads()]
    config = recording.folder / "producer.properties"
    config.write_text("max.request.size=100000000\nbuffer.memory=200000000\n")
    command = [*before, *_tool(recording, broker, PRODUCER, "--command-config", str(config))]

    def sent() -> None:
        # At the end of its input the JVM ends, and the agent with it: before the last records are acknowledged, which
        # is when their spans end.
        recording.wait_for_spans("kafka-console-producer", len(lines))

    recording.run("producer", command, lines=b"".join(lines), until=sent)
    return len(lines)


def _tool(recording: Recording, broker: Kafka, main_class: str, *options: str) -> list[str]:
    """Return the command line of one of Kafka's tools with the agent, whose settings are its own alone."""
    agent = next((fetch_jars("java-agent", HERE / "recorders" / "java" / "pom.xml") / "libs").glob("*.jar"))
    settings = recording.environment("kafka-console-" + ("producer" if main_class == PRODUCER else "consumer"))
    properties = [f"-D{name.lower().replace('_', '.')}={value}" for name, value in settings.items()]
    java, *rest = broker.tool(main_class, "--bootstrap-server", broker.bootstrap_servers, "--topic", TOPIC, *options)
    return [java, f"-javaagent:{agent}", *properties, *rest]
