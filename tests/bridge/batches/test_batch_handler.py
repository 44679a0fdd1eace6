"""Records that share a request: each is answered, committed and parked for itself, and none falls with another."""

import json
import logging
import threading

import confluent_kafka
import pytest
import requests
from bridge_support import run_until, spans_of
from support import wait_until

from otel_kfs.bridge.batches import batch_handler
from otel_kfs.bridge.bridge_options import BridgeOptions
from otel_kfs.bridge.offsets.delivery_counts import DeliveryCounts
from otel_kfs.bridge.offsets.offset_tracker import PartitionOffsets
from otel_kfs.bridge.record_handler import ModelConnection, Task
from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import ConfigError, SendError

pytestmark = pytest.mark.kafka


def value(number):
    return json.dumps({"instances": [number]}).encode()


POISON = value("poison")
NONE = DeliveryCounts()
LOG = logging.getLogger(__name__)


@pytest.fixture
def model(server):
    """A model that doubles numbers, refuses a request with poison in it, and notes the numbers of each request."""
    asked = []

    def answer(request, _):
        try:
            instances = json.loads(request.body)["instances"]
        except ValueError:
            return 400, b"no JSON"
        asked.append(instances)
        if "poison" in instances:
            return 400, b"poison"
        return 200, json.dumps({"predictions": [2 * number for number in instances]}).encode()

    server.answer = answer
    server.asked = asked
    return server


def told(answers):
    return [(one.offset, one.outcome, one.answer and one.answer["predictions"]) for one in answers]


def test_records_share_a_request_and_each_has_its_own_answer(spans, bridge, model, topic, send, committed):
    send(*map(value, range(6)))
    answers = run_until(bridge(model.url, batch=6), 6)
    assert told(answers) == [(number, "answered", [2 * number]) for number in range(6)]
    assert model.asked == [[0, 1, 2, 3, 4, 5]]
    assert committed().offset == 6
    (done,), (post,) = spans_of(spans, f"process {topic}"), spans_of(spans, "POST")
    assert (done.parent, post.parent.span_id) == (None, done.context.span_id)
    assert done.attributes["messaging.batch.message_count"] == 6
    assert done.attributes["otel_kfs.outcome"] == "answered"
    sent = {span.context.span_id for span in spans_of(spans, f"send {topic}")}
    assert {link.context.span_id for link in done.links} == sent


def test_a_batch_has_no_more_records_than_it_may(bridge, model, send):
    send(*map(value, range(5)))
    run_until(bridge(model.url, batch=2), 5)
    assert model.asked == [[0, 1], [2, 3], [4]]


def test_one_poisonous_record_is_parked_and_the_others_are_answered(
    spans, bridge, model, topic, make_topic, send, committed, fetch
):
    dead = make_topic()
    send(value(0), POISON, value(2))
    answers = run_until(bridge(model.url, batch=3, dead_letter_topic=dead), 3)
    assert told(answers) == [(0, "answered", [0]), (1, "dead-lettered", None), (2, "answered", [4])]
    assert model.asked == [[0, "poison", 2], [0], ["poison"], [2]]
    assert [letter.value() for letter in fetch(dead)] == [POISON]
    assert committed().offset == 3
    together, *alone = spans_of(spans, f"process {topic}")
    assert together.attributes["error.type"] == "SendError"
    assert [span.attributes["otel_kfs.outcome"] for span in alone] == ["answered", "dead-lettered", "answered"]


def test_where_a_refusal_stops_the_bridge_the_records_before_it_are_committed(bridge, model, send, committed):
    send(value(0), POISON, value(2))
    with pytest.raises(SendError, match="400"):
        run_until(bridge(model.url, batch=3, on_refused="stop"), 3)
    assert committed().offset == 1


@pytest.mark.parametrize("alien", [b"no JSON", value(1)[:-1], b'{"instances": []}'])
def test_what_can_t_be_merged_goes_by_itself_and_in_order(bridge, model, send, alien):
    model.answer = lambda request, _, answer=model.answer: (
        (200, b'{"predictions": ["alien"]}') if request.body == alien else answer(request, _)
    )
    send(value(0), value(1), alien, value(3), value(4))
    answers = run_until(bridge(model.url, batch=5), 5)
    assert [answer["predictions"] for answer in [one.answer for one in answers]] == [[0], [2], ["alien"], [6], [8]]
    assert model.asked == [[0, 1], [3, 4]]


