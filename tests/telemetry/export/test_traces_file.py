"""A traces file that is cut off, removed, rotated, full, locked or a FIFO: what was written is there, and whole."""

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import LIMIT, PHOTO, SOON_GIVEN_UP, HttpServer, read_traces, run_python, start_python

from otel_kfs.telemetry.export.traces_file import TracesFile

WORK = """
import otel_kfs
from opentelemetry import trace
otel_kfs.configure("a-service", traces_file="spans.jsonl")
tracer = trace.get_tracer("a test")

def work(name, **attributes):
    tracer.start_span(name, attributes=attributes).end()
    print(otel_kfs.flush(), flush=True)

def wait():
    input()
"""


def names(*files):
    return [span.name for file in files for span in read_traces(file)]


def test_half_a_line_of_a_killed_process_swallows_no_other(tmp_path):
    half = '{"resourceSpans": [{"reso'
    (tmp_path / "spans.jsonl").write_text(half)
    ended = run_python(WORK + "work('a span')")
    assert (ended.stdout, ended.stderr) == ("True\n", "")
    first, rest = (tmp_path / "spans.jsonl").read_text().split("\n", 1)
    (tmp_path / "rest.jsonl").write_text(rest)
    assert (first, names(tmp_path / "rest.jsonl")) == (half, ["a span"])


def start_waiting(script):
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "True\n"
    return process


def test_a_file_that_was_removed_is_made_again(tmp_path):
    with start_waiting(WORK + "work('first'); wait(); work('second')") as process:
        (tmp_path / "spans.jsonl").unlink()
        assert process.communicate("\n", timeout=LIMIT) == ("True\n", "")
    assert names(tmp_path / "spans.jsonl") == ["second"]


def test_a_file_that_was_rotated_is_made_again(tmp_path):
    with start_waiting(WORK + "work('first'); wait(); work('second')") as process:
        (tmp_path / "spans.jsonl").rename(tmp_path / "spans.1")
        assert process.communicate("\n", timeout=LIMIT) == ("True\n", "")
    assert (names(tmp_path / "spans.1"), names(tmp_path / "spans.jsonl")) == (["first"], ["second"])


def test_what_can_t_be_written_any_more_is_counted(tmp_path):
    with start_waiting(WORK + "work('first'); wait(); work('second')") as process:
        (tmp_path / "spans.jsonl").unlink()
        (tmp_path / "spans.jsonl").mkdir()
        output, errors = process.communicate("\n", timeout=LIMIT)
    assert output == "False\n"
    assert errors.splitlines()[-1].startswith("1 of 2 spans were not exported to spans.jsonl: ")


def test_what_one_process_cut_off_on_a_full_disk_costs_no_line_of_another(tmp_path):
    # A limit of the process's own stands for the disk's; byte code would be cut off, too.
    limited = """
import resource, signal, sys
sys.dont_write_bytecode = True
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
work("first")
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, most))
work("cut off", text="x" * 3000)
wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
work("last")
"""
    with start_waiting(WORK + limited) as process:
        assert process.stdout.readline() == "False\n"
        assert run_python(WORK + "work('another')").stdout == "True\n"
        output, errors = process.communicate("\n", timeout=LIMIT)
    assert (output, errors.splitlines()[-1][:30]) == ("True\n", "1 of 3 spans were not exported")
    lines = (tmp_path / "spans.jsonl").read_text().splitlines(keepends=True)
    whole = tmp_path / "whole.jsonl"
    whole.write_text("".join(line for line in lines if "cut off" not in line))
    assert (len(lines), names(whole)) == (4, ["first", "another", "last"])


def test_a_file_that_may_only_be_appended_to_is(tmp_path):
    path = tmp_path / "spans.jsonl"
    path.write_text('{"half')
    path.chmod(0o200)
    if os.access(path, os.R_OK):
        pytest.skip("root may read it")
    TracesFile(path).write("{}\n")
    path.chmod(0o600)
    assert path.read_text() == '{"half\n{}\n'


