"""TLS, client certificates and logins on the real Kafka, from properties files in Java's words and in librdkafka's."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from certificates import Certificates
from support import JPG, LIMIT, HttpServer, new_topic, read_traces, start, wait_until, without_ms

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "services"))

import services

pytestmark = [pytest.mark.services, pytest.mark.kafka]

ALICE, BOB = "in-wonderland-7", 'can "we" \\fix it'  # passwords; Bob's needs Java's escapes
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
STORE = "store-password-3"


def tls(certificates: Certificates, server: Path, **more: str) -> dict[str, str]:
    """A listener's properties."""
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.ca),
        **{key.replace("_", "."): value for key, value in more.items()},
    }


@pytest.fixture(scope="module")
def kafka(certificates: Certificates) -> Iterator[services.Kafka]:
    from confluent_kafka import admin

    logins = {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "plain.sasl.jaas.config": f'{PLAIN} required user_alice="{ALICE}";',
        "scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
    }
    listeners = {
        "TLS": services.Listener("SSL", tls(certificates, certificates.server)),
        "MUTUAL": services.Listener("SSL", tls(certificates, certificates.server, ssl_client_auth="required")),
        "EXPIRED": services.Listener("SSL", tls(certificates, certificates.expired)),
        "ELSEWHERE": services.Listener("SSL", tls(certificates, certificates.elsewhere)),
        "LOGIN": services.Listener("SASL_SSL", {**tls(certificates, certificates.server), **logins}),
    }
    with services.kafka(listeners=listeners) as running:
        scram = admin.ScramCredentialInfo(admin.ScramMechanism.SCRAM_SHA_512, 4096)
        bob = admin.UserScramCredentialUpsertion("bob", scram, BOB.encode())
        client = admin.AdminClient({"bootstrap.servers": running.bootstrap_servers})
        for done in client.alter_user_scram_credentials([bob]).values():
            done.result(30)
        yield running


@pytest.fixture
def topic(kafka: services.Kafka) -> str:
    """A topic that exists, for whose making nobody has to wait."""
    return new_topic(kafka.bootstrap_servers)


@dataclass
class Client:
    """Which listener a client goes to, with which lines in its properties file."""

    listener: str
    lines: list[str] = field(default_factory=list)

    def file(self, certificates: Certificates) -> str:
        words = {
            "CA": certificates.ca,
            "OTHER": certificates.other_ca,
            "CLIENT": certificates.client,
            "STRANGER": certificates.stranger,
            "P12": certificates.pkcs12(certificates.client, STORE),
        }
        text = "\n".join(self.lines)
        for word, path in words.items():
            text = text.replace(f"<{word}>", str(path))
        Path("client.properties").write_text(text)
        return "client.properties"


JAVA_TLS = ["security.protocol=SSL", "ssl.truststore.type=PEM", "ssl.truststore.location=<CA>"]
OURS_TLS = ["security.protocol=ssl", "ssl.ca.location=<CA>"]
JAVA_LOGIN = ["security.protocol=SASL_SSL", *JAVA_TLS[1:]]
BOB_IN_JAAS = BOB.replace("\\", "\\\\").replace('"', '\\"')  # JAAS's escapes ...
BOB_IN_FILE = BOB_IN_JAAS.replace("\\", "\\\\")  # ... within those of a properties file

