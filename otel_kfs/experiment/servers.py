"""The servers of a run: the demo's own, started here, or the user's; with a bridge from each topic made here."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from otel_kfs import semconv
from otel_kfs.client.claim_check import NAME as CLAIM_CHECK
from otel_kfs.demo import example
from otel_kfs.demo.bridge_process import BridgeProcess
from otel_kfs.demo.model_servers import MODEL, settle, start_chat, start_serving
from otel_kfs.demo.processes import Processes, free_port
from otel_kfs.errors import DemoError
from otel_kfs.experiment.config.experiment_config import CHAT, PICTURES, Endpoints, ExperimentConfig
from otel_kfs.experiment.trial_log import TRACES

_PORT_SECONDS = 30.0  # for a server that answers over HTTP to open its gRPC port


@dataclass(frozen=True)
class WayServers:
    """The servers of one way. `bridge` is None where the topic has a bridge of the user's."""

    endpoints: Endpoints
    bridge: BridgeProcess | None = None


@dataclass(frozen=True)
class RunningServers:
    """All of a run's. `check` raises if a process started here has died; `settle` waits for the servers' last spans."""

    by_way: dict[str, WayServers]
    images: dict[str, Path]  # the files of the configuration's images
    check: Callable[[], None]
    settle: Callable[[], None]


@contextmanager
def start_servers(
    config: ExperimentConfig, folder: Path, run_id: str, say: Callable[[str], None]
) -> Iterator[RunningServers]:
    """Start what must be started; it lasts as long as the `with`.

    Raises:
        DemoError: something is not installed, did not start, or died.
    """
    images = _images(config, say)
    with Processes(folder / "logs") as processes:
        if config.servers.embedded:
            with _embedded(config, processes, folder, run_id, say) as (by_way, urls):
                yield RunningServers(by_way, images, processes.check, lambda: settle(urls))
        else:
            with _own(config, processes, folder, run_id) as by_way:
                yield RunningServers(by_way, images, processes.check, lambda: None)


def _images(config: ExperimentConfig, say: Callable[[str], None]) -> dict[str, Path]:
    images = {image: Path(image) for image in config.images if image not in PICTURES}
    if config.servers.embedded:
        say("Model and pictures (made on the first run, kept for the next) ...")
        try:
            example.make_model()
            if len(images) < len(config.images):
                pictures = example.make_pictures(lambda line: say(f"  {line}"))
                images |= {path.stem: path for path in pictures if path.stem in config.images}
        except (RuntimeError, ImportError) as error:
            raise DemoError(str(error)) from error
    return images


def _ways_through_kafka(config: ExperimentConfig) -> list[str]:
    return list(dict.fromkeys(cell.way for cell in config.cells if cell.transport == semconv.KAFKA))


def _new_topic() -> str:
    return f"otel-kfs-experiment-{uuid.uuid4().hex[:8]}"


@contextmanager
def _embedded(
    config: ExperimentConfig, processes: Processes, folder: Path, run_id: str, say: Callable[[str], None]
) -> Iterator[tuple[dict[str, WayServers], list[str]]]:
    """Start the demo's broker, the servers that the cells need, and a bridge for each way through Kafka."""
    with _broker(config, processes, say) as (brokers, topics, settings):
        serving = example.serving(config.servers.serving)
        by_way: dict[str, WayServers] = {}
        urls: list[str] = []
        for way in dict.fromkeys(cell.way for cell in config.cells):
            say(f"Starting {serving}'s servers, {way} ..." if way != CHAT else example.CHAT_STAND_IN)
            endpoints, predictor = _start_way(config, way, processes, serving, folder / TRACES)
            urls += [str(endpoints.url), *filter(None, [predictor])]
            endpoints = replace(endpoints, bootstrap_servers=brokers, topic=topics.get(way))
            bridge = _bridge(config, processes, folder, way, endpoints, run_id, settings) if endpoints.topic else None
            by_way[way] = WayServers(endpoints, bridge)
        yield by_way, urls


