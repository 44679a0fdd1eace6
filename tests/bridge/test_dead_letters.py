"""Records without an answer are parked with their reason and origin, and handed over again by a redrive."""

import uuid

import pytest
import traces_builder
from bridge_support import SOON_JOINED, run_until, spans_of
from confluent_kafka import Consumer as PlainConsumer
from confluent_kafka import Producer as PlainProducer
from confluent_kafka import TopicPartition
from msgspec.structs import replace

from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.bridge import loop
from otel_kfs.bridge.bridge_options import BridgeOptions
from otel_kfs.bridge.dead_letters import DeadLetters, own_origin
from otel_kfs.demo.embedded_broker import create_topic
from otel_kfs.errors import ConfigError, DeadLetterError, SendError
from otel_kfs.kafka import Bridge, Consumer
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.span import SpanGraph

pytestmark = pytest.mark.kafka


@pytest.fixture
def dead(make_topic):
    """The dead-letter topic."""
    return make_topic()


@pytest.fixture
def redrive(broker, group, dead, server):
    """Makes a redrive of the dead-letter topic to the test's server."""

    def make(**options):
        return Bridge(
            broker,
            [],
            server.url,
            group=group,
            config=SOON_JOINED,
            dead_letter_topic=dead,
            redrive=True,
            **options,
        )

    return make


def to_its_end(bridge):
    answers = []
    bridge.run(answers.append)
    return answers


def test_a_refused_record_is_parked_with_its_reason_origin_and_own_headers(
    spans, bridge, server, send, topic, dead, group, fetch, committed
):
    server.answers(400, b"no picture")
    send(b"1", key=b"k", headers={"content-type": b"image/jpeg", "x": None}, timestamp=1_600_000_000_000)
    (answer,) = run_until(bridge(server.url, dead_letter_topic=dead), 1)
    assert (answer.outcome, answer.dead_letter) == ("dead-lettered", f"{dead}[0]@0")
    assert committed().offset == 1
    (parked,) = fetch(dead)
    assert (parked.key(), parked.value()) == (b"k", b"1")
    headers = dict(parked.headers())
    headers.pop("traceparent")
    assert headers == {
        "content-type": b"image/jpeg",
        "x": None,
        "__connect.errors.topic": topic.encode(),
        "__connect.errors.partition": b"0",
        "__connect.errors.offset": b"0",
        "__connect.errors.connector.name": group.encode(),
        "__connect.errors.exception.class.name": b"SendError",
        "__connect.errors.exception.message": f"{server.url} answered 400 Bad Request: no picture".encode(),
        "otel_kfs.errors.timestamp": b"1600000000000",
        "otel_kfs.errors.status": b"400",
        "otel_kfs.errors.attempts": b"1",
    }
    assert parked.timestamp()[1] > 1_600_000_000_000


def test_an_unanswered_record_is_parked_after_its_retries(bridge, server, send, dead, fetch):
    server.answers(503)
    send(b"1")
    (answer,) = run_until(bridge(server.url, dead_letter_topic=dead, retries=1), 1)
    assert (answer.outcome, answer.requests) == ("dead-lettered", 2)
    assert dict(fetch(dead)[0].headers())["otel_kfs.errors.status"] == b"503"


def test_the_trace_says_why_and_where_to_a_record_was_parked(spans, bridge, server, send, topic, dead):
    server.answers(400, b"no picture")
    send(b"1")
    run_until(bridge(server.url, dead_letter_topic=dead), 1)
    (done,), (parked,) = spans_of(spans, f"process {topic}"), spans_of(spans, f"send {dead}")
    assert done.attributes["otel_kfs.outcome"] == "dead-lettered"
    assert done.status.description == f"SendError: {server.url} answered 400 Bad Request: no picture"
    assert parked.parent.span_id == done.context.span_id
    assert parked.kind.name == "PRODUCER"
    assert (parked.attributes["messaging.kafka.offset"], parked.status.is_ok) == (0, True)


