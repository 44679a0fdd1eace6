"""What reaches a real terminal: names from traces and files send it no control sequence, and add no line."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from msgspec.structs import replace
from support import JPG, HttpServer
from traces_builder import HTTP, otlp_line, spans

from otel_kfs import semconv

EVIL = "\x1b[31mEVIL\x1b[0m\nError: injected \u202e\x9b31m"
MEANS = " [31mEVIL [0m Error: injected   31m"


def on_a_terminal(*arguments, term="dumb"):
    """The exit code, and the lines that a terminal is sent on standard output and standard error."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "otel_kfs.cli", *map(str, arguments)]
    # By default a dumb terminal, so that nothing of ours is coloured either.
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=os.environ | {"TERM": term}) as process:
        os.close(its)
        sent = bytearray()
        try:
            while chunk := os.read(ours, 65536):
                sent += chunk
        except OSError:  # how Linux says that the terminal's other side is closed
            pass
        os.close(ours)
    return process.returncode, sent.decode().split("\r\n")[:-1]


def images(path, cell=EVIL, size="1100000", more=0):
    """A file with 12 images of a cell with that name, each `more` ms longer than drawn."""
    lines = []
    for number in range(12):
        drawing = HTTP.replace("1100000", size).replace(" 1000  transport", f" {1000 + number + more}  transport")
        sent, *others = spans(drawing, f"a{number:02}")
        lines.append(otlp_line([replace(sent, attributes={**sent.attributes, semconv.CELL: cell}), *others]))
    path.write_text("".join(lines))
    return path


@pytest.fixture
def evil(tmp_path):
    return images(tmp_path / "evil.jsonl")


def test_parquet_is_not_for_a_terminal(evil):
    assert on_a_terminal("tables", "--trace-query", evil, "--layout", "images", "--format", "parquet") == (
        1,
        ["Error: Parquet is not for a terminal: name a file by -o"],
    )


def test_a_sentence_is_broken_between_words(tmp_path):
    code, lines = on_a_terminal("report", images(tmp_path / "images.jsonl", cell=""), "-o", "report.html")
    *sentence, line = lines
    assert (code, line, max(map(len, sentence)) <= 100) == (0, "report.html: 12 images measured", True)
    assert " ".join(sentence).startswith("An image of 1.1MB takes ")
    assert len(sentence) > 1


@pytest.mark.parametrize("format_", ["text", "md", "csv", "json"])
def test_tables_send_no_control_sequence(evil, format_):
    code, lines = on_a_terminal("tables", "--trace-query", evil, "--layout", "segments", "--format", format_)
    assert (code, [line for line in lines if not line.isprintable() or line.startswith("Error")]) == (0, [])
    assert any("EVIL" in line for line in lines)


@pytest.mark.analysis
@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ((), f"A and B have no image size in common: A has HTTP, {MEANS}, 1.1MB (n = 12); B has "),
        (("--where-a", "cell=x"), f"no image has cell=x: cell is {MEANS}"),
    ],
)
def test_an_error_of_compare_is_one_line(evil, tmp_path, choice, message):
    other = images(tmp_path / "other.jsonl", size="2200000")
    code, lines = on_a_terminal("-q", "compare", evil, other, *choice)
    assert (code, len(lines), lines[0][: len(message) + 7]) == (1, 1, f"Error: {message}")


@pytest.mark.analysis
def test_what_is_slower_than_allowed_is_one_line(evil, tmp_path):
    slower = images(tmp_path / "slower.jsonl", more=500)
    code, lines = on_a_terminal("-q", "compare", evil, slower, "--fail-if-slower", "1%")
    assert (code, [line for line in lines if not line.isprintable() or line.startswith("Error")]) == (3, [])
    assert lines[-1].startswith("slower than --fail-if-slower allows: HTTP,")


def test_check_sends_no_control_sequence(tmp_path):
    file = tmp_path / f"{EVIL[:8]}.csv"
    file.write_text("Size,1,2,2-1\n1MB,1600000000.5,1600000000.75,0.5\n".replace("2-1", EVIL.replace("\n", "")))
    code, lines = on_a_terminal("check", file, "--trace-query", tmp_path / EVIL)
    assert (code, len(lines), lines[0].isprintable(), lines[0].startswith("Error: no file matches ")) == (
        2,
        1,
        True,
        True,
    )
    code, lines = on_a_terminal("check", file)
    assert (code, [line for line in lines if not line.isprintable() or line.startswith("Error")]) == (1, [])


def test_a_remark_on_a_file_is_one_line(tmp_path):
    file = tmp_path / "\x1b[31mevil\nWARNING injected.jsonl"
    file.write_text(otlp_line(spans(HTTP)) + otlp_line(spans(HTTP, "b")).replace('"spanId": "', '"spanId": "zz', 1))
    code, lines = on_a_terminal("tables", "--trace-query", file, "--layout", "seed")
    assert code == 0
    assert [line for line in lines if not line.isprintable() or line.startswith("WARNING injected")] == []
    assert lines[0].startswith("WARNING otel_kfs.traces.store: spans left out ")


def test_several_mistakes_in_a_plan_are_a_line_each(tmp_path):
    file = tmp_path / "plan.toml"
    file.write_text('sed = 1\nrepeat = 0\n[servers]\nurl = "http://here"\nmodel = "m"\n')
    code, lines = on_a_terminal("experiment", file, "--dry-run")
    assert (code, lines[0], lines[1]) == (
        1,
        f"Error: {file}: sed: unknown key (did you mean seed?); the keys are images, repeat, warmups, seed, "
        "max_failures, timeout, prompt, stream, servers, matrix, baseline, arrivals, traces",
        f"{file}: repeat: 0 is not allowed; give a whole number from 1 to 1000000",
    )


def test_each_answer_that_send_prints_is_a_line_of_its_own(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(JPG)
    with HttpServer().running() as server:
        way = ("--transport", "http", "--url", server.url, "--model", "m", "--traces-file", tmp_path / "spans.jsonl")
        code, lines = on_a_terminal("send", *way, "--repeat", 2, tmp_path / "cat.jpg", term="xterm")
    shown = [re.sub(r"\d+\.\d+", "#", line) for line in lines]
    assert [code, *shown] == [
        0,
        *[f'{{"file":"{tmp_path / "cat.jpg"}","ms":#,"predictions":[1]}}'] * 2,
        "2 sent over HTTP: p50 # ms, max # ms; none failed",
    ]
