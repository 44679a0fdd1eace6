"""The Consumer and `process`: waiting and working are two spans, and no context outlives its `with`."""

import asyncio
import logging
import threading
import time

import confluent_kafka
import pytest
from kafka_support import named
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind, StatusCode

from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS
from otel_kfs.kafka import Consumer, Producer, process

pytestmark = pytest.mark.kafka

GROUP = "a group"
TRACER = trace.get_tracer("a test")


@pytest.fixture
def send(broker):
    """Sends one record of a topic and waits until it is there."""
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 0})

    def send(topic, value=b"12345", **options):
        producer.produce(topic, value, **options)
        producer.flush()

    return send


def ids(span):
    return span.context.trace_id, span.context.span_id


# --- poll ---


def test_poll_leaves_a_span_linked_to_the_producer(spans, send, open_consumer, broker, topic):
    send(topic)
    open_consumer(topic).poll(30)
    (sent,), (polled,) = named(spans, f"send {topic}"), named(spans, f"poll {topic}")
    assert (polled.kind, polled.parent, polled.status.status_code) == (SpanKind.CLIENT, None, StatusCode.UNSET)
    assert [(link.context.trace_id, link.context.span_id) for link in polled.links] == [ids(sent)]
    assert polled.context.trace_id != sent.context.trace_id
    assert dict(polled.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "poll",
        "messaging.operation.type": "receive",
        "messaging.destination.name": topic,
        "messaging.consumer.group.name": GROUP,
        "messaging.batch.message_count": 1,
        "server.address": "127.0.0.1",
        "server.port": int(broker.partition(":")[2]),
    }


def test_unless_it_is_asked_for_a_poll_is_a_trace_only_if_it_brought_what_has_none(
    spans, send, open_consumer, broker, topic, monkeypatch
):
    monkeypatch.delenv("OTEL_KFS_POLL_SPANS")
    consumer = open_consumer(topic)
    send(topic)
    assert consumer.poll(30).error() is None
    assert named(spans, f"poll {topic}") == []
    send(topic, headers={"its": "own"})
    untraced = confluent_kafka.Producer({"bootstrap.servers": broker})
    untraced.produce(topic, b"x")
    untraced.flush()
    records = consumer.consume(2, 30)
    (polled,) = named(spans, f"poll {topic}")
    assert (len(records), len(polled.links)) == (2, 1)


def test_the_poll_span_measures_the_wait(spans, send, open_consumer, topic):
    polling = threading.Event()

    def send_while_it_waits():
        polling.wait(30)
        send(topic)

    # Statistics are told from inside poll(): once they are, the call is under way.
    consumer = open_consumer(topic, config={"statistics.interval.ms": 10, "stats_cb": lambda _: polling.set()})
    sender = threading.Thread(target=send_while_it_waits)
    sender.start()
    assert consumer.poll(30) is not None
    sender.join()
    (sent,), (polled,) = named(spans, f"send {topic}"), named(spans, f"poll {topic}")
    assert polled.start_time < sent.start_time < polled.end_time


def test_a_poll_that_brings_nothing_leaves_no_span(spans, open_consumer, topic):
    assert open_consumer(topic).poll(0.05) is None
    assert spans.get_finished_spans() == ()


def test_a_record_without_context_is_polled_without_a_link(spans, broker, open_consumer, topic):
    plain = confluent_kafka.Producer({"bootstrap.servers": broker})
    plain.produce(topic, b"1")
    plain.flush()
    open_consumer(topic).poll(30)
    assert [span.links for span in named(spans, f"poll {topic}")] == [()]


def test_header_bytes_that_are_no_text_do_not_raise(spans, broker, open_consumer, topic):
    plain = confluent_kafka.Producer({"bootstrap.servers": broker})
    plain.produce(topic, b"1", headers=[("x", b"\xff\xfe"), ("traceparent", b"\xff\xfe"), ("tracestate", b"\xff")])
    plain.flush()
    record = open_consumer(topic).poll(30)
    assert record.headers()[0] == ("x", b"\xff\xfe")
    with process(record):
        pass
    assert [span.name for span in spans.get_finished_spans()] == [f"poll {topic}", f"process {topic}"]


