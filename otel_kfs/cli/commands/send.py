"""`otel-kfs send`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from otel_kfs import semconv
from otel_kfs.cli.command import command, old_name, option
from otel_kfs.cli.exit_codes import SIGTERM_EXIT
from otel_kfs.cli.messages import say
from otel_kfs.cli.options import (
    config_errors,
    given_model_access,
    max_answer_size,
    model_access,
    properties,
    quiet_grpc,
)
from otel_kfs.cli.output import progress
from otel_kfs.cli.parameter_types import FILE, Choice, Duration
from otel_kfs.cli.termination import Stopping
from otel_kfs.client import encodings
from otel_kfs.client.claim_check import NAME as CLAIM_CHECK
from otel_kfs.client.claim_check import ClaimStore
from otel_kfs.client.encodings.compression import CODECS
from otel_kfs.client.encodings.openai_chat import NAME as OPENAI
from otel_kfs.client.encodings.openai_chat import PROMPT
from otel_kfs.demo.run_folder import new_run_folder
from otel_kfs.errors import InputError, SendError

if TYPE_CHECKING:
    from otel_kfs.client.model_access import ModelAccess
    from otel_kfs.client.sender import Sender

_CHAT = f"Chat (--transport {OPENAI})"
_CLAIM_CHECK = f"Claim check (--encoding {CLAIM_CHECK})"


@command(
    short_help="Send images and trace them.",
    epilog="""\b
Examples:
  otel-kfs send --url http://localhost:8080 --model mobilenet cat.jpg
  otel-kfs send --url http://ingress --model mobilenet \\
      --host mobilenet.default.example.com --image *.jpg
  otel-kfs send --url http://ingress/v1/models/mobilenet:predict \\
      --json 1mb.json
  otel-kfs send --url http://ingress --model mobilenet \\
      --encoding raw --image cat.jpg
  otel-kfs send --transport openai --url http://ingress --model qwen \\
      --prompt "What is this?" --stream --image cat.jpg
  otel-kfs send --transport grpc --url localhost:8081 --model mobilenet \\
      --resize 256 --image cat.jpg
  otel-kfs send --transport grpc --url https://ingress:443 --model mobilenet \\
      --model-ca ca.pem --model-token-file token --image cat.jpg
  otel-kfs send --bootstrap-servers localhost:9092 \\
      --topic mobilenet --image *.jpg --traces-file traces/sender.jsonl

