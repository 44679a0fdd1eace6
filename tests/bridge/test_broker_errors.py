"""What no new try can mend ends the bridge."""

import pytest
from confluent_kafka import KafkaError

from otel_kfs.bridge.broker_errors import BrokerErrors
from otel_kfs.errors import ConfigError

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("code", ["TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "_AUTHENTICATION"])
def test_what_the_broker_refuses_for_good_is_a_configuration_error(code):
    error = KafkaError(getattr(KafkaError, code), "not for you")
    with pytest.raises(ConfigError) as raised:
        BrokerErrors("localhost:9092", ["t"]).in_place_of_record(error)
    assert str(raised.value) == "the broker at localhost:9092 refused: not for you"
