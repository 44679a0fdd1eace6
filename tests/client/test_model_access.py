"""Reaching a model's server by TLS, with a client certificate, with a token: from Python and from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import JPG, LIMIT, HttpServer, connect_proxy, start, wait_until, without_ms

from otel_kfs import HttpSender
from otel_kfs.client.model_access import model_session
from otel_kfs.errors import ConfigError, SendError

ANSWER = {"predictions": [1]}
TOKEN = "c2VjcmV0LW1vZGVsLXRva2Vu"


@pytest.fixture
def secured(certificates, https) -> HttpServer:
    """A server whose certificate is signed by the tests' own authority."""
    return https(certificates.server_context())


@pytest.fixture
def mutual(certificates, https) -> HttpServer:
    """The same, which also wants one of its clients."""
    return https(certificates.server_context(mutual=True))


@pytest.fixture
def plain():
    with HttpServer().running() as server:
        yield server


def send(server: HttpServer, payload: bytes = JPG, **access) -> dict:
    return HttpSender(server.url, model="m", timeout=10, session=model_session(**access)).send(payload)


def failure(server: HttpServer, **access) -> str:
    with pytest.raises(ConfigError) as raised:
        send(server, **access)
    return str(raised.value).replace(server.url, "URL")


def cli(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    Path("cat.jpg").write_bytes(JPG)
    with start([sys.executable, "-m", "otel_kfs.cli", *arguments], OTEL_TRACES_EXPORTER="none", **env) as process:
        output, errors = process.communicate(timeout=LIMIT)
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def test_an_own_authority_is_trusted(certificates, secured):
    assert send(secured, ca=certificates.ca) == ANSWER


def test_an_own_authority_goes_before_the_environments(certificates, secured, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.other_ca))
    assert send(secured, ca=certificates.ca) == ANSWER


def test_without_an_authority_requests_own_variable_is_honoured(certificates, secured, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca))
    assert send(secured) == ANSWER


@pytest.mark.parametrize("access", [{}, {"ca": "other_ca"}])
def test_an_unknown_authority_is_named(certificates, secured, access):
    access = {key: getattr(certificates, name) for key, name in access.items()}
    assert failure(secured, **access) == (
        "no TLS connection to URL/v1/models/m:predict: the server's certificate is signed by no authority that is "
        "trusted here; check the URL, --model-ca and --model-cert"
    )


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("expired", "the server's certificate has expired"),
        (
            "elsewhere",
            "the server's certificate is another host's (IP address mismatch, certificate is not valid for "
            "'127.0.0.1')",
        ),
    ],
)
def test_what_is_wrong_with_a_certificate_is_named(certificates, https, server, why):
    server = https(certificates.server_context(getattr(certificates, server)))
    message = failure(server, ca=certificates.ca)
    assert message.split(": ", 1)[1] == f"{why}; check the URL, --model-ca and --model-cert"


def test_a_server_without_tls_is_named(certificates, plain):
    plain.url = plain.url.replace("http:", "https:")
    assert ": the server does not speak TLS on this port; " in failure(plain, ca=certificates.ca)


@pytest.mark.parametrize("authority", ["ca", "other_ca"])
def test_a_proxy_that_does_not_let_a_request_through_is_no_fault_of_the_server_s_certificate(
    certificates, secured, monkeypatch, authority
):
    # Not even where the server's could not be trusted: that was not seen.
    with connect_proxy(refusals=1) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        access = {"ca": getattr(certificates, authority)}
        with pytest.raises(
            SendError, match="does not let the request through: Tunnel connection failed: 503 Busy; check"
        ):
            send(secured, **access)
        if authority == "ca":
            assert send(secured, **access) == ANSWER
        else:
            assert "signed by no authority" in failure(secured, **access)


def test_a_client_certificate_and_its_key_in_one_file(certificates, mutual):
    assert send(mutual, ca=certificates.ca, cert=certificates.client) == ANSWER


def test_a_client_certificate_and_its_key_in_two_files(certificates, mutual):
    cert, key = certificates.in_two_files(certificates.client)
    assert send(mutual, ca=certificates.ca, cert=cert, key=key) == ANSWER