\b
Exit code: 0, 1 if anything was not sent or not answered, 2 if the command
line is wrong, 130 after Ctrl-C, 143 after SIGTERM.
""",
)
@option(
    "--transport",
    type=Choice(["http", "kafka", "grpc", OPENAI]),
    help="How to send.  [default: kafka with --bootstrap-servers, else http]",
)
@option("--image", "images", multiple=True, type=FILE, metavar="FILE", help="An image file; repeatable.")
@option("--json", "payloads", multiple=True, type=FILE, metavar="FILE", help="A file that is the JSON payload already.")
@option(
    "--encoding",
    type=Choice([*encodings.NAMES, CLAIM_CHECK]),
    help="How the image is encoded. KFServing takes json, cloudevent, claim-check; KServe all.  [default: json]",
)
@option(
    "--compression",
    type=Choice(CODECS),
    help="HTTP: compress the body (few servers decompress it). Kafka: producer's compression.type. gRPC: gzip only.",
)
@option(
    "--resize",
    type=click.IntRange(1),
    metavar="PIXELS",
    help="Scale the image down first, until its shorter side has this many pixels: 256 for a model that crops 224.",
)
@option("--cell", metavar="LABEL", help="A label for these settings; the tables group by it.")
@option(
    "--url",
    metavar="URL",
    help="HTTP: the server or ingress (with --model), or the model's whole URL. gRPC: host:port, or https://host:port.",
)
@option("--model", metavar="NAME", help="HTTP, gRPC: the model's name.")
@option("--host", metavar="NAME", help="HTTP: the Host header by which an ingress finds the model.")
@option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="How often to send each file."
)
@option("--run", metavar="ID", help="Marks the traces of one measurement.  [default: a new id]")
@old_name("--host-header", "--host")
@old_name("--run-id", "--run")
@option(
    "--timeout",
    type=Duration(),
    default="1m",
    show_default=True,
    help="How long one image may take.",
)
@max_answer_size
@option(
    "--traces-file", type=FILE, metavar="FILE", help="Append spans to this file as OTLP-JSON instead of exporting them."
)
@option("--bootstrap-servers", group="Kafka", metavar="HOST:PORT,...", help="Where Kafka is.")
@option("--topic", group="Kafka", metavar="NAME", help="The topic.")
@option(
    "--producer-config",
    group="Kafka",
    type=FILE,
    metavar="FILE",
    help="More settings, in Kafka's properties format.",
)
@option("--prompt", group=_CHAT, metavar="TEXT", help=f"What to ask the model.  [default: {PROMPT}]")
@option("--stream", group=_CHAT, is_flag=True, help="Ask for the answer piece by piece.")
@option("--bucket", group=_CLAIM_CHECK, metavar="NAME", help="The bucket to put images into.")
@option(
    "--store-url",
    group=_CLAIM_CHECK,
    metavar="URL",
    help="An S3-compatible store other than AWS's. Credentials: the AWS_... variables.",
)
@model_access
@click.argument("more_files", nargs=-1, type=FILE, metavar="[FILE]...")
@click.pass_obj
def send(
    obj: dict[str, bool],
    /,
    images: tuple[str, ...],
    payloads: tuple[str, ...],
    more_files: tuple[str, ...],
    repeat: int,
    traces_file: str | None,
    **options: Any,
) -> None:
    """Send images (or JSON payloads) and print each one's answer, or its place in Kafka, as a line of JSON.

    The transport openai is HTTP, too: the image goes to a chat route, KServe's below --url, or another's whole URL.

    Each line has the time that the image took, in milliseconds (`ms`); at the end, the median and the largest are
    printed to standard error. An image that fails does not keep the others from being sent; the exit code is then 1.

    Spans go where the standard OTEL_* variables say, or to --traces-file. If nothing listens there, they are kept in a
    file in a new folder, otel-kfs-runs/<time>.

    A FILE without an option is an image; if only --json is given, it is JSON, too.
    """
    if payloads and not images:
        payloads += more_files
    else:
        images += more_files
    if not images and not payloads:
        raise click.UsageError("nothing to send: give --image FILE or --json FILE")
    given = _Given(**options)
    transport = given.chosen_transport()
    _check_destination(transport, given)
    _check_form(transport, given, payloads)

    kept = _configure(traces_file)
    sender = _sender(transport, given)
    jobs = [
        (deliver, file)
        for deliver, files in ((sender.send, images), (sender.send_json, payloads))
        for file in files
        for _ in range(repeat)
    ]
    _send_all(jobs, transport, kept, quiet=obj["quiet"])


@dataclass(frozen=True)
class _Given:
    """What the command line says of where to send, and in which form."""

    transport: str | None
    url: str | None
    model: str | None
    host: str | None
    access: Callable[[], ModelAccess]
    bootstrap_servers: str | None
    topic: str | None
    producer_config: str | None
    encoding: str | None
    compression: str | None
    resize: int | None
    cell: str | None
    bucket: str | None
    store_url: str | None
    prompt: str | None
    stream: bool
    run: str | None
    timeout: float
    max_answer_size: int

    def chosen_transport(self) -> str:
        if not self.transport and not self.url and not self.bootstrap_servers:
            raise click.UsageError("nowhere to send to: give --url, or --bootstrap-servers and --topic for Kafka")
        return self.transport or ("kafka" if self.bootstrap_servers else "http")


def _check_destination(transport: str, given: _Given) -> None:
    """Refuse what says of another transport's destination, and too little of this one's."""
    this, kafka = "this transport", {"bootstrap_servers": given.bootstrap_servers, "topic": given.topic}
    if transport == "kafka":
        _needs(this, **kafka)
        others = {"url": given.url, "model": given.model, "host": given.host}
        _without("--transport kafka", **others, **given_model_access())
        return
    _needs(this, url=given.url)
    _without(f"--transport {transport}", **kafka, producer_config=given.producer_config)
    if transport != "http":
        _needs(this, model=given.model)
    if transport == "grpc":
        from otel_kfs.client.grpc_sender import is_encrypted

        if not is_encrypted(str(given.url)):
            certificates = {name: file for name, file in given_model_access().items() if name != "model_token_file"}
            _without("a plain --url; for TLS write it as https://host:port", **certificates)
        _without("--transport grpc", host=given.host)


def _check_form(transport: str, given: _Given, payloads: Sequence[str]) -> None:
    """Refuse what a transport or an encoding can't do with an image or a payload."""
    if transport in {"grpc", OPENAI}:
        _without(f"--transport {transport}", encoding=given.encoding, json=payloads)
    if transport != OPENAI:
        _without(f"--transport {transport}", prompt=given.prompt, stream=given.stream)
    if given.encoding == CLAIM_CHECK:
        _needs("this encoding", bucket=given.bucket)
    else:
        _without(f"--encoding {given.encoding or 'json'}", bucket=given.bucket, store_url=given.store_url)
    if payloads:
        _without("--json", encoding=given.encoding, resize=given.resize)


