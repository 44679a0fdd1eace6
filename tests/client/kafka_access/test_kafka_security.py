"""Java's logins and stores in librdkafka's words; what can't be translated is named, and no value is ever shown."""

import sys
from pathlib import Path

import pytest
from support import LIMIT, start, unserved_port

pytest.importorskip("confluent_kafka")

from confluent_kafka import KafkaError

from otel_kfs.client.kafka_access.kafka_security import Refusals, config_errors
from otel_kfs.client.kafka_access.kafka_settings import read_properties
from otel_kfs.errors import ConfigError
from otel_kfs.kafka import Producer

pytestmark = pytest.mark.kafka

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


def read(text: str) -> dict[str, str]:
    Path("client.properties").write_text(text)
    return read_properties("client.properties")


def refusal(text: str) -> str:
    """Why a file is not taken; whatever that is, it holds no secret."""
    with pytest.raises(ConfigError) as raised:
        read(text)
    message = str(raised.value)
    assert "hunter2" not in message
    assert raised.value.__context__ is None or "hunter2" not in repr(raised.value.__context__)
    return message


@pytest.mark.parametrize(
    "jaas",
    [
        f'{PLAIN} required username="alice" password="hunter2";',
        f"{PLAIN} required username=alice password=hunter2",
        f'  {PLAIN}  optional serviceName="kafka" password = "hunter2" username="alice" ; ',
        f'{PLAIN} required \\\n  username="alice" \\\n  password="hunter2";',
        'org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="hunter2";',
    ],
)
def test_a_jaas_line_is_user_name_and_password(jaas):
    assert read(f"sasl.jaas.config={jaas}\n") == {"sasl.username": "alice", "sasl.password": "hunter2"}


def test_both_escapes_of_a_jaas_line_are_undone():
    # The file's escapes first (\\ and \"), then those of the quoted value.
    assert read(rf'sasl.jaas.config={PLAIN} required username="a" password="\\"\\\\;=";')["sasl.password"] == '"\\;='


def test_librdkafkas_own_login_goes_before_javas():
    text = f'sasl.jaas.config={PLAIN} required username="alice" password="hunter2";\nsasl.password=other\n'
    assert read(text) == {"sasl.username": "alice", "sasl.password": "other"}


@pytest.mark.parametrize(
    "jaas", ["hunter2", f'{PLAIN} required password="hunter2', f"{PLAIN} required password: hunter2;"]
)
def test_what_is_no_jaas_line_is_refused(jaas):
    assert refusal(f"sasl.jaas.config={jaas}\n") == (
        'client.properties: sasl.jaas.config is not: <module> required username="..." password="...";'
    )


@pytest.mark.parametrize(
    "jaas",
    [
        'com.sun.security.auth.module.Krb5LoginModule required keyTab="hunter2";',
        'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientSecret="hunter2";',
        f'{PLAIN} required password="hunter2";',
    ],
)
def test_another_login_is_named_with_librdkafkas_way(jaas):
    assert refusal(f"sasl.jaas.config={jaas}\n").endswith(
        "write another login with librdkafka's own settings (sasl.oauthbearer.*, sasl.kerberos.*)"
    )


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("ssl.truststore.type=PEM\nssl.truststore.location=ca.pem\n", {"ssl.ca.location": "ca.pem"}),
        ("ssl.truststore.type=PEM\nssl.truststore.certificates=A \\\n B\n", {"ssl.ca.pem": "A B"}),
        (
            "ssl.keystore.type=PEM\nssl.keystore.location=c.pem\nssl.key.password=hunter2\n",
            {
                "ssl.certificate.location": "c.pem",
                "ssl.key.location": "c.pem",
                "ssl.key.password": "hunter2",
            },
        ),
        (
            "ssl.keystore.type=PEM\nssl.keystore.key=K\nssl.keystore.certificate.chain=C\n",
            {"ssl.key.pem": "K", "ssl.certificate.pem": "C"},
        ),
        (
            "ssl.keystore.type=PKCS12\nssl.keystore.location=c.p12\nssl.keystore.password=hunter2\n",
            {"ssl.keystore.location": "c.p12", "ssl.keystore.password": "hunter2"},
        ),
        ("ssl.endpoint.identification.algorithm=\n", {"ssl.endpoint.identification.algorithm": "none"}),
        ("ssl.endpoint.identification.algorithm=https\n", {"ssl.endpoint.identification.algorithm": "https"}),
    ],
)
def test_javas_stores_become_librdkafkas_settings(text, settings):
    assert read(text) == settings


