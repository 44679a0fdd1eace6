"""Hand-stamped tables: those of 2020 as they were published, other forms and units, and tables with mistakes put in."""

from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_builder import MS, at, critical_path

from otel_kfs.analysis import manual_timestamps as room
from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.manual_timestamps.timestamp_tables import unit_of
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.skew_correction import TwoClocks
from otel_kfs.errors import InputError
from otel_kfs.report import render
from otel_kfs.report.tables import rows

SEED = (Path(__file__).parents[1] / "data" / "seed-tables.md").read_text()
ONE = "each row is one image (n = 1): nothing shows how much the next would differ"
T = 1_600_000_000


def findings(text):
    return room.check(room.blocks(text))


def wrong(text):
    return [finding.text for finding in findings(text) if finding.wrong]


def right(text):
    return [finding.text for finding in findings(text) if not finding.wrong]


def table(*rows):
    """Markdown, the first row its heading."""
    first, *others = ("| " + " | ".join(map(str, row)) + " |" for row in rows)
    return "\n".join([first, "|" + "--|" * len(rows[0]), *others]) + "\n"


# --- the measurement of 2020 ---


def test_what_does_not_follow_in_the_tables_of_2020():
    assert wrong(SEED) == [
        "the column '3-2' does not follow from any two stamps: 0.007 to 0.054 s, about 3.5 ms a MB (r = 0.984); "
        "some other event must have been stamped",
        "the column '4-3' is stamp 3 minus stamp 2 in all 8 rows, not what its heading says",
        "2-1 + 3-2 + 4-3 is not 4-1 in all 8 rows: 0.211 to 0.301 s are missing",
        "Kafka, row 1: labelled 1.5MB with the stamps, 1.1MB with the durations",
    ]


def test_what_does_follow_in_the_tables_of_2020():
    assert right(SEED) == [
        "the column '2-1' is stamp 2 minus stamp 1 in all 8 rows",
        "the column '4-1' is stamp 4 minus stamp 1 in all 8 rows",
        "stamp 4 minus stamp 3 is in no column: 0.230 to 0.311 s",
        ONE,
    ]


# --- other tables ---


GOOD = [("Size", 1, 2, 3, "2-1", "3-2", "3-1")] + [
    (size, T + 0.5, T + 0.75 + n, T + 1.875 + n, 0.25 + n, 1.125, 1.375 + n) for n, size in enumerate(("1MB", "2MB"))
]
FOLLOWS = [
    "the column '2-1' is stamp 2 minus stamp 1 in all 2 rows",
    "the column '3-2' is stamp 3 minus stamp 2 in all 2 rows",
    "the column '3-1' is stamp 3 minus stamp 1 in all 2 rows",
    "2-1 + 3-2 is 3-1 in all 2 rows",
    ONE,
]


def as_csv(delimiter):
    return "\n".join(delimiter.join(map(str, row)) for row in GOOD)


@pytest.mark.parametrize(
    "text",
    [table(*GOOD), as_csv(","), as_csv(";"), as_csv("\t"), as_csv("   "), as_csv(";").replace(".", ",")],
    ids=["Markdown", "commas", "semicolons", "tabs", "blanks", "decimal commas"],
)
def test_one_table_of_any_form_follows(text):
    assert findings(text) == [room.Finding(text, False) for text in FOLLOWS]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("heading", ["{} ({})", "{} [{}]", "{}"])
def test_stamps_and_lengths_may_be_in_any_unit(unit, factor, heading):
    rows = [(GOOD[0][:4] + tuple(heading.format(name, unit) for name in GOOD[0][4:]))]
    rows += [(row[0], *(Decimal(str(value)) * factor for value in row[1:])) for row in GOOD[1:]]
    assert wrong(table(*rows)) == []


def test_a_unit_behind_each_length_counts():
    assert right(table(("Size", "sent", "back", "took"), ("1MB", T, T + 0.25, "250ms")))[0] == (
        "the column 'took' is stamp back minus stamp sent in all 1 rows"
    )


