"""Streams and disks that take nothing: closed, full, without a reader. One clear line, or none, and the right code."""

import json
import os
import subprocess
import sys

import pytest
from support import PHOTO, HttpServer
from traces_builder import HTTP, otlp_line, spans

from otel_kfs.cli.messages import OneLine
from otel_kfs.errors import OtelKfsError
from otel_kfs.experiment.trial_log import TrialLog, TrialResult

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")

MAIN = f"{sys.executable} -m otel_kfs.cli"


@pytest.fixture
def traces(tmp_path):
    file = tmp_path / "traces.jsonl"
    file.write_text(otlp_line(spans(HTTP)))
    return file


@pytest.fixture(scope="module")
def model():
    with HttpServer().running() as server:
        yield server


def shell(command, **env):
    """The exit code, standard output and standard error of a command, typed in a shell."""
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=os.environ | env, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def send(model, *more):
    return f"{MAIN} send --transport http --url {model.url} --model m --image {PHOTO} {' '.join(more)}"


def test_tables_with_standard_output_closed_print_nothing(traces):
    assert shell(f"{MAIN} tables {traces} --layout seed -q >&-") == (0, "", "")


def test_tables_with_standard_error_closed_print_their_tables(traces):
    code, out, _ = shell(f"{MAIN} tables {traces} --format json --layout seed 2>&-")
    assert (code, next(iter(json.loads(out)))) == (0, "answer")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "2>/dev/full", ">&- 2>&- <&-"])
def test_send_sends_whatever_its_streams_are(model, closed):
    before = len(model.requests)
    code, out, errors = shell(send(model, closed), OTEL_TRACES_EXPORTER="none")
    assert (code, len(model.requests) - before) == (0, 1)
    assert "Traceback" not in errors
    assert bool(out) == (">&-" not in closed.replace("2>&-", ""))


def test_send_whose_answers_have_no_room_says_so(model):
    code, _, errors = shell(send(model, "-q", ">/dev/full"), OTEL_TRACES_EXPORTER="none")
    assert (code, errors) == (1, "Error: can't write to standard output: No space left on device\n")


def test_spans_that_have_no_room_are_told_in_lines_without_a_traceback(model):
    code, out, errors = shell(send(model, "-q", "--traces-file", "/dev/full"))
    assert (code, bool(out), "Traceback" in errors) == (0, True, False)
    assert "No space left on device" in errors
    assert all(line.startswith("ERROR ") for line in errors.splitlines())


def test_verbose_shows_the_traceback(model):
    _, _, errors = shell(send(model, "-v", "--traces-file", "/dev/full"))
    assert "Traceback" in errors


def test_spans_that_could_not_be_kept_are_not_said_to_be_there(model, tmp_path):
    """`ulimit -f 1`: a file of at most one block, which Python would cut its byte code off at, too."""
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_TRACES_EXPORTER": "otlp",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = f"cd {tmp_path}; ulimit -f 1; {send(model)} --repeat 3"
    code, out, errors = shell(command, **settings)
    assert (code, out.count("\n")) == (0, 3)
    assert "spans were not exported to otel-kfs-runs/" in errors
    assert "the spans are in" not in errors


def test_a_line_of_a_log_has_the_error_s_text_where_its_traceback_is_left_out():
    import logging

    try:
        raise ValueError("broken")  # noqa: TRY301
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "f", 1, "it failed (%s)", ("x",), sys.exc_info())
    assert OneLine("%(message)s", tracebacks=False).format(record) == "it failed (x): ValueError: broken"
    assert OneLine("%(message)s", tracebacks=True).format(record).startswith("it failed (x)\nTraceback")


def test_a_trial_that_can_not_be_noted_is_an_error_of_the_journal(tmp_path):
    log = TrialLog.__new__(TrialLog)
    log.folder, log.path, log.results = tmp_path, tmp_path / "journal.ndjson", []
    with open("/dev/full", "a") as file:
        log._file = file
        with pytest.raises(OtelKfsError, match=r"can't write .*journal\.ndjson: No space left on device"):
            log.add(TrialResult(0, "http", "json", "1.1MB", 1, 0, 1.0))
        with pytest.raises(OSError, match="No space"):
            file.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
    assert log.results == []


def test_an_empty_address_of_kafka_is_refused():
    code, _, errors = shell(f"{MAIN} bridge --bootstrap-servers '' --topic t --url http://h --model m")
    assert (code, errors.splitlines()[-1]) == (
        2,
        "Error: Invalid value for '--bootstrap-servers': it is empty: give host:port,...",
    )


@pytest.mark.parametrize("endpoint", ["rubbish", "localhost:4318", "http://"])
def test_an_endpoint_that_is_no_url_is_refused_before_anything_is_started(endpoint):
    from otel_kfs.demo.processes import export_to
    from otel_kfs.errors import ConfigError

    with pytest.raises(ConfigError, match=r"is no URL; write http://host:port$"):
        export_to(endpoint)


def test_what_nobody_foresaw_of_a_file_is_one_line_and_its_traceback_is_for_verbose(capsys, caplog):
    import click

    from otel_kfs.cli.group import Group

    @click.group(cls=Group)
    def main():
        pass

    @main.command()
    def fail():
        raise PermissionError(13, "Permission denied", "/a/file")

    with pytest.raises(SystemExit) as raised:
        main.main(["fail"])
    assert (raised.value.code, capsys.readouterr().err) == (1, "Error: can't use /a/file: Permission denied\n")
    assert caplog.records == []
