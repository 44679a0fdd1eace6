"""`processing`: the body of a loop is a `process` span, and nothing is attached between records."""

import asyncio
import gc
import logging
import threading

import confluent_kafka
import pytest
from kafka_support import MOCK, named
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled, suppress_http_instrumentation
from opentelemetry.trace import StatusCode

from otel_kfs.kafka import Producer, process, processing

pytestmark = pytest.mark.kafka

TRACER = trace.get_tracer("a test")


@pytest.fixture
def filled(broker, topic):
    """A topic with two records."""
    producer = Producer({"bootstrap.servers": broker})
    for value in (b"0", b"1"):
        producer.produce(topic, value)
    producer.flush()
    return topic


def test_each_body_is_a_span_and_the_polling_is_not(spans, open_consumer, filled):
    attached = []

    class Watched:
        """A consumer that notes the current span of each poll."""

        def __init__(self, consumer):
            self._kfs = consumer._kfs
            self.real = consumer

        def poll(self, timeout):
            attached.append(trace.get_current_span())
            return self.real.poll(timeout)

    for record in processing(Watched(open_consumer(filled)), 1):
        with TRACER.start_as_current_span(f"work {record.offset()}"):
            pass
    sent, done = named(spans, f"send {filled}"), named(spans, f"process {filled}")
    assert [span.parent.span_id for span in done] == [span.context.span_id for span in sent]
    assert [named(spans, f"work {n}")[0].parent.span_id for n in (0, 1)] == [span.context.span_id for span in done]
    assert attached == [trace.INVALID_SPAN] * 3
    assert done[0].attributes["messaging.consumer.group.name"] == "a group"
    assert done[0].attributes["server.address"] == "127.0.0.1"


def test_the_iteration_ends_when_nothing_comes(open_consumer, topic):
    assert list(processing(open_consumer(topic), 0.05)) == []


def test_a_break_ends_the_span(spans, open_consumer, filled):
    before = otel_context.get_current()
    for _ in processing(open_consumer(filled), 30):
        break
    gc.collect()
    assert len(named(spans, f"process {filled}")) == 1
    assert otel_context.get_current() == before


def test_an_exception_passes_through_and_ends_the_span(spans, open_consumer, filled):
    before = otel_context.get_current()

    def divide():
        for _ in processing(open_consumer(filled), 30):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        divide()
    gc.collect()
    assert [span.status.status_code for span in named(spans, f"process {filled}")] == [StatusCode.UNSET]
    assert otel_context.get_current() == before


def test_a_with_around_the_loop_marks_the_span_of_the_exception(spans, open_consumer, filled):
    def divide():
        with processing(open_consumer(filled), 30) as records:
            for record in records:
                if record.offset() == 1:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        divide()
    assert [span.attributes.get("error.type") for span in named(spans, f"process {filled}")] == [
        None,
        "ZeroDivisionError",
    ]


def test_with_links_each_record_is_a_trace_of_its_own(spans, open_consumer, filled):
    for _ in processing(open_consumer(filled), 1, links=True):
        pass
    sent, done = named(spans, f"send {filled}"), named(spans, f"process {filled}")
    assert [span.parent for span in done] == [None, None]
    assert [[link.context.span_id for link in span.links] for span in done] == [[span.context.span_id] for span in sent]


def test_what_comes_in_the_place_of_a_record_is_handed_over_without_a_span(spans, open_consumer, topic):
    records = processing(open_consumer(topic, config={"enable.partition.eof": True}), 30)
    record = next(records)
    assert record.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
    records.close()
    assert spans.get_finished_spans() == ()


def test_an_iterator_that_dies_in_another_thread_logs_nothing(spans, open_consumer, filled, caplog):
    held = [processing(open_consumer(filled), 30)]
    next(held[0])
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert len(named(spans, f"process {filled}")) == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    otel_context.attach(otel_context.Context())


def test_an_error_in_the_place_of_a_record_marks_its_processing(spans):
    error = confluent_kafka.KafkaError(confluent_kafka.KafkaError._AUTO_OFFSET_RESET, "no such offset")
    with process(confluent_kafka.Message(topic="t", partition=0, offset=1, error=error)):
        pass
    (done,) = named(spans, "process t")
    assert (done.status.status_code, done.status.description) == (StatusCode.ERROR, "no such offset")
    assert done.attributes["error.type"] == "_AUTO_OFFSET_RESET"


def test_a_consumer_of_the_real_class_can_be_processed_too(spans, broker, filled):
    plain = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": "g", "fetch.wait.max.ms": 10})
    plain.assign([confluent_kafka.TopicPartition(filled, 0, 0)])
    assert [record.value() for record in processing(plain, 1)] == [b"0", b"1"]
    plain.close()
    assert len(named(spans, f"process {filled}")) == 2


class Records:
    """Stands in for a consumer that has so many records of a topic."""

    def __init__(self, topic, count=2):
        self.records = [record_of(topic, offset) for offset in range(count)]

    def poll(self, timeout):
        return self.records.pop(0) if self.records else None


class AsyncRecords(Records):
    """The same for an asyncio consumer."""

    async def poll(self, timeout):
        await asyncio.sleep(0)
        return super().poll(timeout)


def record_of(topic, offset=0, headers=None):
    return confluent_kafka.Message(topic=topic, partition=0, offset=offset, value=b"", headers=headers)


@pytest.fixture
def attached():
    """Attaches a context; what was current before is again at the test's end."""
    before = otel_context.get_current()
    yield otel_context.attach
    otel_context.attach(before)


@pytest.mark.parametrize("count", [2, 3])
def test_loops_that_take_turns_leave_no_span_current(spans, count):
    before = otel_context.get_current()
    for _ in zip(*(processing(Records(f"t{number}"), 1) for number in range(count)), strict=False):
        pass
    gc.collect()
    assert otel_context.get_current() == before
    assert len(spans.get_finished_spans()) == 2 * count


