"""What the tests of bridges under faults share: a bridge as a process, whose lines are read while it runs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import confluent_kafka
from bridge_support import committed_offsets
from support import LIMIT, HttpServer, start, wait_for_count

# Found out sooner, and told sooner, that another bridge is gone than by default (45 s, 3 s).
SETTINGS = "session.timeout.ms=6000\nheartbeat.interval.ms=500\nfetch.wait.max.ms=50\n"


class BridgeProcess:
    """`otel-kfs bridge` as a process."""

    def __init__(self, *options: str, verbose: bool = False, **env: str) -> None:
        log = ["--verbose"] if verbose else []
        command = [sys.executable, "-m", "otel_kfs.cli", *log, "bridge", *options]
        self.process: subprocess.Popen[str] = start(command, PYTHONUNBUFFERED="1", **env)
        self.told: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.told, json.loads), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors, str.rstrip), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def end(self, number: int | None = None) -> int:
        """Send a signal, if one is given, and wait for the end; returns the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        for reader in self._readers:
            reader.join(LIMIT)
        return code

    @staticmethod
    def _read(stream: Any, lines: list[Any], parse: Any) -> None:
        for line in stream:
            if line.endswith("\n"):
                lines.append(parse(line))


@contextmanager
def bridges(servers: str, topic: str, url: str, tmp_path: Any, group: str = "g") -> Iterator[Any]:
    """Starts bridges from a topic to a URL; those that still run at the end are killed."""
    settings = tmp_path / "consumer.properties"
    settings.write_text(SETTINGS)
    running: list[BridgeProcess] = []

    def start_bridge(*options: str, verbose: bool = False, **env: str) -> BridgeProcess:
        here = ["--bootstrap-servers", servers, "--url", url, "--group", group, "--consumer-config", str(settings)]
        source = [] if "--redrive" in options else ["--topic", topic]
        env = {"OTEL_TRACES_EXPORTER": "none", **env}
        running.append(BridgeProcess(*here, *source, *options, verbose=verbose, **env))
        return running[-1]

    try:
        yield start_bridge
    finally:
        for each in running:
            if each.process.poll() is None:
                each.process.kill()
                each.end()


def produce(servers: str, topic: str, records: list[tuple[bytes | None, bytes]]) -> None:
    """Write (key, value) records."""
    producer = confluent_kafka.Producer({"bootstrap.servers": servers})
    for key, value in records:
        producer.produce(topic, value, key)
    assert producer.flush(LIMIT) == 0


def committed(servers: str, topic: str, partitions: int = 1, group: str = "g") -> list[int]:
    """The group's committed offset of each partition."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": servers, "group.id": group})
    found = committed_offsets(consumer, [confluent_kafka.TopicPartition(topic, number) for number in range(partitions)])
    consumer.close()
    return [at.offset for at in found]


def wait_for_commits(servers: str, topic: str, records: int, partitions: int = 1, group: str = "g") -> None:
    """Wait until the group has committed so many records of all partitions."""
    # One that nothing was committed of has a negative offset.
    wait_for_count("records", lambda: sum(max(at, 0) for at in committed(servers, topic, partitions, group)), records)


def wait_for_lines(count: int, *of: BridgeProcess) -> None:
    """Wait until these bridges have together told of so many records."""
    wait_for_count("records", lambda: sum(len(each.told) for each in of), count)


def bodies(server: HttpServer) -> list[int]:
    """The numbers that a model was sent, in their order; a bridge that is killed may send half a request."""
    return [int(request.body) for request in list(server.requests) if request.body]
