"""Apache Kafka: jars from Maven, a node that is broker and controller, and more brokers in its cluster."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from service_maven import fetch_jars
from service_process import (
    HERE,
    HOST,
    Server,
    ServiceError,
    choose_ports,
    fill,
    finished,
    program,
    running,
    server_environment,
)

FILES = HERE / "kafka"
# Any 16 bytes name a cluster; a fixed name lets a kept data folder be opened again.
CLUSTER_ID = "b3RlbC1rZnMtbG9jYWwtMQ"
FIRST_NODE = 1
MAX_RECORD_BYTES = 100 * 1024 * 1024
REQUEST_OVERHEAD_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Listener:
    """Another address of the broker: its security.protocol (SSL, SASL_SSL, ...) and its own properties."""

    protocol: str
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kafka:
    """A running broker; `addresses` are those of its other listeners, by name."""

    server: Server
    bootstrap_servers: str
    home: Path
    data_dir: Path
    addresses: Mapping[str, str] = field(default_factory=dict)
    node_id: int = FIRST_NODE
    controller_port: int = 0

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
    """Return the folder of Kafka's jars, copying them there with Maven the first time."""
    return fetch_jars("kafka", FILES / "pom.xml")


@contextmanager
def kafka(
    port: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    max_record_bytes: int = MAX_RECORD_BYTES,
    listeners: Mapping[str, Listener] | None = None,
    properties: Mapping[str, str] | None = None,
    joins: Kafka | None = None,
) -> Iterator[Kafka]:
    """Run a broker on the port, or on a free one, keeping its data only if a folder is given.

    It has the listeners by name besides its plain one, each on a free port of its own; `properties` are further ones
    of the broker. It is a cluster by itself, or one more broker of the cluster that another one began (`joins`).
    """
    home = fetch_kafka()
    listeners = listeners or {}
    port, controller_port, *more_ports = choose_ports(port, 0, *[0] * len(listeners))
    # A joining broker's port is a number that no other one of its cluster has.
    node_id = port if joins else FIRST_NODE
    controller_port = joins.controller_port if joins else controller_port
    addresses = {name: f"{HOST}:{more}" for name, more in zip(listeners, more_ports, strict=True)}
    with tempfile.TemporaryDirectory(prefix="otel-kfs-kafka-") as scratch:
        data = Path(data_dir).absolute() if data_dir is not None else Path(scratch) / "data"
        data.mkdir(parents=True, exist_ok=True)
        settings = fill(
            FILES / "server.properties",
            Path(scratch) / "server.properties",
            roles="broker" if joins else "broker,controller",
            node_id=node_id,
            port=port,
            controller_port=controller_port,
            controller_listener="" if joins else f",CONTROLLER://{HOST}:{controller_port}",
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
            yield Kafka(server, f"{HOST}:{port}", home, data, addresses, node_id, controller_port)


def _classpath(home: Path) -> str:
    return str(home / "libs" / "*")


def _java(home: Path, *options: str) -> list[str]:
    java = program("java", "install a Java 17 or newer")
    logging = f"-Dlog4j2.configurationFile={FILES / 'log4j2.properties'}"
    return [java, *options, logging, "-cp", _classpath(home)]


def _format(home: Path, settings: Path) -> None:
    """Prepare the data folder, unless it already is."""
    command = [*_java(home), "kafka.tools.StorageTool", "format", "--ignore-formatted"]
    command += ["--cluster-id", CLUSTER_ID, "--config", str(settings)]
    result = finished(command, env=server_environment())
    if result.returncode != 0:
        raise ServiceError(f"Kafka's storage could not be prepared: {result.stdout.strip()}")


def _has_broker(port: int) -> bool:
    """Tell whether a metadata request is answered with the broker that listens there."""
    # Metadata (key 3) version 1, correlation id 1, no client id, all topics. Spoken by hand, so
    # that the starter needs no Kafka library; a broker lists itself only once it serves clients.
    request = struct.pack(">hhihi", 3, 1, 1, -1, -1)
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                return port in _broker_ports(answer)
    except (OSError, struct.error):
        return False


def _broker_ports(answer: BinaryIO) -> list[int]:
    """Return the ports of the brokers that an answer to a metadata request lists."""

    def number(form: str) -> int:
        return int(struct.unpack(form, answer.read(struct.calcsize(form)))[0])

    _size, _correlation, brokers = number(">i"), number(">i"), number(">i")
    ports = []
    for _ in range(brokers):
        _node = number(">i")
        answer.read(number(">h"))  # its host
        ports.append(number(">i"))
        answer.read(max(0, number(">h")))  # its rack; -1 is none
    return ports
