"""Where images go: the demo's servers, started here, or the user's; and who tells that a record was answered."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from subprocess import Popen

from otel_kfs import semconv
from otel_kfs.client.claim_check import NAME as CLAIM_CHECK
from otel_kfs.demo import example
from otel_kfs.demo.processes import Processes, free_port, python
from otel_kfs.errors import DemoError, SendError
from otel_kfs.experiment.config import PICTURES, ExperimentConfig, OwnServers
from otel_kfs.experiment.trial_log import TRACES

_LOOK_SECONDS = 0.2  # how often a waiting thread looks whether the bridge still runs
_PORT_SECONDS = 30.0  # for a server that answers over HTTP to open its gRPC port


class Answers:
    """What a bridge of ours has answered, by the record's offset; threads wait for theirs."""

    def __init__(self, processes: Processes, process: Popen[bytes]) -> None:
        self._processes = processes
        self._process = process
        self._refused: dict[int, str | None] = {}  # by offset
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self, offset: int, seconds: float) -> None:
        """Wait until the record at `offset` was answered.

        Raises:
            SendError: the model refused it, or it was not answered within `seconds`.
            DemoError: the bridge, or another process of ours, has ended.
        """
        limit = time.monotonic() + seconds
        with self._news:
            while offset not in self._refused:
                if time.monotonic() > limit:
                    raise SendError(f"the bridge did not answer the record at offset {offset} within {seconds:g} s")
                self._news.wait(_LOOK_SECONDS)
                self._processes.check()
            refused = self._refused.pop(offset)
        if refused:
            raise SendError(f"the model refused the record at offset {offset}: {refused}")

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            answer = json.loads(line)
            with self._news:
                self._refused[answer["offset"]] = answer["refused"]
                self._news.notify_all()


@dataclass(frozen=True)
class Target:
    """The servers of one way. `answers` is None where no bridge of ours leads from the topic."""

    own: OwnServers
    answers: Answers | None = None


@dataclass(frozen=True)
class Targets:
    """All of a run's. `check` raises if a process of ours has died; `settle` waits for the servers' last spans."""

    of_way: dict[str, Target]
    images: dict[str, Path]  # the files of the plan's images
    check: Callable[[], None]
    settle: Callable[[], None]


@contextmanager
def targets(plan: ExperimentConfig, folder: Path, run_id: str, say: Callable[[str], None]) -> Iterator[Targets]:
    """Start what must be started; it lasts as long as the `with`.

    Raises:
        DemoError: something is not installed, did not start, or died.
    """
    pictures = _pictures(plan, say)
    with Processes(folder / "logs") as processes:
        choose = _embedded if plan.servers.embedded else _own
        with choose(plan, processes, folder, run_id, say) as (of_way, settle):
            yield Targets(of_way, pictures, processes.check, settle)


_Started = tuple[dict[str, Target], Callable[[], None]]


def _pictures(plan: ExperimentConfig, say: Callable[[str], None]) -> dict[str, Path]:
    found = {image: Path(image) for image in plan.images if image not in PICTURES}
    if plan.servers.embedded:
        say("Model and pictures (made on the first run, kept for the next) ...")
        try:
            example.make_model()
            if len(found) < len(plan.images):
                made = example.make_pictures(lambda line: say(f"  {line}"))
                found |= {path.stem: path for path in made if path.stem in plan.images}
        except (RuntimeError, ImportError) as error:
            raise DemoError(str(error)) from error
    return found


@contextmanager
def _embedded(
    plan: ExperimentConfig, processes: Processes, folder: Path, run_id: str, say: Callable[[str], None]
) -> Iterator[_Started]:
    """The demo's broker and servers, those that the cells need, and a bridge for each way through Kafka."""
    from otel_kfs.demo.measurement_run import is_ready

    with _topics(plan, processes, say) as (address, topics, settings):
        serving = example.serving(plan.servers.serving)
        found: dict[str, Target] = {}
        urls: list[str] = []
        for way in dict.fromkeys(cell.way for cell in plan.cells):
            say(f"Starting {serving}'s servers, {way} ...")
            own, predictor = _servers_of(plan, way, processes, serving, folder / TRACES)
            urls += [str(own.url), predictor]
            own = replace(own, bootstrap_servers=address, topic=topics.get(way))
            bridge = _bridge(plan, processes, folder, way, own, run_id, settings) if own.topic else None
            found[way] = Target(own, bridge)

        def settle() -> None:
            # A server ends its span after its answer has left; once it has answered another request, the span is there.
            for url in urls:
                is_ready(url)

        yield found, settle