def test_a_parked_record_keeps_the_trace_context_that_it_came_with(spans, bridge, server, send, topic, dead, fetch):
    server.answers(400)
    send(b"1")
    run_until(bridge(server.url, dead_letter_topic=dead), 1)
    (sent,) = spans_of(spans, f"send {topic}")
    assert dict(fetch(dead)[0].headers())["traceparent"].split(b"-")[2] == b"%016x" % sent.context.span_id


def test_a_parked_record_that_came_without_one_leads_to_its_process_span(
    spans, bridge, server, broker, topic, dead, fetch
):
    server.answers(400)
    producer = PlainProducer({"bootstrap.servers": broker})
    producer.produce(topic, b"1")
    producer.flush()
    run_until(bridge(server.url, dead_letter_topic=dead), 1)
    (done,) = spans_of(spans, f"process {topic}")
    assert dict(fetch(dead)[0].headers())["traceparent"].split(b"-")[2] == b"%016x" % done.context.span_id


def test_a_redrive_hands_over_what_is_parked_and_ends(bridge, redrive, server, send, dead, spans, topic):
    server.answers(503)
    send(b"1", b"2")
    run_until(bridge(server.url, dead_letter_topic=dead, retries=0), 2)
    server.answers(200, b"{}")
    answers = to_its_end(redrive())
    assert [(one.topic, one.offset, one.outcome, one.attempt) for one in answers] == [
        (dead, 0, "answered", 2),
        (dead, 1, "answered", 2),
    ]
    assert to_its_end(redrive()) == []
    # A second delivery of what was sent once: the redrive's span is the sender's child, beside the failed one's.
    sent, failed, done = (
        spans_of(spans, f"{what}") for what in (f"send {topic}", f"process {topic}", f"process {dead}")
    )
    assert [span.parent.span_id for span in failed] == [span.context.span_id for span in sent]
    assert [span.parent.span_id for span in done] == [span.context.span_id for span in sent]


def test_dead_letters_go_one_by_one_though_records_may_share_a_request(bridge, redrive, server, send, dead):
    bodies = [b'{"instances": [1]}', b'{"instances": [2]}']
    server.answers(503)
    send(*bodies)
    run_until(bridge(server.url, dead_letter_topic=dead, retries=0, batch=2), 2)
    server.requests.clear()
    server.answers(200, b'{"predictions": [0]}')
    assert [(one.offset, one.attempt) for one in to_its_end(redrive(batch=2))] == [(0, 2), (1, 2)]
    assert [request.body for request in server.requests] == bodies


def test_what_fails_again_is_parked_again_behind_the_redrive_s_end(bridge, redrive, server, send, topic, dead, fetch):
    server.answers(400)
    send(b"1", timestamp=1_600_000_000_000)
    run_until(bridge(server.url, dead_letter_topic=dead), 1)
    assert [(one.outcome, one.attempt) for one in to_its_end(redrive())] == [("dead-lettered", 2)]
    assert [(one.outcome, one.attempt) for one in to_its_end(redrive())] == [("dead-lettered", 3)]
    headers = [dict(record.headers()) for record in fetch(dead, 3)]
    assert [one["otel_kfs.errors.attempts"] for one in headers] == [b"1", b"2", b"3"]
    assert {
        (one["__connect.errors.topic"], one["__connect.errors.offset"], one["otel_kfs.errors.timestamp"])
        for one in headers
    } == {(topic.encode(), b"0", b"1600000000000")}
    assert {len(record.headers()) for record in fetch(dead, 3)} == {10}


def test_a_redrive_can_be_told_to_stop_at_what_fails_again(bridge, redrive, server, send, dead):
    server.answers(400, b"still not")
    send(b"1")
    run_until(bridge(server.url, dead_letter_topic=dead), 1)
    with pytest.raises(Exception, match="answered 400 Bad Request: still not"):
        to_its_end(redrive(on_refused="stop"))
    server.answers(200, b"{}")
    assert [one.outcome for one in to_its_end(redrive())] == ["answered"]


