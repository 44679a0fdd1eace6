"""What no new try can mend ends the bridge; everything else is said once, and waited for."""

import pytest
from confluent_kafka import KafkaError

from otel_kfs.bridge.broker_errors import BrokerErrors
from otel_kfs.errors import ConfigError

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize(
    "code",
    [
        "TOPIC_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "_AUTHENTICATION",
        "_BAD_MSG",  # librdkafka would pass the record over
        "_AUTO_OFFSET_RESET",
        "INCONSISTENT_GROUP_PROTOCOL",
    ],
)
def test_what_the_broker_refuses_for_good_is_a_configuration_error(code):
    error = KafkaError(getattr(KafkaError, code), "not for you")
    with pytest.raises(ConfigError) as raised:
        BrokerErrors("localhost:9092", ["t"]).in_place_of_record(error)
    assert str(raised.value) == "the broker at localhost:9092 refused: not for you"


@pytest.mark.parametrize(
    "code",
    [
        "REQUEST_TIMED_OUT",
        "NETWORK_EXCEPTION",
        "COORDINATOR_NOT_AVAILABLE",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "NOT_COORDINATOR",
        "UNKNOWN",
        "LEADER_NOT_AVAILABLE",
        "KAFKA_STORAGE_ERROR",
        "GROUP_MAX_SIZE_REACHED",
        "UNKNOWN_MEMBER_ID",
        "_MAX_POLL_EXCEEDED",
        "_TRANSPORT",
        "_TIMED_OUT",
    ],
)
def test_what_may_pass_is_said_once_and_waited_for(caplog, code):
    errors = BrokerErrors("localhost:9092", ["t"])
    error = KafkaError(getattr(KafkaError, code))
    assert not error.retriable()
    for _ in range(3):
        errors.in_place_of_record(error)
    assert [record.message for record in caplog.records] == [
        f"the broker at localhost:9092 can't serve the bridge for now, trying again: {error.str()}"
    ]
