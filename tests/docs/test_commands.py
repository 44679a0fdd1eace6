"""Every command on every page: one of ours is typed where it can be, and read by the command line where it can't."""

import functools
import re
import shlex
import shutil
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from pages import PAGES, TOP, blocks
from report_support import image
from support import LIMIT, PHOTO, HttpServer, start
from traces_builder import HTTP, KAFKA, otlp_line

from otel_kfs import cli, semconv

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

# What is not typed here, and why. A command belongs to the first that it contains.
NOT_TYPED = {
    "otel-kfs demo": "takes minutes: tests/demo runs it",
    "otel-kfs experiment": "takes minutes, or starts model servers: tests/experiment and tests/cli run smaller ones",
    "otel-kfs bridge": "runs until it is ended: tests/bridge",
    "otel-kfs watch": "runs until it is ended: tests/watch",
    "otel-kfs exec -- curl": "tests/programs run it with the real curl",
    "otel-kfs exec -- kafka-console-producer.sh": "tests/programs run it with Kafka's own",
    "--transport kafka": "tests/cli and tests/client send to a broker",
    "images.parquet": "needs pyarrow: tests/cli/test_images_layout.py",
    "jaeger:": "tests/traces/stores read from a Jaeger",
    "tempo:": "tests/traces/stores read from a Tempo",
    "clickhouse:": "tests/traces/stores read from a ClickHouse",
    "tables -": "tests/traces read standard input",
    " QUERY": "a form, not a command",
    "tables ...": "a form, not a command",
    "[--trace-query": "a form, not a command",
    "make ": "takes minutes; .ci/run runs most of them",
    "pip install": "make newcomer installs",
    "python benchmarks/": "takes minutes",
    ".venv/bin/python benchmarks/": "takes minutes",
    ".venv/bin/pytest": "a test",
    "git clone": "make newcomer clones",
    "python -m venv": "make newcomer does",
    "python3 -m venv": "make newcomer does",
    "opentelemetry-instrument python": "tests/serving and tests/kafka run programs so",
    "kubectl": "needs a cluster",
    "docker compose -f deploy": "make test-deploy runs it",
    "kube_play.py": "make test-deploy runs it",
    "kafka-console-consumer.sh": "needs Kafka's own programs",
    "export ": "sets a variable",
}
PROGRAMS = {"otel-kfs", "python", "python3", "pip", "pytest", "make", "git", "docker", "curl", "kubectl", "export"}
PROGRAMS |= {"opentelemetry-instrument", "kustomize", "helm", "apt-get", "npm", "go"}


def commands_of(page):
    """A page's commands, as somebody would type them: lines that go on are one, remarks are none."""
    for language, block in blocks(page.read_text()):
        if language in ("", "bash", "console", "sh"):
            lines = re.sub(r"\\\n *", "", block).splitlines()
            typed = [re.sub(r"\s{2,}#.*", "", line.removeprefix("$ ")).strip() for line in lines]
            yield from (line for line in typed if is_command(line))


def is_command(line):
    """Whether a line of a block is one to type: some blocks show what is printed, spans or settings."""
    program = line.partition(" ")[0].rpartition("/")[2]
    return program in PROGRAMS or program.endswith(".sh")


COMMANDS = sorted({(page.stem, command) for page in PAGES for command in commands_of(page)})
OURS = sorted(
    {command for _, command in COMMANDS if re.search(r"\botel-kfs (?!&&)", command) and "clone" not in command}
)
UNTYPED = [command for _, command in COMMANDS if any(part in command for part in NOT_TYPED)]
TYPED = [command for command in OURS if command not in UNTYPED]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_typed_here_or_there_is_a_reason_why_not(page):
    commands = {command for of, command in COMMANDS if of == page.stem}
    assert commands - {*TYPED, *UNTYPED} == set()


def test_every_reason_is_that_of_a_command():
    assert [part for part in NOT_TYPED if not any(part in command for _, command in COMMANDS)] == []


