"""From tables to text: whole outputs, and names that try to be more than names."""

import csv
import io
import json
import math
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from otel_kfs.analysis.statistics import Interval
from otel_kfs.report import render
from otel_kfs.report.tables.table import Bounded, Column, Table
from otel_kfs.report.terminal_bars import Bar, Chart

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
    assert render.comma_separated([{"segment": 'a "b",\nc'}]) == 'segment\n"a ""b"", c"\n'


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


@pytest.mark.parametrize("sizes", [12, 20, 200])
def test_no_number_of_sizes_cuts_a_cell(sizes):
    columns = [Column(f"{number}.0MB p50", "milliseconds") for number in range(sizes)]
    row = ("transformer request to a server with a very long name", *[123_456_789_000_000] * sizes)
    table = Table("T", (Column("Segment", "text"), *columns), (row,))
    title, headings, cells, _, _ = render.text([table], wide=True).split("\n")
    found = [part.strip() for part in headings.split("  ") if part.strip()]
    assert (title, found, cells.split("  ")) == (
        "T",
        ["Segment", *(column.heading for column in columns)],
        [row[0], *["123456789.0"] * sizes],
    )


WIDE = Table(
    "HTTP: statistics",
    (
        Column("Segment", "text"),
        Column("Size", "text", repeats=True),
        *(
            column
            for number in range(4)
            for column in (
                Column(f"{number}.0MB, as it was sent", "milliseconds"),
                Column("max", "milliseconds", joined=True),
            )
        ),
    ),
    (("encode", "1.1MB", *[1_000_000] * 8), ("total (4-1)", "1.1MB", *[2_000_000] * 8)),
    ("a note that is longer than a line of a terminal is wrapped where words end, not within one",),
)


def test_columns_that_do_not_fit_stand_below_one_another_behind_those_that_tell_the_rows():
    assert render.text([WIDE]) == (
        "HTTP: statistics\n"
        "Segment      Size   0.0MB, as it was sent  max  1.0MB, as it was sent  max\n"
        "encode       1.1MB                    1.0  1.0                    1.0  1.0\n"
        "total (4-1)  1.1MB                    2.0  2.0                    2.0  2.0\n"
        "\n"
        "Segment      Size   2.0MB, as it was sent  max  3.0MB, as it was sent  max\n"
        "encode       1.1MB                    1.0  1.0                    1.0  1.0\n"
        "total (4-1)  1.1MB                    2.0  2.0                    2.0  2.0\n"
        "a note that is longer than a line of a terminal is wrapped where words end, not\n"
        "within one\n"
        "\n"
    )


def test_a_wide_table_is_as_wide_as_it_is():
    assert [len(line) for line in render.text([WIDE], wide=True).split("\n")[1:4]] == [130] * 3


FIGURES = st.integers(0, 10**18)


@given(st.lists(st.tuples(st.integers(1, 30), FIGURES, FIGURES), min_size=1, max_size=12), st.integers(60, 200))
def test_a_table_has_every_figure_once_and_fits_the_terminal_if_its_columns_do(sizes, width):
    columns = [Column("Segment", "text")]
    for length, *_ in sizes:
        columns += [Column("s" * length, "milliseconds"), Column("max", "milliseconds", joined=True)]
    row = ("encode", *(figure for _, *figures in sizes for figure in figures))
    out = io.StringIO()
    render.terminal([Table("", tuple(columns), (row,))], Console(file=out, width=width, highlight=False))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    headings, figures = (
        [line for line in lines if line.startswith("Segment")],
        [line for line in lines if line.startswith("encode")],
    )
    assert [heading for line in headings for heading in line.split()[1:]] == [one.heading for one in columns[1:]]
    assert [one for line in figures for one in line.split()[1:]] == [
        render.cell(one, "milliseconds") for one in row[1:]
    ]


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
        (-49_999, "milliseconds", "0.0"),
        (150_000, "milliseconds", "0.2"),
        (12_345_678_900_000, "milliseconds", "12345678.9"),
        # More digits than a float has.
        (1_593_068_399_999_499_999, "unix", "1593068399.999"),
        (1_593_068_399_999_500_001, "unix", "1593068400.000"),
    ],
)
def test_times_are_rounded_once_and_to_even(nanoseconds, unit, printed):
    assert render.cell(nanoseconds, unit) == printed


def test_an_interval_is_from_to():
    assert render.cell(Interval(-1_500_000, 2_000_000), "milliseconds") == "-1.5 to 2.0"


def test_a_bound_stands_behind_its_length_rounded_up():
    assert render.cell(Bounded(12_340_000, 310_001), "milliseconds") == "12.3 \u00b10.4"


def test_what_nothing_bounds_is_marked():
    assert render.cell(Bounded(-3_689_000_000, math.inf), "seconds") == "-3.689 \u00b1?"


