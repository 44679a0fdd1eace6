"""The command line. Each command is a module that parses, calls, prints and exits."""

from __future__ import annotations

import logging
import sys

import click

import otel_kfs
from otel_kfs.cli.group import Group, LazyCommands
from otel_kfs.cli.messages import OneLine

_COMMANDS = LazyCommands(
    {
        "bridge": "otel_kfs.cli.commands.bridge:bridge",
        "check": "otel_kfs.cli.commands.check:check",
        "compare": "otel_kfs.cli.commands.compare:compare",
        "demo": "otel_kfs.cli.commands.demo:demo",
        "exec": "otel_kfs.cli.commands.exec_program:exec_program",
        "experiment": "otel_kfs.cli.commands.experiment:experiment",
        "report": "otel_kfs.cli.commands.report:report",
        "send": "otel_kfs.cli.commands.send:send",
        "tables": "otel_kfs.cli.commands.tables:tables",
    }
)


@click.group(
    cls=Group,
    commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each command's --help has examples.",
)
@click.version_option(otel_kfs.__version__, prog_name="otel-kfs")
@click.option("-v", "--verbose", is_flag=True, help="Log to standard error what happens.")
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")
@click.pass_context
def main(context: click.Context, verbose: bool, quiet: bool) -> None:
    """Show where the time goes when an image is sent to a model on KFServing or KServe."""
    context.obj = {"quiet": quiet}
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    if not verbose:
        # An exporter warns at each failed try, and logs an error when it gives up; the error is enough.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        # The same for urllib3, whose warnings contain whole URLs.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
