"""`otel-kfs send`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
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
def send(  # noqa: PLR0912, PLR0915 - a branch a transport
    obj: dict[str, bool],
    transport: str | None,
    encoding: str | None,
    compression: str | None,
    resize: int | None,
    bucket: str | None,
    store_url: str | None,
    cell: str | None,
    images: tuple[str, ...],
    payloads: tuple[str, ...],
    url: str | None,
    model: str | None,
    prompt: str | None,
    stream: bool,
    host: str | None,
    access: Callable[[], ModelAccess],
    bootstrap_servers: str | None,
    topic: str | None,
    producer_config: str | None,
    repeat: int,
    run: str | None,
    timeout: float,
    max_answer_size: int,
    traces_file: str | None,
    more_files: tuple[str, ...],
) -> None:
    """Send images (or JSON payloads) and print each one's answer, or its place in Kafka, as a line of JSON.

    The transport openai is HTTP, too: the image goes to a chat route, KServe's below --url, or another's whole URL.

    Each line has the time that the image took, in milliseconds (`ms`); at the end, the median and the largest are
    printed to standard error. An image that fails does not keep the others from being sent; the exit code is then 1.

    Spans go where the standard OTEL_* variables say, or to --traces-file. If nothing listens there, they are kept in a
    file in a new folder, otel-kfs-runs/<time>.

    A FILE without an option is an image; if only --json is given, it is JSON, too.
    """
    from otel_kfs.client.grpc_sender import GrpcSender, is_encrypted
    from otel_kfs.client.http_sender import HttpSender
    from otel_kfs.client.kafka_sender import KafkaSender
    from otel_kfs.client.sender import Sender

    if payloads and not images:
        payloads += more_files
    else:
        images += more_files
    if not images and not payloads:
        raise click.UsageError("nothing to send: give --image FILE or --json FILE")
    if not transport and not url and not bootstrap_servers:
        raise click.UsageError("nowhere to send to: give --url, or --bootstrap-servers and --topic for Kafka")
    transport = transport or ("kafka" if bootstrap_servers else "http")
    kafka = {"bootstrap_servers": bootstrap_servers, "topic": topic}
    payload: dict[str, Any] = {"encoding": encoding, "compression": compression, "resize": resize, "cell": cell}
    if transport == "kafka":
        _needs("this transport", **kafka)
        _without("--transport kafka", url=url, model=model, host=host, **given_model_access())
    else:
        _needs("this transport", url=url)
        _without(f"--transport {transport}", **kafka, producer_config=producer_config)
    if transport == "grpc":
        quiet_grpc()
        _needs("this transport", model=model)
        if not is_encrypted(str(url)):
            certificates = {name: given for name, given in given_model_access().items() if name != "model_token_file"}
            _without("a plain --url; for TLS write it as https://host:port", **certificates)
        _without("--transport grpc", host=host, encoding=payload.pop("encoding"), json=payloads)
    if transport == OPENAI:
        _needs("this transport", model=model)
        _without("--transport openai", encoding=encoding, json=payloads)
    else:
        _without(f"--transport {transport}", prompt=prompt, stream=stream)
    if encoding == CLAIM_CHECK:
        _needs("this encoding", bucket=bucket)
    else:
        _without(f"--encoding {encoding or 'json'}", bucket=bucket, store_url=store_url)
    if payloads:
        _without("--json", encoding=encoding, resize=resize)

    kept = _configure(traces_file)
    if transport != "grpc":
        payload["encoding"] = ClaimStore(bucket, endpoint_url=store_url).encoding if bucket else encoding or "json"
    sender_options: dict[str, Any] = {"timeout": timeout, "run_id": run, **payload}
    sender: Sender
    if transport == OPENAI:
        sender_options |= {"encoding": OPENAI, "prompt": prompt, "stream": stream}
    if transport in {"http", OPENAI}:
        sender = HttpSender(
            str(url),
            model=model,
            host=host,
            session=access().session(),
            max_answer_size=max_answer_size,
            **sender_options,
        )
    elif transport == "grpc":
        sender = GrpcSender(str(url), str(model), access=access(), **sender_options)
    else:
        with config_errors(producer_config):
            sender = KafkaSender(
                str(bootstrap_servers), str(topic), config=properties(producer_config), **sender_options
            )
    jobs = [
        (deliver, file)
        for deliver, files in ((sender.send, images), (sender.send_json, payloads))
        for file in files
        for _ in range(repeat)
    ]
    _send_all(jobs, transport, kept, quiet=obj["quiet"])


class _Kept(NamedTuple):
    """The file that spans are kept in, because nobody listens at the endpoint."""

    file: Path
    endpoint: str


def _configure(traces_file: str | None) -> _Kept | None:
    """Set up where spans go; return the file of this run that takes them where nobody else would."""
    from opentelemetry import trace

    from otel_kfs.telemetry import otel_settings, provider

    otel_settings.check_names()
    kept = None
    is_ours = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    if is_ours and not traces_file and not os.environ.get(semconv.ENV_TRACES_FILE):
        endpoint = otel_settings.absent_endpoint()
        with suppress(OSError):  # a folder that can't be written to: spans are lost, and that is said
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
