"""Distinct secrets in every place where a user can put one, and all output searched for each of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from collector_support import otlp_over_http
from grpc_support import Servicer, run_cli
from support import JPG, LIMIT, HttpServer, read_traces, run_python, start, unserved_port

from otel_kfs.cli import main

# Each is found as it is, and none is part of another. The user's name counts as one, too.
URL_USER, URL_PASSWORD, URL_QUERY = "cl4ra-of-the-url", "pw-in-the-url-81", "q-in-the-url-82"
TOKEN, OTLP, STORE = "dG9rZW4taW4tYS1maWxlLTgz", "otlp-header-value-84", "store-header-value-85"
KAFKA, RECORD, BAGGAGE = "kafka-password-86", "record-header-value-87", "baggage-value-88"
SECRETS = {name: value for name, value in globals().items() if isinstance(value, str) and name.isupper()}

OTLP_ENVIRONMENT = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization={OTLP}"}


def with_secrets(url: str) -> str:
    return url.replace("://", f"://{URL_USER}:{URL_PASSWORD}@") + f"/v1/models/m:predict?token={URL_QUERY}"


def leaks(*outputs: str) -> dict[str, str]:
    """Which secrets are in what was put out, with a little of what stands around each."""
    text = "\n".join(outputs)
    return {name: text[max(0, text.index(value) - 60) :][:150] for name, value in SECRETS.items() if value in text}


def written() -> str:
    """The spans of a run."""
    return "\n".join(file.read_text() for file in sorted(Path().glob("*.jsonl")))


def cli(*arguments: str, **env: str) -> tuple[int, str]:
    """A command's exit code, and all that it put out: to the terminal, with --verbose, and as spans."""
    Path("cat.jpg").write_bytes(JPG)
    Path("token").write_text(TOKEN)
    command = [sys.executable, "-m", "otel_kfs.cli", "--verbose", *arguments]
    with start(command, OTEL_KFS_TRACES_FILE="traces.jsonl", **OTLP_ENVIRONMENT, **env) as process:
        output, errors = process.communicate(timeout=LIMIT)
    return process.returncode, "\n".join([output, errors, written()])


@pytest.fixture
def refused(spans) -> Callable[..., str]:
    """Runs a command that ends, with one line, before it sends anything; here, so that it is quick."""

    def run(*arguments: str) -> str:
        Path("cat.jpg").write_bytes(JPG)
        done = CliRunner().invoke(main, arguments)
        assert (done.exit_code, done.output.count("\n"), done.output[:7]) == (1, 1, "Error: ")
        return done.output

    return run


@pytest.fixture
def model():
    with HttpServer().running() as server:
        yield server


@pytest.fixture
def sends_to() -> Callable[[str], tuple[int, str]]:
    def send(url: str) -> tuple[int, str]:
        options = ["--transport", "http", "--url", url, "--model-token-file", "token", "--timeout", "5"]
        return cli("send", *options, "--image", "cat.jpg")

    return send


def test_the_search_finds_what_is_there():
    assert set(leaks(f"a {URL_USER} b", f"<{KAFKA}>")) == {"URL_USER", "KAFKA"}


def test_a_send_that_is_answered(model, sends_to):
    code, output = sends_to(with_secrets(model.url))
    assert (code, leaks(output)) == (0, {})
    assert f"token={URL_QUERY}" in model.requests[0].path
    assert model.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert {span.attributes.get("http.url") for span in read_traces(Path("traces.jsonl"))} == {
        None,
        f"{model.url}/v1/models/m:predict?token=REDACTED",
    }


def test_a_send_that_is_refused(model, sends_to):
    model.answers(401, b"no")
    code, output = sends_to(with_secrets(model.url))
    assert (code, leaks(output)) == (1, {})


def test_a_send_that_is_not_answered_with_json(model, sends_to):
    model.answers(200, b"<html>")
    code, output = sends_to(with_secrets(model.url))
    assert (code, leaks(output)) == (1, {})


def test_a_send_to_nobody(sends_to):
    code, output = sends_to(with_secrets(f"http://127.0.0.1:{unserved_port()}"))
    assert (code, leaks(output)) == (1, {})
    assert "exception.stacktrace" in output


@pytest.mark.parametrize("scheme", ["htp://", "", "http:/"])
def test_a_send_to_what_is_no_url(refused, scheme):
    url = f"{scheme}{URL_USER}:{URL_PASSWORD}@host/p?token={URL_QUERY}"
    assert leaks(refused("send", "--transport", "http", "--url", url, "--image", "cat.jpg")) == {}


def test_a_send_to_a_url_that_requests_can_not_read(sends_to):
    code, output = sends_to(f"http://{URL_USER}:{URL_PASSWORD}@host:port/p?token={URL_QUERY}")
    assert (code, leaks(output)) == (1, {})


def test_a_send_with_an_https_url_to_a_server_without_tls(model, sends_to):
    code, output = sends_to(with_secrets(model.url.replace("http:", "https:")))
    assert (code, leaks(output)) == (1, {})


