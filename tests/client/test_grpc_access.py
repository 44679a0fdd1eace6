"""Reaching a model's server over gRPC by TLS, with a client certificate, with a token: from Python and by command."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_support import Servicer, run_cli, server_credentials
from support import JPG, connect_proxy, unserved_port, without_ms

from otel_kfs import GrpcSender
from otel_kfs.client.model_access import ModelAccess
from otel_kfs.errors import ConfigError, SendError
from otel_kfs.experiment.config.config_file import load
from otel_kfs.experiment.runner import run

ANSWER = {"model_name": "m", "outputs": []}
TOKEN = "c2VjcmV0LW1vZGVsLXRva2Vu"
UNKNOWN = "the server's certificate is signed by no authority that is trusted here"
HUNG_UP = (
    "the server hung up after the handshake; most likely it wants a client certificate and got none, or does not "
    "accept the one it got"
)
CHECK = "check the URL, --model-ca and --model-cert"


@pytest.fixture
def servicer():
    return Servicer()


@pytest.fixture
def listening(servicer):
    """Starts listeners; each gives its address, host:port."""
    with ExitStack() as stack:
        yield lambda *credentials: stack.enter_context(servicer.running(*credentials))


@pytest.fixture
def secured(certificates, listening) -> str:
    """A server whose certificate is signed by the tests' own authority."""
    return f"https://{listening(server_credentials(certificates.server))}"


@pytest.fixture
def mutual(certificates, listening) -> str:
    """The same, which also wants one of its clients."""
    return f"https://{listening(server_credentials(certificates.server, certificates.ca))}"


def send(target: str, **access) -> dict:
    return GrpcSender(target, "m", timeout=10, access=ModelAccess(**access)).send(JPG)


def failure(target: str, **access) -> str:
    with pytest.raises(ConfigError) as raised:
        send(target, **access)
    return str(raised.value)