def test_no_context_is_attached_after_a_poll(send, open_consumer, topic):
    send(topic)
    before = otel_context.get_current()
    open_consumer(topic).poll(30)
    assert otel_context.get_current() == before


def test_closing_from_another_thread_logs_nothing(send, open_consumer, topic, caplog):
    send(topic)
    consumer = open_consumer(topic)
    with process(consumer.poll(30)):
        thread = threading.Thread(target=consumer.close)
        thread.start()
        thread.join()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_batch_of_mixed_topics_leaves_one_span_a_topic(spans, send, open_consumer, make_topic):
    topics = {make_topic(): 2, make_topic(): 3}
    for topic, count in topics.items():
        for _ in range(count):
            send(topic)
    consumer = open_consumer(*topics)
    records = []
    while len(records) < 5:
        records += consumer.consume(5 - len(records), 0.5)
    for topic, count in topics.items():
        polled = named(spans, f"poll {topic}")
        assert sum(span.attributes["messaging.batch.message_count"] for span in polled) == count
        assert [(link.context.trace_id, link.context.span_id) for span in polled for link in span.links] == [
            ids(span) for span in named(spans, f"send {topic}")
        ]


def test_one_consume_is_one_span_a_topic_over_the_same_time(spans, send, open_consumer, make_topic):
    topics = [make_topic(), make_topic()]
    for topic in topics:
        send(topic)
    # The call lasts until both are there.
    assert len(open_consumer(*topics).consume(2, 30)) == 2
    first, second = (named(spans, f"poll {topic}")[0] for topic in topics)
    assert (first.start_time, first.end_time) == (second.start_time, second.end_time)


def test_an_empty_consume_leaves_no_span(spans, open_consumer, topic):
    assert open_consumer(topic).consume(5, 0.05) == []
    assert spans.get_finished_spans() == ()


def test_the_end_of_a_partition_is_no_span(spans, open_consumer, topic):
    record = open_consumer(topic, config={"enable.partition.eof": True}).poll(30)
    assert record.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
    assert spans.get_finished_spans() == ()


def test_a_record_and_the_end_of_its_partition_count_as_one_record(spans, send, open_consumer, topic):
    send(topic)
    assert len(open_consumer(topic, config={"enable.partition.eof": True}).consume(2, 30)) == 2
    (polled,) = named(spans, f"poll {topic}")
    assert polled.attributes["messaging.batch.message_count"] == 1
    assert polled.status.status_code is StatusCode.UNSET


def test_an_error_in_the_place_of_a_record_marks_the_span(spans, open_consumer):
    consumer = open_consumer(config=CONSUMER_SETTINGS)
    consumer.subscribe(["no-such-topic"])
    record = consumer.poll(30)
    (polled,) = named(spans, "poll no-such-topic")
    assert (polled.status.status_code, polled.status.description) == (StatusCode.ERROR, record.error().str())
    assert polled.attributes["error.type"] == record.error().name() == "UNKNOWN_TOPIC_OR_PART"
    assert polled.attributes["messaging.batch.message_count"] == 0


# --- process ---


def test_process_is_a_child_of_send_in_the_same_trace(spans, send, open_consumer, topic):
    send(topic)
    record = open_consumer(topic).poll(30)
    before = time.time_ns() // 1_000_000
    with process(record, group=GROUP):
        pass
    (sent,), (done,) = named(spans, f"send {topic}"), named(spans, f"process {topic}")
    assert (done.kind, done.context.trace_id, done.parent.span_id, done.links) == (SpanKind.CONSUMER, *ids(sent), ())
    attributes = dict(done.attributes)
    queued = attributes.pop("otel_kfs.queue.time")
    assert before - record.timestamp()[1] <= queued == done.start_time // 1_000_000 - record.timestamp()[1]
    assert attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "messaging.consumer.group.name": GROUP,
        "messaging.message.body.size": 5,
        "otel_kfs.record.timestamp": record.timestamp()[1],
        "otel_kfs.record.timestamp.type": "CreateTime",
    }