def sends_by_grpc(target: str) -> tuple[int, str]:
    Path("cat.jpg").write_bytes(JPG)
    Path("token").write_text(TOKEN)
    options = ["--url", target, "--model", "m", "--model-token-file", "token", "--image", "cat.jpg"]
    command = ["--verbose", "send", "--transport", "grpc", *options]
    done = run_cli(*command, OTEL_KFS_TRACES_FILE="traces.jsonl", **OTLP_ENVIRONMENT)
    return done.returncode, "\n".join([done.stdout, done.stderr, written()])


def test_a_send_by_grpc_that_is_answered():
    servicer = Servicer()
    with servicer.running() as target:
        code, output = sends_by_grpc(target)
    assert (code, leaks(output)) == (0, {})
    assert [metadata["authorization"] for metadata in servicer.metadata] == [f"Bearer {TOKEN}"]


def test_a_send_by_grpc_that_is_refused():
    servicer = Servicer()
    servicer.answer = (grpc.StatusCode.UNAUTHENTICATED, "not you")
    with servicer.running() as target:
        code, output = sends_by_grpc(target)
    assert (code, "not you" in output, leaks(output)) == (1, True, {})


def test_a_refusal_by_grpc_that_repeats_the_token_is_in_no_span():
    servicer = Servicer()
    servicer.answer = (grpc.StatusCode.UNAUTHENTICATED, f"not you: Bearer {TOKEN}")
    with servicer.running() as target:
        code, _ = sends_by_grpc(target)
    assert (code, "Bearer REDACTED" in written(), leaks(written())) == (1, True, {})


@pytest.mark.parametrize("scheme", ["", "https://"])
def test_a_send_by_grpc_to_nobody(scheme):
    code, output = sends_by_grpc(f"{scheme}127.0.0.1:{unserved_port()}")
    assert (code, leaks(output)) == (1, {})


@pytest.mark.parametrize("scheme", ["", "https://", "http://", "grpcs:/"])
def test_a_send_by_grpc_to_an_address_with_secrets(refused, scheme):
    url = f"{scheme}{URL_USER}:{URL_PASSWORD}@host:1/p?token={URL_QUERY}"
    assert leaks(refused("send", "--transport", "grpc", "--url", url, "--model", "m", "--image", "cat.jpg")) == {}


def test_debug_logging_of_otel_kfs_itself(model):
    """urllib3's own debug log shows paths with their queries: it is not ours to change, and off unless asked for."""
    script = f"""
import logging, otel_kfs
from otel_kfs.client.model_access import model_session
logging.basicConfig(level=logging.DEBUG)
logging.getLogger("urllib3").setLevel(logging.INFO)
otel_kfs.configure("s", traces_file="debug.jsonl")
otel_kfs.HttpSender({with_secrets(model.url)!r}, session=model_session(token_file="token")).send({JPG!r})
"""
    Path("token").write_text(TOKEN)
    done = run_python(script, **OTLP_ENVIRONMENT)
    assert (done.returncode, leaks(done.stdout, done.stderr, written())) == (0, {})


def test_spans_that_leave_by_otlp_are_the_same(model):
    script = f"""
import otel_kfs
otel_kfs.configure("s")
otel_kfs.HttpSender({with_secrets(model.url)!r}).send({JPG!r})
"""
    with HttpServer().running() as receiver:
        receiver.answers(200)
        done = run_python(script, **otlp_over_http(receiver.url), **OTLP_ENVIRONMENT)
        bodies = "".join(request.body.decode("latin-1") for request in receiver.requests)
    assert (done.returncode, done.stderr) == (0, "")
    assert "send image" in bodies
    assert leaks(bodies) == {}


def test_an_otlp_receiver_that_is_not_there(model):
    script = f"import otel_kfs; otel_kfs.configure('s'); otel_kfs.HttpSender({model.url!r}).send({JPG!r})"
    nobody = f"http://{URL_USER}:{URL_PASSWORD}@127.0.0.1:{unserved_port()}/?token={URL_QUERY}"
    done = run_python(script, **otlp_over_http(nobody), OTEL_EXPORTER_OTLP_TIMEOUT="1", **OTLP_ENVIRONMENT)
    assert "spans were not exported" in done.stderr
    assert leaks(done.stdout, done.stderr) == {}


def test_captured_headers(model):
    code, output = cli(
        *("send", "--transport", "http", "--url", model.url, "--image", "cat.jpg", "--model-token-file", "token"),
        OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST=".*",
    )
    assert (code, leaks(output)) == (0, {})
    assert "http.request.header.content_type" in output


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("jaeger", None),
        ("tempo", (401, b"")),
        ("jaeger", (404, b"no")),
        ("tempo", (200, b"<html>")),
        ("tempo", (200, b'{"traces": []}')),
    ],
)
def test_tables_from_a_store(kind, answer):
    environment = {"OTEL_KFS_TRACE_STORE_HEADERS": f"authorization={STORE}"}
    with HttpServer().running() as store:
        store.answers(*(answer or (200, b"")))
        store._server.RequestHandlerClass.do_GET = lambda handler: (
            handler.send_response(answer[0]),
            handler.send_header("Content-Length", str(len(answer[1]))),
            handler.end_headers(),
            handler.wfile.write(answer[1]),
        )
        url = store.url if answer else f"http://127.0.0.1:{unserved_port()}"
        url = url.replace("://", f"://{URL_USER}:{URL_PASSWORD}@")
        code, output = cli("tables", "--trace-query", f"{kind}:{url}?service=image-sender", **environment)
    assert (code, leaks(output)) == (1, {})


