"""`otel-kfs report`: what it writes, and what it says where it can't."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from report_support import SIZES, image
from traces_builder import HTTP, linked, otlp_line, with_options

from otel_kfs import cli

LINE = "2 images measured; 1 left out: warm-up"
ANSWER = (
    "An image takes 1000.0 ms at 1.1MB and 2000.0 ms at 3.3MB over HTTP (one image each): 26% of the time at 3.3MB is "
    "`predictor predict`, 15% `transformer preprocess`, 10% `encode`. There are too few images to tell differences "
    "from noise (it takes 7 of each); most could be saved in `predictor predict`: up to 520.0 ms at 3.3MB.\n"
)


@pytest.fixture
def traces(tmp_path):
    """Two images of two sizes, and a warm-up."""
    found = [
        image("a"),
        image("b", size=SIZES[1], factor=2),
        image("w", drawing=with_options(HTTP, "send image", "warmup")),
    ]
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(map(otlp_line, found)))
    return file


def report(query, *arguments, before=()):
    """Exit code, standard output and standard error."""
    command = [*before, "report", "--trace-query", str(query), *map(str, arguments)]
    result = CliRunner().invoke(cli.main, command)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_report_is_written_and_the_account_told(traces):
    assert report(traces, "-o", "r.html") == (0, "", f"{ANSWER}r.html: {LINE}\n")
    assert Path("r.html").read_text().startswith("<!doctype html>")


def test_without_an_output_it_is_in_this_folder(traces):
    assert report(traces) == (0, "", f"{ANSWER}report.html: {LINE}\n")


def test_quiet_says_nothing(traces):
    assert report(traces, "-o", "r.html", before=["-q"]) == (0, "", "")


@pytest.mark.parametrize(("name", "start"), [("r.svg", b"<svg "), ("r.png", b"\x89PNG"), ("r.HTM", b"<!doctype")])
def test_the_ending_tells_the_format(traces, name, start):
    assert report(traces, "-o", name)[0] == 0
    assert Path(name).read_bytes().startswith(start)


def test_a_format_counts_more_than_an_ending(traces):
    assert report(traces, "-o", "r.html", "--format", "svg")[0] == 0
    assert Path("r.html").read_text().startswith("<svg ")


def test_a_chart_can_be_chosen(traces):
    report(traces, "-o", "both.svg")
    report(traces, "-o", "one.svg", "--chart", "sizes")
    assert ["Where the time goes:" in Path(name).read_text() for name in ("both.svg", "one.svg")] == [True, False]


def test_a_link_leads_from_files_to_the_page_of_each_trace(traces):
    ids = [f"{ord(one):032x}" for one in "ab"]  # as the file has them
    assert report(traces, "--trace-link", "http://jaeger:16686/trace/{trace_id}?uiFind=send")[0] == 0
    links = set(re.findall(r'href="(http[^"]*)"', Path("report.html").read_text()))
    assert links == {f"http://jaeger:16686/trace/{one}?uiFind=send" for one in ids}


@pytest.mark.parametrize("link", ["http://jaeger/trace/", "javascript:alert({trace_id})", "{trace_id}"])
def test_a_link_that_leads_to_no_trace_is_refused(traces, link):
    message = f"Error: --trace-link {link} is not the URL of a trace's page: give http(s)://...{{trace_id}}...\n"
    assert report(traces, "--trace-link", link) == (1, "", message)
    assert not Path("report.html").exists()


def test_a_chart_takes_no_link(traces):
    link = "http://jaeger/trace/{trace_id}"
    message = "Error: --trace-link is for the HTML file; a chart has no links\n"
    assert report(traces, "-o", "r.svg", "--trace-link", link) == (1, "", message)


def test_the_waterfalls_are_read_from_the_store(traces):
    report(traces, "-o", "r.html")
    assert "Spans of the median image: HTTP, 3.3MB" in Path("r.html").read_text()


def test_an_image_in_two_linked_traces_is_drawn_as_one_way(tmp_path):
    (tmp_path / "sender.jsonl").write_text(otlp_line([s for s in linked() if s.trace_id == "sender"]))
    (tmp_path / "bridge.jsonl").write_text(otlp_line([s for s in linked() if s.trace_id == "bridge"]))
    code, out, err = report(tmp_path, "-o", "r.html")
    assert (code, out, err.splitlines()[1:]) == (0, "", ["r.html: 1 image measured"])
    text = Path("r.html").read_text()
    assert f"Here begins the linked trace {b'bridge'.hex().rjust(32, '0')}: process images is no child" in text
    assert "Spans of the median image: Kafka, 1.1MB" in text
    assert "could not be found once more" not in text


def test_the_command_is_in_the_report(traces):
    report(traces, "-o", "a report.html")
    assert f"otel-kfs report --trace-query {traces} -o &#39;a report.html&#39;" in Path("a report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("-o", "r.pdf"), "unknown format of r.pdf: use the ending .html, .png or .svg, or give --format"),
        (
            ("-o", "r.html", "--chart", "sizes"),
            "--chart is for svg and png; the HTML file has all charts",
        ),
        (("-o", "nowhere/r.html"), "can't write nowhere/r.html: there is no folder nowhere"),
    ],
)
def test_what_can_not_be_done_is_one_line_and_nothing_is_written(traces, arguments, error):
    assert report(traces, *arguments) == (1, "", f"Error: {error}\n")
    assert files(Path()) == ["traces.jsonl"]


def test_nothing_measured_is_one_line_and_what_was_there_stays(tmp_path):
    (tmp_path / "traces.jsonl").write_text(otlp_line(image("w", drawing=with_options(HTTP, "send image", "warmup"))))
    Path("r.html").write_text("the old")
    assert report("traces.jsonl", "-o", "r.html") == (
        1,
        "",
        "Error: no image was measured in traces.jsonl: 0 images measured; 1 left out: warm-up\n",
    )
    assert (Path("r.html").read_text(), files(tmp_path)) == ("the old", ["r.html", "traces.jsonl"])


def test_a_store_that_can_not_be_read_is_one_line():
    code, out, errors = report("nowhere.jsonl", "-o", "r.html")
    assert (code, out, errors.count("\n"), files(Path())) == (1, "", 1, [])
    assert errors.startswith("Error: no file or folder nowhere.jsonl")


@pytest.mark.parametrize(
    ("module", "output", "library"),
    [
        ("jinja2", "r.html", "Jinja2"),
        ("scipy", "r.svg", "scipy"),
        ("numpy", "r.html", "numpy"),
    ],
)
def test_a_missing_library_is_answered_with_the_extra_that_brings_it(traces, module, output, library):
    script = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {module!r}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from otel_kfs import cli\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", script, "report", "--trace-query", str(traces), "-o", output]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (
        1,
        "",
        f"Error: {library} is not installed; in a clone of otel-kfs, run: pip install '.[report]'\n",
    )
    assert not Path(output).exists()


def test_the_help_needs_no_optional_library():
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['numpy', 'scipy', 'jinja2', 'markupsafe', 'resvg_py']))\n"
        "from otel_kfs import cli\n"
        "cli.main(['report', '--help'])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (found.returncode, "Examples:" in found.stdout, found.stderr) == (0, True, "")


def test_a_real_run_has_all_it_needs_for_every_part():
    saved = Path(__file__).parents[1] / "data" / "traces"
    assert report(saved, "-o", "r.html")[0] == 0
    text = Path("r.html").read_text()
    for title in (
        "HTTP: unix time",
        "Kafka: seconds",
        "Spans of the median image: HTTP",
        "Spans of the median image: Kafka",
    ):
        assert title in text
    assert "could not be found once more" not in text
