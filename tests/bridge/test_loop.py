"""The bridge: each record to the model, committed once it is dealt with, and only then."""

import threading
from dataclasses import replace

import confluent_kafka
import pytest
from bridge_support import SOON_JOINED, run_until, spans_of
from support import LIMIT, closing_server, unserved_port, wait_until

from otel_kfs.bridge.loop import Answer
from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS
from otel_kfs.errors import ConfigError, PayloadTooLargeError, SendError
from otel_kfs.kafka import Bridge

pytestmark = pytest.mark.kafka


def timeless(*answers):
    """Without their durations, which differ."""
    return [replace(answer, duration=0.0) for answer in answers]


def test_each_record_is_posted_and_its_answer_reported(spans, bridge, server, topic, send):
    server.answer = lambda request, _: (200, b'{"got": ' + request.body + b"}")
    send(b"1", b"2")
    answers = run_until(bridge(server.url), 2)
    assert timeless(*answers) == [
        Answer(topic, 0, 0, "answered", {"got": 1}),
        Answer(topic, 0, 1, "answered", {"got": 2}),
    ]
    assert all(answer.duration > 0 for answer in answers)
    sent, done, posts = (spans_of(spans, name) for name in (f"send {topic}", f"process {topic}", "POST"))
    for span, child in [*zip(sent, done, strict=True), *zip(done, posts, strict=True)]:
        assert (child.context.trace_id, child.parent.span_id) == (span.context.trace_id, span.context.span_id)


def test_a_record_that_nobody_traced_is_one_trace(spans, bridge, server, broker, topic):
    plain = confluent_kafka.Producer({"bootstrap.servers": broker})
    plain.produce(topic, b"1")
    plain.flush()
    run_until(bridge(server.url), 1)
    names = [span.name for span in spans.get_finished_spans()]
    (of_one,) = {span.context.trace_id for span in spans.get_finished_spans()}
    assert (names, of_one > 0) == (["upload", "POST", f"process {topic}"], True)


def test_a_record_is_committed_after_its_answer(bridge, server, send, committed):
    seen = []
    server.answer = lambda *_: seen.append(committed().offset) or (200, b"{}")
    send(b"1", b"2")
    run_until(bridge(server.url), 2)
    assert seen[0] in {confluent_kafka.OFFSET_INVALID, 0}
    assert seen[1] <= 1
    assert committed().offset == 2


@pytest.mark.parametrize("room", [1, 2])
def test_an_answer_is_committed_while_the_next_record_is_at_the_model(bridge, server, send, committed, room):
    def answer(request, _):
        if request.body == b"2":
            wait_until("the first record is committed", lambda: committed().offset == 1)
        return 200, b"{}"

    server.answer = answer
    send(b"1", b"2")
    assert len(run_until(bridge(server.url, max_in_flight=room), 2)) == 2


def test_a_tombstone_is_posted_as_an_empty_body(bridge, server, send):
    send(None)
    run_until(bridge(server.url), 1)
    assert [request.body for request in server.requests] == [b""]


def test_with_links_processing_is_a_trace_of_its_own(spans, bridge, server, topic, send):
    send(b"1")
    run_until(bridge(server.url, links=True), 1)
    (sent,), (done,) = (spans_of(spans, name) for name in (f"send {topic}", f"process {topic}"))
    assert done.parent is None
    assert [link.context.span_id for link in done.links] == [sent.context.span_id]


def test_a_record_that_the_server_refuses_is_reported_and_passed_over(spans, bridge, server, topic, send, committed):
    server.answer = lambda request, _: (400, b"no picture") if request.body == b"1" else (200, b"{}")
    send(b"1", b"2")
    refusal = f"{server.url} answered 400 Bad Request: no picture"
    assert timeless(*run_until(bridge(server.url), 2)) == [
        Answer(topic, 0, 0, "refused", refused=refusal),
        Answer(topic, 0, 1, "answered", {}),
    ]
    assert committed().offset == 2
    done = spans_of(spans, f"process {topic}")
    assert [(span.attributes["otel_kfs.outcome"], span.attributes.get("error.type")) for span in done] == [
        ("refused", "SendError"),
        ("answered", None),
    ]
    assert [span.status.description for span in done] == [f"SendError: {refusal}", None]


def test_a_refusal_is_not_tried_again(bridge, server, send):
    server.answers(422)
    send(b"1")
    run_until(bridge(server.url), 1)
    assert len(server.requests) == 1


def test_on_refused_stop_leaves_the_record_uncommitted(bridge, server, send, committed):
    server.answers(400, b"no picture")
    send(b"1")
    with pytest.raises(SendError, match="answered 400"):
        run_until(bridge(server.url, on_refused="stop"), 1)
    assert committed().offset <= 0


