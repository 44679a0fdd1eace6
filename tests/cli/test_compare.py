"""`otel-kfs compare`: what it prints and writes, its exit codes, and what it refuses."""

import csv
import json

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from traces_builder import HTTP, KAFKA, MS, otlp_line, spans, with_options

from otel_kfs import cli

pytestmark = pytest.mark.analysis

ACCOUNT = "A: 12 images measured\nB: 12 images measured\n"


def images(path, drawing, n=12):
    """A file of so many images, none of them quite as long as another."""
    lines = []
    for number in range(n):
        one = drawing.replace(" 1000  transport", f" {1000 + number}  transport")
        lines.append(otlp_line(spans(one, f"{path.name[0]}{number:02}")))
    path.write_text("".join(lines))
    return path


@pytest.fixture
def same(tmp_path):
    return images(tmp_path / "same.jsonl", HTTP)


@pytest.fixture
def slower(tmp_path):
    """The sender has its answer half a second later."""
    lines = images(tmp_path / "slower.jsonl", HTTP).read_text()
    file = tmp_path / "slower.jsonl"
    for number in range(12):
        lines = lines.replace(f"16000000010{number:02}000000", f"16000000015{number:02}000000")
    file.write_text(lines)
    return file


def compare(*arguments):
    """Exit code, standard output and standard error."""
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.main, ["compare", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, "\n".join(line.rstrip() for line in result.stdout.split("\n")), result.stderr


def test_tables_sentences_and_accounts_go_to_standard_output(same, slower):
    code, out, err = compare(same, slower)
    sentence, *lines = out.split("\n")[1:]
    assert (code, sentence, err) == (
        0,
        "HTTP, 1.1MB: B is 500.0 ms (50%) slower than A (495.5 to 504.5, n = 12 and 12): 100% of it is `client`",
        "",
    )
    words = [" ".join(line.split()) for line in lines]
    assert words[: words.index("Notes")] + words[-3:] == [
        "",
        "HTTP, 1.1MB (n = 12 and 12): milliseconds",
        "Segment A p50 B p50 B - A 95 % interval of A",
        "client 45.5 545.5 500.0 495.5 to 504.5 +1099% slower",
        "total (4-1) 1005.5 1505.5 500.0 495.5 to 504.5 +50% slower",
        "17 more segments do not differ beyond noise, each by at most 0.0 ms: --all shows them",
        "",
        *ACCOUNT.split("\n"),
    ]
    assert len(compare(same, slower, "--all")[1].split("\n")) == len(out.split("\n")) + 17 - 1


def test_the_other_formats_keep_the_accounts_on_standard_error(same, slower):
    for format_ in ("md", "csv", "json"):
        assert compare(same, slower, "--format", format_)[::2] == (0, ACCOUNT)


def test_json_has_records_and_verdicts(same):
    document = json.loads(compare(same, same, "--format", "json")[1])
    assert (document["comparison"][-1]["segment"], len(document["verdicts"]), document["unmatched"]) == ("4-1", 1, [])


def test_csv_is_one_line_a_segment(same):
    _, out, _ = compare(same, same, "--format", "csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert (rows[-1]["segment"], rows[-1]["difference_ns"], {row["differs"] for row in rows}) == ("4-1", "0", {"False"})


def test_output_is_written_to_a_file(same, tmp_path):
    file = tmp_path / "comparison.md"
    assert compare(same, same, "--format", "md", "-o", file) == (0, "", ACCOUNT)
    sentence, heading = file.read_text().split("\n")[2:5:2]
    assert sentence.startswith("HTTP, 1.1MB: B and A do not differ beyond noise: total (4-1) by +0.0 ms (")
    assert heading == "### HTTP, 1.1MB (n = 12 and 12): milliseconds"


def test_html_by_its_ending_or_its_name_is_one_page_with_the_sentence_first(same, slower, tmp_path):
    file = tmp_path / "comparison.html"
    chosen = ("--where", "transport=http")
    account = "A: 12 images with transport=http, of 12 images measured\n"
    assert compare(same, slower, *chosen, "-o", file) == (0, "", account + account.replace("A:", "B:"))
    text = file.read_text()
    assert text.startswith("<!doctype html>\n")
    assert '<p class="answer">HTTP, 1.1MB: B is 500.0 ms (50%) slower than A (495.5 to 504.5, n = 12 and 12): ' in text
    assert f"otel-kfs compare {same} {slower} --where transport=http" in text
    code, out, err = compare(same, slower, "--format", "html")
    assert (code, out.startswith("<!doctype html>\n"), err) == (0, True, ACCOUNT)


def test_two_sides_can_be_chosen_from_one_query(tmp_path):
    file = images(tmp_path / "both.jsonl", HTTP)
    file.write_text(file.read_text() + images(tmp_path / "kafka.jsonl", KAFKA).read_text())
    code, out, _ = compare(file, "--where-a", "transport=http", "--where-b", "transport=kafka", "--where", "size=1.1MB")
    assert (code, out.split("\n")[3]) == (0, "A: HTTP, B: Kafka, 1.1MB (n = 12 and 12): milliseconds")
    assert out.endswith(
        "A: 12 images with size=1.1MB, transport=http, of 24 images measured\n"
        "B: 12 images with size=1.1MB, transport=kafka, of 24 images measured\n"
    )
    _, out, _ = compare(file, "--where-a", "transport=http", "--where-b", "transport=kafka", "--format", "json")
    assert json.loads(out)["images"] == {side: {"measured": 24, "chosen": 12} for side in "ab"}


def test_a_run_s_folder_is_read_without_a_word_about_its_logs_and_results(same, tmp_path, caplog):
    for side in ("demo", "ways"):
        (tmp_path / side / "traces").mkdir(parents=True)
        (tmp_path / side / "traces" / "sender.jsonl").write_text(same.read_text())
        (tmp_path / side / "ranking.md").write_text("# text")
        (tmp_path / side / "logs").mkdir()
        (tmp_path / side / "logs" / "bridge.log").write_text("text")
    code, out, _ = compare(tmp_path / "demo", tmp_path / "ways")
    assert (code, out.endswith(ACCOUNT), caplog.text) == (0, True, "")
    (tmp_path / "demo" / "traces" / "core").write_text("text")
    compare(tmp_path / "demo", tmp_path / "ways")
    assert "files passed over that are not traces by name" in caplog.text


def test_nothing_in_common_is_one_line(same, tmp_path):
    larger = tmp_path / "larger.jsonl"
    larger.write_text(same.read_text().replace('"1100000"', '"5500000"'))
    assert compare(same, larger) == (
        1,
        "",
        "Error: A and B have no image size in common: A has HTTP, 1.1MB (n = 12); B has HTTP, 5.5MB (n = 12)\n",
    )


# --- the gate ---


def test_what_is_slower_than_allowed_ends_with_3_and_says_where(same, slower):
    code, _, err = compare(same, slower, "--fail-if-slower", "10%")
    assert (
        code,
        err.startswith("slower than --fail-if-slower allows: HTTP, 1.1MB: B is 500.0 ms (50%) slower than A ("),
    ) == (
        3,
        True,
    )


@pytest.mark.parametrize("swap", [False, True])
def test_what_is_no_slower_than_allowed_ends_with_0(same, slower, swap):
    # Faster, or by less than the limit.
    sides = (slower, same) if swap else (same, slower)
    assert compare(*sides, "--fail-if-slower", "10%" if swap else "60%")[::2] == (0, "")


def test_a_gate_decides_with_as_few_images_as_the_whole_takes_whatever_its_segments_would(tmp_path):
    few = images(tmp_path / "few.jsonl", HTTP, n=5)
    slower = images(tmp_path / "slower.jsonl", HTTP.replace("0 1000", "0 1998"), n=5)
    code, _, err = compare(few, slower, "--fail-if-slower", "10%")
    assert (code, "too few images to tell which segment, it takes 7 each" in err) == (3, True)


def test_a_gate_that_can_t_tell_is_an_error(same, tmp_path):
    few = images(tmp_path / "few.jsonl", HTTP, n=1)
    assert compare(same, few, "--fail-if-slower", "10%") == (
        1,
        "",
        "Error: --fail-if-slower can't tell a difference from noise at 1.1MB: there are 12 and 1 images, "
        "and it takes 5 on each side\n",
    )


@pytest.mark.parametrize("limit", ["10", "ten%", "-5%", "nan%", "inf%", "%"])
def test_a_limit_that_is_no_percentage_is_refused(same, limit):
    code, _, err = compare(same, same, "--fail-if-slower", limit)
    assert (code, err.splitlines()[-1]) == (
        2,
        f"Error: Invalid value for '--fail-if-slower': '{limit}' is not a percentage such as 10%",
    )


# --- what is refused ---


def test_one_query_without_differing_choices_is_nothing_to_compare(same):
    code, _, err = compare(same)
    assert (code, err.splitlines()[-1]) == (
        2,
        "Error: nothing to compare: give QUERY_B, or different --where-a and --where-b or --run-a and --run-b",
    )


def test_two_runs_can_be_chosen_from_one_query(tmp_path):
    file = of_runs(tmp_path)
    code, out, _ = compare(file, "--run-a", "monday", "--run-b", "tuesday")
    assert (code, out.split("\n")[3], out.endswith(ACCOUNT)) == (
        0,
        "HTTP, 1.1MB (n = 12 and 12): milliseconds",
        True,
    )


def test_an_option_of_the_query_is_of_both_sides(tmp_path):
    file = of_runs(tmp_path)
    assert compare(file, file, "--run", "tuesday")[1].endswith(ACCOUNT)
    assert compare(file, file, "--run", "sunday") == (
        1,
        "",
        f"Error: no image was measured in {file}?run=sunday: there is no image of run sunday\n",
    )


def of_runs(folder):
    """12 images of each of two runs in one file."""
    lines = images(folder / "runs.jsonl", HTTP).read_text()
    run = '{"key": "otel_kfs.run.id", "value": {"stringValue": "%s"}}, {"key": "otel_kfs.image.size"'
    parts = [lines.replace('{"key": "otel_kfs.image.size"', run % day) for day in ("monday", "tuesday")]
    # Traces of their own: the builder's ids begin with the file's first letter.
    (folder / "runs.jsonl").write_text(parts[0] + parts[1].replace('"traceId": "0', '"traceId": "1'))
    return folder / "runs.jsonl"


def test_a_run_of_both_sides_and_of_one_is_refused(same):
    code, _, err = compare(same, same, "--run", "1", "--run-a", "2")
    assert (code, err.splitlines()[-1]) == (
        2,
        "Error: --run applies to both sides: give either --run, or --run-a and --run-b",
    )


@pytest.mark.parametrize("arguments", [("-", "-"), ("-", "--run-a", "1", "--run-b", "2")])
def test_standard_input_can_be_given_once(arguments):
    code, _, err = compare(*arguments)
    assert (code, err.splitlines()[-1]) == (2, "Error: standard input can be read only once: give - for A or for B")


def test_a_choice_without_a_value_is_refused(same):
    code, _, err = compare(same, same, "--where", "kafka")
    assert (code, err.splitlines()[-1]) == (
        2,
        "Error: Invalid value for '--where': 'kafka' is not KEY=VALUE, such as transport=http",
    )


def test_a_choice_that_leaves_nothing_is_one_line(same):
    assert compare(same, same, "--where", "size=9MB") == (1, "", "Error: no image has size=9MB: size is 1.1MB\n")


def test_a_query_that_finds_nothing_is_one_line(same, tmp_path):
    code, out, err = compare(same, tmp_path / "missing")
    assert (code, out, err.count("\n"), err.startswith("Error: ")) == (1, "", 1, True)


def on_two_hosts(path, ahead):
    """Images through Kafka whose bridge is on a host with a clock of its own, so many ms ahead."""
    path.write_text("")
    for number in range(12):
        end = 1000 + number
        drawn = spans(
            with_options(KAFKA.replace("330 1000", f"330 {end}"), "process images", "@bridge"), f"{number:02}"
        )
        for host, by in (("host", 0), ("bridge", ahead * MS)):
            own = [replace(one, start=one.start + by, end=one.end + by) for one in drawn if one.host == host]
            export = json.loads(otlp_line(own))
            named = {"key": "host.name", "value": {"stringValue": host}}
            export["resourceSpans"][0]["resource"] = {"attributes": [named]}
            with path.open("a") as file:
                file.write(json.dumps(export) + "\n")
    return path


def test_a_clock_that_was_set_meanwhile_is_no_slower_run(tmp_path):
    # A record travels one way: nothing bounds the clocks of sender and bridge.
    sides = [on_two_hosts(tmp_path / f"{side}.jsonl", ahead) for side, ahead in (("a", 0), ("b", 250))]
    code, out, err = compare(*sides, "--all", "--fail-if-slower", "10%")
    assert (code, err) == (0, "")
    assert (
        "Kafka, 1.1MB: B and A can't be compared, because nothing bounds the clocks between which the total (4-1) lies"
        in out
    )
    (row,) = [line for line in out.split("\n") if line.startswith("broker")]
    assert row.split() == ["broker", "40.0", "\u00b1?", "290.0", "\u00b1?", "250.0", "\u00b1?", "-", "-"]
    _, out, _ = compare(*sides, "--format", "json")
    records = {one["segment"]: one for one in json.loads(out)["comparison"]}
    assert [(records[name]["clocks"], records[name]["differs"]) for name in ("client", "broker", "4-1")] == [
        ("exact", False),
        ("unbounded", False),
        ("unbounded", False),
    ]