@given(
    st.integers(-(10**10), 10**10),
    st.integers(1, 10**9),
    st.sampled_from([("seconds", 10**9), ("milliseconds", 10**6)]),
)
def test_what_is_printed_encloses_what_it_bounds_though_it_is_rounded(length, bound, unit):
    figure, half = (Decimal(text) * unit[1] for text in render.cell(Bounded(length, bound), unit[0]).split(" \u00b1"))
    assert figure - half <= length - bound
    assert figure + half >= length + bound


def test_a_terminal_of_another_encoding_gets_what_it_can_show():
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    table = Table("T\u00e9", (Column("p50", "milliseconds"),), ((Bounded(12_340_000, 310_001),),))
    render.terminal([table], Console(file=out, highlight=False))
    out.seek(0)
    assert [line.rstrip() for line in out] == ["T?", "        p50", "12.3 +/-0.4", ""]


# --- bars ---


CHART = Chart(
    "HTTP: where the time goes",
    (("A", "client"), ("B", "encode"), ("C", "deliver"), (".", "the rest")),
    (
        Bar("1.1MB (n=2)", 40_000_000, (10_000_000, 20_000_000, 0, 10_000_000)),
        Bar("3.3MB (n=1)", 80_000_000, (20_000_000, 60_000_000, 0, 0)),
    ),
    80_000_000,
    ("a note",),
)


def test_bars_of_text_are_letters_of_one_scale_with_a_legend_of_what_occurs():
    assert render.text([CHART]) == (
        "HTTP: where the time goes\n"
        f"1.1MB (n=2) {'A' * 8}{'B' * 15}{'.' * 7} 40.0 ms\n"
        f"3.3MB (n=1) {'A' * 15}{'B' * 45} 80.0 ms\n"
        "\n"
        "   Segment   1.1MB  3.3MB\n"
        "A  client      25%    25%\n"
        "B  encode      50%    75%\n"
        ".  the rest    25%     0%\n"
        "a note\n"
        "\n"
    )


def test_bars_of_markdown_are_preformatted():
    lines = render.markdown([CHART]).split("\n")
    assert (lines[:2], {line[:4] for line in lines[2:] if line}) == (["### HTTP: where the time goes", ""], {"    "})


@pytest.mark.parametrize("width", [40, 60, 80, 160, 300])
def test_bars_use_the_terminal_s_width_and_no_more(width):
    out = io.StringIO()
    render.terminal([CHART], Console(file=out, width=width, highlight=False))
    longest = max(len(line.rstrip()) for line in out.getvalue().splitlines())
    assert longest == max(width, 60)


def test_coloured_bars_read_the_same_without_their_colours():
    out = io.StringIO()
    render.terminal([CHART], Console(file=out, width=80, highlight=False, force_terminal=True, color_system="standard"))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert ("\x1b[30;46m" in out.getvalue(), [line.rstrip() for line in plain.split("\n")]) == (
        True,
        render.text([CHART]).split("\n"),
    )


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_no_name_breaks_the_bars(name):
    bar = Bar(name, 1, (1, 0))
    lines = render.text([Chart(name, (("A", name), (".", "the rest")), (bar,), 1)]).split("\n")
    assert (len(lines), [line for line in lines if not line.isprintable()]) == (7, [])


# --- hostile names ---


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_no_name_adds_a_line_or_a_control_character_to_text(name):
    lines = render.text([named(name)]).split("\n")
    assert (len(lines), [line for line in lines if not line.isprintable()]) == (6, [])


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_no_name_adds_a_line_or_a_control_character_to_csv_and_json(name):
    for text, lines in ((render.comma_separated([{"segment": name}]), 3), (render.json([name]), 4)):
        found = text.split("\n")
        assert (len(found), [line for line in found if not line.isprintable()]) == (lines, [])


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


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_titles_headings_and_notes_of_text_add_no_line_and_no_control_character(name):
    lines = render.text([Table(name, (Column(name, "text"),), (("a",),), (name,))]).split("\n")
    assert (len(lines), [line for line in lines if not line.isprintable()]) == (6, [])


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0"])
def test_csv_holds_no_formula(text):
    (_, (cell,)) = csv.reader(io.StringIO(render.comma_separated([{"segment": text}])))
    assert cell == f"'{text}".replace("\t", " ")


@pytest.mark.parametrize("value", [-5, "-1.500000000", "+2", "a=1", "", None])
def test_csv_keeps_numbers_and_other_text_as_they_are(value):
    (_, (cell, _)) = csv.reader(io.StringIO(render.comma_separated([{"value": value, "more": 1}])))
    assert cell == ("" if value is None else str(value))


def test_titles_notes_and_headings_of_markdown_are_text_too():
    table = Table("a\n# b", (Column("<c>|", "text"),), (), ("d `e`",))
    assert render.markdown([table]) == "### a # b\n\n| \\<c\\>\\| |\n|:--|\n\nd \\`e\\`\n"