def test_a_record_whose_server_fails_stays_uncommitted_and_the_next_bridge_gets_it(
    bridge, server, topic, send, committed
):
    send(b"1")
    server.answers(503, b"not ready")
    with pytest.raises(SendError, match="answered 503") as raised:
        run_until(bridge(server.url, retries=1), 1)
    assert (raised.value.status, len(server.requests)) == (503, 2)
    assert committed().offset <= 0
    server.answers(200, b"{}")
    assert timeless(*run_until(bridge(server.url), 1)) == [Answer(topic, 0, 0, "answered", {})]
    assert committed().offset == 1


def test_on_unanswered_skip_passes_it_over(bridge, server, topic, send, committed):
    server.answer = lambda request, _: (500, b"broken") if request.body == b"1" else (200, b"{}")
    send(b"1", b"2")
    assert timeless(*run_until(bridge(server.url, retries=0, on_unanswered="skip"), 2)) == [
        Answer(topic, 0, 0, "skipped", refused=f"{server.url} answered 500 Internal Server Error: broken"),
        Answer(topic, 0, 1, "answered", {}),
    ]
    assert committed().offset == 2


@pytest.mark.parametrize("closing", [False, True], ids=["refuses connections", "closes connections"])
def test_a_record_whose_server_can_t_be_reached_stays_uncommitted(bridge, send, committed, closing):
    send(b"1")
    with closing_server() as closing_url, pytest.raises(SendError) as raised:
        run_until(bridge(closing_url if closing else f"http://127.0.0.1:{unserved_port()}", retries=1), 1)
    assert isinstance(raised.value, PayloadTooLargeError) is closing
    assert committed().offset <= 0


def test_an_exception_of_the_caller_passes_through_and_leaves_the_record_uncommitted(bridge, server, send, committed):
    send(b"1")
    failure = ZeroDivisionError("the caller's own")

    def fail(_):
        raise failure

    with pytest.raises(ZeroDivisionError) as raised:
        bridge(server.url).run(fail)
    assert raised.value is failure
    assert committed().offset <= 0


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


def test_a_record_in_hand_at_the_end_is_finished_and_committed(bridge, server, send, committed):
    asked, may_answer, stop, answers = threading.Event(), threading.Event(), threading.Event(), []
    server.answer = lambda *_: asked.set() or (may_answer.wait(30) and (200, b"{}"))
    send(b"1", b"2")
    thread = threading.Thread(target=bridge(server.url).run, args=(answers.append, stop), daemon=True)
    thread.start()
    assert asked.wait(LIMIT)
    stop.set()
    may_answer.set()
    thread.join(30)
    assert [answer.offset for answer in answers] == [0]
    assert committed().offset == 1


def test_a_record_that_outlasts_the_grace_comes_again(bridge, server, send, committed):
    asked, stop, answers = threading.Event(), threading.Event(), []
    server.hangs()
    hang = server.answer
    server.answer = lambda *of: asked.set() or hang(*of)
    send(b"1")
    first = bridge(server.url, grace=0)
    thread = threading.Thread(target=first.run, args=(answers.append, stop), daemon=True)
    thread.start()
    assert asked.wait(LIMIT)
    stop.set()
    thread.join(30)
    assert (answers, committed().offset) == ([], 0)
    assert str(first.stats) == "0 records: 1 given back"
    server.answers(200, b"{}")
    assert [answer.offset for answer in run_until(bridge(server.url), 1)] == [0]


def test_a_record_that_is_answered_after_the_end_is_given_back_and_not_reported(bridge, server, send, committed):
    asked, may_answer, stop, answers = threading.Event(), threading.Event(), threading.Event(), []
    server.answer = lambda *_: asked.set() or (may_answer.wait(30) and (200, b"{}"))
    send(b"1")
    running = bridge(server.url, grace=0)
    thread = threading.Thread(target=running.run, args=(answers.append, stop), daemon=True)
    thread.start()
    assert asked.wait(LIMIT)
    worker = next(one for one in threading.enumerate() if one.name == "bridge-0")
    stop.set()
    thread.join(30)
    may_answer.set()
    worker.join(30)
    assert not worker.is_alive()
    assert (answers, str(running.stats), committed().offset) == ([], "0 records: 1 given back", 0)


def test_a_retry_that_waits_at_the_end_is_given_up(bridge, server, send, committed, spans, topic):
    stop, answers = threading.Event(), []
    server.answers(503)
    send(b"1")
    running = bridge(server.url, retries=1000, retry_for=3600)
    thread = threading.Thread(target=running.run, args=(answers.append, stop), daemon=True)
    thread.start()
    wait_until("a request", lambda: server.requests)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert (answers, committed().offset, str(running.stats)) == ([], 0, "0 records: 1 given back")
    assert [span.attributes["error.type"] for span in spans_of(spans, f"process {topic}")] == ["Abandoned"]


def test_records_are_worked_on_side_by_side_up_to_the_concurrency(bridge, server, send):
    together = threading.Barrier(3, timeout=30)
    server.answer = lambda *_: together.wait() >= 0 and (200, b"{}")
    send(*(b"%d" % number for number in range(6)))
    answers = run_until(bridge(server.url, concurrency=3), 6)
    assert sorted(answer.offset for answer in answers) == list(range(6))


