"""`otel-kfs exec`."""

from __future__ import annotations

import sys

import click

from otel_kfs.cli.command import command, old_name, option
from otel_kfs.cli.parameter_types import FILE


@command(
    "exec",
    short_help="Run the real curl, or Kafka's console producer, traced.",
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  otel-kfs exec -- curl -v -H "Host: mobilenet.default.example.com" \\
      http://ingress/v1/models/mobilenet:predict -d @1mb.json
  otel-kfs exec -- kafka-console-producer.sh \\
      --bootstrap-server localhost:9092 --topic mobilenet < 1mb.json
  otel-kfs exec --traces-file sender.jsonl -- curl -sf http://ingress/...

\b
Exit code: the program's own; 1 if it can't be started.
""",
)
@option("--run", metavar="ID", help="Marks the traces of one measurement.  [default: a new id]")
@old_name("--run-id", "--run")
@option(
    "--traces-file", type=FILE, metavar="FILE", help="Append spans to this file as OTLP-JSON instead of exporting them."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- PROGRAM [ARGUMENT]...")
def exec_program(run: str | None, traces_file: str | None, command: tuple[str, ...]) -> None:
    """Run the real curl, or Kafka's console producer, and trace what it sends.

    The program keeps its arguments, streams, signals and exit code; exec adds the trace context to the headers that
    it sends. curl's own timings become spans, and so does the start of the console producer's JVM. curl: one URL at
    a time. Console producer: Kafka 3.2 or newer; each line of its standard input is a trace.
    """
    from otel_kfs import programs
    from otel_kfs.programs import foreground

    with foreground.signals_for_main_thread():
        from otel_kfs.telemetry import provider

        provider.configure_command("image-sender", traces_file=traces_file)
    code = programs.run(command, run_id=run)
    if code < 0:
        foreground.end_by(-code)
    sys.exit(code)
