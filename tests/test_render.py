"""From tables to text: whole outputs, and names that try to be more than names."""

import io
import json

import pytest
from rich.console import Console

from otel_kfs import render
from otel_kfs.tables import Column, Table

TABLE = Table(
    "HTTP: seconds",
    (
        Column("Size", "text"),
        Column("n", "count"),
        Column("1", "unix"),
        Column("2-1", "seconds"),
        Column("p50", "milliseconds"),
    ),
    (
        ("1.1MB", 20, 1_593_068_399_853_000_000, 45_000_000, 1_500_000),
        ("10.2MB", 3, 1_593_069_101_446_000_000, -2_600_000_000, None),
    ),
    ("a note",),
)
RECORDS = [{"size": "1.1MB", "n": 1, "p95_ns": None}, {"size": "3.3MB", "n": 2, "p95_ns": 7}]
HOSTILE = {
    "a pipe": "a | b",
    "an escaped pipe": "a \\| b",
    "a line end": "a\nb",
    "a carriage return": "a\rb",
    "a line separator": "a\u2028b",
    "an escape sequence": "\x1b[31mred\x1b[0m",
    "HTML": "<script>alert(1)</script>",
    "backticks": "`code`",
    "markup": "**a** [b](c) _d_",
    "rich's markup": "[red]a[/red]",
    "a right-to-left override": "a\u202eb",
}


def named(name):
    return Table(
        "T", (Column("Segment", "text"), Column("p50", "milliseconds")), ((name, 1_000_000), ("plain", 2_000_000))
    )


# --- whole outputs ---


def test_text():
    assert render.text([TABLE]) == (
        "HTTP: seconds\n"
        "Size     n               1     2-1  p50\n"
        "1.1MB   20  1593068399.853   0.045  1.5\n"
        "10.2MB   3  1593069101.446  -2.600    -\n"
        "a note\n"
        "\n"
    )


def test_markdown():
    assert render.markdown([TABLE]) == (
        "### HTTP: seconds\n"
        "\n"
        "| Size | n | 1 | 2-1 | p50 |\n"
        "|:--|--:|--:|--:|--:|\n"
        "| 1.1MB | 20 | 1593068399.853 | 0.045 | 1.5 |\n"
        "| 10.2MB | 3 | 1593069101.446 | -2.600 | - |\n"
        "\n"
        "a note\n"
    )


def test_two_tables_of_markdown_have_one_empty_line_between_them():
    tiny = Table("T", (Column("Size", "text"),), (("a",),))
    assert render.markdown([tiny, tiny]) == "### T\n\n| Size |\n|:--|\n| a |\n\n### T\n\n| Size |\n|:--|\n| a |\n"


def test_csv():
    assert render.comma_separated(RECORDS) == "size,n,p95_ns\n1.1MB,1,\n3.3MB,2,7\n"


def test_csv_quotes_what_would_break_a_line():
    assert render.comma_separated([{"segment": 'a "b",\nc'}]) == 'segment\n"a ""b"",\nc"\n'


def test_csv_of_nothing_is_empty():
    assert render.comma_separated([]) == ""


def test_json():
    assert render.json({"segments": RECORDS[:1]}) == (
        '{\n  "segments": [\n    {\n      "size": "1.1MB",\n      "n": 1,\n      "p95_ns": null\n    }\n  ]\n}\n'
    )


def test_json_keeps_whatever_a_span_was_named():
    assert json.loads(render.json(list(HOSTILE.values()))) == list(HOSTILE.values())


def test_a_narrow_terminal_cuts_no_figure():
    out = io.StringIO()
    render.terminal([TABLE], Console(file=out, width=20, highlight=False))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == render.text([TABLE]).splitlines()


# --- cells ---


@pytest.mark.parametrize("unit", ["text", "count", "unix", "seconds", "milliseconds"])
def test_nothing_is_a_dash(unit):
    assert render.cell(None, unit) == "-"


@pytest.mark.parametrize(
    ("nanoseconds", "unit", "printed"),
    [
        (0, "seconds", "0.000"),
        (499_999, "seconds", "0.000"),
        (500_000, "seconds", "0.000"),
        (500_001, "seconds", "0.001"),
        (1_500_000, "seconds", "0.002"),
        (-1_500_000, "seconds", "-0.002"),
        (49_999, "milliseconds", "0.0"),
        (150_000, "milliseconds", "0.2"),
        (12_345_678_900_000, "milliseconds", "12345678.9"),
        # More digits than a float has.
        (1_593_068_399_999_499_999, "unix", "1593068399.999"),
        (1_593_068_399_999_500_001, "unix", "1593068400.000"),
    ],
)
def test_times_are_rounded_once_and_to_even(nanoseconds, unit, printed):
    assert render.cell(nanoseconds, unit) == printed


# --- hostile names ---


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_no_name_adds_a_line_or_a_control_character_to_text(name):
    lines = render.text([named(name)]).split("\n")
    assert (len(lines), [line for line in lines if not line.isprintable()]) == (6, [])


@pytest.mark.parametrize("name", ["a | b", "[red]a[/red]", "`code`", "<b>"])
def test_a_printable_name_stands_in_text_as_it_is(name):
    assert render.text([named(name)]).split("\n")[2].startswith(f"{name}  ")


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_no_name_adds_a_line_or_a_cell_to_markdown(name):
    lines = render.markdown([named(name)]).split("\n")
    bars = lines[4].replace("\\\\", "").replace("\\|", "").count("|")
    assert (len(lines), bars, lines[5]) == (7, 3, "| plain | 2.0 |")


def test_markdown_of_hostile_names_is_only_their_text():
    assert [render.markdown([named(name)]).split("\n")[4] for name in HOSTILE.values()] == [
        r"| a \| b | 1.0 |",
        r"| a \\\| b | 1.0 |",
        r"| a b | 1.0 |",
        r"| a b | 1.0 |",
        r"| a b | 1.0 |",
        r"|  \[31mred \[0m | 1.0 |",
        r"| \<script\>alert(1)\</script\> | 1.0 |",
        r"| \`code\` | 1.0 |",
        r"| \*\*a\*\* \[b\](c) \_d\_ | 1.0 |",
        r"| \[red\]a\[/red\] | 1.0 |",
        r"| a b | 1.0 |",
    ]


def test_titles_notes_and_headings_of_markdown_are_text_too():
    table = Table("a\n# b", (Column("<c>|", "text"),), (), ("d `e`",))
    assert render.markdown([table]) == "### a # b\n\n| \\<c\\>\\| |\n|:--|\n\nd \\`e\\`\n"
