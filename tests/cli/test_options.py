"""Every command's options and help: one word with one meaning, durations of one type, a help that can be read."""

import contextlib
import io
import re
from collections import defaultdict

import click
import pytest
from click.testing import CliRunner

from otel_kfs import cli
from otel_kfs.cli.command import Command, OldName
from otel_kfs.cli.parameter_types import Duration

COMMANDS = dict(sorted(cli.main.commands.items()))
OPTIONS = [
    pytest.param(one, id=f"{name} {one.opts[-1]}")
    for name, command in {"": cli.main, **COMMANDS}.items()
    for one in command.params
    if isinstance(one, click.Option)
]
VISIBLE = [one for one in OPTIONS if not one.values[0].hidden]
# Where results go: a file, or a folder of files where there are several.
WHERE_RESULTS_GO = "--output"
TIMES = re.compile(r"\b(seconds?|minutes?|how long|at most that long|how far back)\b", re.IGNORECASE)


def help_of(*command, columns=200):
    result = CliRunner().invoke(cli.main, [*command, "--help"], prog_name="otel-kfs", env={"COLUMNS": str(columns)})
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_says_what_it_is_for(option):
    assert len((option.help or "").split()) > 1
    assert option.help.endswith((".", "]"))


@pytest.mark.parametrize("option", VISIBLE)
def test_an_option_s_value_has_a_name(option):
    context = click.Context(cli.main)
    metavar = "" if option.is_flag else option.make_metavar(context)
    assert metavar not in {"TEXT", "INTEGER", "FLOAT", "PATH", "FILENAME", "INTEGER RANGE", "FLOAT RANGE"} or (
        option.opts == ["--prompt"]
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_a_duration_has_the_one_type_for_durations(option):
    is_duration = isinstance(option.type, Duration)
    assert is_duration == bool(TIMES.search(option.help))


def test_no_option_means_two_things():
    kinds, shapes = defaultdict(set), defaultdict(set)
    for command in COMMANDS.values():
        for option in command.params:
            if not isinstance(option, click.Option) or option.hidden:
                continue
            name = option.opts[-1]
            kinds[name].add((type(option.type).__name__, option.is_flag, tuple(option.opts)))
            if not isinstance(option.type, click.Choice):
                shapes[name].add(option.metavar)
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}
    assert {name: found for name, found in shapes.items() if len(found) > 1} == {WHERE_RESULTS_GO: {"FILE", "FOLDER"}}


def test_no_short_option_means_two_things():
    names = defaultdict(set)
    for command in (cli.main, *COMMANDS.values()):
        for option in command.params:
            for short in option.opts:
                if re.fullmatch("-[A-Za-z]", short):
                    names[short].add(option.opts[-1])
    assert {short: found for short, found in names.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_one_of_ours_and_says_what_it_does(name):
    command = COMMANDS[name]
    assert isinstance(command, Command)
    assert command.get_short_help_str(100).endswith(".")


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_a_help_fits_80_columns_and_cuts_no_name_at_its_hyphens(command):
    lines = help_of(*command).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if re.search(r"\w-$", line)] == []


@pytest.mark.parametrize("name", [name for name in COMMANDS if name in {"tables", "report", "compare", "check"}])
def test_the_options_of_trace_stores_stand_below_the_usual_ones(name):
    usual, _, others = help_of(name).partition("\nOptions:\n")[2].partition("\nJaeger, Tempo and ClickHouse:\n")
    stores, _, _ = others.partition("\n  Examples:\n")
    named = {
        where: set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE))
        for where, text in {"usual": usual, "stores": stores}.items()
    }
    assert named["stores"] == {
        "--lookback", "--start", "--end", "--expect", "--wait", "--tenant", "--service", "--traceql", "--grafana",
        "--datasource", "--database", "--table",
    }  # fmt: skip
    assert {"--output", "--run", "--quiet", "--verbose", "--help"} <= named["usual"]


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_has_two_spellings(flag):
    assert CliRunner().invoke(cli.main, [flag]).stdout.startswith("otel-kfs, version ")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_two_spellings(name):
    assert CliRunner().invoke(cli.main, [name, "-h"]).stdout == CliRunner().invoke(cli.main, [name, "--help"]).stdout


OLD_NAMES = [
    pytest.param(name, one, id=f"{name} {one.opts[0]}")
    for name, command in COMMANDS.items()
    for one in command.params
    if isinstance(one, OldName)
]


def test_what_was_renamed():
    assert {(*one.values[1].opts, one.values[1].now) for one in OLD_NAMES} == {
        ("--host-header", "--host"),
        ("--run-id", "--run"),
    }
    assert {one.id for one in OLD_NAMES} >= {
        "send --host-header", "bridge --host-header", "send --run-id", "exec --run-id",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "old"), OLD_NAMES)
def test_an_old_name_works_as_the_new_one_and_says_it(name, old):
    command = COMMANDS[name]
    new = next(one for one in command.params if old.now in one.opts)
    given = {one: parsed(command, [one, "x"]) for one in (old.opts[0], old.now)}
    assert given[old.opts[0]][0] == given[old.now][0]
    assert given[old.opts[0]][0][new.name] == "x"
    assert given[old.opts[0]][1:] == (f"{old.opts[0]} is called {old.now} now; the old name still works\n",)
    assert given[old.now][1] == parsed(command, ["-q", old.opts[0], "x"])[1] == ""


@pytest.mark.parametrize(("name", "old"), OLD_NAMES)
def test_an_old_name_beside_the_new_one_is_an_error(name, old):
    with pytest.raises(click.UsageError, match=f"^{old.opts[0]} is the old name of {old.now}: give one of them$"):
        parsed(COMMANDS[name], [old.opts[0], "x", old.now, "x"])


def parsed(command, arguments):
    """A command's parameters, and what parsing said."""
    needed = [
        word for one in command.params if isinstance(one, click.Option) and one.required for word in value_of(one)
    ]
    files = ["file" for one in command.params if isinstance(one, click.Argument) and one.required]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        context = command.make_context(command.name, [*arguments, *needed, *files], obj={})
    return context.params, said.getvalue()


def value_of(option):
    return option.opts[-1], option.type.choices[0] if isinstance(option.type, click.Choice) else "v"
