"""`otel-kfs check`: exit codes as linters have them, every format, and tables beside traces."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from traces_builder import HTTP, KAFKA, otlp_line, spans

from otel_kfs import cli
from otel_kfs.report.tables.table_notes import ONE_CLOCK

SEED = Path(__file__).parents[1] / "data" / "seed-tables.md"
GOOD = "Size,1,2,2-1\n1MB,1600000000.5,1600000000.75,0.25\n"
SECOND = 1_000_000_000  # ns
FOLLOWS = """\
All columns follow from the stamps
the column '2-1' is stamp 2 minus stamp 1 in all 1 rows
each row is one image (n = 1): nothing shows how much the next would differ

"""


def check(*arguments, text=None):
    """Exit code, standard output and standard error."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.main, ["check", *map(str, arguments)], input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, "\n".join(line.rstrip() for line in result.stdout.split("\n")), result.stderr


def test_what_follows_ends_with_0(tmp_path):
    file = tmp_path / "good.csv"
    file.write_text(GOOD)
    assert check(file) == (0, FOLLOWS, "")


def test_standard_input_is_a_dash():
    assert check("-", text=GOOD) == (0, FOLLOWS, "")


def test_what_does_not_follow_ends_with_1_and_comes_first():
    code, out, err = check(SEED)
    assert (code, out.split("\n")[0], out.count("\n"), err) == (1, "Does not follow from the stamps", 12, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no table: neither Markdown, nor CSV, nor columns separated by two spaces"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"x" * 10_000_001, "more than 10 MB: too large for a table stamped by hand"),
    ],
    ids=["empty", "no text", "too long"],
)
def test_what_can_t_be_read_ends_with_2(tmp_path, content, message):
    file = tmp_path / "stamps.md"
    file.write_bytes(content)
    assert check(file) == (2, "", f"Error: {file}: {message}\n")


def test_a_file_that_is_not_there_ends_with_2(tmp_path):
    assert check(tmp_path / "none.md") == (2, "", f"Error: {tmp_path / 'none.md'}: No such file or directory\n")


def test_json_and_csv_have_every_finding():
    document = json.loads(check(SEED, "--format", "json")[1])
    rows = list(csv.DictReader(check(SEED, "--format", "csv")[1].splitlines()))
    assert [(row["text"], row["wrong"] == "True") for row in rows] == [
        (finding["text"], finding["wrong"]) for finding in document["findings"]
    ]
    assert (len(rows), document["beside"]) == (8, [])


def test_markdown_is_written_to_a_file(tmp_path):
    file = tmp_path / "findings.md"
    assert check(SEED, "--format", "md", "-o", file) == (1, "", "")
    assert file.read_text().startswith(
        "### Does not follow from the stamps\n\nthe column '3-2' does not follow from any two stamps"
    )


def test_traced_figures_stand_beside(tmp_path):
    traces = tmp_path / "traces.jsonl"
    traces.write_text(otlp_line(spans(HTTP)))
    code, out, err = check(SEED, "--trace-query", traces)
    lines = out.split("\n")
    assert (code, lines[0], lines[2].split(), err) == (
        1,
        "Curl: seconds, by hand and traced",
        ["1.1MB", "0.045", "0.200", "0.145", "0.200", "0.233", "0.600", "0.423", "1.000", "1"],
        "traced: 1 image measured\n",
    )


def test_a_heading_can_t_send_control_sequences(tmp_path):
    file = tmp_path / "stamps.csv"
    file.write_text(GOOD.replace("2-1", "a\x1b[31mb").replace("0.25", "0.5"))
    code, out, _ = check(file)
    assert (code, "\x1b" in out) == (1, False)


# --- traces of several hosts ---


