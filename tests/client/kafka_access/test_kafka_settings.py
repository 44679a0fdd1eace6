"""A Kafka client's properties file as librdkafka's settings, and the defaults that image records need."""

import confluent_kafka
import pytest

from otel_kfs.client.kafka_access.kafka_settings import consumer_config, producer_config, read_properties
from otel_kfs.errors import ConfigError


def read(tmp_path, text: str) -> dict[str, str]:
    (tmp_path / "client.properties").write_text(text)
    return read_properties(tmp_path / "client.properties")


def test_lines_are_keys_and_values_without_the_blanks_around_them(tmp_path):
    text = "security.protocol=SASL_SSL\n  sasl.mechanism = PLAIN \nsasl.password=a=b\nclient.id=\n"
    assert read(tmp_path, text) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.password": "a=b",
        "client.id": "",
    }


def test_comments_and_empty_lines_are_passed_over(tmp_path):
    assert read(tmp_path, "# acks=0\n! acks=0\n\n   \n  # acks=0\r\nacks=all\r\n") == {"acks": "all"}


def test_java_s_names_are_translated(tmp_path):
    text = "max.request.size=20000000\ndelivery.timeout.ms=1000\ncompression.type=lz4\n"
    assert read(tmp_path, text) == {
        "message.max.bytes": "20000000",
        "message.timeout.ms": "1000",
        "compression.codec": "lz4",
    }


def test_java_s_serializers_are_passed_over(tmp_path):
    text = "key.serializer=a.B\nvalue.serializer=a.B\nkey.deserializer=a.B\nvalue.deserializer=a.B\nbuffer.memory=1\n"
    assert read(tmp_path, text) == {}


@pytest.mark.parametrize("line", ["no separator", "=value", " = "])
def test_a_line_that_is_not_key_value_is_named_but_not_shown(tmp_path, line):
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, f"acks=all\n{line}\n")
    assert str(raised.value) == f"{tmp_path}/client.properties, line 2: not key=value"


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"^can't read no\.properties: No such file or directory$"):
        read_properties("no.properties")


def test_a_file_that_is_not_text_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"^can't read binary: it is not text in UTF-8$"):
        read_properties("binary")


def test_a_sender_s_records_may_be_large_and_their_delivery_is_bounded():
    config = producer_config("host:1", 1.5, {})
    del config["logger"], config["error_cb"]
    assert config == {
        "bootstrap.servers": "host:1",
        "message.max.bytes": 100_000_000,
        "message.timeout.ms": 1500,
        "linger.ms": 0,
    }


def test_a_bridge_s_records_may_be_large_and_it_commits_by_itself_only():
    config = consumer_config("host:1", "a group", {})
    del config["logger"], config["error_cb"]
    assert config == {
        "bootstrap.servers": "host:1",
        "group.id": "a group",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "max.partition.fetch.bytes": 1_048_576,
        "fetch.max.bytes": 1_048_576,
        "queued.max.messages.kbytes": 1024,
        "fetch.queue.backoff.ms": 10,
        "receive.message.max.bytes": 101_000_000,
    }


def test_a_bridge_s_consumer_may_share_a_file_with_producers_of_large_records():
    confluent_kafka.Consumer(consumer_config("127.0.0.1:9", "g", {"message.max.bytes": "20000000"})).close()


@pytest.mark.parametrize(
    "config",
    [
        lambda user: producer_config("host:1", 1.0, user),
        lambda user: consumer_config("host:1", "a group", user),
    ],
)
def test_the_user_s_settings_go_before_the_defaults(config):
    assert config({"message.max.bytes": "2000"})["message.max.bytes"] == "2000"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"bootstrap.servers": "other:2"},
            "bootstrap.servers=other:2 contradicts the servers a:1,b:1: leave it out",
        ),
        (
            {"metadata.broker.list": "a:1"},
            "metadata.broker.list=a:1 contradicts the servers a:1,b:1: leave it out",
        ),
        ({"group.id": "theirs"}, "group.id=theirs contradicts the group ours: leave it out"),
        *(
            (
                {"enable.auto.commit": value},
                "enable.auto.commit would commit records that nobody has answered: leave it out",
            )
            for value in ("true", "True", "1", True)
        ),
    ],
)
def test_what_contradicts_an_option_of_a_bridge_or_what_it_promises_is_an_error(config, message):
    with pytest.raises(ConfigError) as raised:
        consumer_config("a:1,b:1", "ours", config)
    assert str(raised.value) == f"the consumer's settings: {message}"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"bootstrap.servers": "other:2"},
            "bootstrap.servers=other:2 contradicts the servers a:1,b:1: leave it out",
        ),
        (
            {"delivery.report.only.error": "true"},
            "delivery.report.only.error would leave every record waiting for its report",
        ),
    ],
)
def test_what_contradicts_an_option_of_a_sender_or_what_it_promises_is_an_error(config, message):
    with pytest.raises(ConfigError) as raised:
        producer_config("a:1,b:1", 1.0, config)
    assert str(raised.value) == f"the producer's settings: {message}"


def test_what_says_the_same_as_an_option_is_accepted():
    consumer_config("a:1,b:1", "ours", {"bootstrap.servers": "b:1, a:1", "group.id": "ours", "enable.auto.commit": "f"})
    producer_config("a:1,b:1", 1.0, {"bootstrap.servers": "b:1,a:1", "delivery.report.only.error": False})
