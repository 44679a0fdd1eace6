"""The main job on one machine: servers, broker and bridge as processes; pictures over HTTP and Kafka; their traces."""

from __future__ import annotations

import itertools
import json
import os
import queue
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from subprocess import Popen
from typing import Protocol

from otel_kfs import semconv
from otel_kfs.client.http_sender import HttpSender
from otel_kfs.client.kafka_sender import KafkaSender
from otel_kfs.client.model_client import redacted
from otel_kfs.demo import embedded_broker, example
from otel_kfs.demo.processes import Processes, free_port, python
from otel_kfs.errors import DemoError
from otel_kfs.telemetry import provider

BROKER = embedded_broker.NAME
MODEL = "mobilenet"
RUNS = Path("otel-kfs-runs")  # where runs lie unless one is told otherwise; `latest` leads to the last
WARMUPS = 2  # of each size and way: the first ones pay for connections, caches and the consumer group's join

_READY_SECONDS = 60.0
_ANSWER_SECONDS = 120.0


class Progress(Protocol):
    """Shows steps out of a total; yields what to call after each."""

    def __call__(
        self, total: int, description: str, *, quiet: bool = False
    ) -> AbstractContextManager[Callable[[str], None]]:
        """`total` steps of what `description` says."""
        ...


def demo(
    *,
    repeat: int,
    ways: Sequence[str] = ("seed",),
    serving: str | None,
    output: Path | None,
    bootstrap_servers: str | None,
    otlp_endpoint: str | None,
    say: Callable[[str], None],
    progress: Progress,
) -> Path:
    """Run it; returns the folder with the traces, one OTLP-JSON file a process.

    `ways` are names of `example.WAYS`, run side by side.

    With `bootstrap_servers` records go through that Kafka, in a topic that is made for this run and deleted after it;
    without, through an embedded broker. With `otlp_endpoint` spans are sent there (OTLP over HTTP) besides.

    Raises:
        DemoError: something is not installed, did not start, or died; all processes are stopped then, too.
    """
    serving = example.serving(serving)
    chosen = [example.WAYS[name] for name in dict.fromkeys(ways)]
    output = _new_folder(output)
    traces = output / "traces"
    say("Model and pictures (made on the first run, kept for the next) ...")
    try:
        example.make_model()
        pictures = example.make_pictures(lambda line: say(f"  {line}"))
    except (RuntimeError, ImportError) as error:
        raise DemoError(str(error)) from error

    if otlp_endpoint:
        # For this process and, through their environment, for those that it starts.
        os.environ["OTEL_TRACES_EXPORTER"] = "otlp"
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = otlp_endpoint
    with (
        Processes(output / "logs") as processes,
        _broker(processes, bootstrap_servers, [way.suffix for way in chosen], say) as (servers, topics),
    ):
        say(f"Starting {serving} predictor and transformer, bridge ...")
        settings = {} if bootstrap_servers else embedded_broker.CONSUMER_SETTINGS
        urls: list[str] = []
        served: dict[str, tuple[str, str, _Bridge]] = {}  # by a way's suffix: the transformer, a topic and its bridge
        for way in chosen:
            if way.suffix not in served:
                transformer, predictor = start_serving(processes, serving, traces, fast=way.fast)
                urls += [transformer, predictor]
                own = topics[way.suffix]
                bridge = _Bridge(processes, servers, own, settings, transformer, traces, way.suffix)
                served[way.suffix] = transformer, own, bridge
        provider.configure("image-sender", traces_file=traces / "image-sender.jsonl")
        run_id = uuid.uuid4().hex
        lanes = []
        for way in chosen:
            transformer, own, bridge = served[way.suffix]
            http = HttpSender(transformer, model=MODEL, run_id=run_id, **way.form)
            lanes.append((way, http, KafkaSender(servers, own, run_id=run_id, **way.form), bridge))

        rounds = WARMUPS + repeat
        with progress(rounds * len(pictures) * 2 * len(lanes), "sending") as done:
            # Sizes and ways alternate, so that a busy moment of the machine falls on all of them.
            for number in range(rounds):
                for picture, (way, http, kafka, bridge) in itertools.product(pictures, lanes):
                    what = picture.stem if way.name == "seed" else f"{picture.stem} {way.name}"
                    warmup = number < WARMUPS
                    http.send(picture, warmup=warmup)
                    done(f"{what} over HTTP")
                    bridge.wait_for(kafka.send(picture, warmup=warmup).offset)
                    done(f"{what} through Kafka")
                    processes.check()
        # A server ends its span after its answer has left; once it has answered another request, the span is there.
        for url in urls:
            is_ready(url)
    _flush(otlp_endpoint, say)
    # Stopped, every process has written its last span.
    return traces


def _flush(otlp_endpoint: str | None, say: Callable[[str], None]) -> None:
    if not provider.flush():
        where = redacted(otlp_endpoint) if otlp_endpoint else "the OTLP endpoint"  # that the environment names
        say(f"Not all spans reached {where}; the files are complete.")