def _sender(transport: str, given: _Given) -> Sender:
    common: dict[str, Any] = {
        "timeout": given.timeout,
        "run_id": given.run,
        "compression": given.compression,
        "resize": given.resize,
        "cell": given.cell,
    }
    if transport == "grpc":
        from otel_kfs.client.grpc_sender import GrpcSender

        quiet_grpc()
        return GrpcSender(str(given.url), str(given.model), access=given.access(), **common)
    if transport == OPENAI:
        return _http_sender(given, encoding=OPENAI, prompt=given.prompt, stream=given.stream, **common)
    is_claim_check = given.encoding == CLAIM_CHECK
    common["encoding"] = (
        ClaimStore(str(given.bucket), endpoint_url=given.store_url).encoding
        if is_claim_check
        else given.encoding or encodings.JSON.name
    )
    if transport == "http":
        return _http_sender(given, **common)
    from otel_kfs.client.kafka_sender import KafkaSender

    with config_errors(given.producer_config):
        config = properties(given.producer_config)
        return KafkaSender(str(given.bootstrap_servers), str(given.topic), config=config, **common)


def _http_sender(given: _Given, **options: Any) -> Sender:
    from otel_kfs.client.http_sender import HttpSender

    session = given.access().session()
    return HttpSender(
        str(given.url),
        model=given.model,
        host=given.host,
        session=session,
        max_answer_size=given.max_answer_size,
        **options,
    )


class _Kept(NamedTuple):
    """The file that spans are kept in, because nothing listens at the endpoint."""

    file: Path
    endpoint: str


def _configure(traces_file: str | None) -> _Kept | None:
    """Set up where spans go; return the file that takes them where nothing listens."""
    from opentelemetry import trace

    from otel_kfs.telemetry import otel_settings, provider

    otel_settings.check_names()
    kept = None
    is_ours = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    if is_ours and not traces_file and not os.environ.get(semconv.ENV_TRACES_FILE):
        endpoint = otel_settings.absent_endpoint()
        with suppress(OSError):  # a folder that can't be written to: spans are lost, which is reported
            kept = _Kept(new_run_folder() / "traces" / "image-sender.jsonl", endpoint) if endpoint else None
    provider.configure_command("image-sender", traces_file=kept.file if kept else traces_file)
    return kept


def _send_all(
    jobs: Sequence[tuple[Callable[[str], Any], str]], transport: str, kept: _Kept | None, *, quiet: bool
) -> None:
    """Send one after another, whatever becomes of it, and sum up; after SIGTERM, say which were not sent."""
    from otel_kfs.client.encodings import answer_json
    from otel_kfs.telemetry import provider

    times: list[float] = []
    failed = 0
    try:
        # On a terminal the answers' lines show how far it is, and a bar would be in their way.
        no_bar = quiet or sys.stdout.isatty()
        with Stopping() as stopping, progress(len(jobs), "sending", quiet=no_bar) as advance:
            for deliver, file in jobs:
                if stopping.wanted:
                    break
                start = time.perf_counter()
                try:
                    result = deliver(file)
                except (SendError, InputError) as error:
                    failed += 1
                    say(f"Error: {error}" if len(jobs) == 1 or file in str(error) else f"Error: {file}: {error}")
                else:
                    times.append((time.perf_counter() - start) * 1000)
                    record = result if isinstance(result, dict) else result._asdict()
                    click.echo(answer_json.dumps({"file": file, "ms": round(times[-1], 1), **record}))
                advance(file)
    finally:
        if not quiet and (times or failed > 1):
            say(_summary(times, failed, transport))
            if kept is not None and provider.flush():  # else the log says what became of them
                say(f"Nobody listens at {kept.endpoint}, so the spans are in {kept.file}. Where the time went:")
                say(f"  otel-kfs tables {kept.file.parent}")
    if stopping.wanted:
        rest = [file for _, file in jobs[len(times) + failed :]]
        not_sent = f"{len(rest)} of {len(jobs)} were not sent: {', '.join(rest)}" if rest else "all were sent"
        say(f"stopped by SIGTERM; {not_sent}")
        sys.exit(SIGTERM_EXIT)
    if failed:
        sys.exit(1)


_BY = {
    "http": "over HTTP",
    OPENAI: "to a chat over HTTP",
    "grpc": "over gRPC",
    "kafka": "to Kafka, until it was acknowledged",
}


def _summary(times: Sequence[float], failed: int, transport: str) -> str:
    """Return in one line how many were sent, how long that took, and how many failed; times in milliseconds."""
    if not times:
        return f"none sent {_BY[transport]}, {failed} failed"
    took = f"{times[0]:.1f} ms" if len(times) == 1 else f"p50 {median(times):.1f} ms, max {max(times):.1f} ms"
    return f"{len(times)} sent {_BY[transport]}: {took}; {failed or 'none'} failed"


def _needs(choice: str, **options: object) -> None:
    for name, value in options.items():
        if not value:
            raise click.UsageError(f"{choice} needs --{name.replace('_', '-')}")


def _without(choice: str, **options: object) -> None:
    for name, value in options.items():
        if value:
            raise click.UsageError(f"--{name.replace('_', '-')} does not apply to {choice}")
