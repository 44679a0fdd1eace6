"""`otel-kfs demo`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from otel_kfs.cli.command import command, option
from otel_kfs.cli.messages import say
from otel_kfs.cli.output import progress
from otel_kfs.cli.parameter_types import Choice
from otel_kfs.cli.read_traces import print_blocks, read_measurement
from otel_kfs.demo.example import VARIANTS
from otel_kfs.report.tables.rows import DEFAULT_LAYOUTS

if TYPE_CHECKING:
    from otel_kfs.demo.demo_run import ProgressBar

_ENOUGH_TO_COMPARE = 8  # images of each size and transport: then segments can differ beyond noise


@command(
    short_help="Run the whole measurement on this machine.",
    epilog="""\b
Examples:
  otel-kfs demo
  otel-kfs demo --way seed --way fast --way small
  otel-kfs demo --repeat 5 --serving kserve --output my-run
  otel-kfs demo --watch
  otel-kfs demo --bootstrap-servers localhost:9092
  otel-kfs demo --otlp-endpoint http://localhost:4318
""",
)
@option(
    "--repeat",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="How often to send each size each way. 20 are enough for intervals, p95 and compare.",
)
@option(
    "--way",
    "variants",
    type=Choice(list(VARIANTS)),
    multiple=True,
    default=["seed"],
    show_default=True,
    help="seed: base64 in JSON, as in 2020. fast: the JPG as a CloudEvent, draft decoding, tensors as bytes. small: "
    "fast, with images resized before they are sent. chat: by KServe's chat route, over HTTP only; MobileNet's class "
    "in a sentence stands in for a model that speaks. Repeatable, to compare.",
)
@option(
    "--serving",
    type=Choice(["kfserving", "kserve"]),
    help="The serving SDK.  [default: the one that is installed]",
)
@option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="A new folder for traces and logs.  [default: otel-kfs-runs/<time>]",
)
@option(
    "--bootstrap-servers",
    metavar="HOST:PORT,...",
    help="Your own Kafka.  [default: an embedded broker]",
)
@option(
    "--otlp-endpoint", metavar="URL", help="Also send spans there, with OTLP over HTTP (a Collector, Jaeger, Tempo)."
)
@option("--watch", is_flag=True, help="Show the figures while the images are sent, as `otel-kfs watch` does.")
@click.pass_obj
def demo(
    obj: dict[str, bool],
    repeat: int,
    variants: tuple[str, ...],
    serving: str | None,
    output: Path | None,
    bootstrap_servers: str | None,
    otlp_endpoint: str | None,
    *,
    watch: bool,
) -> None:
    """Run the whole measurement on this machine, print its tables, and say what they show.

    Starts a broker, a transformer, a predictor and a bridge, and sends four images over HTTP and through Kafka.
    """
    from otel_kfs.demo import example

    serving = example.serving(serving)  # first, because its message names all that the demo needs
    from otel_kfs.demo import demo_run
    from otel_kfs.report import documents

    with ExitStack() as stack:
        told: Callable[[str], None] = (lambda _: None) if obj["quiet"] else say
        bar: ProgressBar = functools.partial(progress, quiet=obj["quiet"])
        if watch and not obj["quiet"]:
            from otel_kfs.cli.demo_watch import watched

            otlp_endpoint, told, bar = stack.enter_context(watched(otlp_endpoint))
        traces = demo_run.demo(
            repeat=repeat,
            variants=variants,
            serving=serving,
            output=output,
            bootstrap_servers=bootstrap_servers,
            otlp_endpoint=otlp_endpoint,
            say=told,
            progress=bar,
        )
    measurement, line = read_measurement(str(traces), quiet=obj["quiet"])
    print_blocks(documents.blocks(measurement, ("bars", *DEFAULT_LAYOUTS)), "text", None)
    if not obj["quiet"]:
        say(line, err=False)
        click.echo(f"The traces are in {traces}, one file per process.")
        if bootstrap_servers is None and not all(VARIANTS[name].chat for name in variants):
            click.echo(f"Figures about the broker are {demo_run.BROKER}'s, not Apache Kafka's.")
        click.echo(f"The same tables again:  otel-kfs tables {traces}")
        if repeat >= _ENOUGH_TO_COMPARE and not all(VARIANTS[name].chat for name in variants):
            sides = "--where-a transport=http --where-b transport=kafka"
            click.echo(f"HTTP against Kafka:  otel-kfs compare {traces} {sides}")
        click.echo()
    print_blocks([documents.answer_block(measurement)], "text", None)
