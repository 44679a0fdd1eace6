"""--quiet and --verbose: before or after a command's name, by every command, with one meaning."""

import logging
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from traces_builder import HTTP, otlp_line, spans

from otel_kfs import cli
from otel_kfs.cli.command import command
from otel_kfs.cli.group import Group


@pytest.fixture
def traces(tmp_path):
    file = tmp_path / "traces.jsonl"
    file.write_text(otlp_line(spans(HTTP)))
    return str(file)


@pytest.fixture
def group():
    """A group of one command, which prints what it is told."""

    @click.group(cls=Group)
    def main():
        pass

    @main.command(cls=click.Command)
    def plain():
        pass

    @command()
    @click.pass_obj
    def show(obj):
        click.echo(f"{obj['quiet']} {obj['verbose']}")

    main.add_command(show)
    return main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show"], "False False"),
        (["-q", "show"], "True False"),
        (["show", "-q"], "True False"),
        (["--quiet", "show", "--quiet"], "True False"),
        (["show", "--verbose"], "False True"),
        (["-v", "show"], "False True"),
        (["-v", "show", "-q"], "True True"),
    ],
)
def test_a_command_is_told_wherever_the_option_stands(group, arguments, said):
    assert CliRunner().invoke(group, arguments).stdout == f"{said}\n"


@pytest.mark.parametrize("name", sorted(cli.main.commands))
@pytest.mark.parametrize("flag", ["-q", "--quiet", "-v", "--verbose"])
def test_every_command_takes_both(name, flag):
    assert any(flag in one.opts for one in cli.main.commands[name].params)


def test_quiet_after_the_command_leaves_out_what_it_leaves_out_before_it(traces):
    arguments = ["tables", "--trace-query", traces, "--layout", "seed"]
    before, after = CliRunner().invoke(cli.main, ["-q", *arguments]), CliRunner().invoke(cli.main, [*arguments, "-q"])
    assert (before.exit_code, before.output) == (0, after.output)
    assert "measured" not in after.output


@pytest.mark.parametrize("place", [1, 4])
def test_verbose_logs_each_file_wherever_it_stands(traces, place):
    arguments = ["otel-kfs", "tables", "--trace-query", traces, "--format", "json"]
    arguments.insert(place, "-v")
    script = f"import sys; sys.argv = {arguments!r}; from otel_kfs.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stderr.startswith(f"INFO otel_kfs.traces.files: reading {traces}, ")


def test_logging_that_somebody_else_has_configured_stays_as_it_is(traces, caplog):
    level = logging.getLogger().level
    CliRunner().invoke(cli.main, ["tables", "--trace-query", traces, "-q"])
    assert logging.getLogger().level == level
