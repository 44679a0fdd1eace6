"""`otel-kfs send`: how an image is encoded, and choices that can't go together."""

import json

import pytest
from click.testing import CliRunner
from support import JPG, PHOTO, HttpServer

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
    result = send("--transport", "http", "--url", server.url, "--model", "m", *payload, "--image", "cat.jpg")
    assert (result.exit_code, json.loads(result.output)) == (0, {"file": "cat.jpg", "predictions": [1]})
    (request,) = server.requests
    assert (request.headers["content-type"], request.headers["content-encoding"]) == ("image/jpeg", "gzip")


def test_a_picture_is_resized_before_it_is_sent(server):
    options = ["--encoding", "raw", "--resize", "64"]
    assert send("--transport", "http", "--url", server.url, *options, "--image", PHOTO).exit_code == 0
    assert len(server.requests[0].body) < PHOTO.stat().st_size / 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--transport", "http", "--url", "http://h", "--encoding", "protobuf"], "'protobuf' is not one of"),
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
