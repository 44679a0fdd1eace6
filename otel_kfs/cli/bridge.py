"""`otel-kfs bridge`."""

from __future__ import annotations

import threading
from contextlib import suppress

import click

import otel_kfs
from otel_kfs.cli.options import properties


@click.command(
    epilog="""\b
Example:
  otel-kfs bridge --bootstrap-servers localhost:9092 --topic mobilenet --url http://ingress --model mobilenet
"""
)
@click.option("--bootstrap-servers", required=True, help="host:port,...")
@click.option("--topic", "topics", multiple=True, required=True, help="The topic; may be given many times.")
@click.option("--group", default="otel-kfs-bridge", show_default=True, help="The consumer group.")
@click.option("--consumer-config", metavar="FILE", help="Further settings, in Kafka's properties format.")
@click.option("--url", required=True, help="The server or ingress (with --model), or the whole :predict URL.")
@click.option("--model", help="The model's name.")
@click.option("--host-header", help="The Host by which an ingress finds the model.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=600.0, show_default=True, help="Seconds.")
@click.option("--links", is_flag=True, help="Link to the producer's trace instead of continuing it.")
@click.option("--traces-file", metavar="FILE", help="Append spans there as OTLP-JSON instead of exporting them.")
@click.pass_obj
def bridge(
    obj: dict[str, bool],
    bootstrap_servers: str,
    topics: tuple[str, ...],
    group: str,
    consumer_config: str | None,
    url: str,
    model: str | None,
    host_header: str | None,
    timeout: float,
    links: bool,
    traces_file: str | None,
) -> None:
    """Consume a topic and hand each record to a model, until Ctrl-C; prints one JSON object a record.

    A record's offset is committed after its answer. A record that the model's server refuses (4xx) is reported and
    passed over; when the server can't be reached or fails, the bridge ends with that record uncommitted.
    """
    from dataclasses import asdict

    import orjson

    from otel_kfs.kafka.bridge import Answer, Bridge
    from otel_kfs.model_client import predict_url

    def report(answer: Answer) -> None:
        click.echo(orjson.dumps(asdict(answer)))
        if answer.refused:
            click.echo(f"refused: {answer.topic}[{answer.partition}]@{answer.offset}: {answer.refused}", err=True)

    otel_kfs.configure("kafka-bridge", traces_file=traces_file)
    running = Bridge(
        bootstrap_servers,
        topics,
        predict_url(url, model),
        group=group,
        host=host_header,
        timeout=timeout,
        config=properties(consumer_config),
        links=links,
    )
    if not obj["quiet"]:
        click.echo(f"consuming {', '.join(topics)} as group {group}; Ctrl-C stops", err=True)
    with suppress(KeyboardInterrupt):
        running.run(report, threading.Event())
