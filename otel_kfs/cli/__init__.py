"""The command line. Each command is a module that parses, calls, prints and exits."""

from __future__ import annotations

from otel_kfs.cli.exit_codes import SIGINT_EXIT

try:
    import click

    import otel_kfs
    from otel_kfs.cli.group import Group, LazyCommands
except KeyboardInterrupt:  # Ctrl-C before anything is there that could say so: the exit code of every command
    raise SystemExit(SIGINT_EXIT) from None

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
        "watch": "otel_kfs.cli.commands.watch:watch",
    }
)


@click.group(
    cls=Group,
    commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command's --help has examples. docs/command-line.md has every variable, exit code and file.",
)
@click.version_option(otel_kfs.__version__, "-V", "--version", prog_name="otel-kfs")
def main() -> None:
    """Show where the time goes when an image is sent to a model on KFServing or KServe."""
