"""The bridge: each record to the model, committed once it is answered, and only then."""

import threading
import uuid

import confluent_kafka
import pytest
from support import HttpServer, closing_server, wait_until

from otel_kfs.demo.broker import CONSUMER_SETTINGS
from otel_kfs.demo.processes import free_port
from otel_kfs.errors import ConfigError, SendError, TooLarge
from otel_kfs.kafka import Bridge, Producer
from otel_kfs.kafka.bridge import Answer

pytestmark = pytest.mark.kafka


@pytest.fixture
def server():
    with HttpServer().running() as server:
        yield server


@pytest.fixture
def send(broker, topic):
    producer = Producer({"bootstrap.servers": broker})

    def send(*values):
        for value in values:
            producer.produce(topic, value)
        producer.flush()

    return send


@pytest.fixture
def group():
    return f"g-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def bridge(broker, topic, group):
    """Makes a bridge from the test's topic to a URL."""
    return lambda url, **options: Bridge(broker, [topic], url, group=group, config=CONSUMER_SETTINGS, **options)


@pytest.fixture
def committed(broker, topic, group):
    """The group's committed offset."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": group})
    yield lambda: consumer.committed([confluent_kafka.TopicPartition(topic, 0)], timeout=10)[0].offset
    consumer.close()


def run_until(bridge: Bridge, count: int) -> list[Answer]:
    """Run a bridge until it has told of so many answers."""
    answers, stop = [], threading.Event()

    def on_answer(answer):
        answers.append(answer)
        if len(answers) == count:
            stop.set()

    bridge.run(on_answer, stop)
    return answers


def test_each_record_is_posted_and_its_answer_told(spans, bridge, server, topic, send):
    server.answer = lambda request, _: (200, b'{"got": ' + request.body + b"}")
    send(b"1", b"2")
    answers = run_until(bridge(server.url), 2)
    assert answers == [Answer(topic, 0, 0, {"got": 1}), Answer(topic, 0, 1, {"got": 2})]
    sent, done, posts = (
        [span for span in spans.get_finished_spans() if span.name == name]
        for name in (f"send {topic}", f"process {topic}", "POST")
    )
    for span, child in [*zip(sent, done, strict=True), *zip(done, posts, strict=True)]:
        assert (child.context.trace_id, child.parent.span_id) == (span.context.trace_id, span.context.span_id)


def test_a_record_is_committed_after_its_answer(bridge, server, send, committed):
    seen = []
    server.answer = lambda *_: seen.append(committed()) or (200, b"{}")
    send(b"1", b"2")
    run_until(bridge(server.url), 2)
    assert (seen, committed()) == ([confluent_kafka.OFFSET_INVALID, 1], 2)


def test_a_tombstone_is_posted_as_an_empty_body(bridge, server, send):
    send(None)
    run_until(bridge(server.url), 1)
    assert [request.body for request in server.requests] == [b""]


def test_with_links_processing_is_a_trace_of_its_own(spans, bridge, server, topic, send):
    send(b"1")
    run_until(bridge(server.url, links=True), 1)
    (sent,), (done,) = (
        [span for span in spans.get_finished_spans() if span.name == name]
        for name in (f"send {topic}", f"process {topic}")
    )
    assert done.parent is None
    assert [link.context.span_id for link in done.links] == [sent.context.span_id]


def test_a_record_that_the_server_refuses_is_told_and_passed_over(spans, bridge, server, topic, send, committed):
    server.answer = lambda request, _: (400, b"no picture") if request.body == b"1" else (200, b"{}")
    send(b"1", b"2")
    refusal = f"{server.url} answered 400 Bad Request: no picture"
    assert run_until(bridge(server.url), 2) == [
        Answer(topic, 0, 0, None, refused=refusal),
        Answer(topic, 0, 1, {}),
    ]
    assert committed() == 2
    done = [span for span in spans.get_finished_spans() if span.name == f"process {topic}"]
    assert [span.attributes.get("error.type") for span in done] == ["SendError", None]


def test_a_record_whose_server_fails_stays_uncommitted_and_the_next_bridge_gets_it(
    bridge, server, topic, send, committed
):
    send(b"1")
    server.answers(503, b"not ready")
    with pytest.raises(SendError, match="answered 503") as raised:
        run_until(bridge(server.url), 1)
    assert (raised.value.status, committed()) == (503, confluent_kafka.OFFSET_INVALID)
    server.answers(200, b"{}")
    assert run_until(bridge(server.url), 1) == [Answer(topic, 0, 0, {})]
    assert committed() == 1


@pytest.mark.parametrize("closing", [False, True], ids=["refuses connections", "closes connections"])
def test_a_record_whose_server_can_t_be_reached_stays_uncommitted(bridge, send, committed, closing):
    send(b"1")
    with closing_server() as closing_url, pytest.raises(SendError) as raised:
        run_until(bridge(closing_url if closing else f"http://127.0.0.1:{free_port()}"), 1)
    assert isinstance(raised.value, TooLarge) is closing
    assert committed() == confluent_kafka.OFFSET_INVALID


def test_an_exception_of_the_caller_passes_through_and_leaves_the_record_uncommitted(bridge, server, send, committed):
    send(b"1")
    failure = ZeroDivisionError("the caller's own")

    def fail(_):
        raise failure

    with pytest.raises(ZeroDivisionError) as raised:
        bridge(server.url).run(fail)
    assert raised.value is failure
    assert committed() == confluent_kafka.OFFSET_INVALID


def test_the_stop_event_ends_a_bridge_that_waits(bridge, server):
    stop = threading.Event()
    running = bridge(server.url)
    thread = threading.Thread(target=running.run, args=(print, stop), daemon=True)
    thread.start()
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        running._consumer.poll(0)


def test_a_broker_that_is_not_there_is_waited_for(server, caplog):
    servers = f"127.0.0.1:{free_port()}"
    assert_told_and_still_running(
        Bridge(servers, ["t"], server.url), caplog, f"no broker reached at {servers}, trying again: "
    )
    # Said once, though librdkafka tries twenty times a second.
    assert [record.message for record in caplog.records if "Connection refused" in record.message] == [
        record.message for record in caplog.records if "no broker reached" in record.message
    ]


def test_credentials_that_the_broker_refuses_are_a_configuration_error(broker, server):
    config = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
    running = Bridge(broker, ["t"], server.url, config={**config, "sasl.username": "me", "sasl.password": "secret"})
    with pytest.raises(ConfigError, match=rf"^the broker at {broker} refused: .*SASL") as raised:
        running.run(print)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_topic_that_is_not_there_is_waited_for(broker, server, group, caplog):
    assert_told_and_still_running(
        Bridge(broker, ["not-yet"], server.url, group=group, config=CONSUMER_SETTINGS),
        caplog,
        f"topic not-yet does not exist yet on {broker}",
    )


def assert_told_and_still_running(bridge: Bridge, caplog, message: str) -> None:
    """The bridge logs the message, and goes on until it is stopped."""
    stop = threading.Event()
    thread = threading.Thread(target=bridge.run, args=(print, stop), daemon=True)
    thread.start()
    try:
        wait_until("the message", lambda: any(message in record.message for record in caplog.records))
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join(30)


@pytest.mark.parametrize("code", ["TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "_AUTHENTICATION"])
def test_what_the_broker_refuses_for_good_is_a_configuration_error(bridge, broker, server, code):
    error = confluent_kafka.KafkaError(getattr(confluent_kafka.KafkaError, code), "not for you")
    with pytest.raises(ConfigError) as raised:
        bridge(server.url)._broker_error(error)
    assert str(raised.value) == f"the broker at {broker} refused: not for you"
