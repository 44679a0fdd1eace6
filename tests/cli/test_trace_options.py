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


def test_a_query_must_be_given():
    result = CliRunner().invoke(main, ["show"])
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "Error: Missing option '--trace-query'.")


def test_progress_is_silent_where_nobody_looks(capsys):
    with reading(quiet=False) as say:
        say("working")
    assert capsys.readouterr() == ("", "")