@contextmanager
def _broker(
    processes: Processes, bootstrap_servers: str | None, suffixes: Iterable[str], say: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, str]]]:
    """The broker to use, and a topic on it for each suffix, which last as long as the run."""
    stem = MODEL if bootstrap_servers is None else f"otel-kfs-demo-{uuid.uuid4().hex[:8]}"
    topics = {suffix: f"{stem}{suffix}" for suffix in suffixes}
    if bootstrap_servers is None:
        say(f"Starting broker ({BROKER}) ...")
        first, *others = topics.values()
        servers = embedded_broker.start(processes, first)
        for topic in others:
            embedded_broker.create_topic(servers, topic)
        yield servers, topics
        return
    made: list[str] = []
    try:
        for topic in topics.values():
            embedded_broker.create_topic(bootstrap_servers, topic)
            made.append(topic)
        yield bootstrap_servers, topics
    finally:
        processes.stop()
        for topic in made:
            embedded_broker.delete_topic(bootstrap_servers, topic)


def _new_folder(output: Path | None) -> Path:
    output = output or RUNS / f"{datetime.now():%Y-%m-%d-%H%M%S}"
    try:
        (output / "traces").mkdir(parents=True, exist_ok=True)
        if any((output / "traces").iterdir()):
            raise DemoError(f"{output} holds the traces of another run; choose a new --output")
        if output.parent == RUNS:
            latest = RUNS / "latest"
            latest.unlink(missing_ok=True)
            latest.symlink_to(output.name)
    except OSError as error:
        raise DemoError(f"can't make the folder {output}: {error.strerror}") from error
    return output


def child_environment(traces: Path, service: str) -> dict[str, str]:
    """What a process of ours is told: its service's name, and the file for its spans."""
    return {
        semconv.ENV_TRACES_FILE: str(traces / f"{service}.jsonl"),
        "OTEL_SERVICE_NAME": service,
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
        "PYTHONUNBUFFERED": "1",
    }


def start_serving(
    processes: Processes, serving: str, traces: Path, *, fast: bool = False, more: Sequence[str] = ()
) -> tuple[str, str]:
    """Start predictor and transformer; returns the transformer's URL and the predictor's.

    `more` are further options of the transformer.
    """
    options = example.server_options(serving)
    transformer_script, predictor_script = example.scripts(serving, fast=fast)
    suffix = "-fast" if fast else ""
    ports = {"predictor": free_port(), "transformer": free_port()}
    scripts = {
        "predictor": [str(predictor_script)],
        "transformer": [str(transformer_script), "--predictor_host", f"127.0.0.1:{ports['predictor']}"],
    }
    role_options = {"predictor": options, "transformer": [*options, *more]}
    for role, script in scripts.items():
        processes.start(
            role + suffix,
            python("-m", "otel_kfs.demo.loopback", *script, "--http_port", str(ports[role]), *role_options[role]),
            child_environment(traces, f"mobilenet-{role}{suffix}"),
        )
    urls = {role: f"http://127.0.0.1:{port}" for role, port in ports.items()}
    for role, url in urls.items():
        processes.wait_until(role + suffix, lambda url=url: is_ready(url), _READY_SECONDS)  # type: ignore[misc]
    return urls["transformer"], urls["predictor"]


def is_ready(url: str) -> bool:
    """Whether the model server there serves the model."""
    try:
        with urllib.request.urlopen(f"{url}/v1/models/{MODEL}", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


class _Bridge:
    """The bridge's process, and the lines that it prints, one a record."""

    def __init__(
        self,
        processes: Processes,
        servers: str,
        topic: str,
        settings: Mapping[str, str],
        transformer: str,
        traces: Path,
        suffix: str = "",
    ) -> None:
        self._processes = processes
        self._name = f"bridge{suffix}"
        self._answers: queue.Queue[bytes] = queue.Queue()
        config = processes.log(self._name).with_suffix(".properties")
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        command = ["-m", "otel_kfs.cli", "bridge", "--bootstrap-servers", servers, "--topic", topic]
        command += ["--url", transformer, "--model", MODEL, "--consumer-config", str(config)]
        process = processes.start(
            self._name, python(*command), child_environment(traces, f"kafka-{self._name}"), pipe=True
        )
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def wait_for(self, offset: int) -> None:
        """Wait until the record at `offset` was answered."""
        line = b""

        def answered() -> bool:
            nonlocal line
            try:
                line = self._answers.get(timeout=0.05)
            except queue.Empty:
                return False
            return bool(json.loads(line)["offset"] == offset)

        self._processes.wait_until(self._name, answered, _ANSWER_SECONDS)
        if refused := json.loads(line)["refused"]:
            raise DemoError(f"the transformer refused a picture: {refused}")

    def _read(self, process: Popen[bytes]) -> None:
        if process.stdout is not None:
            for line in process.stdout:
                self._answers.put(line)
