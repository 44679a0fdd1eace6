"""Records sent one by one: a full queue is waited for, and what can't work is said in one line."""

import socket
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest
from opentelemetry.trace import StatusCode

from otel_kfs.client.kafka_access.record_publisher import RecordPublisher
from otel_kfs.errors import PayloadTooLargeError, SendError
from otel_kfs.kafka import Producer


def outcomes(spans, topic):
    """The error types of the `send` spans that failed, and the offsets of the others."""
    found = [span for span in spans.get_finished_spans() if span.name == f"send {topic}"]
    failed = [span for span in found if span.status.status_code is StatusCode.ERROR]
    offsets = sorted(span.attributes["messaging.kafka.offset"] for span in found if span not in failed)
    return {span.attributes["error.type"] for span in failed}, offsets


def test_a_full_queue_is_waited_for_and_no_record_is_lost(spans, broker, topic, fetch):
    publisher = RecordPublisher(broker, 30, {"queue.buffering.max.messages": 1})
    values = [str(number).encode() for number in range(20)]
    with ThreadPoolExecutor(8) as threads:
        delivered = list(threads.map(lambda value: publisher.publish(topic, value), values))
    assert sorted(record.offset for record in delivered) == list(range(20))
    assert sorted(record.value() for record in fetch(topic, 20)) == sorted(values)
    failed, offsets = outcomes(spans, topic)
    assert failed <= {"BufferError"}  # a refused call of produce() has its span, too
    assert offsets == list(range(20))


def test_a_record_that_no_queue_can_hold_names_the_setting(broker, topic):
    publisher = RecordPublisher(broker, 30, {"queue.buffering.max.kbytes": 1})
    with pytest.raises(PayloadTooLargeError) as raised:
        publisher.publish(topic, bytes(100_000))
    assert str(raised.value) == (
        "a record of 0.1 MB does not fit into this producer's queue (1 kB): raise queue.buffering.max.kbytes in its "
        "configuration"
    )


def test_a_queue_that_stays_full_is_one_line():
    # Somebody who never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        publisher = RecordPublisher(servers, 0.5, {"queue.buffering.max.messages": 1, "message.timeout.ms": 60_000})
        publisher._producer.produce("t", b"1")
        with pytest.raises(SendError) as raised:
            publisher.publish("t", b"2")
    assert str(raised.value) == (
        f"the producer's queue stayed full for 0.5 s: check that the broker at {servers} keeps up, or send from fewer "
        "threads"
    )


def test_the_documented_way_to_wait_for_a_full_queue_loses_nothing(spans, broker, topic, fetch):
    producer = Producer({"bootstrap.servers": broker, "queue.buffering.max.messages": 10})
    values = [str(number).encode() for number in range(200)]
    for value in values:
        while True:
            try:
                producer.produce(topic, value)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(30) == 0
    assert [record.value() for record in fetch(topic, 200)] == values
    failed, offsets = outcomes(spans, topic)
    assert failed == {"BufferError"}
    assert offsets == list(range(200))


def test_one_thread_s_failures_are_nobody_else_s(broker, topic, fetch):
    publisher = RecordPublisher(broker, 30, {"message.max.bytes": 100_000})
    failed = []

    def publish(number):
        size = 200_000 if number % 3 == 0 else 1000
        try:
            return publisher.publish(topic, bytes(size)).offset
        except SendError as error:
            failed.append(type(error))
            return None

    with ThreadPoolExecutor(8) as threads:
        offsets = [offset for offset in threads.map(publish, range(300)) if offset is not None]
    assert (sorted(offsets), failed) == (list(range(200)), [PayloadTooLargeError] * 100)
    assert [len(record.value()) for record in fetch(topic, 200)] == [1000] * 200


def test_a_caller_that_is_alone_takes_its_record_back(broker, topic, fetch, monkeypatch):
    publisher = RecordPublisher(broker, 30, {"linger.ms": 20_000})
    monkeypatch.setattr(publisher._probe, "check", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        publisher.publish(topic, b"taken back")
    assert publisher._producer.flush(30) == 0  # the record's report, of its end; were it still there, it would be sent
    RecordPublisher(broker, 30, {}).publish(topic, b"the next")
    assert [record.value() for record in fetch(topic, 1)] == [b"the next"]
