"""-o, wherever a file is written: the ending chooses the format, - is standard output, no folder is said first."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from otel_kfs import cli
from otel_kfs.cli.command import command
from otel_kfs.cli.group import Group
from otel_kfs.cli.options import results_as

ALL = ("text", "md", "csv", "json", "parquet", "html", "svg", "png")
ENDINGS = {
    ".txt": "text", ".text": "text", ".md": "md", ".MARKDOWN": "md", ".csv": "csv", ".JSON": "json",
    ".parquet": "parquet", ".html": "html", ".htm": "html", ".svg": "svg", ".Png": "png",
}  # fmt: skip
WRITING = sorted(
    name
    for name, command in cli.main.commands.items()
    for one in command.params
    if one.name == "output" and one.metavar == "FILE"
)
QUERIES = {"check": ["FILE.md"], "compare": ["gone/", "gone/"]}


@pytest.fixture
def show():
    """A command that prints the format and the file that it is given."""

    def of(formats, *arguments, **settings):
        @command()
        @results_as(formats, **settings)
        def show(format_, output):
            click.echo(f"{format_} {output}")

        main = Group()
        main.add_command(show)
        result = CliRunner().invoke(main, ["show", *arguments])
        return result.exit_code, result.output

    return of


def test_which_commands_write_a_file():
    assert {"check", "compare", "report", "tables"} <= set(WRITING)


@pytest.mark.parametrize(("ending", "format_"), ENDINGS.items())
def test_the_ending_chooses_the_format(show, tmp_path, ending, format_):
    file = tmp_path / f"out{ending}"
    assert show(ALL, "-o", str(file)) == (0, f"{format_} {file}\n")


@pytest.mark.parametrize("name", ["out", "/dev/stdout", "/dev/fd/1", ".csv"])
def test_without_an_ending_it_is_the_first(show, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert show(("html", "svg"), "-o", name) == (0, f"html {name}\n")


@pytest.mark.parametrize("arguments", [[], ["-o", "-"], ["--output=-"]])
def test_without_a_file_or_with_a_dash_it_is_standard_output(show, arguments):
    assert show(ALL, *arguments) == (0, "text None\n")


def test_a_file_may_be_written_where_none_is_named(show):
    assert show(("html", "svg"), file="r.html") == (0, "html r.html\n")
    assert show(("html", "svg"), "-o", "-", file="r.html") == (0, "html None\n")


def test_a_format_that_is_given_goes_before_any_ending(show, tmp_path):
    assert show(ALL, "-o", str(tmp_path / "out.xyz"), "--format", "csv")[1].startswith("csv ")


@pytest.mark.parametrize(
    ("file", "meant"),
    [("r.jsn", " (did you mean .json?)"), ("r.xml", ""), ("r.tar.gz", ""), ("r.mdd", " (did you mean .md?)")],
)
def test_an_ending_of_no_format_is_answered_with_those_that_there_are(show, file, meant):
    assert show(("text", "md", "csv", "json"), "-o", file) == (
        1,
        f"Error: unknown format of {file}{meant}: use the ending .txt, .md, .csv or .json, or give --format\n",
    )
    assert not Path(file).exists()


def test_what_another_command_writes_is_named(show):
    assert show(("text", "md"), "-o", "r.html")[1] == (
        "Error: unknown format of r.html: use the ending .txt or .md, or give --format; `otel-kfs report` writes "
        ".html, .svg and .png\n"
    )


@pytest.mark.parametrize("name", WRITING)
def test_every_command_says_before_it_reads_that_a_folder_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(
        cli.main, [name, *QUERIES.get(name, ["gone/"]), "-o", "nowhere/out.html", *as_html(name)]
    )
    assert result.stderr == "Error: can't write nowhere/out.html: there is no folder nowhere\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITING)
def test_every_command_refuses_an_ending_of_no_format_before_it_reads(name):
    result = CliRunner().invoke(cli.main, [name, *QUERIES.get(name, ["gone/"]), "-o", "out.xyz"])
    assert result.stderr.startswith("Error: unknown format of out.xyz: use the ending .")


def as_html(name):
    formats = next(one.type.choices for one in cli.main.commands[name].params if one.name == "format_")
    return [] if "html" in formats else ["--format", "json"]