GOOD = {
    "TLS, Java's words": Client("TLS", JAVA_TLS),
    "TLS, librdkafka's": Client("TLS", OURS_TLS),
    "another host's certificate, unchecked": Client("ELSEWHERE", [*JAVA_TLS, "ssl.endpoint.identification.algorithm="]),
    "mutual TLS, PEM": Client("MUTUAL", [*JAVA_TLS, "ssl.keystore.type=PEM", "ssl.keystore.location=<CLIENT>"]),
    "mutual TLS, PKCS #12": Client(
        "MUTUAL",
        [*JAVA_TLS, "ssl.keystore.type=PKCS12", "ssl.keystore.location=<P12>", f"ssl.keystore.password={STORE}"],
    ),
    "mutual TLS, librdkafka's": Client(
        "MUTUAL", [*OURS_TLS, "ssl.certificate.location=<CLIENT>", "ssl.key.location=<CLIENT>"]
    ),
    "PLAIN, JAAS": Client(
        "LOGIN",
        [
            *JAVA_LOGIN,
            "sasl.mechanism=PLAIN",
            f'sasl.jaas.config={PLAIN} required username="alice" password="{ALICE}";',
        ],
    ),
    "PLAIN, librdkafka's": Client(
        "LOGIN", [*JAVA_LOGIN, "sasl.mechanism=PLAIN", "sasl.username=alice", f"sasl.password={ALICE}"]
    ),
    "SCRAM, JAAS over several lines": Client(
        "LOGIN",
        [
            *JAVA_LOGIN,
            "sasl.mechanism=SCRAM-SHA-512",
            f"sasl.jaas.config={SCRAM} required \\",
            '    username="bob" \\',
            f'    password="{BOB_IN_FILE}";',
        ],
    ),
    "SCRAM, librdkafka's": Client(
        "LOGIN",
        [
            *JAVA_LOGIN,
            "sasl.mechanism=SCRAM-SHA-512",
            "sasl.username=bob",
            "sasl.password=" + BOB.replace("\\", "\\\\"),
        ],
    ),
}