@pytest.mark.curl
def test_the_real_curl(model):
    Path("body.json").write_text("{}")
    curl = ["curl", "-s", "-H", f"Authorization: Bearer {TOKEN}", "-d", "@body.json", with_secrets(model.url)]
    code, output = cli("exec", "--", *curl)
    assert (code, leaks(output)) == (0, {})
    assert model.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert '"POST"' in output


@pytest.mark.curl
def test_the_real_curl_to_nobody():
    Path("body.json").write_text("{}")
    url = with_secrets(f"http://127.0.0.1:{unserved_port()}")
    code, output = cli("exec", "--", "curl", "-s", "-u", f"me:{TOKEN}", "-d", "@body.json", url)
    assert (code, leaks(output)) == (7, {})


@pytest.mark.kafka
def test_a_kafka_password_with_librdkafkas_debug_log():
    """librdkafka's own broker takes any client; logins that are really used stand in test_secured_kafka.py."""
    settings = {"test.mock.num.brokers": "1", "debug": "all", "sasl.username": "me", "sasl.password": KAFKA}
    Path("producer.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    options = ["--transport", "kafka", "--bootstrap-servers", "mock", "--topic", "t", "--image", "cat.jpg"]
    code, output = cli("send", *options, "--producer-config", "producer.properties")
    assert (code, leaks(output)) == (0, {})


@pytest.mark.kafka
@pytest.mark.parametrize("command", ["send", "bridge"])
@pytest.mark.parametrize(
    "line",
    [
        f"security.protocol={KAFKA}",
        f"sasl.jaas.config={KAFKA}",
        KAFKA,
        f"no.such.setting={KAFKA}",
        f"security.protocol=SSL\nssl.keystore.location=no.p12\nssl.keystore.password={KAFKA}",
        f"ssl.ca.pem={KAFKA}\nsecurity.protocol=SSL",
    ],
)
def test_kafka_settings_that_are_refused(refused, command, line):
    Path("client.properties").write_text(f"{line}\n")
    options = {
        "send": ["--transport", "kafka", "--producer-config", "client.properties", "--image", "cat.jpg"],
        "bridge": ["--consumer-config", "client.properties", "--url", "http://127.0.0.1:1"],
    }
    output = refused(command, *options[command], "--bootstrap-servers", "127.0.0.1:1", "--topic", "t")
    assert leaks(output) == {}


@pytest.mark.kafka
def test_the_bridge_with_headers_and_baggage_of_a_record(model, broker, topic):
    from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS
    from otel_kfs.kafka import Producer

    model.answers(400, b"{}")
    producer = Producer({"bootstrap.servers": broker})
    headers = {"x-user": RECORD, "baggage": f"user={BAGGAGE}", "authorization": f"Bearer {RECORD}"}
    producer.produce(topic, JPG, headers=headers)
    assert producer.flush(30) == 0
    settings = {**CONSUMER_SETTINGS, "sasl.password": KAFKA, "sasl.username": "me"}
    Path("c.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    Path("token").write_text(TOKEN)
    command = ["--verbose", "bridge", "--bootstrap-servers", broker, "--topic", topic, "--url", with_secrets(model.url)]
    command += ["--consumer-config", "c.properties", "--model-token-file", "token", "--traces-file", "bridge.jsonl"]
    command = [sys.executable, "-m", "otel_kfs.cli", *command]
    with start(command, PYTHONUNBUFFERED="1", **OTLP_ENVIRONMENT) as bridge:
        line = bridge.stdout.readline()
        bridge.terminate()
        output, errors = bridge.communicate(timeout=LIMIT)
    assert (bool(model.requests), leaks(line, output, errors, written())) == (True, {})
    assert f"process {topic}" in written()


@pytest.mark.parametrize("command", ["send", "bridge", "exec", "tables", "demo"])
def test_help(command, monkeypatch):
    monkeypatch.setenv("OTEL_KFS_MODEL_TOKEN", TOKEN)
    monkeypatch.setenv("OTEL_KFS_MODEL_KEY", URL_PASSWORD)
    monkeypatch.setenv("OTEL_KFS_TRACE_STORE_HEADERS", STORE)
    done = CliRunner().invoke(main, [command, "--help"])
    assert (done.exit_code, leaks(done.output)) == (0, {})


def test_no_option_takes_a_secret():
    named = {
        option
        for command in main.commands.values()
        for parameter in command.params
        for option in parameter.opts
        if any(word in option for word in ("token", "password", "secret", "user", "header", "key"))
    }
    files = {"--model-token-file", "--model-key", "--tls-key", "--token-file"}
    assert named == {*files, "--host-header"}
