"""The options that say where traces are: one query comes of them all, or one error."""

import click
import pytest
from click.testing import CliRunner

from otel_kfs import cli
from otel_kfs.cli.group import Group
from otel_kfs.cli.trace_options import reading, trace_options
from otel_kfs.traces import query
from otel_kfs.traces.query_url import COMMON, OPTIONS, QueryUrl


@click.group(cls=Group)
def main():
    pass


@main.command()
@trace_options
@click.option("--other")
def show(trace_query, other):
    click.echo(f"{trace_query} {other}")


def run(*arguments):
    result = CliRunner().invoke(main, ["show", "--trace-query", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        (["traces/"], "traces/"),
        (["jaeger:http://h:1"], "jaeger:http://h:1"),
        (["jaeger:http://h:1", "--lookback", "2h"], "jaeger:http://h:1?lookback=2h"),
        (["jaeger:http://h:1?service=a", "--lookback", "2h"], "jaeger:http://h:1?service=a&lookback=2h"),
        (["jaeger:http://h", "--service", "a b", "--service", "c"], "jaeger:http://h?service=a%20b&service=c"),
        (["jaeger:http://h?run=1", "--run", "1"], "jaeger:http://h?run=1"),
        (
            ["tempo:http://h", "--traceql", '{ .a = "b" && .c > 1 }'],
            "tempo:http://h?q=%7B%20.a%20%3D%20%22b%22%20%26%26%20.c%20%3E%201%20%7D",
        ),
        (
            ["tempo:http://h", "--start", "2026-01-31T12:00:00+01:00"],
            "tempo:http://h?start=2026-01-31T12:00:00%2B01:00",
        ),
        (["t.jsonl", "--run", "1"], "t.jsonl?run=1"),
        (["-", "--run", "1"], "-?run=1"),
        (["traces/?run=1", "--strict"], "traces/?run=1&strict=1"),
    ],
)
def test_query_and_options_become_one_query(arguments, whole):
    assert run(*arguments, "--other", "o") == (0, f"{whole} o\n")


def test_an_option_that_differs_from_the_query_is_one_error():
    assert run("jaeger:http://h?lookback=1h", "--lookback", "2h") == (
        1,
        "Error: lookback is 1h in the trace query and 2h beside it; give it once\n",
    )


@pytest.mark.parametrize("command", ["tables", "report", "compare", "check"])
def test_every_option_of_a_query_is_an_option_of_every_command_that_reads_traces(command):
    there = {option.name for option in cli.main.commands[command].params}
    assert {f"trace_{key}" for key in OPTIONS} - there == set()


def test_every_option_of_a_store_is_known(monkeypatch, tmp_path):
    taken, only = set(COMMON), QueryUrl.only
    traces = tmp_path / "t.jsonl"
    traces.touch()

    def noted(location, *known, common=COMMON):
        taken.update(known, common)
        return only(location, *known, common=common)

    monkeypatch.setattr(QueryUrl, "only", noted)
    for scheme in ("jaeger", "tempo", "clickhouse"):
        query.open_store(f"{scheme}:http://h")
    query.open_store(str(traces))
    assert taken == set(OPTIONS)


def test_every_option_is_understood_by_a_store():
    code, output = run(
        "tempo:http://h", "--traceql", "{}", "--lookback", "1h", "--end", "2026-01-31", "--tenant", "t", "--run", "1",
        "--expect", "2", "--wait", "1m", "--grafana", "http://g", "--datasource", "d",
    )  # fmt: skip
    assert code == 0
    query.open_store(output.split()[0], waiting=lambda store, *_: store)
    query.open_store(run("jaeger:http://h", "--service", "s", "--start", "2026-01-31")[1].split()[0])
    query.open_store(run("clickhouse:http://h", "--database", "d", "--table", "t")[1].split()[0])


READING = ["tables", "report", "check", "compare"]
# Besides the query, what a command needs; and how many queries it takes.
BESIDE = {"check": ["FILE.md"]}
MOST = {"compare": 2}


def usage_error(*arguments):
    """The last line of what is said on standard error; nothing is read."""
    result = CliRunner().invoke(cli.main, arguments, prog_name="otel-kfs")
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr.splitlines()[-1]


def test_every_command_that_reads_takes_the_query_as_an_argument_and_as_an_option():
    takes = {
        name: {one.opts[0] for one in command.params} & {"query", "queries", "--trace-query"}
        for name, command in cli.main.commands.items()
    }
    reading = {name for name, command in cli.main.commands.items() if "--lookback" in options_of(command)}
    assert {name for name, found in takes.items() if len(found) == 2} == reading >= set(READING)


def options_of(command):
    return {name for one in command.params for name in one.opts}


@pytest.mark.parametrize("query", ["traces/", "-", "jaeger:http://h?run=1"])
def test_a_query_is_an_argument_or_an_option(query):
    as_argument = CliRunner().invoke(main, ["show", query, "--lookback", "30m"]).output
    assert as_argument == CliRunner().invoke(main, ["show", "--lookback", "30m", "--trace-query", query]).output
    assert as_argument == f"{query}{'&' if '?' in query else '?'}lookback=30m None\n"


@pytest.mark.parametrize("name", READING)
def test_a_query_is_given_in_one_of_the_two_ways(name):
    assert usage_error(name, *BESIDE.get(name, []), "a/", "--trace-query", "tempo:http://me:secret@h") == (
        "Error: give the trace query once: here are a/ as an argument and tempo:http://h by --trace-query"
    )


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("flag", [[], ["--trace-query"]])
def test_a_pattern_that_the_shell_has_expanded_is_told_what_to_do(name, flag):
    most = MOST.get(name, 1)
    queries = [word for number in range(most + 1) for word in (*flag, f"{number}.jsonl")]
    assert usage_error(name, *BESIDE.get(name, []), *queries) == (
        f"Error: {most + 1} trace queries are given, and {'one is read' if most == 1 else 'two are compared'}: name a "
        "folder, or put a pattern in quotes, so that the shell does not expand it: 'traces/*.jsonl'"
    )


@pytest.mark.parametrize("name", [name for name in READING if name != "check"])
def test_a_query_must_be_given(name):
    assert usage_error(name) == (
        "Error: no trace query: name a file, a folder, jaeger:URL, tempo:URL or clickhouse:URL, as in "
        f"otel-kfs {name} otel-kfs-runs/latest/traces"
    )


def test_compare_takes_its_two_queries_by_the_option_too(tmp_path):
    (tmp_path / "a.jsonl").touch()
    both = ["--trace-query", str(tmp_path / "a.jsonl"), "--trace-query", str(tmp_path / "b.jsonl")]
    by_option = CliRunner().invoke(cli.main, ["compare", *both])
    assert by_option.stderr == CliRunner().invoke(cli.main, ["compare", *both[1::2]]).stderr
    assert by_option.stderr.startswith("Error: ")


def test_progress_is_silent_where_nobody_looks(capsys):
    with reading(quiet=False) as say:
        say("working")
    assert capsys.readouterr() == ("", "")