def test_a_client_certificate_that_was_renewed_is_used_by_the_next_connection(certificates, https, tmp_path):
    seen = []
    server = https(certificates.server_context(mutual=True))

    def answer(_, handler):
        seen.append(handler.connection.getpeercert()["serialNumber"])
        handler.close_connection = True
        return 200, b"{}"

    server.answer = answer
    cert = tmp_path / "client.pem"
    cert.write_bytes(certificates.client.read_bytes())
    sender = HttpSender(server.url, session=model_session(ca=certificates.ca, cert=cert))
    sender.send(JPG)
    cert.write_bytes(certificates.issue("renewed", "client.example.com").read_bytes())
    sender.send(JPG)
    assert len(set(seen)) == 2


@pytest.mark.parametrize("size", [10, 20_000_000])
@pytest.mark.parametrize("access", [{}, {"cert": "stranger"}])
def test_a_missing_or_foreign_client_certificate_is_named(certificates, mutual, access, size):
    access = {key: getattr(certificates, name) for key, name in access.items()}
    with pytest.raises(ConfigError) as raised:
        send(mutual, JPG + bytes(size), ca=certificates.ca, **access)
    assert "client certificate" in str(raised.value)


@pytest.mark.parametrize(
    ("access", "message"),
    [
        ({"ca": "no.pem"}, "can't read no.pem: No such file or directory"),
        ({"ca": "junk.pem"}, "junk.pem holds no certificates in PEM"),
        ({"cert": "no.pem"}, "can't read no.pem: No such file or directory"),
        ({"cert": "ca"}, "CA: not a client certificate and its own key, both in PEM, the key without a password"),
        ({"key": "client"}, "a client key is of no use without its certificate: give --model-cert, too"),
        (
            {"cert": "client", "key": "server"},
            "CLIENT and SERVER: not a client certificate and its own key, both in PEM, the key without a password",
        ),
        ({"token_file": "no.txt"}, "can't read no.txt: No such file or directory"),
        ({"token_file": "empty"}, "empty does not hold a token: one line of ASCII without blanks is expected"),
        ({"token_file": "lines"}, "lines does not hold a token: one line of ASCII without blanks is expected"),
        ({"token_file": "binary"}, "binary does not hold a token: it is not ASCII"),
    ],
)
def test_files_that_can_not_be_used_are_named_before_anything_is_sent(certificates, access, message):
    for name, content in {"junk.pem": b"junk", "empty": b"\n", "lines": b"se\ncret", "binary": b"se\xffcret"}.items():
        Path(name).write_bytes(content)
    given = {key: getattr(certificates, name, name) for key, name in access.items()}
    with pytest.raises(ConfigError) as raised:
        model_session(**given)
    for name in ("ca", "client", "server"):
        message = message.replace(name.upper(), str(getattr(certificates, name)))
    assert str(raised.value) == message


def test_a_key_with_a_password_is_refused_instead_of_asked_for(certificates):
    encrypted = certificates.encrypted(certificates.client, "pass phrase")
    with pytest.raises(ConfigError, match="the key without a password"):
        model_session(cert=encrypted)