@pytest.mark.parametrize(
    ("size", "left_out"),
    [
        (300, []),
        (600, ["__connect.errors.connector.name", "__connect.errors.exception.class.name"]),
        (690, ["x-custom", "__connect.errors.connector.name"]),
        (920, ["x-custom", "traceparent", "__connect.errors.topic", "otel_kfs.errors.attempts"]),
    ],
)
def test_a_dead_letter_near_the_limit_is_written_with_fewer_headers(
    bridge, server, send, topic, dead, fetch, committed, caplog, size, left_out
):
    server.answers(400, b"no picture")
    send(bytes(size), headers={"content-type": b"image/jpeg", "x-custom": b"x" * 50})
    settings = {"message.max.bytes": 1000}
    (answer,) = run_until(bridge(server.url, dead_letter_topic=dead, dead_letter_config=settings), 1)
    assert (answer.outcome, committed().offset) == ("dead-lettered", 1)
    (letter,) = fetch(dead)
    headers = dict(letter.headers())
    assert (len(letter.value()), headers["content-type"]) == (size, b"image/jpeg")
    assert [name for name in left_out if name in headers] == []
    kept = {"x-custom", "traceparent", "__connect.errors.topic", "otel_kfs.errors.attempts"} - {*left_out}
    assert kept <= headers.keys()
    assert len([record for record in caplog.records if "were left out in the dead-letter topic" in record.message]) == (
        1 if left_out else 0
    )


def test_words_of_a_server_that_can_t_be_encoded_are_no_obstacle(broker, group, dead, fetch, send, topic):
    send(b"1")
    consumer = PlainConsumer({"bootstrap.servers": broker, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    record = consumer.poll(30)
    letters = DeadLetters(broker, dead, group, {}, None)
    assert letters.publish(record, own_origin(record), SendError("\ud83d is half a pair", 400), 1) == f"{dead}[0]@0"
    consumer.close()
    assert dict(fetch(dead)[0].headers())["__connect.errors.exception.message"] == b"? is half a pair"


def test_the_redrive_of_an_empty_topic_ends(redrive):
    assert to_its_end(redrive()) == []


def test_the_redrive_of_a_topic_of_many_partitions_ends(broker, group, server, make_topic):
    dead = make_topic(3)
    producer = PlainProducer({"bootstrap.servers": broker})
    for partition in (0, 2):
        producer.produce(dead, b"{}", partition=partition)
    producer.flush()
    running = Bridge(broker, [], server.url, group=group, config=SOON_JOINED, dead_letter_topic=dead, redrive=True)
    assert sorted((one.partition, one.offset, one.attempt) for one in to_its_end(running)) == [(0, 0, 1), (2, 0, 1)]


def test_the_redrive_of_a_topic_that_is_not_there_is_a_configuration_error(broker, server, group):
    name = f"not-there-{uuid.uuid4().hex[:8]}"
    running = Bridge(broker, [], server.url, group=group, config=SOON_JOINED, dead_letter_topic=name, redrive=True)
    with pytest.raises(ConfigError, match=f"^there is no topic {name} at {broker}: check --dead-letter-topic$"):
        to_its_end(running)


def test_a_record_that_can_t_be_parked_stays_uncommitted(bridge, server, send, committed, dead):
    server.answers(400)
    send(b"1" * 1000)
    settings = {"message.max.bytes": 1000}
    with pytest.raises(
        DeadLetterError,
        match=f"will be delivered again: the record was not written to the dead-letter topic {dead}: .*too large",
    ):
        run_until(bridge(server.url, dead_letter_topic=dead, dead_letter_config=settings), 1)
    assert committed().offset <= 0


def test_a_login_that_the_dead_letter_topic_s_broker_refuses_stops_it_with_the_record_uncommitted(
    bridge, broker, server, dead, send, committed
):
    server.answers(400, b"no picture")
    send(b"1")
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "me"}
    with pytest.raises(ConfigError, match=rf"^the broker at {broker} refused the login: "):
        run_until(
            bridge(server.url, dead_letter_topic=dead, dead_letter_config={**login, "sasl.password": "secret"}), 1
        )
    assert committed().offset <= 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"bootstrap.servers": "other:2"},
            "bootstrap.servers=other:2 contradicts the servers here:1: leave it out",
        ),
        (
            {"enable.idempotence": "false", "acks": "0"},
            "acks=0 would pass records over whose dead letters no broker has: leave it out",
        ),
    ],
)
def test_settings_that_would_lose_dead_letters_are_a_configuration_error(settings, message):
    with pytest.raises(ConfigError) as raised:
        Bridge("here:1", ["t"], "http://127.0.0.1", dead_letter_topic="d", dead_letter_config=settings)
    assert str(raised.value) == f"settings for the dead-letter topic: {message}"


