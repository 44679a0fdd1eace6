"""`otel-kfs watch` as its user sees it: what it says when it begins, and when it ends, however that comes about."""

import re
import signal
import sys
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from support import LIMIT, start, wait_until
from traces_builder import HTTP, KAFKA, spans, with_options
from watch_support import JSON, as_json, post

from otel_kfs import cli
from otel_kfs.analysis.corrected_measurement import read_sketches
from otel_kfs.report.answer import answer

pytestmark = pytest.mark.sketch


@contextmanager
def watch(*arguments):
    """A watch in a process of its own, and the URL at which it takes OTLP over HTTP."""
    ports = ("--grpc-port", "0", "--http-port", "0")
    with start([sys.executable, "-m", "otel_kfs.cli", "watch", *ports, *map(str, arguments)]) as process:
        try:
            line = process.stderr.readline()
            yield process, f"http://127.0.0.1:{re.search(r'HTTP on port ([0-9]+)', line)[1]}"
        finally:
            process.kill()


def otel_kfs(*arguments):
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_ctrl_c_prints_the_same_sentence_as_the_traces_it_kept_give(tmp_path):
    kept = tmp_path / "traces.otlp"
    with watch("--traces-file", kept) as (process, url):
        for number in range(4):
            post(url, as_json(spans((HTTP, KAFKA)[number % 2], f"t{number}")), JSON)
        post(url, as_json(spans(with_options(HTTP, "POST", "failed"), "f")), JSON)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=LIMIT)
    sentence = answer(read_sketches(str(kept), processes=1)).sentence
    assert output.splitlines() == [sentence, "4 images measured; 1 left out: the request failed"]
    assert (process.returncode, errors.split("\n")) == (130, ["", "stopped", ""])  # behind ^C a line ends


def test_killed_and_started_again_it_has_in_its_file_all_that_was_acknowledged(tmp_path):
    kept = tmp_path / "traces.otlp"
    for life in range(2):
        with watch("--traces-file", kept) as (process, url):
            for number in range(3):
                assert post(url, as_json(spans(HTTP, f"{life}{number}")), JSON).status_code == 200
            process.kill()
            process.wait()
    assert read_sketches(str(kept), processes=1).coverage.measured == 6


def test_it_ends_and_says_so_when_nothing_came():
    with watch() as (process, _):
        process.terminate()
        output, errors = process.communicate(timeout=LIMIT)
    assert (output, errors.splitlines(), process.returncode) == (
        "no image was measured, of 0 spans\n",
        ["stopped by SIGTERM"],
        143,
    )


def test_what_was_lost_is_said_at_the_end():
    with watch("--forward", "http://127.0.0.1:9") as (process, url):
        post(url, as_json(spans(HTTP)), JSON)
        post(url, b"no json", JSON)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    assert errors.splitlines() == [
        "requests that were no OTLP: 1",
        "spans not handed on to http://127.0.0.1:9 (Connection refused): 16",
        "",  # behind ^C
        "stopped",
    ]


def test_hostile_names_reach_no_terminal():
    drawn = spans(HTTP)
    named = [replace(span, name=f"\x1b[2J{span.name}\r\n", service="\x1b]0;x\x07") for span in drawn[3:]]
    root = [replace(span, attributes={**span.attributes, "otel_kfs.encoding": "\x1b[31mred"}) for span in drawn[:3]]
    with watch() as (process, url):
        post(url, as_json([*root, *named]), JSON)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=LIMIT)
    assert [char for char in output + errors if not char.isprintable() and char != "\n"] == []


def test_a_port_in_use_is_one_line_that_says_which_and_what_to_do():
    with watch() as (_, url):
        port = url.rpartition(":")[2]
        for name, option in (("HTTP", "--http-port"), ("gRPC", "--grpc-port")):
            others = {"--http-port": "0", "--grpc-port": "0", option: port}
            code, out, errors = otel_kfs("watch", *(word for pair in others.items() for word in pair))
            assert (code, out) == (1, "")
            (line,) = errors.splitlines()
            assert line.startswith("Error: can't listen")
            assert line.count(port) == 1
            assert line.endswith(f"choose another by {option}"), name


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 70])
def test_an_address_that_is_none_of_this_machine_is_not_blamed_on_a_port(host):
    found = otel_kfs("watch", "--listen", host, "--insecure")
    assert found == (
        1, "", f"Error: can't listen on {host}: no address of this machine; choose another by --listen\n"
    )  # fmt: skip


@pytest.mark.parametrize("given", [(), ("--tls-cert", "c", "--tls-key", "k"), ("--token-file", "token")])
def test_beyond_loopback_it_takes_tls_and_a_token_or_the_word_that_neither_is_needed(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("secret\n")
    assert otel_kfs("watch", "--listen", "0.0.0.0", *given) == (
        1,
        "",
        "Error: --listen 0.0.0.0 lets other machines send: give --tls-cert, --tls-key and --token-file, or --insecure "
        "if the network may be trusted\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tls-cert", "c"), "--tls-cert and --tls-key belong together: give both"),
        (("--token-file", "empty"), "empty is empty: write the token that senders have to give into it"),
        (("--token-file", "none"), "can't read none: No such file or directory"),
        (("--tls-cert", "none", "--tls-key", "none"), "can't use --tls-cert none with --tls-key: No such file or "
         "directory"),
        (("--forward", "localhost:4317"), "--forward localhost:4317 is not a URL like http://localhost:4317 or "
         "http://localhost:4318"),
    ],
)  # fmt: skip
def test_what_can_t_be_used_is_said_in_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("\n")
    found = otel_kfs("watch", "--grpc-port", "0", "--http-port", "0", *arguments)
    assert found == (1, "", f"Error: {message}\n")


def test_without_a_library_it_is_one_line_that_says_what_to_install(monkeypatch):
    for module in [name for name in sys.modules if name.startswith("otel_kfs.watch.watch_service")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert otel_kfs("watch") == (
        1,
        "",
        "Error: uvicorn is not installed; in a clone of otel-kfs, run: pip install '.[watch]'\n",
    )


def test_a_line_now_and_then_says_what_was_measured_where_there_is_no_terminal(monkeypatch):
    # The command's own seconds are for people.
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    script = (
        "from otel_kfs.cli.commands import watch; watch._LINE_SECONDS = 0.2;"
        "from otel_kfs import cli; cli.main(['watch', '--grpc-port', '0', '--http-port', '0'])"
    )
    with start([sys.executable, "-c", script]) as process:
        line = process.stderr.readline()
        port = re.search(r"HTTP on port ([0-9]+)", line)
        assert port, line + process.stderr.readline()
        url = f"http://127.0.0.1:{port[1]}"
        assert process.stdout.readline() == "0 spans, no image yet\n"
        post(url, as_json(spans(HTTP)), JSON)
        line = wait_until("a line", lambda: next(iter(re.findall(r".*takes.*", process.stdout.readline())), ""))
        process.kill()
    assert re.match(r"\d\.\d images/s\. An image of 1\.1MB takes 1000\.0 ms over HTTP \(one image\)", line)
