"""`otel-kfs send` over Kafka where the broker does not take the record: one line that names the cause, exit code 1."""

import subprocess
import sys

import confluent_kafka
import pytest
import services
from faults_producer_support import leaders, values
from opentelemetry.trace import StatusCode
from support import JPG, LIMIT, new_topic, read_traces, wait_until

from otel_kfs import KafkaSender
from otel_kfs.bridge.dead_letters import DeadLetters, own_origin
from otel_kfs.errors import ConfigError, SendError
from otel_kfs.kafka import Producer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="right";'
LISTENERS = {"LOGIN": services.Listener("SASL_PLAINTEXT", {"plain.sasl.jaas.config": LOGIN})}
PROPERTIES = {"auto.create.topics.enable": "false", "sasl.enabled.mechanisms": "PLAIN"}


@pytest.fixture(scope="module")
def strict():
    """A broker that makes no topics by itself, and asks for a login at another port."""
    with services.kafka(listeners=LISTENERS, properties=PROPERTIES) as running:
        yield running


@pytest.fixture
def send(tmp_path):
    def send_(servers, topic, *options, image=JPG):
        (tmp_path / "cat.jpg").write_bytes(image)
        where = ["--bootstrap-servers", servers, "--topic", topic, "--traces-file", "spans.jsonl"]
        command = [
            sys.executable,
            "-m",
            "otel_kfs.cli",
            "send",
            "--transport",
            "kafka",
            *where,
            *options,
            "--image",
            "cat.jpg",
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        # The record's span and the image's are errors, and each ended once.
        found = {span.name: span.status for span in read_traces(tmp_path / "spans.jsonl") if span.name != "encode"}
        assert found == {"send image": 2, f"send {topic}": 2}
        return ended.stderr

    return send_


def test_a_record_over_the_topic_s_limit(strict, send):
    topic = new_topic(strict.bootstrap_servers, **{"max.message.bytes": "100000"})
    assert send(strict.bootstrap_servers, topic, image=JPG + bytes(150_000)) == (
        "Error: the broker refused a record of 0.2 MB: raise the topic's max.message.bytes or the broker's "
        "message.max.bytes (and replica.fetch.max.bytes)\n"
    )


def largest(servers, topic):
    """The largest value that the topic takes of confluent_kafka's own producer."""
    producer, low, high = confluent_kafka.Producer({"bootstrap.servers": servers, "linger.ms": 0}), 0, 100_000
    while high - low > 1:
        middle, taken = (low + high) // 2, []
        producer.produce(topic, bytes(middle), on_delivery=lambda error, _, to=taken: to.append(error is None))
        producer.flush()
        low, high = (middle, high) if taken == [True] else (low, middle)
    return low


def test_a_record_that_fits_into_the_topic_without_trace_context_is_sent_without(spans, strict):
    servers = strict.bootstrap_servers
    topic = new_topic(servers, **{"max.message.bytes": "10000"})
    size = largest(servers, topic)
    reports = []
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
    for more in (0, 1):
        producer.produce(topic, bytes(size + more), on_delivery=lambda error, _: reports.append(error and error.name()))
        producer.flush()
    assert reports == [None, "MSG_SIZE_TOO_LARGE"]
    assert [span.status.status_code for span in spans.get_finished_spans()] == [StatusCode.UNSET, StatusCode.ERROR]


def test_a_dead_letter_that_fits_into_its_topic_with_fewer_headers_is_written_with_fewer(strict):
    servers = strict.bootstrap_servers
    topic = new_topic(servers, **{"max.message.bytes": "10000"})
    value = bytes(largest(servers, topic))
    record = confluent_kafka.Message(topic="t", partition=0, offset=7, value=value, headers=[("x", b"y")])
    letters = DeadLetters(servers, topic, "g", {}, None)
    letters.publish(record, own_origin(record), SendError("no picture", 400), 1)
    assert values(servers, topic)[-1] == value


def test_a_topic_that_does_not_exist(strict, send):
    assert send(strict.bootstrap_servers, "nowhere") == (
        f"Error: there is no topic nowhere at {strict.bootstrap_servers}: check --topic, or create it\n"
    )


def test_a_topic_whose_only_broker_is_down(strict, send):
    servers = strict.bootstrap_servers
    with services.kafka(joins=strict, properties=PROPERTIES) as second:
        topic = new_topic(servers, on=second.node_id)
        second.kill()
        wait_until("no leader", lambda: leaders(servers, topic) == [-1])
        assert send(servers, topic, "--timeout", "2") == (
            f"Error: not delivered within 2 s: topic {topic} at {servers} has no leader for partition 0: start one of "
            f"the brokers that hold it ({second.node_id})\n"
        )
        second.start_again()
        # The first record of the topic: the one that was reported failed did not get there later.
        assert KafkaSender(servers, topic).send(JPG) == (topic, 0, 0)


def test_a_wrong_password(strict, send, tmp_path):
    (tmp_path / "login.properties").write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=alice\nsasl.password=wrong\n"
    )
    line = send(strict.addresses["LOGIN"], "t", "--producer-config", "login.properties")
    assert line == (
        f"Error: the broker at {strict.addresses['LOGIN']} refused the login: SASL authentication error: "
        "Authentication failed: Invalid username or password; check sasl.mechanism, sasl.username and sasl.password\n"
    )


def test_an_address_where_nobody_answers(send):
    line = send("127.0.0.1:9", "t")
    assert line == (
        "Error: no broker answers at 127.0.0.1:9 (127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: "
        "Connection refused); check --bootstrap-servers and that the broker runs\n"
    )


def test_a_refused_login_leaves_no_record_behind_for_later(spans, strict):
    config = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "alice",
        "sasl.password": "wrong",
    }
    sender = KafkaSender(strict.addresses["LOGIN"], "t", config=config)
    for _ in range(2):
        with pytest.raises(ConfigError):
            sender.send(JPG)
    records = [span for span in spans.get_finished_spans() if span.name == "send t"]
    assert [span.status.status_code for span in records] == [StatusCode.ERROR] * 2
