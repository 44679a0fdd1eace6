"""An experiment's configuration: what is sent to which servers, how, how often and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otel_kfs import semconv
from otel_kfs.analysis.measurement import Labels

PATTERNS = ("poisson", "constant")
CHAT = "chat"  # the way of the demo's server that has the model behind V1 and behind a chat
EMBEDDED_WAYS = ("seed", "fast", CHAT)
PICTURES = ("1.1MB", "3.3MB", "4.7MB", "10.2MB")  # the demo's


@dataclass(frozen=True)
class Cell:
    """One combination of settings by which every image is sent; `label` tells it from others of its transport."""

    transport: str = semconv.HTTP
    encoding: str = "json"
    compression: str | None = None
    resize: int | None = None  # pixels of the shorter side
    way: str = ""  # which servers
    keep_alive: bool = True  # HTTP: False opens a connection for each image
    concurrency: int = 1  # images under way at a time, in a closed loop
    kafka: tuple[tuple[str, str], ...] = ()  # the producer's further settings
    rate: float | None = None  # images a second, in an open loop
    label: str = ""
    base_label: str = ""  # the label without the rate

    @property
    def name(self) -> str:
        """Its name in the tables: `HTTP, json`."""
        return Labels(self.measured_as, cell=self.label).label

    @property
    def measured_as(self) -> str:
        """Its transport in the tables, where gRPC counts as HTTP, which it is made of."""
        return semconv.HTTP if self.transport == semconv.GRPC else self.transport


@dataclass(frozen=True)
class ServersConfig:
    """Where images are sent: to the demo's own servers, or the user's, by their way's name."""

    embedded: bool = False
    serving: str | None = None  # of the demo's
    bucket: str | None = None  # for claim checks to the demo's: in a store of the user's
    store_url: str | None = None
    bootstrap_servers: str | None = None  # a Kafka of the user's for the demo's, in place of its own broker
    bridge_concurrency: int = 1
    ways: Mapping[str, Endpoints] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoints:
    """The servers of one way, and what they ask for; paths are those of files."""

    url: str | None = None  # of the model server or the ingress before it
    model: str | None = None
    host: str | None = None
    grpc: str | None = None  # host:port, or https://host:port for TLS
    bootstrap_servers: str | None = None
    topic: str | None = None  # without it, a topic is made, with a bridge of our own from it to `url`
    pause: float | None = None  # seconds after a record of a topic whose bridge is not ours
    producer_config: str | None = None
    consumer_config: str | None = None  # of our own bridge
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    token_file: str | None = None
    bucket: str | None = None
    store_url: str | None = None


@dataclass(frozen=True)
class Arrivals:
    """An open loop: images are due at their times, whether those before them were answered or not."""

    pattern: str = "poisson"
    rates: tuple[float, ...] = ()  # images a second
    duration: float = 30.0  # seconds of one stage
    workers: int = 16  # threads that send


@dataclass(frozen=True)
class ExperimentConfig:
    """What is sent, how, in which order (`seed`), and what it is compared with."""

    file: Path
    document: Mapping[str, Any]  # as it was read, to tell whether it was changed
    cells: tuple[Cell, ...]
    baselines: tuple[Cell, ...]  # one; in an open loop one a rate
    images: tuple[str, ...]  # files, or the embedded pictures' names
    servers: ServersConfig
    repeat: int = 10
    warmups: int = 2
    seed: int = 1
    max_failures: int = 10
    timeout: float = 60.0  # seconds for one image
    prompt: str | None = None  # of the encoding openai
    stream: bool = False  # the same: the answer comes piece by piece
    arrivals: Arrivals | None = None
    otlp_endpoint: str | None = None
    query: str | None = None  # where the traces can be read, if not in the folder
