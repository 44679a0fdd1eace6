"""The command line: parse, call, print, exit."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

import otel_kfs
from otel_kfs.errors import ConfigError, OtelKfsError
from otel_kfs.output import progress, write
from otel_kfs.render import FORMATS, Format
from otel_kfs.tables import LAYOUTS, Layout

SIGINT_EXIT = 130  # what a shell reports for a program that Ctrl-C ended


class _Group(click.Group):
    """Turns our errors into one line and exit code 1, and Ctrl-C into exit code 130."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            return super().main(*args, **kwargs)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except OtelKfsError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)
        except (click.Abort, KeyboardInterrupt):
            click.echo("stopped", err=True)
            sys.exit(SIGINT_EXIT)
        except BrokenPipeError:
            # The reader (`| head`) has gone; the interpreter must not complain about it at its end either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each command's --help has examples.",
)
@click.version_option(otel_kfs.__version__, prog_name="otel-kfs")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, on standard error.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no remarks: only results and errors.")
@click.pass_context
def main(context: click.Context, verbose: bool, quiet: bool) -> None:
    """Where the time goes when an image is sent to a model on KFServing or KServe."""
    context.obj = {"quiet": quiet}
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    if not verbose:
        # Each try of an exporter that reaches nobody is a warning; that it gave up is an error, and enough.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)


@main.command(
    epilog="""\b
Examples:
  otel-kfs tables --trace-query otel-kfs-runs/latest/traces
  otel-kfs tables --trace-query 'traces/*.jsonl' --layout segments --format md -o segments.md
  otel-kfs tables --trace-query 'jaeger:http://localhost:16686?service=image-sender&lookback=1h'
  otel-kfs tables --trace-query 'tempo:http://localhost:3200?start=2026-01-31T12:00:00Z'
"""
)
@click.option(
    "--trace-query",
    required=True,
    metavar="QUERY",
    help="A file, folder or pattern of OTLP-JSON traces; jaeger:URL or tempo:URL.",
)
@click.option("--format", "format_", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    multiple=True,
    help="seed: unix times and their differences; segments: every named segment. Left out: both.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write there, not to the terminal.",
)
@click.pass_obj
def tables(
    obj: dict[str, bool], trace_query: str, format_: Format, layout: tuple[Layout, ...], output: Path | None
) -> None:
    """Rebuild the tables from traces."""
    _print_tables(trace_query, format_, layout or LAYOUTS, output, quiet=obj["quiet"])


