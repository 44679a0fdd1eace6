"""A run of the demo: servers, broker and bridge as processes; pictures over HTTP and through Kafka; their traces."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from otel_kfs.client.http_sender import HttpSender
from otel_kfs.client.kafka_sender import KafkaSender
from otel_kfs.client.model_request.model_url import redact_url
from otel_kfs.demo import embedded_broker, example
from otel_kfs.demo.bridge_process import BridgeProcess
from otel_kfs.demo.example import Variant
from otel_kfs.demo.model_servers import MODEL, settle, start_chat, start_serving
from otel_kfs.demo.processes import Processes, export_to
from otel_kfs.demo.run_folder import RUNS, new_run_folder
from otel_kfs.errors import DemoError
from otel_kfs.telemetry import provider

BROKER = embedded_broker.NAME
WARMUPS = 2  # of each size and variant: the first ones pay for connections, caches and the consumer group's join

_ANSWER_SECONDS = 120.0


class ProgressBar(Protocol):
    """Shows steps out of a total; yields what to call after each."""

    def __call__(
        self, total: int, description: str, *, quiet: bool = False
    ) -> AbstractContextManager[Callable[[str], None]]:
        """Show a bar of `total` steps of what `description` says."""
        ...


class _Broker(NamedTuple):
    """Where Kafka is, the topic of each variant's suffix, and what consumers need to be told beyond that."""

    servers: str
    topics: Mapping[str, str]
    consumer_settings: Mapping[str, str]


class _Servers(NamedTuple):
    """A variant's servers, the one that images are sent to first, and the bridge to it, if it has one."""

    urls: tuple[str, ...]
    bridge: BridgeProcess | None


class _Senders(NamedTuple):
    """The senders of one variant, and the bridge from its topic; a chat has neither topic nor bridge."""

    variant: Variant
    http: HttpSender
    kafka: KafkaSender | None
    bridge: BridgeProcess | None


def demo(
    *,
    repeat: int,
    variants: Sequence[str] = ("seed",),
    serving: str | None,
    output: Path | None,
    bootstrap_servers: str | None,
    otlp_endpoint: str | None,
    say: Callable[[str], None],
    progress: ProgressBar,
) -> Path:
    """Run it; return the folder with the traces, one OTLP-JSON file per process.

    `variants` are names of `example.VARIANTS`, run side by side.

    With `bootstrap_servers` records go through that Kafka, in a topic that is made for this run and deleted after it;
    without, through an embedded broker. With `otlp_endpoint` spans are sent there (OTLP over HTTP) as well.

    Raises:
        DemoError: something is not installed, did not start, or died; all processes are stopped then, too.
        SendError: a picture was refused, or not answered in time.
    """
    serving = example.serving(serving)
    chosen = [example.VARIANTS[name] for name in dict.fromkeys(variants)]
    output = _new_folder(output)
    traces = output / "traces"
    say("Model and pictures (made on the first run, kept for the next) ...")
    try:
        example.make_model()
        pictures = example.make_pictures(lambda line: say(f"  {line}"))
    except (RuntimeError, ImportError) as error:
        raise DemoError(str(error)) from error
    export_to(otlp_endpoint)
    suffixes = [one.suffix for one in chosen if not one.chat]
    with Processes(output / "logs") as processes, _broker(processes, bootstrap_servers, suffixes, say) as broker:
        servers = _start_servers(chosen, serving, processes, traces, broker, say)
        provider.configure("image-sender", traces_file=traces / "image-sender.jsonl")
        run_id = uuid.uuid4().hex
        senders = [_senders(variant, servers[variant.suffix], broker, run_id) for variant in chosen]
        _send_all(pictures, senders, repeat, processes, progress)
        settle(url for of_variant in servers.values() for url in of_variant.urls)
    _flush(otlp_endpoint, say)
    # Stopped, every process has written its last span.
    return traces