@pytest.fixture
def dead_beside(broker, topic):
    """A dead-letter topic that a pattern for the test's topic matches, too."""
    name = f"{topic}.dead-letters"
    create_topic(broker, name)
    return name


def test_a_pattern_takes_in_topics_but_never_the_dead_letter_topic(
    broker, group, server, send, fetch, topic, dead_beside, monkeypatch
):
    assigned = set()

    class Observed(Consumer):
        def subscribe(self, topics, on_assign, **more):
            def note(consumer, partitions):
                assigned.update(at.topic for at in partitions)
                on_assign(consumer, partitions)

            super().subscribe(topics, on_assign=note, **more)

    monkeypatch.setattr(loop, "Consumer", Observed)
    server.answers(400)
    send(b"1")
    options = {"group": group, "config": SOON_JOINED, "dead_letter_topic": dead_beside}
    answers = run_until(Bridge(broker, [f"^{topic}"], server.url, **options), 1)
    assert ([one.topic for one in answers], assigned) == ([topic], {topic})
    assert [record.value() for record in fetch(dead_beside)] == [b"1"]


def test_a_dead_letter_topic_that_the_broker_assigns_all_the_same_is_a_configuration_error(
    broker, group, server, send, topic, dead_beside, monkeypatch
):
    monkeypatch.setattr(BridgeOptions, "excluded_topics", lambda _: {})
    options = {"group": group, "config": SOON_JOINED, "dead_letter_topic": dead_beside}
    with pytest.raises(ConfigError) as raised:
        Bridge(broker, [f"^{topic}"], server.url, **options).run(print)
    assert str(raised.value) == (
        f"the dead-letter topic {dead_beside} matches --topic ^{topic}, and would be read again: name topics or a "
        "pattern without it"
    )


def test_settings_that_the_producer_does_not_take_are_a_configuration_error(broker, server):
    with pytest.raises(ConfigError, match=r"no\.such"):
        Bridge(broker, ["t"], server.url, dead_letter_topic="d", dead_letter_config={"no.such": "1"})


REDRIVEN = """
send image                      INTERNAL    0  300  transport=kafka image=1100000 payload=1500000
  encode                        INTERNAL   10  110
  send images                   PRODUCER  130  290
    process images              CONSUMER  330  400  group=g failed
      POST                      CLIENT    350  360  failed
      POST                      CLIENT    370  380  failed
      send dead                 PRODUCER  385  395
    process dead                CONSUMER  500 1000  group=g
      POST                      CLIENT    510  990
        POST /v1/models         SERVER    540  970
          receive               INTERNAL  530  540
          preprocess            INTERNAL  550  600  role=predictor
          predict               INTERNAL  610  940  role=predictor
"""


def test_the_tables_measure_an_image_that_was_redriven_as_redelivered():
    (path,), account = critical_paths(SpanGraph(traces_builder.spans(REDRIVEN)))
    assert (account.measured, account.redelivered, account.left_out.total()) == (1, 1, 0)
    assert (path.deliveries, path.requests) == (2, 1)
    lengths = {segment_name(section.segment): section.duration // traces_builder.MS for section in path.sections}
    assert (lengths["broker"], lengths["redeliveries"]) == (40, 170)


def test_the_tables_count_a_delivery_whose_bridge_was_killed_before_it_wrote_its_span():
    drawn = traces_builder.spans(traces_builder.KAFKA)
    marked = [
        replace(span, attributes={**span.attributes, "otel_kfs.delivery.attempt": 2})
        if span.name == "process images"
        else span
        for span in drawn
    ]
    assert critical_paths(SpanGraph(drawn))[1].redelivered == 0
    (path,), account = critical_paths(SpanGraph(marked))
    assert (path.deliveries, account.redelivered) == (2, 1)
