"""The Producer: a span from `produce()` to the delivery report, and confluent_kafka's own class in every other way."""

import gc
import logging
import sys

import confluent_kafka
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode
from support import unserved_port

from otel_kfs.kafka import Producer

pytestmark = pytest.mark.kafka


@pytest.fixture
def producer(broker):
    with Producer({"bootstrap.servers": broker, "linger.ms": 0}) as producer:
        yield producer


@pytest.fixture
def unreachable():
    """Makes a producer whose broker is not there."""
    made = []

    def make(**config):
        settings = {"bootstrap.servers": f"127.0.0.1:{unserved_port()}", "logger": logging.getLogger("unreachable")}
        made.append(Producer({**settings, **{key.replace("_", "."): value for key, value in config.items()}}))
        return made[-1]

    yield make
    for producer in made:
        producer.purge()


def sent(spans):
    """The only span there is: a finished `send`."""
    (span,) = spans.get_finished_spans()
    return span


# --- the span ---


def test_the_span_ends_with_the_delivery_report_and_says_where_the_record_lies(spans, producer, broker, topic):
    producer.produce(topic, b"12345", "a key")
    assert spans.get_finished_spans() == ()
    producer.flush()
    span = sent(spans)
    assert (span.name, span.kind, span.parent, span.status.status_code) == (
        f"send {topic}",
        SpanKind.PRODUCER,
        None,
        StatusCode.UNSET,
    )
    assert dict(span.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "messaging.kafka.message.key": "a key",
        "messaging.message.body.size": 5,
        "server.address": "127.0.0.1",
        "server.port": int(broker.partition(":")[2]),
    }


@pytest.mark.parametrize(("value", "size"), [("12345", 5), ("5 \u20ac", 5)])
def test_text_has_the_size_of_the_bytes_that_are_sent(spans, producer, topic, value, size):
    producer.produce(topic, value)
    producer.flush()
    assert sent(spans).attributes["messaging.message.body.size"] == size


def test_partition_and_offset_are_each_record_s_own(spans, broker, make_topic):
    topic = make_topic(partitions=2)
    producer = Producer({"bootstrap.servers": broker})
    for partition in (0, 1, 1):
        producer.produce(topic, b"1", partition=partition)
    producer.flush()
    places = [
        (span.attributes["messaging.destination.partition.id"], span.attributes["messaging.kafka.offset"])
        for span in spans.get_finished_spans()
    ]
    assert sorted(places) == [("0", 0), ("1", 0), ("1", 1)]


def test_a_tombstone_is_marked_as_one(spans, producer, topic):
    producer.produce(topic, key="a key")
    producer.flush()
    assert sent(spans).attributes["messaging.kafka.message.tombstone"] is True


def test_a_key_of_bytes_is_no_attribute(spans, producer, topic):
    producer.produce(topic, b"1", b"\xff secret")
    producer.flush()
    assert "messaging.kafka.message.key" not in sent(spans).attributes


def test_the_span_is_a_child_of_the_current_one(spans, producer, topic):
    with trace.get_tracer("a test").start_as_current_span("work") as work:
        producer.produce(topic, b"1")
    producer.flush()
    assert spans.get_finished_spans()[-1].parent.span_id == work.get_span_context().span_id


def test_the_record_carries_the_span_s_context_beside_the_user_s_headers(spans, producer, topic, fetch):
    headers = [("a", b"\xff"), ("traceparent", b"old"), ("b", None)]
    producer.produce(topic, b"1", headers=headers)
    producer.flush()
    (record,) = fetch(topic)
    *users, (key, traceparent) = record.headers()
    context = sent(spans).context
    assert users == [("a", b"\xff"), ("b", None)]
    assert (key, traceparent[:-3].decode()) == ("traceparent", f"00-{context.trace_id:032x}-{context.span_id:016x}")
    assert headers == [("a", b"\xff"), ("traceparent", b"old"), ("b", None)]


def test_one_list_of_headers_for_three_records_gives_each_its_own_context_once(spans, producer, topic, fetch):
    headers = [("a", b"1")]
    for _ in range(3):
        producer.produce(topic, b"1", headers=headers)
    producer.flush()
    found = [[key for key, _ in record.headers()] for record in fetch(topic, 3)]
    assert found == [["a", "traceparent"]] * 3
    assert len({dict(record.headers())["traceparent"] for record in fetch(topic, 3)}) == 3


def test_no_context_stays_attached(producer, topic):
    before = otel_context.get_current()
    producer.produce(topic, b"1")
    assert otel_context.get_current() == before
    producer.flush()
    assert otel_context.get_current() == before


