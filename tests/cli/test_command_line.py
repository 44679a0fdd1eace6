"""The command line: what `tables` prints and writes, how errors read, and that --help shows examples."""

import csv
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from support import run_python
from traces_builder import HTTP, KAFKA, otlp_line, spans, with_options

import otel_kfs
from otel_kfs import cli

ANSWER = (
    "An image of 1.1MB takes 1000.0 ms over HTTP (one image): 26% of the time is `predictor predict`, 15% `transformer "
    "preprocess`, 10% `encode`. Most could be saved in `predictor predict`: up to 260.0 ms."
)
MARKDOWN_ANSWER = ANSWER.replace("`", "\\`")
SEED_TEXT = f"""\
{textwrap.fill(ANSWER, 80)}

HTTP: seconds
Size     2-1    3-2    4-3  total (4-1)
1.1MB  0.200  0.200  0.600        1.000
a row is one image, that of the median total (4-1) of n = 1; each figure is
rounded separately
1 sent, 2 arrived, 3 preprocessed, 4 answered; 2-1 is the time from 1 to 2

HTTP: unix time
Size                1               2               3               4
1.1MB  1600000000.000  1600000000.200  1600000000.400  1600000001.000

"""
SEED_MARKDOWN = f"""\
{MARKDOWN_ANSWER}

### HTTP: seconds

| Size | 2-1 | 3-2 | 4-3 | total (4-1) |
|:--|--:|--:|--:|--:|
| 1.1MB | 0.200 | 0.200 | 0.600 | 1.000 |

a row is one image, that of the median total (4-1) of n = 1; each figure is rounded separately

1 sent, 2 arrived, 3 preprocessed, 4 answered; 2-1 is the time from 1 to 2

### HTTP: unix time

| Size | 1 | 2 | 3 | 4 |
|:--|--:|--:|--:|--:|
| 1.1MB | 1600000000.000 | 1600000000.200 | 1600000000.400 | 1600000001.000 |
"""
SEED_RECORD = {
    "transport": "http",
    "encoding": "",
    "compression": "",
    "cell": "",
    "size": "1.1MB",
    "n": 1,
    "trace_id": "61".rjust(32, "0"),
    "1": "1600000000.000000000",
    "2": "1600000000.200000000",
    "3": "1600000000.400000000",
    "4": "1600000001.000000000",
    "2-1": "0.200000000",
    "3-2": "0.200000000",
    "4-3": "0.600000000",
    "4-1": "1.000000000",
    "clock_bound_2-1": None,
    "clocks_2-1": "exact",
    "clock_bound_3-2": None,
    "clocks_3-2": "exact",
    "clock_bound_4-3": None,
    "clocks_4-3": "exact",
    "clock_bound_4-1": None,
    "clocks_4-1": "exact",
    "stamp_1_ns": 1_600_000_000_000_000_000,
    "stamp_2_ns": 1_600_000_000_200_000_000,
    "stamp_3_ns": 1_600_000_000_400_000_000,
    "stamp_4_ns": 1_600_000_001_000_000_000,
    "2-1_ns": 200_000_000,
    "3-2_ns": 200_000_000,
    "4-3_ns": 600_000_000,
    "4-1_ns": 1_000_000_000,
    "size_low_bytes": 1_100_000,
    "size_high_bytes": 1_100_000,
}
SEED = ("--layout", "seed")
COMMANDS = sorted(cli.main.commands)


@pytest.fixture
def traces(tmp_path):
    """One image over HTTP, and a warm-up."""
    file = tmp_path / "traces.jsonl"
    file.write_text(otlp_line(spans(HTTP)) + otlp_line(spans(with_options(HTTP, "send image", "warmup"), "w")))
    return file