CHECK_TLS = "check ssl.ca.location and the broker's name"
CHECK_LOGIN = "check sasl.mechanism, sasl.username and sasl.password"
WRONG = "wrong-password-9"
BAD = {
    "an unknown authority": (
        Client("TLS", ["security.protocol=SSL", "ssl.ca.location=<OTHER>"]),
        f"no TLS connection to the broker at ADDRESS: the server's certificate is signed by no authority that is "
        f"trusted here; {CHECK_TLS}",
    ),
    "an expired certificate": (
        Client("EXPIRED", JAVA_TLS),
        f"no TLS connection to the broker at ADDRESS: the server's certificate has expired; {CHECK_TLS}",
    ),
    "another host's certificate": (
        Client("ELSEWHERE", JAVA_TLS),
        "no TLS connection to the broker at ADDRESS: the server's certificate is another host's (IP address mismatch, "
        f"certificate is not valid for '127.0.0.1'); {CHECK_TLS}",
    ),
    "no client certificate": (
        Client("MUTUAL", JAVA_TLS),
        "no TLS connection to the broker at ADDRESS: the server wants a client certificate and got none, or does not "
        "accept the one it got; check security.protocol, ssl.keystore.location or ssl.certificate.location",
    ),
    "a client certificate of a stranger": (
        Client("MUTUAL", [*JAVA_TLS, "ssl.certificate.location=<STRANGER>", "ssl.key.location=<STRANGER>"]),
        "no TLS connection to the broker at ADDRESS: the server wants a client certificate and got none, or does not "
        "accept the one it got; check security.protocol, ssl.keystore.location or ssl.certificate.location",
    ),
    "a wrong password, PLAIN": (
        Client("LOGIN", [*JAVA_LOGIN, "sasl.mechanism=PLAIN", "sasl.username=alice", f"sasl.password={WRONG}"]),
        "the broker at ADDRESS refused the login: SASL authentication error: Authentication failed: Invalid username "
        f"or password; {CHECK_LOGIN}",
    ),
    "a wrong password, SCRAM": (
        Client("LOGIN", [*JAVA_LOGIN, "sasl.mechanism=SCRAM-SHA-512", "sasl.username=bob", f"sasl.password={WRONG}"]),
        "the broker at ADDRESS refused the login: SASL authentication error: Authentication failed during "
        f"authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512; {CHECK_LOGIN}",
    ),
    "a mechanism that is not enabled": (
        Client("LOGIN", [*JAVA_LOGIN, "sasl.mechanism=SCRAM-SHA-256", "sasl.username=bob", f"sasl.password={WRONG}"]),
        "the broker at ADDRESS refused the login: SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported "
        f"SASL mechanism: broker's supported mechanisms: PLAIN,SCRAM-SHA-512; {CHECK_LOGIN}",
    ),
}


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that may take so long as its own time-outs are; a refusal has to come before them."""
    Path("cat.jpg").write_bytes(JPG)
    with start([sys.executable, "-m", "otel_kfs.cli", *arguments], OTEL_KFS_TRACES_FILE="traces.jsonl") as process:
        output, errors = process.communicate(timeout=LIMIT)
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def send(address: str, topic: str, file: str) -> subprocess.CompletedProcess[str]:
    command = ["-q", "send", "--transport", "kafka", "--bootstrap-servers", address, "--topic", topic]
    return cli(*command, "--timeout", "300", "--producer-config", file, "--image", "cat.jpg")


@pytest.mark.parametrize("client", GOOD.values(), ids=GOOD.keys())
def test_send_delivers_and_producer_and_consumer_read_the_same_file(kafka, certificates, topic, client):
    from otel_kfs.client.kafka_access.kafka_settings import read_properties
    from otel_kfs.kafka import Consumer, Producer

    file, address = client.file(certificates), kafka.addresses[client.listener]
    done = send(address, topic, file)
    assert (done.returncode, done.stderr) == (0, "")
    assert without_ms(done.stdout) == {"file": "cat.jpg", "topic": topic, "partition": 0, "offset": 0}

    settings = {"bootstrap.servers": address, **read_properties(file)}
    producer = Producer(settings)
    producer.produce(topic, b"from Python")
    assert producer.flush(30) == 0
    consumer = Consumer({**settings, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    values = []
    wait_until("two records", lambda: (values.extend(r.value() for r in consumer.consume(2, 0.2)), len(values) == 2)[1])
    consumer.close()
    assert values[1] == b"from Python"


@pytest.mark.parametrize("client", [GOOD["mutual TLS, PKCS #12"], GOOD["SCRAM, JAAS over several lines"]])
def test_the_bridge_consumes_with_such_a_file(kafka, certificates, topic, client):
    file, address = client.file(certificates), kafka.addresses[client.listener]
    assert send(address, topic, file).returncode == 0
    with HttpServer().running() as model:
        command = ["bridge", "--bootstrap-servers", address, "--topic", topic, "--group", topic]
        command += ["--consumer-config", file, "--url", model.url, "--traces-file", "bridge.jsonl"]
        with start([sys.executable, "-m", "otel_kfs.cli", *command], PYTHONUNBUFFERED="1") as bridge:
            line = bridge.stdout.readline()
            bridge.terminate()
            _, errors = bridge.communicate(timeout=LIMIT)
    assert json.loads(line)["answer"] == {"predictions": [1]}, errors
    assert f"process {topic}" in [span.name for span in read_traces(Path("bridge.jsonl"))]


@pytest.mark.parametrize(("client", "message"), BAD.values(), ids=BAD.keys())
def test_send_names_a_refusal_in_one_line(kafka, certificates, topic, client, message):
    file, address = client.file(certificates), kafka.addresses[client.listener]
    done = send(address, topic, file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {message.replace('ADDRESS', address)}\n"
    assert WRONG not in Path("traces.jsonl").read_text()


@pytest.mark.parametrize(("client", "message"), BAD.values(), ids=BAD.keys())
def test_the_bridge_names_a_refusal_in_one_line(kafka, certificates, topic, client, message):
    file, address = client.file(certificates), kafka.addresses[client.listener]
    command = ["-q", "bridge", "--bootstrap-servers", address, "--topic", topic, "--group", topic]
    done = cli(*command, "--consumer-config", file, "--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {message.replace('ADDRESS', address)}\n"


def test_librdkafkas_debug_log_holds_no_password(kafka, certificates, topic, caplog):
    from otel_kfs import KafkaSender
    from otel_kfs.client.kafka_access.kafka_settings import read_properties

    caplog.set_level(logging.DEBUG)
    for name in ("SCRAM, librdkafka's", "PLAIN, JAAS", "mutual TLS, PKCS #12"):
        client = GOOD[name]
        settings = {**read_properties(client.file(certificates)), "debug": "all", "log_level": 7}
        KafkaSender(kafka.addresses[client.listener], topic, config=settings).send(JPG)
    assert "rdkafka" in caplog.text
    for secret in (ALICE, BOB, STORE):
        assert secret not in caplog.text