@pytest.mark.parametrize("command", OURS)
def test_the_command_line_understands_every_command_of_ours(command):
    arguments = shlex.split(command[command.index("otel-kfs ") :].replace("[", "").replace("]", ""), comments=False)[1:]
    arguments = arguments[: arguments.index("<")] if "<" in arguments else arguments
    for argument in arguments:
        if re.fullmatch(r"[\w.-]+\.(jpg|json|md|toml)|examples/\S+|tests/\S+", argument):  # must exist
            Path(argument).parent.mkdir(parents=True, exist_ok=True)
            Path(argument).touch()
    place = next(number for number, argument in enumerate(arguments) if argument[0] != "-")
    context = click.Context(cli.main, info_name="otel-kfs", **cli.main.context_settings)
    subcommand = cli.main.get_command(context, arguments[place])
    assert subcommand is not None
    subcommand.make_context(arguments[place], arguments[:place] + arguments[place + 1 :], parent=context)


@pytest.fixture
def folder(monkeypatch):
    """What the pages' commands find: traces, pictures, the examples; and a model server, whose URL is returned."""
    for name in ("examples", "tests"):
        Path(name).symlink_to(TOP / name)
    for name in ("cat.jpg", "big.jpg", "payload.json", "1mb.json"):
        shutil.copy(PHOTO, name) if name.endswith("jpg") else Path(name).write_text('{"instances": [1]}')
    shutil.copy(TOP / "tests/data/seed-tables.md", "measurement.md")
    for traces in ("before/traces", "main", "traces", "archive", "ways/traces", "otel-kfs-runs/latest/traces"):
        write(traces, factor=1.0)
    for traces in ("after/traces", "branch"):
        write(traces, factor=3.0)
    shutil.copy("before/traces/traces.jsonl", "baseline.jsonl.gz")  # the format is seen from what is in it
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with HttpServer().running() as server:
        yield server.url


def write(name, factor):
    """A folder of traces."""
    Path(name).mkdir(parents=True)
    Path(name, "traces.jsonl").write_text(lines(factor, "ways" in name))


@functools.cache
def lines(factor, by_cells):
    """Ten images of two sizes, over HTTP and through Kafka; as an experiment has them, by two cells."""
    cells = {"http": "json seed", "kafka": "cloudevent fast"}
    return "".join(
        otlp_line(
            image(
                f"{transport}{len(str(size))}{number}",
                drawing=drawing,
                size=size,
                factor=factor * size / 5_000_000 + number / 100,
                **{semconv.RUN_ID: "2026-01-31-a"} | ({semconv.CELL: cells[transport]} if by_cells else {}),
            )
        )
        for transport, drawing in (("http", HTTP), ("kafka", KAFKA))
        for size in (1_112_057, 10_200_000)
        for number in range(10)
    )


@pytest.mark.analysis
@pytest.mark.parametrize("command", TYPED)
def test_a_command_of_the_pages_does_what_it_is_there_for(command, folder):
    typed = re.sub(r"http://(localhost:80\d\d|INGRESS|ingress)", folder, command)
    code, printed, errors = run(shlex.split(typed)[1:])
    # `check` finds what is wrong with the tables of 2020, and `compare` that the change is slower.
    expected = 1 if command.startswith("otel-kfs check") else 3 if "--fail-if-slower" in command else 0
    assert (code, "Error" in errors) == (expected, False), printed + errors
    assert re.search(r"measured|\bms\b|does not follow", printed + errors)


def run(arguments):
    """Exit code, standard output and error; what sends has a process of its own, which ends with its spans."""
    if arguments[0] == "send":
        with start([sys.executable, "-m", "otel_kfs.cli", *arguments]) as process:
            printed, errors = process.communicate(timeout=LIMIT)
        return process.returncode, printed, errors
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("target", sorted({w for _, c in COMMANDS for w in re.findall(r"^make ([a-z-]+)", c)}))
def test_every_target_of_make_is_there(target):
    assert re.search(rf"^{target}:", (TOP / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("script", sorted({w for _, c in COMMANDS for w in re.findall(r"python (\S+/\S+\.py)", c)}))
def test_every_script_is_there(script):
    assert (TOP / script).is_file()


def test_every_extra_is_there():
    extras = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra
        for page in PAGES
        for group in re.findall(r"'(?:otel-kfs|\.)\[([\w,-]+)\]", page.read_text())
        for extra in group.split(",")
    }
    assert named - extras.keys() == set()
    rows = re.findall(r"^\| (`[^|]+`) \|", (TOP / "docs/install.md").read_text(), re.MULTILINE)
    table = [extra for row in rows for extra in re.findall(r"`([\w-]+)`", row)]
    assert sorted(table) == sorted(extra for extra in extras if extra != "lint" and not extra.startswith("test"))