@pytest.fixture
def two_hosts(tmp_path):
    """Images whose servers' host is 5 s ahead of the sender's."""
    lines = []
    for number in range(3):
        drawn = spans(HTTP.replace("SERVER  ", "SERVER   ").replace("  200  970", "  200  970 @servers"), f"a{number}")
        fast = [
            replace(span, start=span.start + 5 * SECOND, end=span.end + 5 * SECOND) if span.host == "servers" else span
            for span in drawn
        ]
        lines += [exported(one, fast) for one in ("host", "servers")]
    file = tmp_path / "hosts.jsonl"
    file.write_text("".join(lines))
    return file


def exported(host, drawn):
    """A line with the spans of one host, and its name."""
    line = json.loads(otlp_line([span for span in drawn if span.host == host]))
    line["resourceSpans"][0]["resource"] = {"attributes": [{"key": "host.name", "value": {"stringValue": host}}]}
    return json.dumps(line) + "\n"


def test_the_figures_beside_are_those_of_tables_with_their_bounds_and_notes(two_hosts):
    tables = (
        CliRunner(env={"COLUMNS": "200"})
        .invoke(cli.main, ["tables", "--trace-query", str(two_hosts), "--layout", "seed"])
        .stdout
    )
    (row,) = [line.split("  ") for line in tables.split("\n") if line.startswith("1.1MB  0")]
    traced = [cell.strip() for cell in row[1:] if cell.strip()]
    assert [cell.partition(" ")[2][:1] for cell in traced] == ["\u00b1", "", "\u00b1", ""]
    code, out, err = check(SEED, "--trace-query", two_hosts)
    lines = out.split("\n")
    (beside,) = [line.split("  ") for line in lines[:4] if line.startswith("1.1MB")]
    assert (code, [cell.strip() for cell in beside if cell.strip()][2:9:2]) == (1, traced)
    assert ONE_CLOCK in lines
    assert err.split("\n")[0].startswith("clocks: servers is 4")
    assert err.split("\n")[1:] == ["traced: 3 images measured", ""]


def test_a_csv_of_tables_follows_from_its_own_stamps_and_finds_its_own_sizes(two_hosts, tmp_path):
    kafka = tmp_path / "kafka.jsonl"
    kafka.write_text(otlp_line(spans(KAFKA, "b0")) + "\n")
    query, own = f"{two_hosts.parent}/*.jsonl", tmp_path / "own.csv"
    made = CliRunner().invoke(cli.main, ["tables", query, "--layout", "seed", "--format", "csv", "-o", str(own)])
    assert (made.exit_code, len(own.read_text().splitlines())) == (0, 3)
    code, out, _ = check(own, "--trace-query", query)
    lines = out.splitlines()
    assert (code, lines.count("All columns follow from the stamps")) == (0, 1)
    assert [line.split()[0] for line in lines if line.startswith("1.1MB")] == ["1.1MB", "1.1MB"]
    assert [line.split(":")[0] for line in lines if "by hand and traced" in line] == ["http", "kafka"]


def test_json_has_the_bounds_of_the_figures_beside(two_hosts):
    document = json.loads(check(SEED, "--trace-query", two_hosts, "--format", "json")[1])
    (cell, *_) = [row[2] for row in document["beside"][0]["rows"] if row[2] is not None]
    assert list(cell) == ["length", "bound"]


# --- what is refused ---


def test_csv_has_no_room_for_traced_figures(two_hosts):
    code, out, err = check(SEED, "--trace-query", two_hosts, "--format", "csv")
    assert (code, out, err.splitlines()[-1]) == (
        2,
        "",
        "Error: a CSV file holds one table: choose another --format with QUERY",
    )


def test_standard_input_can_be_given_once():
    code, _, err = check("-", "--trace-query", "-", text=GOOD)
    assert (code, err.splitlines()[-1]) == (
        2,
        "Error: standard input can be read only once: give - for FILE or for QUERY",
    )


def test_traces_that_can_t_be_read_end_with_2(tmp_path):
    code, out, err = check(SEED, "--trace-query", tmp_path / "none")
    assert (code, out, err.startswith(f"Error: no file or folder {tmp_path / 'none'}; ")) == (2, "", True)