@contextmanager
def _topics(
    plan: ExperimentConfig, processes: Processes, say: Callable[[str], None]
) -> Iterator[tuple[str | None, dict[str, str], Mapping[str, str]]]:
    """A broker's address, its topic of each way, and what its consumers should set."""
    from otel_kfs.demo import embedded_broker
    from otel_kfs.demo.measurement_run import MODEL

    ways = dict.fromkeys(cell.way for cell in plan.cells if cell.transport == semconv.KAFKA)
    if not ways:
        yield None, {}, {}
    elif plan.servers.bootstrap_servers:
        with _own_topics(processes) as make:
            yield plan.servers.bootstrap_servers, {way: make(plan.servers.bootstrap_servers) for way in ways}, {}
    else:
        say(f"Starting broker ({embedded_broker.NAME}) ...")
        topics = {way: f"{MODEL}-{way}" for way in ways}
        first, *others = topics.values()
        address = embedded_broker.start(processes, first)
        for topic in others:
            embedded_broker.create_topic(address, topic)
        yield address, topics, embedded_broker.CONSUMER_SETTINGS


@contextmanager
def _own_topics(processes: Processes) -> Iterator[Callable[[str], str]]:
    """Makes topics of a user's Kafka, which go when the `with` ends, after the processes that read them."""
    ends: list[Callable[[], None]] = []

    def make(bootstrap_servers: str) -> str:
        # Not at the top: over HTTP nothing of Kafka has to be installed.
        from otel_kfs.demo import embedded_broker

        topic = f"otel-kfs-experiment-{uuid.uuid4().hex[:8]}"
        embedded_broker.create_topic(bootstrap_servers, topic)
        ends.append(partial(embedded_broker.delete_topic, bootstrap_servers, topic))
        return topic

    try:
        yield make
    finally:
        processes.stop()
        for end in ends:
            end()


def _servers_of(
    plan: ExperimentConfig, way: str, processes: Processes, serving: str, traces: Path
) -> tuple[OwnServers, str]:
    """Start the demo's servers of one way, with what its cells need; returns them, and the predictor's URL."""
    from otel_kfs.demo.measurement_run import MODEL, start_serving

    cells = [cell for cell in plan.cells if cell.way == way]
    more: list[str] = []
    own = OwnServers(model=MODEL)
    if any(cell.encoding == CLAIM_CHECK for cell in cells):
        bucket, store_url = str(plan.servers.bucket), plan.servers.store_url
        more += example.store_options(bucket, store_url)
        own = replace(own, bucket=bucket, store_url=store_url)
    port = free_port() if any(cell.transport == semconv.GRPC for cell in cells) else None
    if port:
        more += example.grpc_options(port)
        own = replace(own, grpc=f"127.0.0.1:{port}")
    fast = way == "fast"
    transformer, predictor = start_serving(processes, serving, traces, fast=fast, more=more)
    if port:
        processes.wait_until(f"transformer{'-fast' if fast else ''}", lambda: _is_open(port), _PORT_SECONDS)
    return replace(own, url=transformer), predictor


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


@contextmanager
def _own(
    plan: ExperimentConfig,
    processes: Processes,
    folder: Path,
    run_id: str,
    say: Callable[[str], None],  # noqa: ARG001 - nothing takes long here
) -> Iterator[_Started]:
    """The user's servers; where no topic is named, one that lasts as long as the run, and a bridge."""
    found = {cell.way: Target(plan.servers.ways[cell.way]) for cell in plan.cells}
    with _own_topics(processes) as make:
        for way in dict.fromkeys(cell.way for cell in plan.cells if cell.transport == semconv.KAFKA):
            own = found[way].own
            if own.topic is None and own.bootstrap_servers is not None:
                own = replace(own, topic=make(own.bootstrap_servers))
                found[way] = Target(own, _bridge(plan, processes, folder, way, own, run_id, {}))
        yield found, lambda: None


def _bridge(
    plan: ExperimentConfig,
    processes: Processes,
    folder: Path,
    way: str,
    server: OwnServers,
    run_id: str,
    settings: Mapping[str, str],
) -> Answers:
    """Start a bridge from the way's topic to its model."""
    from otel_kfs.demo.measurement_run import child_environment

    name = f"bridge-{way}" if way else "bridge"
    config = processes.log(name).with_suffix(".properties")
    config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    options: Sequence[tuple[str, str | None]] = (
        ("--bootstrap-servers", server.bootstrap_servers),
        ("--topic", server.topic),
        ("--group", f"otel-kfs-experiment-{run_id[:8]}"),
        ("--model", server.model),
        ("--host-header", server.host),
        ("--model-ca", server.ca),
        ("--model-cert", server.cert),
        ("--model-key", server.key),
        ("--model-token-file", server.token_file),
        ("--consumer-config", server.consumer_config or str(config)),
        ("--concurrency", str(plan.servers.bridge_concurrency)),
        # One image that is refused or not answered in time must not end the run.
        ("--on-unanswered", "skip"),
        ("--retries", "0"),
        ("--timeout", str(plan.timeout)),
    )
    command = ["-m", "otel_kfs.cli", "bridge", *(text for key, value in options if value for text in (key, value))]
    environment = child_environment(folder / TRACES, f"kafka-{name}")
    if server.url:
        environment[semconv.ENV_MODEL_URL] = server.url  # everybody can read command lines, and it may hold a password
    process = processes.start(name, python(*command), environment, pipe=True)
    return Answers(processes, process)