@contextmanager
def _broker(
    config: ExperimentConfig, processes: Processes, say: Callable[[str], None]
) -> Iterator[tuple[str | None, dict[str, str], Mapping[str, str]]]:
    """Yield a broker's address, its topic of each way, and what its consumers should set."""
    ways, brokers = _ways_through_kafka(config), config.servers.bootstrap_servers
    if not ways:
        yield None, {}, {}
        return
    # Not at the top: over HTTP nothing of Kafka has to be installed.
    from otel_kfs.demo import embedded_broker

    if brokers:
        topics = {way: _new_topic() for way in ways}
        with embedded_broker.temporary_topics(processes, brokers, topics.values()):
            yield brokers, topics, {}
    else:
        say(f"Starting broker ({embedded_broker.NAME}) ...")
        topics = {way: f"{MODEL}-{way}" for way in ways}
        yield embedded_broker.start(processes, *topics.values()), topics, embedded_broker.CONSUMER_SETTINGS


def _start_way(
    config: ExperimentConfig, way: str, processes: Processes, serving: str, traces: Path
) -> tuple[Endpoints, str | None]:
    """Start the demo's servers of one way, with what its cells need; return them, and the URL of a predictor behind."""
    if way == CHAT:
        return Endpoints(model=MODEL, url=start_chat(processes, traces)), None
    cells = [cell for cell in config.cells if cell.way == way]
    options: list[str] = []
    endpoints = Endpoints(model=MODEL)
    if any(cell.encoding == CLAIM_CHECK for cell in cells):
        bucket, store_url = str(config.servers.bucket), config.servers.store_url
        options += example.store_options(bucket, store_url)
        endpoints = replace(endpoints, bucket=bucket, store_url=store_url)
    port = free_port() if any(cell.transport == semconv.GRPC for cell in cells) else None
    if port:
        options += example.grpc_options(port)
        endpoints = replace(endpoints, grpc=f"127.0.0.1:{port}")
    fast = way == "fast"
    transformer, predictor = start_serving(processes, serving, traces, fast=fast, more=options)
    if port:
        processes.wait_until(f"transformer{'-fast' if fast else ''}", lambda: _is_open(port), _PORT_SECONDS)
    return replace(endpoints, url=transformer), predictor


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


@contextmanager
def _own(config: ExperimentConfig, processes: Processes, folder: Path, run_id: str) -> Iterator[dict[str, WayServers]]:
    """Yield the user's servers; where no topic is named, with one that lasts as long as the run, and a bridge."""
    by_way = {cell.way: WayServers(config.servers.ways[cell.way]) for cell in config.cells}
    with ExitStack() as stack:
        for way in _ways_through_kafka(config):
            endpoints = by_way[way].endpoints
            if endpoints.topic is None and endpoints.bootstrap_servers is not None:
                from otel_kfs.demo import embedded_broker

                topic = _new_topic()
                stack.enter_context(embedded_broker.temporary_topics(processes, endpoints.bootstrap_servers, [topic]))
                endpoints = replace(endpoints, topic=topic)
                by_way[way] = WayServers(endpoints, _bridge(config, processes, folder, way, endpoints, run_id, {}))
        yield by_way


def _bridge(
    config: ExperimentConfig,
    processes: Processes,
    folder: Path,
    way: str,
    endpoints: Endpoints,
    run_id: str,
    settings: Mapping[str, str],
) -> BridgeProcess:
    """Start a bridge from the way's topic to its model."""
    options = {
        "--bootstrap-servers": endpoints.bootstrap_servers,
        "--topic": endpoints.topic,
        "--group": f"otel-kfs-experiment-{run_id[:8]}",
        "--model": endpoints.model,
        "--host": endpoints.host,
        "--model-ca": endpoints.ca,
        "--model-cert": endpoints.cert,
        "--model-key": endpoints.key,
        "--model-token-file": endpoints.token_file,
        "--consumer-config": endpoints.consumer_config,
        "--concurrency": str(config.servers.bridge_concurrency),
        # One image that is refused or not answered in time must not end the run.
        "--on-unanswered": "skip",
        "--retries": "0",
        "--timeout": str(config.timeout),
    }
    name = f"bridge-{way}" if way else "bridge"
    return BridgeProcess(processes, name, folder / TRACES, endpoints.url, options, settings)
