"""Producers while their broker crashes and comes back: every record is delivered or reported, and its span says so."""

import itertools
import logging
import threading
import time
from collections import Counter

import pytest
from faults_producer_support import values
from opentelemetry.trace import StatusCode
from support import JPG, LIMIT, new_topic, wait_until

from otel_kfs import KafkaSender
from otel_kfs.kafka import Producer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

QUIET = {"logger": logging.getLogger("unreachable"), "linger.ms": 5}

LONG_OUTAGE = 30.0  # seconds


class Reports:
    """What a producer told of its records, by their values."""

    def __init__(self):
        self.delivered = {}  # value -> offset
        self.failed = {}  # value -> error

    def __call__(self, error, record):
        told = self.delivered if error is None else self.failed
        assert record.value() not in told
        told[record.value()] = record.offset() if error is None else error.name()


def sent(spans, topic):
    """Of each `send` span that has ended: its offset, or its error's type."""
    return [
        span.attributes["error.type" if span.status.status_code is StatusCode.ERROR else "messaging.kafka.offset"]
        for span in spans.get_finished_spans()
        if span.name == f"send {topic}"
    ]


def test_an_idempotent_producer_delivers_every_record_once_over_a_crash_of_the_broker(spans, kafka):
    topic, reports = new_topic(kafka.bootstrap_servers), Reports()
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True, **QUIET})
    numbers = itertools.count()

    def produce(count):
        for number in itertools.islice(numbers, count):
            producer.produce(topic, str(number).encode(), on_delivery=reports)
            producer.poll(0)

    def some_are_delivered():
        produce(50)
        return len(reports.delivered) > 1000

    wait_until("a thousand records", some_are_delivered)
    kafka.kill()  # with records on their way
    produce(500)
    kafka.start_again()
    produce(500)
    assert producer.flush(LIMIT) == 0
    total = next(numbers)
    assert values(kafka.bootstrap_servers, topic) == [str(number).encode() for number in range(total)]
    assert (len(reports.delivered), reports.failed) == (total, {})
    assert sorted(sent(spans, topic)) == sorted(reports.delivered.values()) == list(range(total))