@pytest.mark.parametrize(("kind", "named"), [("", "JKS"), ("ssl.truststore.type=pkcs12\n", "PKCS12")])
def test_a_trust_store_that_librdkafka_can_not_read_is_named_with_the_way_out(kind, named):
    assert refusal(f"{kind}ssl.truststore.location=t.jks\nssl.truststore.password=hunter2\n") == (
        f"client.properties: ssl.truststore.location is a {named} store, which librdkafka can't read; write its "
        "certificates as PEM (keytool -list -rfc -keystore t.jks > ca.pem) and set ssl.truststore.type=PEM and "
        "ssl.truststore.location=ca.pem"
    )


def test_a_key_store_that_librdkafka_can_not_read_is_named_with_the_way_out():
    assert refusal("ssl.keystore.type=JKS\nssl.keystore.location=k.jks\nssl.keystore.password=hunter2\n") == (
        "client.properties: ssl.keystore.location is a JKS store, which librdkafka can't read; turn it into PKCS12 "
        "(keytool -importkeystore -srckeystore k.jks -destkeystore client.p12 -deststoretype PKCS12) and set "
        "ssl.keystore.type=PKCS12 and ssl.keystore.location=client.p12"
    )


def test_an_escape_that_is_none_is_named_by_its_line_alone():
    assert refusal("acks=all\n# more\nsasl.password=hunter2\\uzz\n") == (
        "client.properties, line 3: \\u without four hexadecimal digits"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"no.such": "hunter2"}, 'f: No such configuration property: "no.such"'),
        ({"security.protocol": "hunter2"}, 'f: an invalid value for "security.protocol"'),
        (
            {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.password": "hunter2"},
            "f: Failed to create producer: sasl.username and sasl.password must be set",
        ),
    ],
)
def test_a_setting_that_librdkafka_does_not_take_is_named_without_its_value(settings, message):
    with pytest.raises(ConfigError) as raised, config_errors("f"):
        Producer({"bootstrap.servers": "127.0.0.1:1", **settings})
    assert (str(raised.value), raised.value.__cause__) == (message, None)


LEFT = """
import gc, sys
sys.argv = ["otel-kfs", "send", "--transport", "kafka", "--topic", "t", "--json", "payload.json", *sys.argv[1:]]
from otel_kfs.cli import main
try:
    main()
except SystemExit as ending:
    from otel_kfs.kafka import Producer
    print(ending.code, [held for held in gc.get_objects() if isinstance(held, Producer)])
"""


def left(*options: str) -> tuple[str, str]:
    """What a command that fails still holds of its client when it exits, after its exit code; and what it said."""
    Path("payload.json").write_text("{}")
    with start([sys.executable, "-c", LEFT, *options], OTEL_TRACES_EXPORTER="none") as process:
        return process.communicate(timeout=LIMIT)


def test_a_command_that_failed_has_let_go_of_its_client_when_it_exits():
    """Closed by the interpreter's very end, a client crashed now and then: exit code -11."""
    printed, said = left("--bootstrap-servers", f"127.0.0.1:{unserved_port()}", "--timeout", "1")
    assert (printed, said.count("\n")) == ("1 []\n", 1)


def test_a_command_that_was_refused_has_let_go_of_its_client_too(certificates, https):
    server = https(certificates.server_context(mutual=True))
    Path("client.properties").write_text(f"security.protocol=SSL\nssl.ca.location={certificates.ca}\n")
    printed, said = left("--bootstrap-servers", f"127.0.0.1:{server.port}", "--producer-config", "client.properties")
    assert printed == "1 []\n"
    assert said == (
        f"Error: no TLS connection to the broker at 127.0.0.1:{server.port}: the server wants a client certificate; "
        "check security.protocol, ssl.keystore.location or ssl.certificate.location\n"
    )


def test_a_refusal_is_kept_for_the_check_and_raises_nothing_within_librdkafka_s_callback():
    heard: list[KafkaError] = []
    refusals = Refusals({}, heard.append)
    down = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
    for error in (
        KafkaError(KafkaError._AUTHENTICATION, "sasl_plaintext://127.0.0.1:9/1: wrong password (after 3ms in state X)"),
        down,
        KafkaError(KafkaError._AUTHENTICATION, "sasl_plaintext://127.0.0.1:9/1: something later"),
    ):
        refusals(error)
    assert heard == [down]
    with pytest.raises(ConfigError) as raised:
        refusals.check()
    assert str(raised.value) == (
        "the broker at 127.0.0.1:9 refused the login: wrong password; "
        "check sasl.mechanism, sasl.username and sasl.password"
    )


def test_without_a_refusal_the_check_passes():
    refusals = Refusals({}, None)
    refusals(KafkaError(KafkaError._TRANSPORT, "127.0.0.1:9/1: Connection refused"))
    refusals.check()