def test_the_line_above_a_table_names_its_unit():
    stamps = table(("Size", "1", "2"), ("1MB", T, T + 0.25), ("2MB", T, T + 0.375))
    durations = table(("Size", "2-1"), ("1MB", 250), ("2MB", 375))
    assert wrong(f"## Run\n\n* unix time\n\n{stamps}\n* milliseconds\n\n{durations}") == []


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("Each image's durations, in milliseconds", "ms"),
        ("Each image\u2019s durations (ms)", "ms"),
        ("the second run, in ms", "ms"),
        ("Kafka's second table", None),
        ("HTTP: seconds", "s"),
        ("took_s", "s"),
        ("4-1 in s, as measured", "s"),
        ("all durations are in seconds, none in ms", "s"),
        ("", None),
    ],
)
def test_a_unit_is_taken_from_where_it_is_said_plainly(text, unit):
    assert unit_of(text) == unit


def test_a_caption_with_an_apostrophe_keeps_its_unit():
    stamps = table(("Size", "1", "2"), ("1MB", T, T + 0.25), ("2MB", T, T + 0.375))
    durations = table(("Size", "2-1"), ("1MB", 250), ("2MB", 375))
    assert wrong(f"{stamps}\nEach image's durations, in milliseconds\n\n{durations}") == []


def test_a_caption_counts_for_its_table_alone():
    stamps = table(("Size", "1", "2"), ("1MB", T, T + 0.25), ("2MB", T, T + 0.375))
    in_ms = table(("Size", "2-1"), ("1MB", 250), ("2MB", 375))
    in_s = table(("Size", "2-1"), ("1MB", 0.25), ("2MB", 0.375))
    assert wrong(f"{stamps}\nin ms\n\n{in_ms}\n{stamps}\n{in_s}".replace("in ms\n\n", "in ms\n")) == []
    assert wrong(f"# HTTP\n{stamps}\nin ms\n{in_ms}\n\n# Kafka\n{stamps}\n{in_s}") == []


@pytest.mark.parametrize("heading", ["back-sent", "back - sent", "Back minus Sent", "back \u2212 sent"])
def test_headings_may_name_stamps_by_words(heading):
    assert right(table(("Size", "sent", "back", heading), ("1MB", T, T + 0.25, 0.25)))[0] == (
        f"the column '{heading}' is stamp back minus stamp sent in all 1 rows"
    )


def test_repeated_labels_are_more_than_one_image():
    rows = [("Size", "1", "2", "2-1"), ("1MB", T, T + 1.5, 1.5), ("1MB", T, T + 2.5, 2.5)]
    assert ONE not in right(table(*rows))


# --- mistakes ---


def test_a_row_that_does_not_follow_is_named_with_both_figures():
    rows = [
        ("Size", "1", "2", "2-1"),
        *((f"{n}MB", T, T + n + 0.5, n + 0.5) for n in range(1, 5)),
        ("9MB", T, T + 1.5, 2.5),
    ]
    assert wrong(f"# Curl\n\n{table(*rows)}") == [
        "the column '2-1' is stamp 2 minus stamp 1 in 4 of 5 rows",
        "Curl, 9MB: '2-1' says 2.5 s, the stamps say 1.5 s",
    ]


def test_a_stamp_before_the_one_that_precedes_it_is_told():
    assert wrong(table(("Size", "1", "2"), ("1MB", T + 0.5, T + 0.25))) == [
        "1MB: stamp 2 is 0.25 s before stamp 1: the two clocks differ, or the columns are mixed up"
    ]


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 4))
def test_rounding_to_the_printed_digits_is_no_mistake(first, duration, digits):
    one, two = Decimal(T) + Decimal(first).scaleb(-6), Decimal(T) + Decimal(first + duration).scaleb(-6)
    digit = Decimal(1).scaleb(-digits)
    row = ("1MB", one.quantize(digit), two.quantize(digit), (two - one).quantize(digit))
    assert wrong(table(("Size", "1", "2", "2-1"), row)) == []


