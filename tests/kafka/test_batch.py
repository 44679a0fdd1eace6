"""`produce_batch`: one CLIENT span a call, until the last delivery report; arguments, result and `_error` as ever."""

import confluent_kafka
import pytest
from kafka_support import MOCK, UNREACHABLE
from opentelemetry.trace import SpanKind, StatusCode

from otel_kfs.kafka import Producer

pytestmark = pytest.mark.kafka

TOO_LARGE = bytes(2_000_000)


def test_the_span_lasts_until_the_last_delivery_report(spans):
    producer = Producer(MOCK)
    assert producer.produce_batch("t", [{"value": b"1"}, {"value": b"2", "key": "k"}]) == 2
    assert spans.get_finished_spans() == ()
    producer.flush()
    (span,) = spans.get_finished_spans()
    assert (span.name, span.kind, span.status.status_code) == ("send t", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "t",
        "messaging.batch.message_count": 2,
        "server.address": "mock",
        "server.port": 9092,
    }


@pytest.mark.parametrize("cls", [confluent_kafka.Producer, Producer])
def test_each_record_s_callback_or_else_the_call_s_is_called_with_the_report(cls):
    reports = []
    producer = cls(MOCK)
    messages = [
        {"value": b"1", "callback": lambda error, record: reports.append(("own", error, record.value()))},
        {"value": b"2"},
    ]
    before = [dict(message) for message in messages]
    producer.produce_batch("t", messages, 0, on_delivery=lambda error, record: reports.append((error, record.value())))
    producer.flush()
    assert sorted(reports, key=len) == [(None, b"2"), ("own", None, b"1")]
    assert messages == before


@pytest.mark.parametrize("cls", [confluent_kafka.Producer, Producer])
def test_the_configuration_s_callback_hears_of_the_rest(cls):
    reports = []
    producer = cls({**MOCK, "on_delivery": lambda _, record: reports.append(record.value())})
    producer.produce_batch("t", [{"value": b"1"}])
    producer.flush()
    assert reports == [b"1"]


@pytest.mark.parametrize("only_errors", [{}, {"delivery.report.only.error": True}])
@pytest.mark.parametrize("cls", [confluent_kafka.Producer, Producer])
def test_where_only_errors_are_reported_errors_are(cls, only_errors):
    reports = []
    producer = cls({**UNREACHABLE, **only_errors})
    producer.produce_batch("t", [{"value": b"1"}], callback=lambda error, _: reports.append(error.name()))
    producer.purge()
    producer.flush()
    assert reports == ["_PURGE_QUEUE"]


def test_records_refused_at_once_are_told_as_ever_and_counted_in_the_span(spans):
    ours, theirs = ([{"value": b"1"}, {"value": TOO_LARGE, "callback": print}, {"value": TOO_LARGE}] for _ in "12")
    producer, plain = Producer(MOCK), confluent_kafka.Producer(MOCK)
    assert producer.produce_batch("t", ours) == plain.produce_batch("t", theirs) == 1
    assert [str(message.get("_error")) for message in ours] == [str(message.get("_error")) for message in theirs]
    assert [set(message) for message in ours] == [set(message) for message in theirs]
    producer.flush()
    (span,) = spans.get_finished_spans()
    assert span.attributes["error.type"] == "MSG_SIZE_TOO_LARGE"
    assert span.status.description.startswith("2 of 3 records were not delivered: ")


def test_a_batch_that_is_refused_whole_ends_its_span_at_once(spans):
    producer = Producer(MOCK)
    messages = [{"value": TOO_LARGE}]
    assert [producer.produce_batch("t", messages), producer.produce_batch("t", messages)] == [0, 0]
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["MSG_SIZE_TOO_LARGE"] * 2


@pytest.mark.parametrize("wrong", [({},), ("no list",), ([1],), ([{"value": 1}],), ([{"value": b"", "timestamp": 1}],)])
def test_wrong_arguments_raise_what_the_real_class_raises(wrong):
    raised = []
    for cls in (confluent_kafka.Producer, Producer):
        with pytest.raises((TypeError, NotImplementedError)) as error:
            cls(MOCK).produce_batch("t", *wrong)
        raised.append((error.type, str(error.value)))
    assert raised[0] == raised[1]


def test_a_batch_that_raises_ends_its_span_once(spans):
    producer = Producer(MOCK)
    with pytest.raises(TypeError):
        producer.produce_batch("t", [{"value": b"1"}, {"value": 1}])
    producer.flush()
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["TypeError"]


def test_an_empty_batch_is_no_span(spans):
    assert Producer(MOCK).produce_batch("t", []) == 0
    assert spans.get_finished_spans() == ()


def test_a_purged_batch_ends_its_span_as_an_error(spans):
    producer = Producer(UNREACHABLE)
    producer.produce_batch("t", [{"value": b"1"}, {"value": b"2"}])
    producer.purge()
    producer.flush()
    (span,) = spans.get_finished_spans()
    assert span.attributes["error.type"] == "_PURGE_QUEUE"
    assert span.status.description.startswith("2 of 2 records")


def test_a_batch_of_a_dropped_producer_is_abandoned(spans):
    producer = Producer(UNREACHABLE)
    producer.produce_batch("t", [{"value": b"1"}])
    del producer
    assert [span.attributes["error.type"] for span in spans.get_finished_spans()] == ["abandoned"]
