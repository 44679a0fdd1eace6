"""The senders of each cell, one for each thread that sends, and how to wait for an image's answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_kfs import semconv
from otel_kfs.client.claim_check import NAME as CLAIM_CHECK
from otel_kfs.client.claim_check import ClaimStore
from otel_kfs.client.encodings.openai_chat import NAME as OPENAI
from otel_kfs.client.grpc_sender import GrpcSender
from otel_kfs.client.http_sender import HttpSender
from otel_kfs.client.kafka_sender import KafkaSender
from otel_kfs.client.sender import Sender
from otel_kfs.experiment.config.experiment_config import Cell, Endpoints, ExperimentConfig
from otel_kfs.experiment.servers import RunningServers, WayServers

if TYPE_CHECKING:
    import requests

    from otel_kfs.client.model_access import ModelAccess


class CellSenders:
    """One cell's senders to the servers of its way."""

    def __init__(self, config: ExperimentConfig, cell: Cell, servers: WayServers, run_id: str) -> None:
        """Make the senders; nothing is sent yet."""
        self._cell, self._servers, self.timeout = cell, servers, config.timeout
        threads = config.arrivals.workers if config.arrivals else cell.concurrency
        options: dict[str, Any] = {"run_id": run_id, "timeout": config.timeout}
        options |= {"compression": cell.compression, "resize": cell.resize, "cell": cell.label}
        endpoints = servers.endpoints
        if cell.transport != semconv.GRPC:
            bucket = cell.encoding == CLAIM_CHECK and endpoints.bucket
            store = ClaimStore(bucket, endpoint_url=endpoints.store_url) if bucket else None
            options["encoding"] = store.encoding if store else cell.encoding
        if cell.encoding == OPENAI:
            options |= {"prompt": config.prompt, "stream": config.stream}
        self.senders: list[Sender]
        self._sessions: list[requests.Session] = []
        if cell.transport == semconv.HTTP:
            # A session each: requests' are not made to be shared.
            self._sessions = [_session(endpoints, keep_alive=cell.keep_alive) for _ in range(threads)]
            self.senders = [
                HttpSender(str(endpoints.url), model=endpoints.model, host=endpoints.host, session=session, **options)
                for session in self._sessions
            ]
        elif cell.transport == semconv.GRPC:
            access = _access(endpoints)
            self.senders = [GrpcSender(str(endpoints.grpc), str(endpoints.model), access=access, **options)] * threads
        else:
            # One producer: several threads may send by it, and batches are made of what they send.
            self.senders = [_kafka_sender(config, cell, endpoints, options)] * threads

    def send(self, sender: Sender, image: Path, *, warmup: bool = False) -> None:
        """Send one image, and wait until it was answered.

        Raises:
            SendError: it was not.
        """
        sent = sender.send(image, warmup=warmup)
        if self._cell.transport == semconv.KAFKA:
            if self._servers.bridge is None:
                time.sleep(self._servers.endpoints.pause or 0.0)
            else:
                self._servers.bridge.wait(sent.offset, self.timeout)

    def send_due(self, sender: Sender, image: Path, due: int) -> int | None:
        """Send one image that was due at a time (ns since the epoch); return the offset of a record still unanswered.

        Raises:
            SendError: it was not sent.
        """
        sent = sender.send(image, due=due)
        return None if self._cell.transport != semconv.KAFKA or self._servers.bridge is None else int(sent.offset)

    def wait(self, offset: int, until: float) -> None:
        """Wait until the record was answered, at the longest until a time of the monotonic clock.

        Raises:
            SendError: it was not, or was refused.
        """
        if self._servers.bridge is not None:
            self._servers.bridge.wait(offset, max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions:
            session.close()


@contextmanager
def open_senders(config: ExperimentConfig, servers: RunningServers, run_id: str) -> Iterator[dict[Cell, CellSenders]]:
    """Make every cell's senders; their connections are closed at the end.

    Raises:
        ConfigError: librdkafka does not take a setting, or a certificate can't be used.
    """
    senders: dict[Cell, CellSenders] = {}
    try:
        for cell in config.cells:
            senders[cell] = CellSenders(config, cell, servers.by_way[cell.way], run_id)
        yield senders
    finally:
        for of_cell in senders.values():
            of_cell.close()


def try_settings(config: ExperimentConfig) -> None:
    """Make the senders that can fail before anything is sent, and discard them.

    Raises:
        ConfigError: librdkafka does not take a setting.
        MissingExtra: gRPC's client, or the object store's, is not installed.
    """
    for cell in config.cells:
        if cell.kafka:
            nowhere = Endpoints(bootstrap_servers="127.0.0.1:1", topic="none")
            _kafka_sender(config, cell, nowhere, {"compression": cell.compression})
    if any(cell.transport == semconv.GRPC for cell in config.cells):
        GrpcSender("127.0.0.1:1", "none")
    if any(cell.encoding == CLAIM_CHECK for cell in config.cells):
        ClaimStore("none")


def _access(endpoints: Endpoints) -> ModelAccess:
    from otel_kfs.client.model_access import ModelAccess

    return ModelAccess(ca=endpoints.ca, cert=endpoints.cert, key=endpoints.key, token_file=endpoints.token_file)


def _session(endpoints: Endpoints, *, keep_alive: bool) -> requests.Session:
    session = _access(endpoints).session()
    if not keep_alive:
        session.headers["Connection"] = "close"
        # urllib3 ignores the header that it sends: until the server has closed the connection, it would use it again.
        session.hooks["response"].append(lambda *_, **__: session.close())
    return session


def _kafka_sender(config: ExperimentConfig, cell: Cell, endpoints: Endpoints, options: dict[str, Any]) -> KafkaSender:
    from otel_kfs.client.kafka_access.kafka_security import config_errors
    from otel_kfs.client.kafka_access.kafka_settings import read_properties

    settings = {**(read_properties(endpoints.producer_config) if endpoints.producer_config else {}), **dict(cell.kafka)}
    with config_errors(f"{config.file}: {cell.name}"):
        return KafkaSender(str(endpoints.bootstrap_servers), str(endpoints.topic), config=settings, **options)