def cli(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    Path("cat.jpg").write_bytes(JPG)
    command = ["-q", "send", "--transport", "grpc", "--model", "m", *arguments, "--image", "cat.jpg"]
    return run_cli(*command, OTEL_TRACES_EXPORTER="none", **env)


def authorizations(servicer: Servicer) -> list[str | None]:
    return [metadata.get("authorization") for metadata in servicer.metadata]


@pytest.mark.parametrize("scheme", ["https", "grpcs", "HTTPS"])
def test_an_own_authority_is_trusted(certificates, secured, scheme):
    assert send(secured.replace("https", scheme), ca=certificates.ca) == ANSWER


def test_without_an_authority_grpc_s_own_variable_is_honoured(certificates, secured):
    done = cli("--url", secured, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=str(certificates.ca))
    assert (done.returncode, done.stderr, without_ms(done.stdout)) == (0, "", {"file": "cat.jpg", **ANSWER})


@pytest.mark.parametrize("access", [{}, {"ca": "other_ca"}])
def test_an_unknown_authority_is_named(certificates, secured, access):
    access = {key: getattr(certificates, name) for key, name in access.items()}
    assert failure(secured, **access) == f"no TLS connection to {secured}: {UNKNOWN}; {CHECK}"


def test_python_needs_no_access_for_tls_and_is_told_what_is_wrong_all_the_same(secured):
    with pytest.raises(ConfigError) as raised:
        GrpcSender(secured, "m").send(JPG)
    assert str(raised.value) == f"no TLS connection to {secured}: {UNKNOWN}; {CHECK}"


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
def test_what_is_wrong_with_a_certificate_is_named(certificates, listening, server, why):
    target = f"https://{listening(server_credentials(getattr(certificates, server)))}"
    assert failure(target, ca=certificates.ca) == f"no TLS connection to {target}: {why}; {CHECK}"


def test_a_server_without_tls_is_named(certificates, listening):
    target = f"https://{listening()}"
    assert failure(target, ca=certificates.ca) == (
        f"no TLS connection to {target}: the server does not speak TLS on this port; {CHECK}"
    )


def test_where_nothing_listens_it_is_not_tls_that_is_blamed(certificates):
    target = f"https://127.0.0.1:{unserved_port()}"
    with pytest.raises(SendError, match=rf"^can't reach {target} by gRPC; check host, port and that it runs: "):
        send(target, ca=certificates.ca)


def test_a_client_certificate_and_its_key_in_one_file(certificates, mutual):
    assert send(mutual, ca=certificates.ca, cert=certificates.client) == ANSWER


def test_a_client_certificate_and_its_key_in_two_files(certificates, mutual):
    cert, key = certificates.in_two_files(certificates.client)
    assert send(mutual, ca=certificates.ca, cert=cert, key=key) == ANSWER


@pytest.mark.parametrize("access", [{}, {"cert": "stranger"}])
def test_a_missing_or_foreign_client_certificate_is_named(certificates, mutual, servicer, access):
    access = {key: getattr(certificates, name) for key, name in access.items()}
    message = failure(mutual, ca=certificates.ca, **access)
    assert (message, servicer.requests) == (f"no TLS connection to {mutual}: {HUNG_UP}; {CHECK}", [])


def test_a_server_that_is_http_s_alone_is_named(certificates, https):
    server = https(certificates.server_context())
    assert failure(server.url, ca=certificates.ca) == (
        f"no TLS connection to {server.url}: the server does not speak HTTP/2 on this port; {CHECK}"
    )


def test_a_client_certificate_that_is_missing_is_named_in_the_words_of_a_server_that_has_some(certificates, https):
    server = https(certificates.server_context(mutual=True))
    server._server.socket.context.set_alpn_protocols(["h2"])
    assert failure(server.url, ca=certificates.ca) == (
        f"no TLS connection to {server.url}: the server wants a client certificate; {CHECK}"
    )


def test_a_server_s_own_words_about_its_unavailability_are_shown(certificates, secured, servicer):
    servicer.answer = (grpc.StatusCode.UNAVAILABLE, "TLS error: CERTIFICATE_VERIFY_FAILED: upstream")
    with pytest.raises(SendError, match=r"^can't reach .*: TLS error: CERTIFICATE_VERIFY_FAILED: upstream$"):
        send(secured, ca=certificates.ca)


def test_credentials_of_the_caller_s_own_that_do_not_suit_the_server_are_told_by_grpc_s_words(certificates, secured):
    credentials = grpc.ssl_channel_credentials(certificates.other_ca.read_bytes())
    with pytest.raises(ConfigError) as raised:
        GrpcSender(secured, "m", credentials=credentials).send(JPG)
    why = "the server's certificate is not trusted (unable to get local issuer certificate)"
    assert str(raised.value) == f"no TLS connection to {secured}: {why}; {CHECK}"


def test_credentials_of_the_caller_s_own_go_before_certificates_and_the_token_stays(certificates, mutual, servicer):
    Path("token").write_text(TOKEN)
    content = certificates.client.read_bytes()
    credentials = grpc.ssl_channel_credentials(certificates.ca.read_bytes(), content, content)
    access = ModelAccess(ca=certificates.other_ca, token_file="token")
    assert GrpcSender(mutual, "m", access=access, credentials=credentials).send(JPG) == ANSWER
    assert GrpcSender(mutual.removeprefix("https://"), "m", credentials=credentials).send(JPG) == ANSWER
    assert authorizations(servicer) == [f"Bearer {TOKEN}", None]


def test_a_token_comes_from_its_file_or_the_environment(certificates, secured, servicer, monkeypatch):
    Path("token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("OTEL_KFS_MODEL_TOKEN", "from-the-environment")
    send(secured, ca=certificates.ca, token_file="token")
    send(secured, ca=certificates.ca)
    assert authorizations(servicer) == [f"Bearer {TOKEN}", "Bearer from-the-environment"]


def test_a_token_goes_to_a_plain_server_as_it_does_over_http(listening, servicer):
    Path("token").write_text(TOKEN)
    send(listening(), token_file="token")
    assert authorizations(servicer) == [f"Bearer {TOKEN}"]


def test_a_token_that_is_renewed_is_the_current_one(certificates, secured, servicer):
    Path("token").write_text("token-1")
    sender = GrpcSender(secured, "m", access=ModelAccess(ca=certificates.ca, token_file="token"))
    sender.send(JPG)
    Path("token").write_text("token-2")
    sender.send(JPG)
    assert authorizations(servicer) == ["Bearer token-1", "Bearer token-2"]


def test_a_token_file_that_vanished_is_named(certificates, secured):
    Path("token").write_text(TOKEN)
    sender = GrpcSender(secured, "m", access=ModelAccess(ca=certificates.ca, token_file="token"))
    Path("token").unlink()
    with pytest.raises(ConfigError, match=r"^can't read token: No such file or directory$"):
        sender.send(JPG)


def test_certificates_mean_nothing_to_a_plain_server(certificates, listening):
    assert send(listening(), ca=certificates.ca, cert=certificates.client) == ANSWER


def test_send_takes_all_of_it_as_options(certificates, mutual, servicer):
    Path("token").write_text(TOKEN)
    options = ["--model-ca", certificates.ca, "--model-cert", certificates.client, "--model-key", certificates.client]
    done = cli("--url", mutual, *map(str, options), "--model-token-file", "token")
    assert (done.returncode, done.stderr, without_ms(done.stdout)) == (0, "", {"file": "cat.jpg", **ANSWER})
    assert authorizations(servicer) == [f"Bearer {TOKEN}"]


def test_send_takes_all_of_it_from_the_environment(certificates, mutual, servicer):
    environment = {
        "OTEL_KFS_MODEL_CA": str(certificates.ca),
        "OTEL_KFS_MODEL_CERT": str(certificates.client),
        "OTEL_KFS_MODEL_KEY": str(certificates.client),
        "OTEL_KFS_MODEL_TOKEN": TOKEN,
    }
    done = cli("--url", mutual, **environment)
    assert (done.returncode, done.stderr, without_ms(done.stdout)) == (0, "", {"file": "cat.jpg", **ANSWER})
    assert authorizations(servicer) == [f"Bearer {TOKEN}"]


def test_the_environment_s_certificates_are_for_tls_alone(certificates, listening):
    done = cli("--url", listening(), OTEL_KFS_MODEL_CA=str(certificates.ca))
    assert (done.returncode, done.stderr, without_ms(done.stdout)) == (0, "", {"file": "cat.jpg", **ANSWER})


def test_send_names_an_unknown_authority_in_one_line(secured):
    done = cli("--url", secured)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"Error: no TLS connection to {secured}: {UNKNOWN}; {CHECK}\n",
    )


def test_send_names_a_missing_client_certificate_in_one_line(certificates, mutual):
    done = cli("--url", mutual, "--model-ca", str(certificates.ca))
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"Error: no TLS connection to {mutual}: {HUNG_UP}; {CHECK}\n",
    )