def test_an_answer_that_can_t_be_taken_apart_is_asked_for_again_one_by_one(bridge, server, send):
    server.answers(200, b'{"predictions": ["one for all"]}')
    send(value(0), value(1))
    answers = run_until(bridge(server.url, batch=2), 2)
    assert told(answers) == [(0, "answered", ["one for all"]), (1, "answered", ["one for all"])]
    assert len(server.requests) == 3


def test_a_server_that_fails_is_asked_again_for_each_record_and_both_requests_count(bridge, server, send):
    failures = [1]
    server.answer = lambda request, _: (500, b"no") if failures and failures.pop() else (200, b'{"predictions": [1]}')
    send(value(0), value(1))
    answers = run_until(bridge(server.url, batch=2), 2)
    assert told(answers) == [(0, "answered", [1]), (1, "answered", [1])]
    assert [one.requests for one in answers] == [2, 2]


def test_what_can_be_read_but_not_written_together_goes_one_by_one(bridge, model, send, monkeypatch):
    def merged(_):
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(batch_handler, "merged", merged)
    send(value(0), value(1))
    assert told(run_until(bridge(model.url, batch=2), 2)) == [(0, "answered", [0]), (1, "answered", [2])]
    assert model.asked == [[0], [1]]


def test_what_is_no_failure_of_a_request_ends_the_bridge_with_its_records_uncommitted(bridge, model, send, committed):
    def session():
        made = requests.Session()
        made.auth = unreadable
        return made

    send(value(0), value(1))
    ended = []

    def run():
        try:
            bridge(model.url, batch=2, session=session).run(ended.append)
        except ConfigError as error:
            ended.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_until("the bridge's end", lambda: not thread.is_alive())
    assert ended == ["can't read token"]
    assert committed().offset <= 0


def unreadable(_):
    raise ConfigError("can't read token")


def test_records_of_several_topics_share_a_request(spans, broker, make_topic, group, model):
    from bridge_support import SOON_JOINED

    from otel_kfs.kafka import Bridge, Producer

    topics = [make_topic(), make_topic()]
    producer = Producer({"bootstrap.servers": broker})
    for number, topic in enumerate(topics):
        producer.produce(topic, value(number))
    producer.flush()
    config = {**SOON_JOINED, "topic.metadata.refresh.interval.ms": 500}
    answers = run_until(Bridge(broker, topics, model.url, group=group, batch=2, config=config), 2)
    assert sorted(one.topic for one in answers) == sorted(topics)


def test_the_span_of_each_topic_says_what_became_of_the_records_that_shared_a_request(spans, model):
    options = BridgeOptions("localhost:9", ["t", "u"], model.url, batch=3)
    tasks = [
        Task(confluent_kafka.Message(topic, 0, offset, value=value(offset)), PartitionOffsets(topic, 0, NONE), 1)
        for topic, offset in [("t", 0), ("u", 0), ("t", 1)]
    ]
    (batch,) = batch_handler.batches(tasks)
    answers = batch_handler.handle_batch(batch, ModelConnection(options, OutageLog(LOG, "no model")), options)
    assert [(one.topic, *one_told) for one, one_told in zip(answers, told(answers), strict=True)] == [
        ("t", 0, "answered", [0]),
        ("u", 0, "answered", [0]),
        ("t", 1, "answered", [2]),
    ]
    (root,), (below,) = spans_of(spans, "process t"), spans_of(spans, "process u")
    assert (root.parent, below.parent.span_id) == (None, root.context.span_id)
    assert [span.attributes["otel_kfs.outcome"] for span in (root, below)] == ["answered", "answered"]


@pytest.mark.parametrize("wrong", [0, 129])
def test_a_batch_of_no_size_is_a_configuration_error(bridge, wrong):
    with pytest.raises(ConfigError, match="1 to 128 records"):
        bridge("http://127.0.0.1:1", batch=wrong)
