"""`otel-kfs send`: how an image is encoded, and choices that can't go together."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import JPG, LIMIT, PHOTO, HttpServer, read_traces, start, unserved_port, without_ms

from otel_kfs.cli import main

# The command must find the tests' provider set, because a process can't change it.
pytestmark = pytest.mark.usefixtures("spans")


@pytest.fixture
def server():
    with HttpServer().running() as server:
        yield server


def send(*arguments):
    result = CliRunner().invoke(main, ["-q", "send", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_form_is_what_the_options_say(server, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(JPG)
    payload = ["--encoding", "raw", "--compression", "gzip", "--cell", "a label"]
    result = send("--url", server.url, "--model", "m", *payload, "--image", "cat.jpg")
    assert (result.exit_code, without_ms(result.output)) == (0, {"file": "cat.jpg", "predictions": [1]})
    (request,) = server.requests
    assert (request.headers["content-type"], request.headers["content-encoding"]) == ("image/jpeg", "gzip")


def test_a_picture_is_sent_to_a_chat_with_a_prompt(server, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(JPG)
    options = ["--url", server.url, "--model", "m", "--prompt", "What is it?", "--stream", "--cell", "a label"]
    result = send("--transport", "openai", *options, "--image", "cat.jpg")
    assert (result.exit_code, without_ms(result.output)) == (0, {"file": "cat.jpg", "predictions": [1]})
    (request,) = server.requests
    body = json.loads(request.body)
    asked = body["messages"][0]["content"][0]["text"]
    assert (request.path, asked, body["stream"]) == ("/openai/v1/chat/completions", "What is it?", True)


def test_a_picture_is_resized_before_it_is_sent(server):
    options = ["--encoding", "raw", "--resize", "64"]
    assert send("--transport", "http", "--url", server.url, *options, "--image", PHOTO).exit_code == 0
    assert len(server.requests[0].body) < PHOTO.stat().st_size / 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--transport", "http", "--url", "http://h", "--encoding", "protobuf"], "'protobuf' is not one of"),
        (["--transport", "openai", "--url", "http://h"], "this transport needs --model"),
        (
            ["--transport", "openai", "--url", "http://h", "--model", "m", "--encoding", "raw"],
            "--encoding does not apply to --transport openai",
        ),
        (["--transport", "http", "--url", "http://h", "--prompt", "?"], "--prompt does not apply to --transport http"),
        (
            ["--transport", "grpc", "--url", "h:1", "--model", "m", "--model-ca", "ca.pem"],
            "--model-ca does not apply to a plain --url; for TLS write it as https://host:port",
        ),
        (
            ["--transport", "grpc", "--url", "h:1", "--model", "m", "--model-key", "key.pem"],
            "--model-key does not apply to a plain --url; for TLS write it as https://host:port",
        ),
        (
            ["--transport", "kafka", "--bootstrap-servers", "h:1", "--topic", "t", "--model-token-file", "token"],
            "--model-token-file does not apply to --transport kafka",
        ),
        (["--transport", "http", "--url", "http://h", "--compression", "brotli"], "'brotli' is not one of"),
        (["--transport", "http", "--url", "http://h", "--resize", "0"], "0 is not in the range x>=1"),
        (["--transport", "http", "--url", "http://h", "--encoding", "claim-check"], "needs --bucket"),
        (
            ["--transport", "http", "--url", "http://h", "--bucket", "b"],
            "--bucket does not apply to --encoding json",
        ),
        (["--transport", "grpc", "--url", "h:1"], "needs --model"),
        (
            ["--transport", "grpc", "--url", "h:1", "--model", "m", "--encoding", "raw"],
            "--encoding does not apply to --transport grpc",
        ),
        (["--transport", "kafka", "--bootstrap-servers", "h:1"], "needs --topic"),
        (["--bootstrap-servers", "h:1"], "needs --topic"),
        (["--model", "m"], "nowhere to send to: give --url, or --bootstrap-servers and --topic for Kafka"),
    ],
)
def test_what_cannot_go_together_is_a_usage_error(options, complaint):
    result = send(*options, "--image", PHOTO)
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.split())


def test_a_json_payload_has_no_encoding(tmp_path):
    (tmp_path / "p.json").write_bytes(b"{}")
    result = send("--transport", "http", "--url", "http://h", "--encoding", "raw", "--json", "p.json")
    assert (result.exit_code, "--encoding does not apply to --json" in result.output) == (2, True)


def test_a_codec_that_grpc_lacks_is_one_line():
    result = send("--transport", "grpc", "--url", "h:1", "--model", "m", "--compression", "lz4", "--image", PHOTO)
    assert (result.exit_code, result.output) == (1, "Error: gRPC does not compress by lz4; it knows gzip\n")


# --- in a process of its own, which is not told where spans go ---

TOOK = re.compile(r"\d+\.\d ms")


def process(*arguments, **env):
    Path("cat.jpg").write_bytes(JPG)
    command = [sys.executable, "-m", "otel_kfs.cli", "send", "--transport", "http", *arguments]
    with start(command, **env) as running:
        output, errors = running.communicate(timeout=LIMIT)
    return subprocess.CompletedProcess(arguments, running.returncode, output, TOOK.sub("0.0 ms", errors))


def nobody():
    return f"http://127.0.0.1:{unserved_port()}"


def test_every_image_is_timed_and_the_end_sums_them_up(server):
    done = process(
        "--url", server.url, "--repeat", "2", "--image", "cat.jpg", "missing.jpg", OTEL_TRACES_EXPORTER="none"
    )
    assert [without_ms(line) for line in done.stdout.splitlines()] == [{"file": "cat.jpg", "predictions": [1]}] * 2
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        [
            "Error: can't read missing.jpg: No such file or directory",
            "Error: can't read missing.jpg: No such file or directory",
            "2 sent over HTTP: p50 0.0 ms, max 0.0 ms; 2 failed",
        ],
    )


def test_where_nobody_listens_the_spans_are_kept_in_a_file_of_the_run(server):
    endpoint = nobody()
    done = process(
        "--url", server.url, "--image", "cat.jpg", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_TRACES_EXPORTER=""
    )
    (file,) = Path("otel-kfs-runs").glob("20*/traces/*.jsonl")
    assert (done.returncode, done.stderr.splitlines()) == (
        0,
        [
            "1 sent over HTTP: 0.0 ms; none failed",
            f"Nobody listens at {endpoint}, so the spans are in {file}. Where the time went:",
            f"  otel-kfs tables {file.parent}",
        ],
    )
    assert {span.name for span in read_traces(file)} >= {"send image", "POST"}
    assert Path("otel-kfs-runs/latest/traces").resolve() == file.parent.resolve()


def test_where_the_run_s_folder_cannot_be_made_the_images_are_sent_all_the_same(server):
    Path("otel-kfs-runs").write_text("in the way")
    endpoint = nobody()
    done = process(
        "--url", server.url, "--image", "cat.jpg", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_TRACES_EXPORTER=""
    )
    assert (done.returncode, without_ms(done.stdout)) == (0, {"file": "cat.jpg", "predictions": [1]})
    assert done.stderr.splitlines()[-1].endswith(f"not exported to {endpoint}: nobody listens there")


def test_a_user_who_turned_tracing_off_gets_no_file(server):
    assert process("--url", server.url, "--image", "cat.jpg", OTEL_TRACES_EXPORTER="none").returncode == 0
    assert not Path("otel-kfs-runs").exists()