def test_the_span_is_current_inside_and_not_after(send, open_consumer, topic):
    send(topic)
    record = open_consumer(topic).poll(30)
    before = otel_context.get_current()
    with process(record) as span:
        assert trace.get_current_span() is span
    assert otel_context.get_current() == before


def test_time_between_records_belongs_to_no_process_span(spans, send, open_consumer, topic):
    send(topic)
    send(topic)
    consumer = open_consumer(topic)
    with process(consumer.poll(30)):
        pass
    with TRACER.start_as_current_span("the caller's own"):
        pass
    with process(consumer.poll(30)):
        pass
    (first, second), (own,) = named(spans, f"process {topic}"), named(spans, "the caller's own")
    assert first.end_time <= own.start_time
    assert own.end_time <= second.start_time
    assert own.parent is None


def test_with_links_it_is_a_trace_of_its_own_linked_to_the_producer(spans, send, open_consumer, topic):
    send(topic)
    with process(open_consumer(topic).poll(30), links=True), TRACER.start_as_current_span("inside"):
        pass
    (sent,), (done,) = named(spans, f"send {topic}"), named(spans, f"process {topic}")
    assert done.parent is None
    assert done.context.trace_id != sent.context.trace_id
    assert [(link.context.trace_id, link.context.span_id) for link in done.links] == [ids(sent)]
    assert named(spans, "inside")[0].parent.span_id == done.context.span_id


@pytest.mark.parametrize("links", [False, True])
def test_a_record_without_context_starts_a_trace(spans, broker, open_consumer, topic, links):
    plain = confluent_kafka.Producer({"bootstrap.servers": broker})
    plain.produce(topic, b"1")
    plain.flush()
    with TRACER.start_as_current_span("around"), process(open_consumer(topic).poll(30), links=links):
        pass
    (done,) = named(spans, f"process {topic}")
    assert (done.parent, done.links) == (None, ())


def test_an_exception_passes_through_unchanged_and_marks_the_span(spans, send, open_consumer, topic):
    send(topic)
    record = open_consumer(topic).poll(30)
    failure = ValueError("no such picture")
    before = otel_context.get_current()
    with pytest.raises(ValueError, match="no such picture") as raised, process(record):
        raise failure
    assert raised.value is failure
    assert otel_context.get_current() == before
    (done,) = named(spans, f"process {topic}")
    assert (done.status.status_code, done.status.description) == (StatusCode.ERROR, "ValueError: no such picture")
    assert done.attributes["error.type"] == "ValueError"
    assert [event.name for event in done.events] == ["exception"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, {"messaging.kafka.message.tombstone": True}), (b"", {"messaging.message.body.size": 0})],
)
def test_a_tombstone_and_an_empty_value_have_spans_too(spans, send, open_consumer, topic, value, expected):
    send(topic, value, key="k")
    with process(open_consumer(topic).poll(30)):
        pass
    (done,) = named(spans, f"process {topic}")
    keys = {"messaging.kafka.message.tombstone", "messaging.message.body.size"}
    assert {key: value for key, value in done.attributes.items() if key in keys} == expected
    assert done.parent.span_id == named(spans, f"send {topic}")[0].context.span_id


def test_key_bytes_are_no_attribute(spans, send, open_consumer, topic):
    send(topic, key=b"secret")
    with process(open_consumer(topic).poll(30)):
        pass
    assert "messaging.kafka.message.key" not in named(spans, f"process {topic}")[0].attributes


def test_baggage_of_the_record_is_there_inside(broker, open_consumer, topic):
    producer = Producer({"bootstrap.servers": broker})
    token = otel_context.attach(baggage.set_baggage("k", "v"))
    producer.produce(topic, b"1")
    otel_context.detach(token)
    producer.flush()
    with process(open_consumer(topic).poll(30)):
        assert baggage.get_baggage("k") == "v"
    assert baggage.get_baggage("k") is None


