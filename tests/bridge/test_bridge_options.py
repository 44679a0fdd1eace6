"""Options of a bridge that can't work together are refused, and what is left open follows from the others."""

import pytest

from otel_kfs.bridge.bridge_options import BridgeOptions
from otel_kfs.errors import ConfigError

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"redrive": True}, "a redrive reads the dead-letter topic: name that one, and no other topic"),
        ({"dead_letter_topic": "t"}, "t is the dead-letter topic: it can't be bridged, only redriven"),
        (
            {"on_refused": "dead-letter"},
            "dead letters need a topic; name one with --dead-letter-topic",
        ),
    ],
)
def test_options_that_can_t_work_together_are_a_configuration_error(options, message):
    with pytest.raises(ConfigError) as raised:
        BridgeOptions("localhost:9092", ["t"], "http://127.0.0.1", **options)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("options", "refused", "unanswered"),
    [
        ({}, "skip", "stop"),
        ({"dead_letter_topic": "d"}, "dead-letter", "dead-letter"),
        ({"dead_letter_topic": "d", "on_refused": "stop", "on_unanswered": "skip"}, "stop", "skip"),
    ],
)
def test_without_a_policy_records_go_to_the_dead_letter_topic_if_there_is_one(options, refused, unanswered):
    made = BridgeOptions("localhost:9092", ["t"], "http://127.0.0.1", **options)
    assert (made.policy(refused=True), made.policy(refused=False)) == (refused, unanswered)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, 2),
        ({"concurrency": 3}, 6),
        ({"concurrency": 3, "batch": 4}, 24),
        ({"concurrency": 3, "max_in_flight": 2}, 2),
    ],
)
def test_twice_as_many_records_are_in_flight_as_can_be_at_the_model(options, limit):
    assert BridgeOptions("localhost:9092", ["t"], "http://127.0.0.1", **options).in_flight_limit == limit


def test_a_redrive_consumes_the_dead_letter_topic():
    made = BridgeOptions("localhost:9092", [], "http://127.0.0.1", dead_letter_topic="d", redrive=True)
    assert made.consumed_topics == ["d"]