def test_a_record_of_a_trace_that_is_not_sampled_carries_its_context_and_makes_no_span(spans, producer, topic, fetch):
    reports = []
    with trace.use_span(NonRecordingSpan(SpanContext(0xA1, 0xB2, is_remote=False))):
        producer.produce(topic, b"1", on_delivery=lambda *report: reports.append(report))
    producer.flush()
    assert spans.get_finished_spans() == ()
    assert len(reports) == 1
    version, trace_id, _, flags = dict(fetch(topic)[0].headers())["traceparent"].decode().split("-")
    assert (version, int(trace_id, 16), int(flags) & 1) == ("00", 0xA1, 0)


# --- failures ---


def test_a_record_that_is_not_delivered_ends_its_span_as_an_error(spans, unreachable):
    producer = unreachable(message_timeout_ms=200)
    reports = []
    producer.produce("t", b"1", on_delivery=lambda *report: reports.append(report))
    assert spans.get_finished_spans() == ()
    producer.flush()
    ((error, _),) = reports
    span = sent(spans)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, error.str())
    assert span.attributes["error.type"] == error.name() == "_MSG_TIMED_OUT"


def test_a_record_that_produce_refuses_ends_its_span_once(spans, producer, topic):
    with pytest.raises(confluent_kafka.KafkaException) as raised:
        producer.produce(topic, bytes(1_100_000))
    producer.flush()
    assert raised.value.args[0].code() == confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE
    span = sent(spans)
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "MSG_SIZE_TOO_LARGE")


def test_a_full_queue_raises_buffer_error_and_ends_the_span(spans, unreachable):
    producer = unreachable(queue_buffering_max_messages=1)
    producer.produce("t", b"1")
    with pytest.raises(BufferError):
        producer.produce("t", b"2")
    span = sent(spans)
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "BufferError")


@pytest.mark.parametrize("wrong", [{"value": 1}, {"key": 1}, {"partition": "1"}, {"headers": {"a": 1}}])
def test_a_wrong_type_raises_what_the_real_class_raises(spans, broker, producer, topic, wrong):
    with pytest.raises(TypeError) as expected:
        confluent_kafka.Producer({"bootstrap.servers": broker}).produce(topic, **wrong)
    with pytest.raises(TypeError) as raised:
        producer.produce(topic, **wrong)
    assert str(raised.value) == str(expected.value)
    assert sent(spans).attributes["error.type"] == "TypeError"


def test_purged_records_end_their_spans_as_errors(spans, unreachable):
    producer = unreachable()
    producer.produce("t", b"1")
    producer.purge()
    producer.flush()
    assert sent(spans).attributes["error.type"] == "_PURGE_QUEUE"


def test_a_dropped_producer_ends_its_spans_as_errors(spans):
    producer = Producer(
        {"bootstrap.servers": f"127.0.0.1:{unserved_port()}", "logger": logging.getLogger("unreachable")}
    )
    producer.produce("t", b"1")
    producer.produce("t", b"2")
    del producer
    gc.collect()
    assert [(span.attributes["error.type"], span.status.description) for span in spans.get_finished_spans()] == [
        ("abandoned", "the producer was dropped before the delivery report arrived")
    ] * 2


@pytest.mark.parametrize("headers", [None, [("a", b"1")], {"a": b"1"}], ids=["none", "list", "dict"])
def test_a_record_that_is_too_large_with_trace_context_leaves_without_it_and_that_is_said_once(
    spans, broker, topic, fetch, caplog, headers
):
    limit = 1000
    value = bytes(limit - 100)
    with Producer({"bootstrap.servers": broker, "message.max.bytes": limit}) as producer:
        for _ in range(2):
            producer.produce(topic, value, headers=headers)
        producer.flush()
    assert [(record.value(), record.headers()) for record in fetch(topic, 2)] == [
        (value, [("a", b"1")] if headers else None)
    ] * 2
    assert [span.status.status_code for span in spans.get_finished_spans()] == [StatusCode.UNSET] * 2
    assert [record.message for record in caplog.records] == [
        f"a record for topic {topic} is too large with trace context, and was sent without: its consumers' spans "
        "begin a trace of their own; later ones are sent so without a word"
    ]


# --- callbacks ---


@pytest.mark.parametrize("name", ["callback", "on_delivery"])
def test_a_callback_is_called_once_with_the_real_report(producer, topic, name):
    reports = []
    producer.produce(topic, b"1", "k", **{name: lambda *report: reports.append(report)})
    producer.flush()
    producer.poll(0)
    ((error, record),) = reports
    assert (error, record.topic(), record.partition(), record.offset(), record.value(), record.key()) == (
        None,
        topic,
        0,
        0,
        b"1",
        b"k",
    )