def test_a_lock_that_is_kept_is_not_waited_for_for_ever(tmp_path):
    path = tmp_path / "spans.jsonl"
    file = TracesFile(path)
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert file.write("{}\n") == 3
    assert path.read_text() == "{}\n"


ACTIONS = st.lists(st.sampled_from(["write 1", "write 2", "write 3", "half", "remove", "rotate", "truncate"]))


@given(ACTIONS)
def test_every_line_is_there_and_whole_whatever_others_do(actions):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sub", "spans.jsonl")
        files, written = [TracesFile(path) for _ in range(3)], {path: []}
        for number, action in enumerate(actions):
            kind, _, by = action.partition(" ")
            if kind == "write":
                line = f'{{"number": {number}}}\n'
                assert files[int(by) - 1].write(line) == len(line)
                written.setdefault(path, []).append(line)
            elif kind == "half":
                with path.open("a") as file:
                    file.write(f'{{"half": {number}')
                written.setdefault(path, [])
            elif kind == "remove":
                path.unlink(missing_ok=True)
                written.pop(path, None)
            elif kind == "truncate":
                path.write_text("")
                written[path] = []
            elif path.exists():
                path.rename(rotated := path.with_suffix(f".{number}"))
                written[rotated] = written.pop(path, [])
        for file, lines in written.items():
            found = file.read_text().splitlines(keepends=True) if file.exists() else []
            assert [line for line in found if "number" in line and "half" not in line] == lines


def test_a_file_that_is_removed_while_a_line_is_written_is_written_to_again(tmp_path, monkeypatch):
    path = tmp_path / "spans.jsonl"
    file = TracesFile(path)
    write_lock, removals = fcntl.flock, iter([True, False])

    def remove_after_lock(*arguments):
        write_lock(*arguments)
        if arguments[1] != fcntl.LOCK_UN and next(removals):
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", remove_after_lock)
    file.write("{}\n")
    assert path.read_text() == "{}\n"


# --- FIFOs ---


def test_send_ends_where_nobody_reads_its_fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with HttpServer().running() as model:
        options = ["--transport", "http", "--url", model.url, "--model", "m", "--traces-file", "fifo"]
        command = [sys.executable, "-c", SOON_GIVEN_UP + "from otel_kfs.cli import main; main()"]
        send = ["-q", "send", *options, "--image", str(PHOTO)]
        done = subprocess.run([*command, *send], capture_output=True, check=False, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout != "") == (0, True)
    assert done.stderr.endswith(" 4 of 4 spans were not exported to fifo: they had not left when the process ended\n")


def test_a_fifo_s_reader_may_come_late_and_gets_every_span(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    script = WORK.replace("spans.jsonl", "fifo") + "\nfor n in range(300): tracer.start_span(str(n)).end()\nprint(1)"
    with start_python(script) as process:
        assert process.stdout.readline() == "1\n"
        (tmp_path / "read.jsonl").write_bytes((tmp_path / "fifo").read_bytes())
        assert process.communicate(timeout=LIMIT)[1] == ""
    assert sorted(map(int, names(tmp_path / "read.jsonl"))) == list(range(300))


def test_a_fifo_s_reader_that_goes_is_an_error_and_the_next_one_gets_what_follows(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    script = WORK.replace("spans.jsonl", "fifo") + "work('first'); wait(); work('lost'); wait(); work('last')"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        with (tmp_path / "fifo").open() as reader:
            assert '"first"' in reader.readline()
            assert process.stdout.readline() == "True\n"
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "False\n"
        read = []
        thread = threading.Thread(target=lambda: read.append((tmp_path / "fifo").read_text()))
        thread.start()
        assert process.communicate("\n", timeout=LIMIT)[0] == "True\n"
        thread.join(60)
    assert '"last"' in read[0]


@pytest.mark.parametrize("device", ["/dev/null", "/dev/fd/1"])
def test_a_device_is_written_to(device):
    ended = run_python(WORK.replace("spans.jsonl", device) + "work('a span')")
    assert (ended.stderr, ended.stdout.splitlines()[-1]) == ("", "True")
    assert ('"a span"' in ended.stdout) is (device == "/dev/fd/1")