def test_no_more_records_are_taken_than_may_be_in_flight(bridge, server, send):
    lock, under_way, most = threading.Lock(), [0], [0]

    def answer(*_):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        wait_until("the others", lambda: len(server.requests) >= 2)
        with lock:
            under_way[0] -= 1
        return 200, b"{}"

    server.answer = answer
    send(*(b"%d" % number for number in range(10)))
    assert len(run_until(bridge(server.url, concurrency=5, max_in_flight=2), 10)) == 10
    assert most == [2]


def test_records_of_one_key_are_answered_in_their_order(bridge, server, topic, broker):
    producer = confluent_kafka.Producer({"bootstrap.servers": broker})
    for number in range(40):
        producer.produce(topic, b"%d" % number, key=b"key %d" % (number % 4))
    producer.flush()
    answers = run_until(bridge(server.url, concurrency=4), 40)
    assert sorted(answer.offset for answer in answers) == list(range(40))
    bodies = [int(request.body) for request in server.requests]
    assert [[body for body in bodies if body % 4 == key] for key in range(4)] == [
        list(range(key, 40, 4)) for key in range(4)
    ]


def test_without_a_record_s_answer_those_behind_it_are_not_committed(bridge, server, send, committed):
    stop, answers = threading.Event(), []
    server.hangs()
    hang = server.answer
    server.answer = lambda request, handler: hang(request, handler) if request.body == b"0" else (200, b"{}")
    send(*(b"%d" % number for number in range(4)))
    running = bridge(server.url, concurrency=2, grace=0)
    thread = threading.Thread(target=running.run, args=(answers.append, stop), daemon=True)
    thread.start()
    wait_until("the other answers", lambda: len(answers) == 3)
    stop.set()
    thread.join(30)
    assert committed().offset == 0
    server.answers(200, b"{}")
    assert [answer.offset for answer in run_until(bridge(server.url), 4)] == [0, 1, 2, 3]


def test_a_slow_model_does_not_get_the_bridge_thrown_out_of_its_group(bridge, server, send, committed):
    """A request that lasts longer than max.poll.interval.ms."""
    stop, answers, late = threading.Event(), [], threading.Event()
    server.answer = lambda *_: late.wait(60) and (200, b"{}")
    send(b"1", b"2")
    settings = {**SOON_JOINED, "max.poll.interval.ms": "2001"}
    running = bridge(server.url, config=settings)
    thread = threading.Thread(target=running.run, args=(answers.append, stop), daemon=True)
    thread.start()
    wait_until("the request", lambda: server.requests)
    # The interval itself is the thing to wait for: only its end could throw the bridge out.
    late.wait(3)
    late.set()
    wait_until("both answers", lambda: len(answers) == 2)
    stop.set()
    thread.join(30)
    assert [answer.offset for answer in answers] == [0, 1]
    assert committed().offset == 2


def test_a_broker_that_is_not_there_is_waited_for(server, caplog):
    servers = f"127.0.0.1:{unserved_port()}"
    assert_said_and_still_running(
        Bridge(servers, ["t"], server.url), caplog, f"no broker reached at {servers}, trying again: "
    )
    # Said once, though librdkafka tries twenty times a second.
    assert [record.message for record in caplog.records if "Connection refused" in record.message] == [
        record.message for record in caplog.records if "no broker reached" in record.message
    ]


def test_credentials_that_the_broker_refuses_are_a_configuration_error(broker, server):
    config = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
    running = Bridge(broker, ["t"], server.url, config={**config, "sasl.username": "me", "sasl.password": "secret"})
    with pytest.raises(ConfigError, match=rf"^the broker at {broker} refused the login: .*SASL") as raised:
        running.run(print)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_topic_that_is_not_there_is_waited_for(broker, server, group, caplog):
    assert_said_and_still_running(
        Bridge(broker, ["not-yet"], server.url, group=group, config=CONSUMER_SETTINGS),
        caplog,
        f"topic not-yet does not exist yet on {broker}",
    )


def assert_said_and_still_running(bridge: Bridge, caplog, message: str) -> None:
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


def test_the_user_s_callbacks_are_called_beside_the_bridge_s_own(bridge, server, send, committed):
    commits = []
    send(b"1", b"2", b"3")
    config = {**SOON_JOINED, "on_commit": lambda error, partitions: commits.append((error, len(partitions)))}
    run_until(bridge(server.url, config=config), 3)
    assert committed().offset == 3
    assert set(commits) == {(None, 1)}


def test_a_setting_that_librdkafka_does_not_know_is_a_configuration_error(broker):
    with pytest.raises(ConfigError, match=r'^the consumer\'s settings: No such configuration property: "no.such"'):
        Bridge(broker, ["t"], "http://127.0.0.1", config={"no.such": "1"})
