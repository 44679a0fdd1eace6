"""Where a cell's images go: the demo's own servers, started here, or the user's; and who tells that Kafka's were answered."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import Popen

from otel_kfs import names
from otel_kfs.demo import broker, example
from otel_kfs.demo.processes import Processes, python
from otel_kfs.demo.run import MODEL, _environment, _is_ready, _start_serving
from otel_kfs.errors import SendError
from otel_kfs.experiment.journal import TRACES
from otel_kfs.experiment.plan import PICTURES, OwnServers, Plan

_LOOK_SECONDS = 0.2  # how often a waiting thread looks whether the bridge still runs


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
def targets(plan: Plan, folder: Path, run_id: str, say: Callable[[str], None]) -> Iterator[Targets]:
    """Start what must be started; it lasts as long as the `with`.

    Raises:
        DemoError: something is not installed, did not start, or died.
    """
    pictures = _pictures(plan, say)
    with Processes(folder / "logs") as processes, _kafka(plan, processes, run_id, say) as of_way:
        urls: list[str] = []
        started: dict[str, Target] = {}
        for way, own in of_way.items():
            server = own
            if plan.servers.embedded:
                serving = example.serving(plan.servers.serving)
                say(f"Starting {serving}'s servers, {way} ...")
                transformer, predictor = _start_serving(processes, serving, folder / TRACES, fast=way == "fast")
                urls += [transformer, predictor]
                server = replace(own, url=transformer, model=MODEL)
            answers = None
            if server.topic and plan.servers.ways.get(way, _NO_TOPIC).topic is None:
                answers = _bridge(plan, processes, folder, way, server, run_id)
            started[way] = Target(server, answers)
        yield Targets(started, pictures, processes.check, lambda: [_is_ready(url) for url in urls] and None)


_NO_TOPIC = OwnServers()


def _pictures(plan: Plan, say: Callable[[str], None]) -> dict[str, Path]:
    found = {image: Path(image) for image in plan.images if image not in PICTURES}
    if plan.servers.embedded:
        say("Model and pictures (made on the first run, kept for the next) ...")
        example.make_model()
    if len(found) < len(plan.images):
        made = example.make_pictures(lambda line: say(f"  {line}"))
        found |= {path.stem: path for path in made if path.stem in plan.images}
    return found


@contextmanager
def _kafka(
    plan: Plan, processes: Processes, run_id: str, say: Callable[[str], None]
) -> Iterator[dict[str, OwnServers]]:
    """The ways that are used, each with a topic where one is to be made; topics made on the user's Kafka are deleted."""
    used = dict.fromkeys(cell.way for cell in plan.cells)
    through_kafka = {cell.way for cell in plan.cells if cell.transport == names.KAFKA}
    if plan.servers.embedded:
        ways = {way: OwnServers() for way in used}
        if through_kafka:
            say(f"Starting broker ({broker.NAME}) ...")
            first, *others = topics = [f"{MODEL}-{way}" for way in used if way in through_kafka]
            address = broker.start(processes, first)
            for topic in others:
                broker.create_topic(address, topic)
            ways |= {
                way: OwnServers(bootstrap_servers=address, topic=f"{MODEL}-{way}")
                for way in used
                if way in through_kafka
            }
            del topics
        yield ways
        return
    ways = {way: plan.servers.ways[way] for way in used}
    made: list[tuple[str, str]] = []
    try:
        for way in through_kafka:
            own = ways[way]
            if own.topic is None and own.bootstrap_servers is not None:
                topic = f"otel-kfs-experiment-{run_id[:8]}-{uuid.uuid4().hex[:8]}"
                broker.create_topic(own.bootstrap_servers, topic)
                made.append((own.bootstrap_servers, topic))
                ways[way] = replace(own, topic=topic)
        yield ways
    finally:
        processes.stop()
        for servers, topic in made:
            broker.delete_topic(servers, topic)


def _bridge(plan: Plan, processes: Processes, folder: Path, way: str, server: OwnServers, run_id: str) -> Answers:
    """Start a bridge from the way's topic to its model."""
    name = f"bridge-{way}" if way else "bridge"
    settings = broker.CONSUMER_SETTINGS if plan.servers.embedded else {}
    config = processes.log(name).with_suffix(".properties")
    config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    options: Sequence[tuple[str, str | None]] = (
        ("--bootstrap-servers", server.bootstrap_servers),
        ("--topic", server.topic),
        ("--group", f"otel-kfs-experiment-{run_id[:8]}"),
        ("--url", server.url),
        ("--model", server.model),
        ("--host-header", server.host),
        ("--model-ca", server.ca),
        ("--model-cert", server.cert),
        ("--model-key", server.key),
        ("--model-token-file", server.token_file),
        ("--consumer-config", str(config)),
        ("--concurrency", str(plan.servers.bridge_concurrency)),
        # One image that is refused or not answered in time must not end the run.
        ("--on-unanswered", "skip"),
        ("--retries", "0"),
        ("--timeout", str(plan.timeout)),
    )
    command = ["-m", "otel_kfs.cli", "bridge", *(text for key, value in options if value for text in (key, value))]
    process = processes.start(name, python(*command), _environment(folder / TRACES, f"kafka-{name}"), pipe=True)
    return Answers(processes, process)