def run(*arguments):
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def tables(query, *arguments):
    """Exit code, standard output and standard error of `tables`."""
    result = run("tables", "--trace-query", query, *arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, stripped(result.stdout), result.stderr


def stripped(text):
    """Without the blanks that fill up a terminal's lines."""
    return "\n".join(line.rstrip() for line in text.split("\n"))


def process(*arguments, stdout=subprocess.PIPE, **env):
    """The same in a process of its own."""
    command = [sys.executable, "-m", "otel_kfs.cli", *map(str, arguments)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=os.environ | env, check=False)


LINE = "1 image measured; 1 left out: warm-up\n"


# --- formats and layouts ---


def test_text_goes_to_standard_output_with_the_account_below(traces):
    assert tables(traces, *SEED) == (0, SEED_TEXT + LINE, "")


def test_quiet_leaves_the_account_out(traces):
    result = run("--quiet", "tables", "--trace-query", traces, *SEED)
    assert (result.exit_code, stripped(result.stdout), result.stderr) == (0, SEED_TEXT, "")


def test_the_other_formats_keep_the_account_on_standard_error(traces):
    found = [tables(traces, *SEED, "--format", format_)[::2] for format_ in ("md", "csv", "json")]
    assert found == [(0, LINE)] * 3


def test_quiet_leaves_standard_error_empty_in_every_format(traces):
    found = [
        run("-q", "tables", "--trace-query", traces, *SEED, "--format", format_).stderr
        for format_ in ("text", "md", "csv", "json")
    ]
    assert found == [""] * 4


def test_markdown(traces):
    assert tables(traces, *SEED, "--format", "md") == (0, SEED_MARKDOWN, LINE)


def test_csv_of_the_seed_layout_is_one_line_a_size(traces):
    _, out, _ = tables(traces, *SEED, "--format", "csv")
    assert list(csv.DictReader(out.splitlines())) == [
        {key: "" if value is None else str(value) for key, value in SEED_RECORD.items()}
    ]


def test_csv_of_the_segments_layout_is_one_line_a_segment(traces):
    _, out, _ = tables(traces, "--layout", "segments", "--format", "csv")
    lines = out.splitlines()
    assert (lines[0], lines[1], lines[-1]) == (
        "transport,encoding,compression,cell,size,segment,n,mean_ns,sd_ns,p50_ns,p50_low_ns,p50_high_ns,p90_ns,p95_ns,"
        "p99_ns,max_ns,clock_bound_ns,widest_clock_bound_ns,clocks,size_low_bytes,size_high_bytes",
        "http,,,,1.1MB,client,1,40000000,,40000000,,,,,,40000000,,,exact,1100000,1100000",
        "http,,,,1.1MB,4-1,1,1000000000,,1000000000,,,,,,1000000000,,,exact,1100000,1100000",
    )


def test_csv_holds_one_table(traces):
    assert tables(traces, "--format", "csv") == (
        1,
        "",
        "Error: a CSV file holds one table: choose one --layout, such as segments or images\n",
    )


def test_json_holds_the_layouts_and_the_account(traces):
    _, out, _ = tables(traces, *SEED, "--format", "json")
    document = json.loads(out)
    assert document.pop("answer")["sentence"] == ANSWER
    assert document == {
        "seed": [SEED_RECORD],
        "account": {"measured": 1, "left_out": {"warm-up": 1}, "retried": 0, "redelivered": 0, "in_batches": 0},
        "size_tolerance": 0.01,
        "clocks": [],
    }


def test_without_a_layout_both_are_printed(traces):
    _, out, _ = tables(traces, "--format", "json")
    assert list(json.loads(out)) == ["answer", "segments", "seed", "account", "size_tolerance", "clocks"]


def test_layouts_come_in_the_order_in_which_they_were_asked_for(traces):
    _, out, _ = tables(traces, "--layout", "segments", "--layout", "seed")
    assert re.findall(r"^(?:HTTP|Kafka): .*$", out, re.MULTILINE) == [
        "HTTP: segments, milliseconds",
        "HTTP: seconds",
        "HTTP: unix time",
    ]


def test_the_segments_layout_prints_every_segment(traces):
    _, out, _ = tables(traces, "--layout", "segments", "--format", "md")
    assert out == (
        f"{MARKDOWN_ANSWER}\n"
        "\n"
        "### HTTP: segments, milliseconds\n"
        "\n"
        "| Segment | 1.1MB p50 | max (n=1) |\n"
        "|:--|--:|--:|\n"
        "| client | 40.0 | 40.0 |\n"
        "| encode | 100.0 | 100.0 |\n"
        "| transformer request | 20.0 | 20.0 |\n"
        "| transformer receive | 50.0 | 50.0 |\n"
        "| transformer | 45.0 | 45.0 |\n"
        "| transformer decode | 30.0 | 30.0 |\n"
        "| transformer preprocess | 150.0 | 150.0 |\n"
        "| transformer serialise | 90.0 | 90.0 |\n"
        "| predictor request | 20.0 | 20.0 |\n"
        "| predictor receive | 20.0 | 20.0 |\n"
        "| predictor | 30.0 | 30.0 |\n"
        "| predictor decode | 50.0 | 50.0 |\n"
        "| predictor preprocess | 5.0 | 5.0 |\n"
        "| predictor predict | 260.0 | 260.0 |\n"
        "| predictor postprocess | 10.0 | 10.0 |\n"
        "| predictor response | 35.0 | 35.0 |\n"
        "| transformer postprocess | 15.0 | 15.0 |\n"
        "| transformer response | 30.0 | 30.0 |\n"
        "| total (4-1) | 1000.0 | 1000.0 |\n"
        "\n"
        "fewer than 20 images can't support a p95: the maximum is shown instead\n"
    )


def test_http_comes_before_kafka(tmp_path):
    (tmp_path / "both.jsonl").write_text(otlp_line(spans(KAFKA, "k")) + otlp_line(spans(HTTP, "h")))
    _, out, _ = tables(tmp_path / "both.jsonl", *SEED)
    assert re.findall(r"^(?:HTTP|Kafka): .*$", out, re.MULTILINE) == [
        "HTTP: seconds",
        "Kafka: seconds",
        "HTTP: unix time",
        "Kafka: unix time",
    ]


# --- files ---


@pytest.mark.parametrize(("format_", "content"), [("text", SEED_TEXT), ("md", SEED_MARKDOWN)])
def test_output_writes_a_file_and_nothing_to_standard_output(traces, tmp_path, format_, content):
    assert tables(traces, *SEED, "--format", format_, "-o", tmp_path / "out") == (0, "", LINE)
    assert (tmp_path / "out").read_text() == content


def test_a_query_that_fails_leaves_an_existing_file_untouched(tmp_path):
    (tmp_path / "out.md").write_text("the old\n")
    assert tables(tmp_path / "gone", "-o", tmp_path / "out.md")[0] == 1
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"out.md": "the old\n"}