def test_a_record_sent_on_continues_the_trace_from_its_processing(spans, send, open_consumer, make_topic):
    first, second = make_topic(), make_topic()
    send(first)
    record = open_consumer(first).poll(30)
    with process(record):
        send(second, headers=record.headers())
    forwarded = open_consumer(second).poll(30)
    (done,), (sent,) = named(spans, f"process {first}"), named(spans, f"send {second}")
    assert sent.parent.span_id == done.context.span_id
    assert [key for key, _ in forwarded.headers()] == ["traceparent"]


def test_threads_keep_their_records_apart(spans, send, open_consumer, topic):
    for _ in range(4):
        send(topic)
    consumer = open_consumer(topic)
    barrier = threading.Barrier(4, timeout=30)

    def work(record):
        with process(record):
            barrier.wait()
            with TRACER.start_as_current_span(f"work {record.offset()}"):
                barrier.wait()

    threads = [threading.Thread(target=work, args=(consumer.poll(30),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_apart(spans, topic, 4)


def test_tasks_of_asyncio_keep_their_records_apart(spans, send, open_consumer, topic):
    for _ in range(4):
        send(topic)
    consumer = open_consumer(topic)
    records = [consumer.poll(30) for _ in range(4)]

    async def work(record):
        with process(record):
            await asyncio.sleep(0)
            with TRACER.start_as_current_span(f"work {record.offset()}"):
                await asyncio.sleep(0)

    async def all_at_once():
        await asyncio.gather(*map(work, records))

    asyncio.run(all_at_once())
    assert_apart(spans, topic, 4)


def assert_apart(spans, topic, count):
    """Each record's work is a child of its own processing, and that of its own sending."""
    sent = {span.attributes["messaging.kafka.offset"]: ids(span) for span in named(spans, f"send {topic}")}
    done = {span.attributes["messaging.kafka.offset"]: span for span in named(spans, f"process {topic}")}
    assert {offset: (span.context.trace_id, span.parent.span_id) for offset, span in done.items()} == sent
    work = {n: named(spans, f"work {n}")[0] for n in range(count)}
    assert {n: (span.context.trace_id, span.parent.span_id) for n, span in work.items()} == {
        n: ids(span) for n, span in done.items()
    }


# --- the real class in every other way ---


@pytest.mark.parametrize("name", [name for name in dir(confluent_kafka.Consumer) if name not in {"poll", "consume"}])
def test_a_member_of_the_real_class_is_inherited(name):
    own = {"__init__", "__module__", "__doc__", "__init_subclass__", "__subclasshook__", "__new__"}
    assert name in own or getattr(Consumer, name) is getattr(confluent_kafka.Consumer, name)


@pytest.mark.parametrize("options", [((), {"timeout": 0.05}), ((0.05,), {})])
def test_poll_takes_its_timeout_by_place_and_by_name(open_consumer, topic, options):
    arguments, keywords = options
    assert open_consumer(topic).poll(*arguments, **keywords) is None


def test_consume_takes_its_arguments_by_name(open_consumer, topic):
    assert open_consumer(topic).consume(num_messages=1, timeout=0.05) == []


@pytest.mark.parametrize("method", ["poll", "consume"])
def test_a_closed_consumer_raises_what_the_real_class_raises(broker, method):
    raised = []
    for cls in (confluent_kafka.Consumer, Consumer):
        consumer = cls({"bootstrap.servers": broker, "group.id": "g"})
        consumer.close()
        with pytest.raises(RuntimeError) as error:
            getattr(consumer, method)(timeout=0)
        raised.append(str(error.value))
    assert raised[0] == raised[1]


@pytest.mark.parametrize("arguments", [["not a dict"], [{"no.such.setting": 1}]])
def test_a_wrong_configuration_raises_what_the_real_class_raises(arguments):
    with pytest.raises((TypeError, ValueError, confluent_kafka.KafkaException)) as expected:
        confluent_kafka.Consumer(*arguments)
    with pytest.raises(expected.type) as raised:
        Consumer(*arguments)
    assert str(raised.value) == str(expected.value)


def test_the_group_is_known_from_the_configuration(broker):
    consumer = Consumer({"bootstrap.servers": broker}, **{"group.id": "by keyword"})
    assert consumer.group == "by keyword"
    consumer.close()