def test_loops_that_take_turns_keep_no_context_of_the_records_before():
    def turns(count):
        loops = [processing(Records(f"t{number}", count), 1) for number in range(2)]
        for _ in zip(*loops, strict=False):
            pass
        gc.collect()
        found = sum(isinstance(thing, otel_context.Context) for thing in gc.get_objects())
        for loop in loops:
            loop.close()
        return found

    few = turns(2)
    assert turns(100) <= few


def test_a_record_that_is_done_first_leaves_the_later_one_s_span_current():
    first, later = processing(Records("a"), 1), processing(Records("b"), 1)
    next(first)
    next(later)
    current = trace.get_current_span()
    first.close()
    assert trace.get_current_span() is current
    later.close()
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_record_that_is_done_inside_a_span_of_the_user_s_leaves_that_one_current(attached):
    with processing(Records("a"), 1) as records:
        next(records)
        with TRACER.start_as_current_span("the user's") as own:
            records.close()
            assert trace.get_current_span() is own


def test_what_was_attached_inside_and_never_detached_goes_with_the_record(spans):
    before = otel_context.get_current()
    for _ in processing(Records("t"), 1):
        otel_context.attach(baggage.set_baggage("left", "behind"))
    assert otel_context.get_current() == before
    assert [span.parent for span in spans.get_finished_spans()] == [None, None]


def test_tasks_that_take_turns_each_have_their_own_record_s_span_current(spans):
    async def loop(topic):
        found = []
        async for _ in processing(AsyncRecords(topic), 1):
            await asyncio.sleep(0)
            found.append(trace.get_current_span())
        return [span.name for span in found], trace.get_current_span()

    async def main():
        return await asyncio.gather(*(loop(topic) for topic in ("a", "b")))

    assert asyncio.run(main()) == [([f"process {topic}"] * 2, trace.INVALID_SPAN) for topic in ("a", "b")]


def test_a_task_started_for_a_record_keeps_its_span_when_the_loop_goes_on(spans):
    async def work(gate):
        await gate.wait()
        with TRACER.start_as_current_span("work"):
            pass

    async def main():
        gate, tasks = asyncio.Event(), []
        async for _ in processing(AsyncRecords("t"), 1):
            tasks.append(asyncio.create_task(work(gate)))
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    done = [span.context.span_id for span in named(spans, "process t")]
    assert [span.parent.span_id for span in named(spans, "work")] == done


async def left_early(records):
    """Take the first record of an asynchronous generator, and let the event loop close it."""
    async for _ in records:
        break


async def yields_of_processing():
    async for record in processing(AsyncRecords("t"), 1):
        yield record


async def yields_inside_process():
    for record in Records("t").records:
        with process(record):
            yield record


@pytest.mark.parametrize("generator", [yields_of_processing, yields_inside_process])
def test_a_generator_that_is_left_early_leaves_no_ended_span_current(spans, generator):
    async def main():
        await left_early(generator())
        gc.collect()
        while not named(spans, "process t"):  # until the task in which the loop closes it has run
            await asyncio.sleep(0)
        with TRACER.start_as_current_span("the next job"):
            pass
        return trace.get_current_span()

    assert asyncio.run(main()) is trace.INVALID_SPAN
    assert [(span.name, span.parent) for span in spans.get_finished_spans()] == [
        ("process t", None),
        ("the next job", None),
    ]


def test_a_span_that_is_left_in_another_thread_is_current_in_neither():
    opened = process(record_of("t"))
    opened.__enter__()
    thread = threading.Thread(target=opened.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_what_the_caller_attached_holds_inside_and_after(attached):
    attached(otel_context.set_value("tenant", "a"))
    before = otel_context.get_current()
    with suppress_http_instrumentation(), process(record_of("t")):
        assert (otel_context.get_value("tenant"), is_http_instrumentation_enabled()) == ("a", False)
    assert otel_context.get_current() == before


CARRIED = [("baggage", b"both=record,record=r"), ("traceparent", b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01")]


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [(True, {"both": "record", "record": "r", "caller": "c"}), (False, {"both": "caller", "caller": "c"})],
)
def test_of_two_baggage_entries_the_record_s_counts_if_it_is_trusted(attached, trusted, expected):
    attached(baggage.set_baggage("both", "caller", baggage.set_baggage("caller", "c")))
    with process(record_of("t", headers=CARRIED), trusted=trusted):
        assert dict(baggage.get_all()) == expected


def test_a_caller_s_span_is_no_parent_of_a_record_s(spans):
    with TRACER.start_as_current_span("the caller's"), process(record_of("t")):
        pass
    assert [span.parent for span in named(spans, "process t")] == [None]


def test_delivery_callbacks_run_in_the_context_of_whoever_flushes():
    seen = []
    for producer in (Producer(MOCK), confluent_kafka.Producer(MOCK)):
        with TRACER.start_as_current_span("producing"):
            producer.produce("t", b"", callback=lambda *_: seen.append(trace.get_current_span()))
        with TRACER.start_as_current_span("flushing") as flushing:
            producer.flush()
        assert seen.pop() is flushing


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def test_a_span_ends_though_the_exception_of_its_body_can_t_be_described(spans, open_consumer, filled):
    record = open_consumer(filled).poll(10)
    with pytest.raises(Unprintable), process(record):
        raise Unprintable
    (span,) = named(spans, f"process {filled}")
    events = [(event.name, dict(event.attributes)) for event in span.events]
    assert (span.status.description, span.attributes["error.type"]) == ("Unprintable", "Unprintable")
    assert events == [("exception", {"exception.type": "Unprintable"})]
