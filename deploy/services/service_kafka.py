"""Apache Kafka: its jars by Maven, and one node that is broker and controller."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service_maven import fetch_jars
from service_process import (
    HERE,
    HOST,
    Server,
    ServiceError,
    choose_ports,
    fill,
    program,
    running,
    server_environment,
)

FILES = HERE / "kafka"
# Any 16 bytes name a cluster; a fixed name lets a kept data folder be opened again.
CLUSTER_ID = "b3RlbC1rZnMtbG9jYWwtMQ"
MAX_RECORD_BYTES = 100 * 1024 * 1024
REQUEST_OVERHEAD_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Listener:
    """A further address of the broker: its security.protocol (SSL, SASL_SSL, ...) and its own properties."""

    protocol: str
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kafka:
    """A running broker; `addresses` are those of its further listeners, by their names."""

    server: Server
    bootstrap_servers: str
    home: Path
    data_dir: Path
    addresses: Mapping[str, str] = field(default_factory=dict)

    @property
    def classpath(self) -> str:
        """Return the class path of the broker and of the console tools."""
        return _classpath(self.home)

    def kill(self) -> None:
        """End the broker as a crash would (kill -9); its data and its addresses stay."""
        self.server.kill()

    def start_again(self) -> None:
        """Start the broker again, on the same ports with the same data; wait until it serves clients."""
        port = int(self.bootstrap_servers.rpartition(":")[2])
        self.server.start_again(lambda: _has_broker(port))

    def tool(self, main_class: str, *arguments: str) -> list[str]:
        """Return the command line of a Kafka tool, such as org.apache.kafka.tools.ConsoleProducer."""
        return [*_java(self.home), main_class, *arguments]


def fetch_kafka() -> Path:
    """Return the folder of Kafka's jars, copying them there by Maven the first time."""
    return fetch_jars("kafka", FILES / "pom.xml")


@contextmanager
def kafka(
    port: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    max_record_bytes: int = MAX_RECORD_BYTES,
    listeners: Mapping[str, Listener] | None = None,
    properties: Mapping[str, str] | None = None,
) -> Iterator[Kafka]:
    """Run a broker on the port, or on a free one, keeping its data only if a folder is given.

    It has the listeners by name besides its plain one, each on a free port of its own; `properties` are further ones
    of the broker.
    """
    home = fetch_kafka()
    listeners = listeners or {}
    port, controller_port, *more_ports = choose_ports(port, 0, *[0] * len(listeners))
    addresses = {name: f"{HOST}:{more}" for name, more in zip(listeners, more_ports, strict=True)}
    with tempfile.TemporaryDirectory(prefix="otel-kfs-kafka-") as scratch:
        data = Path(data_dir).absolute() if data_dir is not None else Path(scratch) / "data"
        data.mkdir(parents=True, exist_ok=True)
        settings = fill(
            FILES / "server.properties",
            Path(scratch) / "server.properties",
            port=port,
            controller_port=controller_port,
            data_dir=data,
            max_record_bytes=max_record_bytes,
            max_request_bytes=max_record_bytes + REQUEST_OVERHEAD_BYTES,
            more_listeners="".join(f",{name}://{address}" for name, address in addresses.items()),
            more_protocols="".join(f",{name}:{listener.protocol}" for name, listener in listeners.items()),
            more_properties="\n".join(
                [
                    f"listener.name.{name.lower()}.{key}={value}"
                    for name, listener in listeners.items()
                    for key, value in listener.properties.items()
                ]
                + [f"{key}={value}" for key, value in (properties or {}).items()]
            ),
        )
        _format(home, settings)
        options = ("-Xms256m", "-Xmx1g", "-Dkafka.log.level=info")
        command = [*_java(home, *options), "kafka.Kafka", str(settings)]
        with running("kafka", command, Path(scratch), lambda: _has_broker(port)) as server:
            yield Kafka(server, f"{HOST}:{port}", home, data, addresses)


def _classpath(home: Path) -> str:
    return str(home / "libs" / "*")


def _java(home: Path, *options: str) -> list[str]:
    java = program("java", "install a Java 17 or newer")
    logging = f"-Dlog4j2.configurationFile={FILES / 'log4j2.properties'}"
    return [java, *options, logging, "-cp", _classpath(home)]


def _format(home: Path, settings: Path) -> None:
    """Prepare the data folder, leaving one that is prepared already as it is."""
    command = [*_java(home), "kafka.tools.StorageTool", "format", "--ignore-formatted"]
    result = subprocess.run(
        [*command, "--cluster-id", CLUSTER_ID, "--config", str(settings)],
        env=server_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise ServiceError(f"Kafka's storage could not be prepared: {result.stdout.strip()}")


def _has_broker(port: int) -> bool:
    """Tell whether a metadata request is answered with at least one broker."""
    # Metadata (key 3) version 1, correlation id 1, no client id, all topics. Spoken by hand, so
    # that the starter needs no Kafka library; a broker lists itself only once it serves clients.
    request = struct.pack(">hhihi", 3, 1, 1, -1, -1)
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                size_correlation_brokers = answer.read(12)
    except OSError:
        return False
    return len(size_correlation_brokers) == 12 and struct.unpack(">iii", size_correlation_brokers)[2] > 0