def test_the_span_has_ended_when_the_callback_runs(spans, producer, topic):
    ended = []
    producer.produce(topic, b"1", on_delivery=lambda *_: ended.append(len(spans.get_finished_spans())))
    producer.flush()
    assert ended == [1]


def test_an_exception_of_a_callback_passes_through_unchanged(spans, producer, topic):
    failure = ValueError("the user's own")

    def fail(*_):
        raise failure

    producer.produce(topic, b"1", on_delivery=fail)
    with pytest.raises(ValueError, match="the user's own") as raised:
        producer.flush()
    assert raised.value is failure
    assert sent(spans).status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("cls", [confluent_kafka.Producer, Producer])
def test_the_configuration_s_callback_hears_of_records_without_one_of_their_own(broker, topic, cls):
    reports = []
    producer = cls({"bootstrap.servers": broker, "on_delivery": lambda _, record: reports.append(record.offset())})
    producer.produce(topic, b"1")
    producer.produce(topic, b"2", on_delivery=lambda *_: reports.append("its own"))
    producer.flush()
    assert reports == [0, "its own"]


def test_where_only_errors_are_reported_spans_end_all_the_same(spans, broker, topic):
    reports = []
    producer = Producer({"bootstrap.servers": broker, "delivery.report.only.error": True})
    producer.produce(topic, b"1", on_delivery=lambda *report: reports.append(report))
    producer.flush()
    assert reports == []
    assert sent(spans).attributes["messaging.kafka.offset"] == 0


def test_where_only_errors_are_reported_errors_are(spans, unreachable):
    reports = []
    producer = unreachable(message_timeout_ms=200, delivery_report_only_error=True)
    producer.produce("t", b"1", on_delivery=lambda error, _: reports.append(error.name()))
    producer.flush()
    assert reports == [sent(spans).attributes["error.type"]] == ["_MSG_TIMED_OUT"]


# --- the real class in every other way ---


@pytest.mark.parametrize("cls", [confluent_kafka.Producer, Producer])
def test_positional_arguments_mean_what_they_mean_to_the_real_class(broker, topic, fetch, cls):
    reports = []
    producer = cls({"bootstrap.servers": broker})
    producer.produce(topic, b"v", b"k", 0, lambda *_: reports.append(1), None, 1_600_000_000_000, {"a": b"1"})
    producer.flush()
    (record,) = fetch(topic)
    assert (record.value(), record.key(), record.partition(), record.timestamp(), record.headers()[0], reports) == (
        b"v",
        b"k",
        0,
        (confluent_kafka.TIMESTAMP_CREATE_TIME, 1_600_000_000_000),
        ("a", b"1"),
        [1],
    )


@pytest.mark.parametrize("name", [name for name in dir(confluent_kafka.Producer) if "produce" not in name])
def test_a_member_of_the_real_class_is_inherited(name):
    own = {"__init__", "__module__", "__doc__", "__init_subclass__", "__subclasshook__", "__new__"}
    assert name in own or getattr(Producer, name) is getattr(confluent_kafka.Producer, name)


def test_isinstance_and_length_hold(producer, topic):
    assert isinstance(producer, confluent_kafka.Producer)
    producer.produce(topic, b"1")
    producer.flush()
    assert len(producer) == 0


def test_list_topics_works(producer, topic):
    assert topic in producer.list_topics(timeout=10).topics


def test_begin_transaction_answers_as_the_real_class_does(broker, producer):
    with pytest.raises(confluent_kafka.KafkaException) as expected:
        confluent_kafka.Producer({"bootstrap.servers": broker}).begin_transaction()
    with pytest.raises(confluent_kafka.KafkaException) as raised:
        producer.begin_transaction()
    assert raised.value.args[0].str() == expected.value.args[0].str()


@pytest.mark.parametrize("arguments", [["not a dict"], [{"no.such.setting": 1}]])
def test_a_wrong_configuration_raises_what_the_real_class_raises(arguments):
    with pytest.raises((TypeError, confluent_kafka.KafkaException)) as expected:
        confluent_kafka.Producer(*arguments)
    with pytest.raises(expected.type) as raised:
        Producer(*arguments)
    assert str(raised.value) == str(expected.value)


def test_a_delivered_record_leaves_nothing_of_itself_in_the_producer(producer, topic):
    value = bytes(1000)
    before = sys.getrefcount(value)
    producer.produce(topic, value)
    producer.flush()
    assert sys.getrefcount(value) == before
