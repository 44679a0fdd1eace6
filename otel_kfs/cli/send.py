"""`otel-kfs send`."""

from __future__ import annotations

import click

import otel_kfs
from otel_kfs.cli.options import properties
from otel_kfs.output import progress


@click.command(
    epilog="""\b
Examples:
  otel-kfs send --transport http --url http://ingress --model mobilenet \\
      --host-header mobilenet.default.example.com --image cat.jpg
  otel-kfs send --transport http --url http://ingress/v1/models/mobilenet:predict --json 1mb.json
  otel-kfs send --transport kafka --bootstrap-servers localhost:9092 --topic mobilenet \\
      --producer-config producer.properties --image *.jpg --traces-file traces/sender.jsonl
"""
)
@click.option("--transport", type=click.Choice(["http", "kafka"]), required=True)
@click.option("--image", "images", multiple=True, metavar="FILE", help="An image file; may be given many times.")
@click.option("--json", "payloads", multiple=True, metavar="FILE", help="A file that is the JSON payload already.")
@click.option("--url", help="HTTP: the server or ingress (with --model), or the whole :predict URL.")
@click.option("--model", help="HTTP: the model's name.")
@click.option("--host-header", help="HTTP: the Host by which an ingress finds the model.")
@click.option("--bootstrap-servers", help="Kafka: host:port,...")
@click.option("--topic", help="Kafka: the topic.")
@click.option("--producer-config", metavar="FILE", help="Kafka: further settings, in Kafka's properties format.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Send each file so many times.")
@click.option("--run-id", help="Marks the traces of one measurement; left out, one is made.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True, help="Seconds.")
@click.option("--traces-file", metavar="FILE", help="Append spans there as OTLP-JSON instead of exporting them.")
@click.argument("more_files", nargs=-1, metavar="[FILE]...")
@click.pass_obj
def send(
    obj: dict[str, bool],
    transport: str,
    images: tuple[str, ...],
    payloads: tuple[str, ...],
    url: str | None,
    model: str | None,
    host_header: str | None,
    bootstrap_servers: str | None,
    topic: str | None,
    producer_config: str | None,
    repeat: int,
    run_id: str | None,
    timeout: float,
    traces_file: str | None,
    more_files: tuple[str, ...],
) -> None:
    """Send images (or JSON payloads) and print what each became, one JSON object a line.

    Spans go where the standard OTEL_* variables say, or to --traces-file. Files after the options are of the kind given
    last (`--image *.jpg`).
    """
    import orjson

    from otel_kfs.sending import HttpSender, KafkaSender

    if payloads and not images:
        payloads += more_files
    else:
        images += more_files
    if not images and not payloads:
        raise click.UsageError("nothing to send: give --image FILE or --json FILE")
    if transport == "http":
        _needs(url=url)
        _without(
            "--transport http",
            bootstrap_servers=bootstrap_servers,
            topic=topic,
            producer_config=producer_config,
        )
    else:
        _needs(bootstrap_servers=bootstrap_servers, topic=topic)
        _without("--transport kafka", url=url, model=model, host_header=host_header)

    otel_kfs.configure("image-sender", traces_file=traces_file)
    sender: HttpSender | KafkaSender
    if transport == "http":
        sender = HttpSender(str(url), model=model, host=host_header, timeout=timeout, run_id=run_id)
    else:
        sender = KafkaSender(
            str(bootstrap_servers),
            str(topic),
            config=properties(producer_config),
            timeout=timeout,
            run_id=run_id,
        )
    with progress((len(images) + len(payloads)) * repeat, "sending", quiet=obj["quiet"]) as advance:
        for deliver, files in ((sender.send, images), (sender.send_json, payloads)):
            for file in files:
                for _ in range(repeat):
                    result = deliver(file)
                    record = result if isinstance(result, dict) else result._asdict()
                    click.echo(orjson.dumps({"file": file, **record}))
                    advance(file)


def _needs(**options: str | None) -> None:
    for name, value in options.items():
        if not value:
            raise click.UsageError(f"this transport needs --{name.replace('_', '-')}")


def _without(choice: str, **options: str | None) -> None:
    for name, value in options.items():
        if value:
            raise click.UsageError(f"--{name.replace('_', '-')} has no meaning with {choice}")