def test_records_that_time_out_in_an_outage_are_reported_and_their_spans_are_errors(spans, kafka):
    topic, reports = new_topic(kafka.bootstrap_servers), Reports()
    settings = {"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True, **QUIET}
    producer = Producer({**settings, "message.timeout.ms": 10_000})
    numbers = itertools.count(1)

    def produce(count):
        for number in itertools.islice(numbers, count):
            producer.produce(topic, str(number).encode(), on_delivery=reports)
        producer.flush(LIMIT)

    def one_more_is_delivered():
        produce(1)
        return len(reports.delivered) == 3

    produce(2)
    kafka.kill()
    produce(3)
    kafka.start_again()
    wait_until("a record is delivered again", one_more_is_delivered)
    outage, (*_, last) = [b"3", b"4", b"5"], reports.delivered
    late = [value for value in reports.failed if value not in outage]  # the client had not found the broker again
    assert list(reports.delivered) == [b"1", b"2", last]
    assert [value for value in values(kafka.bootstrap_servers, topic) if value not in late] == [b"1", b"2", last]
    assert reports.failed == dict.fromkeys([*outage, *late], "_MSG_TIMED_OUT")
    assert sent(spans, topic) == [0, 1, *["_MSG_TIMED_OUT"] * len(reports.failed), reports.delivered[last]]


class Flow:
    """Records of one idempotent producer, each with its number as key and value."""

    def __init__(self, servers, timeout):
        self.topic, self.reports, self.sent = new_topic(servers), Reports(), 0
        settings = {"bootstrap.servers": servers, "enable.idempotence": True, **QUIET}
        self.producer = Producer({**settings, "message.timeout.ms": int(timeout * 1000)})

    def send(self):
        number = str(self.sent)  # as text, the key is an attribute of the record's span
        self.producer.produce(self.topic, number.encode(), number, on_delivery=self.reports)
        self.producer.poll(0.005)
        self.sent += 1

    def ended(self, spans):
        """Of each record by its value, what its `send` spans say: offset or error type, one for each span."""
        return Counter(
            (
                span.attributes["messaging.kafka.message.key"].encode(),
                span.attributes[
                    "error.type" if span.status.status_code is StatusCode.ERROR else "messaging.kafka.offset"
                ],
            )
            for span in spans.get_finished_spans()
            if span.name == f"send {self.topic}"
        )


def test_in_an_outage_of_30_s_every_record_is_delivered_once_or_reported_failed_and_its_span_says_which(spans, kafka):
    servers = kafka.bootstrap_servers
    patient, impatient = Flow(servers, timeout=4 * LONG_OUTAGE), Flow(servers, timeout=LONG_OUTAGE / 6)
    flows = [patient, impatient]

    def send():
        for flow in flows:
            flow.send()

    wait_until("records", lambda: send() or all(len(flow.reports.delivered) > 500 for flow in flows))
    kafka.kill()  # with records on their way
    killed, back = [flow.sent for flow in flows], time.monotonic() + LONG_OUTAGE
    hopeless = 0
    while (now := time.monotonic()) < back:
        send()
        if now < back - LONG_OUTAGE / 2:
            hopeless = impatient.sent
    kafka.start_again()
    for _ in range(500):
        send()
    assert [flow.producer.flush(LIMIT) for flow in flows] == [0, 0]

    # Patience: all are there, once, in order, where their reports and spans say.
    everything = [str(number).encode() for number in range(patient.sent)]
    assert values(servers, patient.topic) == everything
    places = {value: offset for offset, value in enumerate(everything)}
    assert (patient.reports.delivered, patient.reports.failed) == (places, {})
    assert patient.ended(spans) == Counter(places.items())

    # None: each was delivered to where its report says, or reported failed.
    delivered, failed = impatient.reports.delivered, impatient.reports.failed
    assert len(delivered) + len(failed) == impatient.sent
    assert set(failed.values()) == {"_MSG_TIMED_OUT"}
    assert {str(number).encode() for number in range(killed[1], hopeless)} <= failed.keys()
    assert impatient.ended(spans) == Counter([*delivered.items(), *failed.items()])
    there = values(servers, impatient.topic)
    assert len(set(there)) == len(there)
    assert {value: there[offset] for value, offset in delivered.items()} == {value: value for value in delivered}
    # What else is there was on its way when the broker was killed: written, and not acknowledged any more.
    assert set(there) - delivered.keys() <= failed.keys() & {str(number).encode() for number in range(killed[1])}


def test_a_sender_waits_an_outage_out_and_delivers_once(spans, kafka):
    topic = new_topic(kafka.bootstrap_servers)
    sender = KafkaSender(kafka.bootstrap_servers, topic, config={"enable.idempotence": True})
    assert sender.send(JPG) == (topic, 0, 0)
    kafka.kill()
    results = []
    thread = threading.Thread(target=lambda: results.append(sender.send(JPG)))
    thread.start()
    kafka.start_again()
    thread.join(LIMIT)
    assert results == [(topic, 0, 1)]
    assert len(values(kafka.bootstrap_servers, topic)) == 2
    assert sent(spans, topic) == [0, 1]
    roots = [span for span in spans.get_finished_spans() if span.name == "send image"]
    assert [root.status.status_code for root in roots] == [StatusCode.UNSET] * 2


def test_a_sender_s_outage_longer_than_its_timeout_is_one_line_and_the_next_image_goes_through(spans, kafka):
    from otel_kfs.errors import SendError

    topic = new_topic(kafka.bootstrap_servers)
    # Its first image may have to wait for a broker that has just begun, its last one for the client's next try.
    sender = KafkaSender(kafka.bootstrap_servers, topic, timeout=10, config={"reconnect.backoff.max.ms": 500})
    assert sender.send(JPG) == (topic, 0, 0)
    kafka.kill()
    with pytest.raises(SendError) as raised:
        sender.send(JPG)
    servers = kafka.bootstrap_servers
    assert str(raised.value).startswith(f"not delivered within 10 s: no broker answers at {servers} (")
    assert str(raised.value).endswith("check --bootstrap-servers and that the broker runs")
    kafka.start_again()
    assert sender.send(JPG) == (topic, 0, 1)
    assert sent(spans, topic) == [0, "_MSG_TIMED_OUT", 1]