@main.command(
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
            config=_properties(producer_config),
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


@main.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""\b
Examples:
  otel-kfs exec -- curl -v -H "Host: mobilenet.default.example.com" \\
      http://ingress/v1/models/mobilenet:predict -d @1mb.json
  otel-kfs exec -- kafka-console-producer.sh --bootstrap-server localhost:9092 \\
      --topic mobilenet --producer.config producer.properties < 1mb.json
  otel-kfs exec --traces-file traces/sender.jsonl -- curl -sf -o answer.json http://ingress/...
""",
)
@click.option("--run-id", help="Marks the traces of one measurement; left out, one is made.")
@click.option("--traces-file", metavar="FILE", help="Append spans there as OTLP-JSON instead of exporting them.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- PROGRAM [ARGUMENT]...")
def exec_(run_id: str | None, traces_file: str | None, command: tuple[str, ...]) -> None:
    """Run the real curl, or Kafka's console producer, and trace what it sends.

    The program keeps its arguments, streams and exit code; exec adds the trace context to its request's or records'
    headers. curl's own timings become spans, and so does the start of the console producer's JVM. curl: one URL at a
    time. Console producer: Kafka 3.2 or newer; each line of its standard input is a trace.
    """
    from otel_kfs import exec as programs

    otel_kfs.configure("image-sender", traces_file=traces_file)
    sys.exit(programs.run(command, run_id=run_id))


@main.command(
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
        config=_properties(consumer_config),
        links=links,
    )
    if not obj["quiet"]:
        click.echo(f"consuming {', '.join(topics)} as group {group}; Ctrl-C stops", err=True)
    with suppress(KeyboardInterrupt):
        running.run(report, threading.Event())


@main.command(
    epilog="""\b
Examples:
  otel-kfs demo
  otel-kfs demo --repeat 20 --serving kserve --output my-run
  otel-kfs demo --bootstrap-servers localhost:9092 --otlp-endpoint http://localhost:4318
"""
)
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True, help="Times each size goes each way.")
@click.option("--serving", type=click.Choice(["kfserving", "kserve"]), help="Left out: the one that is installed.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="A new folder for traces and logs.  [default: otel-kfs-runs/<time>]",
)
@click.option("--bootstrap-servers", help="A Kafka of yours, host:port,... Left out: an embedded broker.")
@click.option(
    "--otlp-endpoint", metavar="URL", help="Send spans there too, OTLP over HTTP (a Collector, Jaeger, Tempo)."
)
@click.pass_obj
def demo(
    obj: dict[str, bool],
    repeat: int,
    serving: str | None,
    output: Path | None,
    bootstrap_servers: str | None,
    otlp_endpoint: str | None,
) -> None:
    """Run the measurement here: broker, transformer, predictor, bridge; four pictures, two ways; the tables."""
    from otel_kfs.demo import example

    serving = example.serving(serving)  # first, because its message names all that the demo needs
    from otel_kfs.demo import run

    traces = run.demo(
        repeat=repeat,
        serving=serving,
        output=output,
        bootstrap_servers=bootstrap_servers,
        otlp_endpoint=otlp_endpoint,
        say=_sayer(obj["quiet"]),
        progress=progress,
    )
    _print_tables(str(traces), "text", LAYOUTS, None, quiet=obj["quiet"])
    if not obj["quiet"]:
        click.echo(f"The traces lie in {traces}, a file a process.")
        if bootstrap_servers is None:
            click.echo(f"Figures about the broker are {run.BROKER}'s, not Apache Kafka's.")
        click.echo(f"The same tables again:  otel-kfs tables --trace-query {traces}")


def _print_tables(
    trace_query: str, format_: Format, layouts: tuple[Layout, ...], output: Path | None, *, quiet: bool
) -> None:
    from otel_kfs import render, tables
    from otel_kfs.segments import journeys
    from otel_kfs.traces import query
    from otel_kfs.traces.span import Forest

    layouts = tuple(dict.fromkeys(layouts))
    if format_ == "csv" and len(layouts) > 1:
        raise ConfigError("one CSV holds one table: choose --layout seed or --layout segments")
    found, account = journeys(Forest(query.spans(trace_query)))
    line = render.printable(tables.account_line(account))
    if not found:
        raise OtelKfsError(f"no image was measured in {trace_query}: {line}")
    cells = tables.cells(found)
    if format_ in {"text", "md"}:
        of_layout = {"seed": tables.seed_tables, "segments": tables.segment_tables}
        printed = [table for layout in layouts for table in of_layout[layout](cells)]
        if format_ == "md":
            text = render.markdown(printed)
        elif output is None:
            render.terminal(printed)
            text = None
        else:
            text = render.text(printed)
    else:
        records = {"seed": tables.seed_records, "segments": tables.segment_records}
        if format_ == "csv":
            text = render.comma_separated(records[layouts[0]](cells))
        else:
            document: dict[str, Any] = {layout: records[layout](cells) for layout in layouts}
            document["account"] = {
                "measured": account.measured,
                "left_out": dict(account.left_out),
                "retried": account.retried,
                "redelivered": account.redelivered,
            }
            text = render.json(document)
    if text is not None:
        write(text, output)
    if not quiet:
        click.echo(line, err=format_ != "text" or output is not None)


def _sayer(quiet: bool) -> Callable[[str], None]:
    return lambda line: None if quiet else click.echo(line, err=True)


def _properties(file: str | None) -> dict[str, str]:
    from otel_kfs.kafka.config import read_properties

    return read_properties(file) if file else {}


def _needs(**options: str | None) -> None:
    for name, value in options.items():
        if not value:
            raise click.UsageError(f"this transport needs --{name.replace('_', '-')}")


def _without(choice: str, **options: str | None) -> None:
    for name, value in options.items():
        if value:
            raise click.UsageError(f"--{name.replace('_', '-')} has no meaning with {choice}")


if __name__ == "__main__":
    main()