@given(st.integers(2, 10**4), st.integers(1, 4))
def test_more_than_rounding_is_a_mistake(off, digits):
    digit = Decimal(1).scaleb(-digits)
    rows = [("Size", "1", "2", "2-1 (s)")]
    rows += [(f"{n}MB", T, T + 5 * digit, (5 + off) * digit) for n in (1, 2)]
    assert wrong(table(*rows))[0].startswith("the column '2-1' does not follow from any two stamps")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no table: neither Markdown, nor CSV, nor columns separated by two spaces"),
        ("Dear all,\nit was slow.\n", "no table has two columns of stamps: unix times in s, ms, us or ns"),
        (table(("Size", "2-1"), ("1MB", 0.5)), "no table has two columns of stamps: unix times in s, ms, us or ns"),
        (
            table(("Size", "1", "2", "2-1"), ("1MB", T, T + 1, 1), ("2MB", T, T + 1, "about 1")),
            "'about 1' in the column '2-1' is no number",
        ),
    ],
)
def test_what_is_no_table_of_stamps_is_an_error_of_one_line(text, message):
    with pytest.raises(InputError) as raised:
        room.blocks(text)
    assert str(raised.value) == message


@given(st.text(alphabet="|-:0123456789. \n,;\tab#*\u00e9", max_size=300))
def test_any_text_is_checked_or_refused(text):
    with suppress(InputError):
        room.check(room.blocks(text))


# --- beside traces ---


def test_traced_figures_of_the_same_size_stand_beside():
    text = "# Kafka\n\n" + table(("Size", 1, 2, 3, 4), ("1.1MB", T, T + 0.5, T + 1.25, T + 2.5), ("9MB", T, T, T, T))
    cells = measured(
        [
            critical_path(0, 10, 20, 40, transport="kafka", image_size=1_112_057),
            critical_path(0, 1, 2, 3, image_size=1_112_057),
        ]
    ).all_series()
    (found,) = room.beside(room.blocks(text), cells)
    matched = (
        (500 * MS, 10 * MS, 0),
        (750 * MS, 10 * MS, 0),
        (1250 * MS, 20 * MS, 0),
        (2500 * MS, 40 * MS, 0),
    )
    unmatched = ((0, None, 0),) * 4
    assert (found.section, found.transport, found.two_clocks) == ("Kafka", "kafka", TwoClocks.NOTHING)
    assert [(row.label, row.durations, row.n) for row in found.rows] == [
        ("1.1MB", matched, 1),
        ("9MB", unmatched, None),
    ]


def test_labels_of_images_and_of_payloads_find_their_images_in_one_table():
    sizes = [(1_100_000, 1_500_000), (3_300_000, 4_450_000), (4_700_000, 6_300_000), (10_200_000, 13_600_000)]
    cells = measured(
        [
            critical_path(0, 1, 2, n, image_size=image, payload_size=payload)
            for n, (image, payload) in enumerate(sizes, 3)
        ]
    ).all_series()
    found = room.beside(room.blocks(SEED)[:1], cells)
    assert [row.durations[3].traced for row in found[0].rows] == [3 * MS, 4 * MS, 5 * MS, 6 * MS]


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 2 * 10**9) | st.integers(10**6, 1_050_000), min_size=1, max_size=12, unique=True),
    st.sampled_from([render.text, render.markdown]),
)
def test_a_table_of_traces_finds_the_sizes_it_was_made_of(sizes, written):
    images = [critical_path(0, 1, 2, number, image_size=size) for number, size in enumerate(sizes, 3)]
    all_series = measured([*images, critical_path(0, 1, 2, 99, image_size=None)]).all_series()
    (found,) = room.beside(room.blocks(written(rows.seed_tables(all_series))), all_series)
    assert [(row.label, row.n, row.durations[3].traced) for row in found.rows] == [
        (series.size, len(series), series.totals()[series.median()]) for series in all_series
    ]