def test_a_file_that_can_not_be_written_is_an_error(traces, tmp_path):
    out = tmp_path / "gone" / "out.md"
    assert tables(traces, "-o", out) == (1, "", f"Error: can't write {out}: there is no folder {out.parent}\n")


# --- errors ---


def one_error(found):
    """The message of an exit with code 1, nothing on standard output, and one line on standard error."""
    code, out, errors = found
    assert (code, out, errors.count("\n"), errors[:7]) == (1, "", 1, "Error: ")
    return errors[7:-1]


def test_nothing_at_the_path(tmp_path):
    assert one_error(tables(tmp_path / "gone")).startswith(f"no file or folder {tmp_path / 'gone'}; ")


def test_an_empty_folder(tmp_path):
    assert one_error(tables(tmp_path)).startswith("no trace files (")


def test_half_a_last_line_is_that_of_a_process_which_still_writes(traces):
    whole = tables(traces)
    with traces.open("a") as file:
        file.write('{"resourceSpans": [')
    assert tables(traces) == whole


def test_half_a_line_in_the_middle_is_passed_over_with_a_warning_and_an_error_where_reading_is_strict(traces, caplog):
    code, whole, _ = tables(traces)
    with traces.open("a") as file:
        file.write('{"resourceSpans": [\n{"resourceSpans": []}\n')
    found = tables(traces)
    assert (code, found[:2]) == (0, (0, whole))
    (warning,) = caplog.messages
    assert warning.startswith(f"broken lines or messages passed over: 1, {traces}, line 3 (not JSON (")
    assert one_error(tables(traces, "--strict")).startswith(f"{traces}, line 3: not JSON (")


def test_json_that_is_not_traces(tmp_path):
    (tmp_path / "package.json").write_text("{}")
    assert one_error(tables(tmp_path)).startswith(f"{tmp_path / 'package.json'}, line 1: JSON, but not traces (")


def test_traces_without_any_image(tmp_path):
    file = tmp_path / "other.jsonl"
    file.write_text(otlp_line(spans("GET  SERVER  0  10")))
    assert one_error(tables(file)) == (
        f"no image was measured in {file}: there is no `send image` span, and no request to a model server; it has "
        "1 span of 1 trace; services: (without a name); traces begin with `GET` (a service without a name) 1 time. If "
        "one of the services is a model server, name it by --server; for any other program, say by --stamps "
        "which spans' starts and ends are the stamps (docs/no-images.md)"
    )


OTHERS = "POST  CLIENT  0  100\n  POST /predictions/m  SERVER  10  90  service=torchserve"