def test_the_parts_of_the_trace_query_are_options():
    code, _, err = check(SEED, "--trace-query", "jaeger:http://h?lookback=1h", "--lookback", "2h")
    assert (code, err) == (2, "Error: lookback is 1h in the trace query and 2h beside it; give it once\n")
    code, _, err = check(SEED, "--run", "monday")
    assert (code, err.splitlines()[-1]) == (2, "Error: --run needs a trace query")


def test_an_output_that_can_t_be_written_ends_with_2(tmp_path):
    out = tmp_path / "gone" / "out.md"
    assert check(SEED, "-o", out) == (2, "", f"Error: can't write {out}: there is no folder {out.parent}\n")


DIGITS = "7" * 1_000_000
BLANKS = " " * 1_000_000
# Of each of these a pattern that can read a character in two ways would read so many halves of it that none ends.
LONG = {
    "digits and a word": DIGITS + "x!",
    "digits, a point, digits": f"{DIGITS}.{DIGITS}!",
    "an exponent's digits": f"1e{DIGITS}!",
    "blanks": f"1{BLANKS}!",
    "opening brackets": "(" * 1_000_000,
    "brackets and blanks": f"a({BLANKS}",
    "dots": "." * 1_000_000 + "x",
    "a size without its unit": f"{DIGITS} m",
}


@pytest.mark.parametrize("place", ["in a cell", "as a heading", "as a label"])
@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_long_text_anywhere_is_read_once(tmp_path, place, text):
    cell, heading, label = (
        text if here == place else own
        for here, own in (("in a cell", "0.25"), ("as a heading", "2-1"), ("as a label", "1MB"))
    )
    file = tmp_path / "stamps.md"
    rule = "|--|--|--|--|"
    file.write_text(f"| Size | 1 | 2 | {heading} |\n{rule}\n| {label} | 1600000000.5 | 1600000000.75 | {cell} |\n")
    code, _, err = check(file)
    assert (code in {0, 1, 2}, len(err) < 500) == (True, True)


@pytest.mark.parametrize("number", ["1e999999999", "-1e999999999", "1e-999999999", "1e31", "9" * 61])
def test_a_number_beyond_any_time_is_no_number(tmp_path, number):
    file = tmp_path / "stamps.csv"
    file.write_text(GOOD + f"2MB,1600000000.5,1600000000.75,{number}\n")
    shown = number if len(number) <= 60 else f"{number[:60]}..."
    assert check(file) == (2, "", f"Error: {file}: '{shown}' in the column '2-1' is no number\n")


def test_a_size_of_many_digits_or_points_is_no_size(tmp_path):
    file = tmp_path / "stamps.csv"
    rows = [f"{size},1600000000.5,1600000000.75,0.5" for size in ("1.2.3MB", "9" * 400 + "MB", "..MB", "1MB")]
    file.write_text("\n".join(["Size,1,2,2-1", *rows, ""]))
    assert check(file)[0] == 1


def test_a_table_of_more_columns_than_anybody_stamps_is_refused(tmp_path):
    file = tmp_path / "stamps.csv"
    file.write_text(f"{','.join(['1'] * 41)}\n{','.join(['1600000000'] * 41)}\n")
    message = "a table has 41 columns: more than 40 are not stamped by hand"
    assert check(file) == (2, "", f"Error: {file}: {message}\n")


def test_a_cell_that_csv_can_t_hold_is_one_line(tmp_path):
    file = tmp_path / "stamps.csv"
    file.write_text(GOOD + '2MB,"' + "x" * 200_000)
    assert check(file) == (2, "", f"Error: {file}: its CSV can't be read: field larger than field limit (131072)\n")


def test_many_small_tables_are_read_one_by_one(tmp_path):
    file = tmp_path / "stamps.csv"
    table = "Size,1,2,2-1 of {0}\n1MB,1600000000.5,1600000000.75,0.25\n\n"
    file.write_text("".join(table.format(number) for number in range(1_500)))
    assert check(file)[0] == 0