@pytest.mark.parametrize("written", [render.text, render.markdown])
def test_tables_of_traces_follow_from_their_own_stamps_whatever_table_is_nearest(written):
    paths = [
        critical_path(0, 1000 + n, 3000, longer, image_size=(n + 1) * 10**6, transport=transport)
        for transport, longer in (("http", 4000), ("kafka", 9000))
        for n in range(3)
    ]
    found = room.blocks(written(rows.seed_tables(measured(paths).all_series())))
    assert [one.text for one in room.check(found) if one.wrong] == []
    assert [sorted(block.durations) for block in found] == [["2-1", "3-2", "4-1", "4-3"]] * 2


@pytest.mark.parametrize("hosts", [("a", "b", "b", "a"), ("a", "b", "b", "b")], ids=["bounded", "unbounded"])
@pytest.mark.parametrize("written", [render.text, render.markdown])
def test_tables_with_what_clocks_leave_open_follow_from_their_own_stamps(written, hosts):
    before = (("a", at(0), "b", at(900)), ("b", at(1200), "a", at(1500))) if hosts[3] == "a" else ()
    paths = [
        critical_path(0, 1000 + n, 1200, 1500, image_size=(n + 1) * 10**6, hosts=hosts, before=before) for n in range(3)
    ]
    printed = written(rows.seed_tables(corrected(measured(paths)).series))
    assert ("\u00b10.604" in printed, "\u00b1?" in printed) == (bool(before), not before)
    assert [one.text for one in room.check(room.blocks(printed)) if one.wrong] == []


@pytest.mark.parametrize("heading", ["sd", "p95", "mean", "size_low_bytes", "clock_bound_2-1", "trace_id"])
def test_a_column_of_something_else_than_a_row_s_own_time_need_not_follow(heading):
    assert wrong(table(["1", "2", "2-1", heading], [T, f"{T}.2", "0.2", "0.05"])) == []


def test_stamps_that_are_repeated_in_another_unit_are_no_durations():
    (block,) = room.blocks(
        table(["a", "b", "a in ns", "b in ns", "b - a"], [T, f"{T}.2", f"{T}{0:09}", f"{T}2{0:08}", "0.2"])
    )
    assert [*block.durations] == ["b - a"]


@pytest.mark.parametrize("cell", ["~0.2", "<0.3", "0,2"])
def test_a_column_that_is_headed_as_a_difference_is_not_passed_over_for_what_is_no_number(cell):
    with pytest.raises(InputError, match=f"'{cell}' in the column '2-1' is no number"):
        room.blocks(table(["1", "2", "2-1"], [T, f"{T}.2", cell]))


def test_in_markdown_a_caption_is_not_also_that_of_the_next_table():
    stamps, durations = table(["", "1", "2"], ["x", T, f"{T}.2"]), table(["", "2-1"], ["x", "0.2"])
    assert wrong(f"Measured in ms\n\n{stamps}\n{durations}") == []


@pytest.mark.parametrize("mark", ["**", "`"])
def test_what_is_set_off_in_a_cell_is_a_number_and_a_quoted_table_is_a_table(mark):
    rows = [["1", "2", "2-1"], [f"{mark}{T}{mark}", f"{mark}{T}.2{mark}", f"{mark}0.5{mark}"]]
    assert wrong("".join(f"> {line}\n" for line in table(*rows).splitlines())) != []


@pytest.mark.parametrize("cell", ["0.2 \u00b10.1", "0.2 +/-0.1", "200 \u00b1100 ms", "200 ms \u00b1 ?", "0.2\u00b1?"])
def test_what_a_duration_may_be_off_does_not_count(cell):
    assert wrong(table(["1", "2", "2-1"], [T, f"{T}.2", cell])) == []


def test_other_than_four_stamps_can_t_stand_beside_traces():
    with pytest.raises(InputError, match="only rows with four stamps can be compared with traces"):
        room.beside(room.blocks(table(*GOOD)), measured([critical_path(0, 1, 2, 3)]).all_series())