@pytest.mark.parametrize("command", [["tables", "--layout", "seed", "--format", "json"], ["report", "-o", "r.html"]])
def test_a_model_server_may_be_named(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "torchserve.jsonl"
    drawn = otlp_line(spans(OTHERS)).replace(
        '{"scopeSpans"',
        '{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "t"}}]}, "scopeSpans"',
    )
    file.write_text(drawn)
    result = CliRunner().invoke(cli.main, [*command, "--trace-query", str(file), "--server", "t"])
    assert result.exit_code == 0
    assert "1 image measured; 1 without `send image`, from `POST` (t) on" in result.output


def test_what_images_began_with_and_stamps_that_are_missing_are_in_json(tmp_path):
    file = tmp_path / "others.jsonl"
    file.write_text(otlp_line(spans("POST  CLIENT  0  100\n  InferRequest  SERVER  10  90")))
    arguments = ["tables", "--trace-query", str(file), "--layout", "seed", "--format", "json"]
    document = json.loads(CliRunner().invoke(cli.main, ["-q", *arguments]).output)
    (record,) = document["seed"]
    assert document["account"]["roots"] == {"`POST` (a service without a name)": 1}
    figures = [record[name] for name in ("3", "3-2", "4-3", "clocks_3-2", "clocks_2-1")]
    assert figures == [None, None, None, None, "exact"]


def test_images_that_are_all_left_out_are_an_error_that_says_why(tmp_path):
    file = tmp_path / "warm.jsonl"
    file.write_text(otlp_line(spans(with_options(HTTP, "send image", "warmup"))))
    assert one_error(tables(file)) == f"no image was measured in {file}: 0 images measured; 1 left out: warm-up"


def test_a_hostile_name_in_a_trace_adds_no_line_and_no_control_character_to_an_error(tmp_path):
    hostile = "\x1b[31mred\nError: forged"
    ended = HTTP.replace("CLIENT    130  990", "CLIENT    130  300")
    drawn = [replace(s, name=hostile) if s.name == "POST" else s for s in spans(ended)]
    file = tmp_path / "hostile.jsonl"
    file.write_text(otlp_line(drawn))
    assert one_error(tables(file)).endswith("1 left out: ` [31mred Error: forged` is out of order")


@pytest.mark.parametrize(
    ("arguments", "message", "choices"),
    [
        (["--layout", "round"], "'--layout': 'round' is not one of", ["seed", "segments"]),
        (["--format", "xml"], "'--format': 'xml' is not one of", ["text", "md", "csv", "json"]),
    ],
)
def test_an_unknown_choice_is_answered_with_the_choices(traces, arguments, message, choices):
    code, out, errors = tables(traces, *arguments)
    (error,) = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert (code, out, message in error, [choice for choice in choices if f"'{choice}'" not in error]) == (
        2,
        "",
        True,
        [],
    )


UNREACHABLE = """
from otel_kfs import cli
from otel_kfs.traces.stores import store_client
store_client.backoff = lambda tries: 0
cli.main(["tables", "--trace-query", "tempo:http://127.0.0.1:1"])
"""


def test_a_store_that_is_not_there_is_one_line():
    done = run_python(UNREACHABLE)
    assert done.stderr == "Error: can't reach Tempo at http://127.0.0.1:1: nothing answers there; check the URL\n"


def test_verbose_logs_each_file_that_is_read(traces):
    done = process("-v", "tables", "--trace-query", traces, *SEED)
    assert done.stderr.splitlines() == [
        f"INFO otel_kfs.traces.files: reading {traces}, {traces.stat().st_size} bytes",
    ]


def test_a_query_must_be_given():
    result = run("tables")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        "Error: no trace query: name a file, a folder, jaeger:URL, tempo:URL or clickhouse:URL, as in "
        "main tables otel-kfs-runs/latest/traces",
    )


@pytest.mark.parametrize("ending", ["md", "MD", "markdown", "csv", "json", "txt", ""])
def test_the_output_s_extension_chooses_the_format(traces, tmp_path, ending):
    file = tmp_path / ("out." + ending if ending else "out")
    format_ = {"markdown": "md", "txt": "text", "": "text"}.get(ending.lower(), ending.lower())
    assert tables(traces, *SEED, "-o", file)[0] == 0
    assert tables(traces, *SEED, "--format", format_, "-o", tmp_path / "same")[0] == 0
    assert file.read_bytes() == (tmp_path / "same").read_bytes()


def test_a_format_that_is_given_goes_before_the_extension(traces, tmp_path):
    assert tables(traces, *SEED, "--format", "text", "-o", tmp_path / "out.csv")[0] == 0
    assert (tmp_path / "out.csv").read_text().startswith("An image of 1.1MB takes 1000.0 ms over HTTP")