def _start_servers(
    chosen: Sequence[Variant],
    serving: str,
    processes: Processes,
    traces: Path,
    broker: _Broker,
    say: Callable[[str], None],
) -> dict[str, _Servers]:
    """Start the servers of all variants, and a bridge to each but a chat; return them by the variants' suffixes."""
    if broker.topics:
        say(f"Starting {serving} predictor and transformer, bridge ...")
    started: dict[str, _Servers] = {}
    for variant in chosen:
        if variant.chat:
            say(example.CHAT_STAND_IN)
            started[variant.suffix] = _Servers((start_chat(processes, traces),), None)
        elif variant.suffix not in started:
            urls = start_serving(processes, serving, traces, fast=variant.fast)
            topic = broker.topics[variant.suffix]
            options = {"--bootstrap-servers": broker.servers, "--topic": topic, "--model": MODEL}
            name = f"bridge{variant.suffix}"
            bridge = BridgeProcess(processes, name, traces, urls[0], options, broker.consumer_settings)
            started[variant.suffix] = _Servers(urls, bridge)
    return started


def _senders(variant: Variant, servers: _Servers, broker: _Broker, run_id: str) -> _Senders:
    http = HttpSender(servers.urls[0], model=MODEL, run_id=run_id, **variant.payload)
    if servers.bridge is None:
        return _Senders(variant, http, None, None)
    kafka = KafkaSender(broker.servers, broker.topics[variant.suffix], run_id=run_id, **variant.payload)
    return _Senders(variant, http, kafka, servers.bridge)


def _send_all(
    pictures: Sequence[Path], senders: Sequence[_Senders], repeat: int, processes: Processes, progress: ProgressBar
) -> None:
    """Send every picture by every variant, over HTTP and through Kafka.

    Sizes and variants alternate, so that a busy moment of the machine falls on all of them.
    """
    rounds = WARMUPS + repeat
    sent = rounds * len(pictures) * sum(2 if kafka else 1 for _, _, kafka, _ in senders)
    with progress(sent, "sending") as advance:
        for number in range(rounds):
            for picture, (variant, http, kafka, bridge) in itertools.product(pictures, senders):
                what = picture.stem if variant.name == "seed" else f"{picture.stem} {variant.name}"
                warmup = number < WARMUPS
                http.send(picture, warmup=warmup)
                advance(f"{what} over HTTP")
                if kafka is not None and bridge is not None:
                    bridge.wait(kafka.send(picture, warmup=warmup).offset, _ANSWER_SECONDS)
                    advance(f"{what} through Kafka")
                processes.check()


def _flush(otlp_endpoint: str | None, say: Callable[[str], None]) -> None:
    if not provider.flush():
        where = redact_url(otlp_endpoint) if otlp_endpoint else "the OTLP endpoint"  # that the environment names
        say(f"Not all spans reached {where}; the files are complete.")


@contextmanager
def _broker(
    processes: Processes, bootstrap_servers: str | None, suffixes: Iterable[str], say: Callable[[str], None]
) -> Iterator[_Broker]:
    """Yield the broker to use, with a topic for each suffix, which last as long as the run."""
    stem = MODEL if bootstrap_servers is None else f"otel-kfs-demo-{uuid.uuid4().hex[:8]}"
    topics = {suffix: f"{stem}{suffix}" for suffix in suffixes}
    if not topics:
        yield _Broker("", {}, {})
    elif bootstrap_servers is None:
        say(f"Starting broker ({BROKER}) ...")
        servers = embedded_broker.start(processes, *topics.values())
        yield _Broker(servers, topics, embedded_broker.CONSUMER_SETTINGS)
    else:
        with embedded_broker.temporary_topics(processes, bootstrap_servers, topics.values()):
            yield _Broker(bootstrap_servers, topics, {})


def _new_folder(output: Path | None) -> Path:
    try:
        if output is None:
            return new_run_folder()
        (output / "traces").mkdir(parents=True, exist_ok=True)
        if any((output / "traces").iterdir()):
            raise DemoError(f"{output} holds the traces of another run; choose a new --output")
    except OSError as error:
        raise DemoError(f"can't make the folder {output or RUNS}: {error.strerror}") from error
    return output