def experiment(target: str, *settings: str):
    """The configuration of an experiment that sends one image by gRPC."""
    Path("a.jpg").write_bytes(JPG)
    lines = ['images = ["a.jpg"]', "repeat = 2", "warmups = 1", "[servers]", 'model = "m"', f'grpc = "{target}"']
    Path("e.toml").write_text("\n".join([*lines, *settings, "[matrix]", 'transport = ["grpc"]']))
    return load(Path("e.toml"))


@contextmanager
def no_progress(*_, **__):
    yield lambda _: None


def test_an_experiment_reaches_grpc_by_its_servers_certificates_and_token(certificates, mutual, servicer, spans):
    Path("token").write_text(TOKEN)
    config = experiment(mutual, f'ca = "{certificates.ca}"', f'cert = "{certificates.client}"', 'token_file = "token"')
    log = run(config, Path("run"), say=lambda _: None, progress=no_progress)
    assert [(result.sent, result.failed) for result in log.results] == [(1, 0)] * 2
    assert authorizations(servicer) == [f"Bearer {TOKEN}"] * 3


def test_an_experiment_ends_at_a_certificate_that_it_can_not_trust(secured, spans):
    with pytest.raises(ConfigError) as raised:
        run(experiment(secured), Path("run"), say=lambda _: None, progress=no_progress)
    assert str(raised.value) == f"no TLS connection to {secured}: {UNKNOWN}; {CHECK}"


def test_a_proxy_that_does_not_let_a_call_through_is_no_fault_of_the_server_s_certificate(
    certificates, secured, monkeypatch
):
    with connect_proxy(refusals=1000) as url:
        monkeypatch.setenv("https_proxy", url)
        with pytest.raises(SendError, match="can't reach"):
            send(secured, ca=certificates.other_ca)