def test_a_dash_as_output_is_standard_output(traces, tmp_path):
    assert tables(traces, *SEED, "-o", "-") == tables(traces, *SEED)
    assert not Path("-").exists()


def test_a_folder_as_output_file_is_refused(traces, tmp_path):
    code, _, errors = tables(traces, "-o", tmp_path)
    assert (code, errors.splitlines()[-1]) == (
        2,
        f"Error: Invalid value for '-o' / '--output': File '{tmp_path}' is a directory.",
    )


def test_an_interrupt_is_one_word_on_a_line_of_its_own_and_the_shell_s_exit_code(traces, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("otel_kfs.analysis.corrected_measurement.open_store", interrupt)
    assert tables(traces)[::2] == (130, "\nstopped\n")


# --- help ---


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_examples(command):
    result = run(command, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(
        rf"^  Examples?:\n    otel-kfs {command}$|^  Examples?:\n    otel-kfs {command} ", result.stdout, re.MULTILINE
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_in_an_example_exists(command):
    examples = re.split(r"  Examples?:\n", run(command, "--help").stdout)[1]
    # What follows `exec --` is another program's, up to the next example.
    examples = re.sub(r" -- (?s:.*?)(?=\n    otel-kfs|\Z)", "", examples)
    found = re.findall(r"otel-kfs (?:-\w )*(\w+)((?s:.*?))(?=otel-kfs |\Z)", examples)
    assert command in {name for name, _ in found}
    for name, arguments in found:
        known = {option for parameter in cli.main.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<= )--?[a-z][\w-]*", arguments)) - known == set()


def test_the_help_lists_every_command():
    result = run("--help")
    listed = re.findall(r"^  (\w+)  ", result.stdout.partition("Commands:\n")[2], re.MULTILINE)
    assert (result.exit_code, listed) == (0, COMMANDS)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_has_two_spellings(flag):
    assert run("tables", flag).exit_code == 0


def test_the_version():
    assert run("--version").stdout == f"otel-kfs, version {otel_kfs.__version__}\n"


def test_an_unknown_command_is_refused():
    result = run("table")
    assert (result.exit_code, result.stderr.splitlines()[-1].startswith("Error: No such command 'table'")) == (2, True)


def test_the_group_is_what_the_installed_command_runs():
    assert isinstance(cli.main, click.Group)


# --- in a process of its own ---


def test_a_process_prints_the_tables(traces):
    found = process("tables", "--trace-query", traces, *SEED)
    assert (found.returncode, stripped(found.stdout), found.stderr) == (0, SEED_TEXT + LINE, "")


def test_a_process_that_fails_prints_one_line_and_no_traceback(tmp_path):
    found = process("tables", "--trace-query", tmp_path / "gone")
    assert one_error((found.returncode, found.stdout, found.stderr)).startswith("no file or folder ")


def test_a_process_with_a_wrong_choice_exits_with_2(traces):
    found = process("tables", "--trace-query", traces, "--layout", "round")
    assert (found.returncode, found.stdout, "Traceback" in found.stderr) == (2, "", False)


@pytest.mark.parametrize("format_", ["text", "md"])
def test_a_reader_that_has_gone_is_no_reason_to_complain(traces, format_):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        found = process("tables", "--trace-query", traces, "--format", format_, stdout=writer)
    finally:
        os.close(writer)
    assert (found.returncode, found.stderr) == (141, "")


@pytest.mark.parametrize("format_", ["text", "md", "csv", "json"])
def test_a_full_disk_behind_standard_output_is_one_line(traces, format_):
    with open("/dev/full", "w") as full:
        found = process("-q", "tables", "--trace-query", traces, *SEED, "--format", format_, stdout=full)
    assert (found.returncode, found.stderr) == (
        1,
        "Error: can't write to standard output: No space left on device\n",
    )


def test_figures_are_not_cut_on_a_narrow_terminal(traces):
    found = process("tables", "--trace-query", traces, *SEED, COLUMNS="20")
    row = "1.1MB  1600000000.000  1600000000.200  1600000000.400  1600000001.000"
    assert row not in found.stdout
    assert re.findall(r"\d{10}\.\d{3}", found.stdout) == row.split()[1:]
    assert max(map(len, stripped(found.stdout).splitlines())) <= 60


def test_a_relative_path_is_as_good(traces):
    assert process("tables", "--trace-query", Path(traces.name), *SEED).returncode == 0