def test_a_token_comes_from_its_file_or_the_environment(plain, monkeypatch):
    Path("token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("OTEL_KFS_MODEL_TOKEN", "from-the-environment")
    send(plain, token_file="token")
    send(plain)
    assert [request.headers["authorization"] for request in plain.requests] == [
        f"Bearer {TOKEN}",
        "Bearer from-the-environment",
    ]


def test_a_token_that_rotates_as_kubernetes_does_it_is_the_current_one(plain):
    for number in (1, 2):
        Path(f"..{number}").mkdir()
        Path(f"..{number}/token").write_text(f"token-{number}")
    Path("..data").symlink_to("..1")
    Path("token").symlink_to("..data/token")
    sender = HttpSender(plain.url, session=model_session(token_file="token"))
    sender.send(JPG)
    Path("..new").symlink_to("..2")
    os.replace("..new", "..data")
    sender.send(JPG)
    assert [request.headers["authorization"] for request in plain.requests] == ["Bearer token-1", "Bearer token-2"]


def test_a_token_file_that_vanished_is_named(plain):
    Path("token").write_text(TOKEN)
    sender = HttpSender(plain.url, session=model_session(token_file="token"))
    Path("token").unlink()
    with pytest.raises(ConfigError, match=r"^can't read token: No such file or directory$"):
        sender.send(JPG)


def test_a_token_goes_before_the_user_in_the_url(plain):
    Path("token").write_text(TOKEN)
    HttpSender(plain.url.replace("//", "//me:word@"), session=model_session(token_file="token")).send(JPG)
    assert plain.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_token_is_not_taken_to_another_server_by_a_redirect(plain):
    with HttpServer().running() as other:

        def redirect(_, handler):
            handler.send_response(307)
            handler.send_header("Location", other.url.replace("127.0.0.1", "localhost"))
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        plain.answer = redirect
        Path("token").write_text(TOKEN)
        # A body that was streamed can't be sent again, so the redirect is followed by hand, as requests would.
        session = model_session(token_file="token")
        session.post(plain.url, data=b"{}", timeout=10)
        assert [request.headers.get("authorization") for request in other.requests] == [None]


def test_send_takes_all_of_it_as_options(certificates, mutual):
    Path("token").write_text(TOKEN)
    options = ["--model-ca", certificates.ca, "--model-cert", certificates.client, "--model-token-file", "token"]
    done = cli("-q", "send", "--transport", "http", "--url", mutual.url, *map(str, options), "--image", "cat.jpg")
    assert (done.returncode, done.stderr, without_ms(done.stdout)) == (0, "", {"file": "cat.jpg", **ANSWER})
    assert mutual.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_send_takes_all_of_it_from_the_environment(certificates, mutual):
    done = cli(
        *("-q", "send", "--transport", "http", "--url", mutual.url, "--image", "cat.jpg"),
        OTEL_KFS_MODEL_CA=str(certificates.ca),
        OTEL_KFS_MODEL_CERT=str(certificates.client),
        OTEL_KFS_MODEL_KEY=str(certificates.client),
        OTEL_KFS_MODEL_TOKEN=TOKEN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert mutual.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_send_names_an_unknown_authority_in_one_line(secured):
    done = cli("send", "--transport", "http", "--url", secured.url, "--image", "cat.jpg")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"Error: no TLS connection to {secured.url}/: the server's certificate is signed by no authority that is "
        "trusted here; check the URL, --model-ca and --model-cert\n",
    )


@pytest.mark.kafka
def test_the_bridge_reaches_a_model_by_mutual_tls_with_a_token(certificates, mutual, broker, topic):
    from otel_kfs import KafkaSender
    from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS

    KafkaSender(broker, topic).send(JPG)
    Path("token").write_text(TOKEN)
    Path("c.properties").write_text("".join(f"{key}={value}\n" for key, value in CONSUMER_SETTINGS.items()))
    options = ["--model-ca", certificates.ca, "--model-cert", certificates.client, "--model-token-file", "token"]
    command = ["bridge", "--bootstrap-servers", broker, "--topic", topic, "--url", mutual.url]
    command += ["--consumer-config", "c.properties", *map(str, options)]
    with start([sys.executable, "-m", "otel_kfs.cli", *command], OTEL_TRACES_EXPORTER="none") as bridge:
        wait_until("the model's request", lambda: mutual.requests or bridge.poll() is not None)
        bridge.terminate()
        _, errors = bridge.communicate(timeout=LIMIT)
    assert [request.headers["authorization"] for request in mutual.requests] == [f"Bearer {TOKEN}"], errors


@pytest.mark.kafka
def test_the_bridge_ends_at_a_server_that_it_can_not_trust_without_committing(certificates, secured, broker, topic):
    from confluent_kafka import Consumer, TopicPartition

    from otel_kfs import KafkaSender
    from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS

    KafkaSender(broker, topic).send(JPG)
    Path("c.properties").write_text("".join(f"{key}={value}\n" for key, value in CONSUMER_SETTINGS.items()))
    command = ["-q", "bridge", "--bootstrap-servers", broker, "--topic", topic, "--group", topic]
    command += ["--consumer-config", "c.properties", "--url", f"{secured.url}/p", "--retry-for", "600"]
    done = cli(*command, "--model-ca", str(certificates.other_ca))
    assert (done.returncode, done.stdout, secured.requests) == (1, "", [])
    assert done.stderr == (
        f"Error: no TLS connection to {secured.url}/p: the server's certificate is signed by no authority that is "
        "trusted here; check the URL, --model-ca and --model-cert\n"
    )
    consumer = Consumer({"bootstrap.servers": broker, "group.id": topic})
    (committed,) = consumer.committed([TopicPartition(topic, 0)], timeout=10)
    consumer.close()
    assert committed.offset <= 0  # where nothing was ever committed, it is negative


@pytest.mark.kafka
def test_the_bridge_names_a_file_that_it_can_not_use(broker, topic):
    command = ["-q", "bridge", "--bootstrap-servers", broker, "--topic", topic, "--url", "http://127.0.0.1:1"]
    done = cli(*command, "--model-token-file", "no.txt")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "Error: can't read no.txt: No such file or directory\n",
    )
