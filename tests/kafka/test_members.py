"""Every public member of the real classes, and every form of its arguments, as the library's own stub lists them."""

import ast
import inspect
from pathlib import Path

import confluent_kafka
import pytest
from kafka_support import MOCK

from otel_kfs.kafka import Consumer, DeserializingConsumer, Producer, SerializingProducer

pytestmark = pytest.mark.kafka

STUB = ast.parse((Path(confluent_kafka.__file__).parent / "cimpl.pyi").read_text())
PAIRS = [
    (Producer, confluent_kafka.Producer),
    (Consumer, confluent_kafka.Consumer),
    (SerializingProducer, confluent_kafka.SerializingProducer),
    (DeserializingConsumer, confluent_kafka.DeserializingConsumer),
]


def parameters(name: str, method: str) -> list[tuple[str, object]]:
    """The names and defaults of a method's parameters in the stub."""
    (cls,) = (node for node in STUB.body if isinstance(node, ast.ClassDef) and node.name == name)
    (found,) = (node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == method)
    names = [argument.arg for argument in found.args.args]
    defaults = [ast.literal_eval(default) for default in found.args.defaults]
    return list(zip(names, [inspect.Parameter.empty] * (len(names) - len(defaults)) + defaults, strict=True))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_every_public_member_is_there_and_only_ours_differ(ours, theirs):
    differing = {
        name for name in dir(theirs) if not name.startswith("__") and getattr(ours, name) is not getattr(theirs, name)
    }
    changed = {"produce_batch"} if issubclass(ours, SerializingProducer) else set()
    assert (
        differing
        == {
            Producer: {"produce", "produce_batch"},
            Consumer: {"poll", "consume"},
            SerializingProducer: changed,
            DeserializingConsumer: set(),
        }[ours]
    )


@pytest.mark.parametrize(
    ("cls", "method"),
    [(Producer, "produce"), (Producer, "produce_batch"), (Consumer, "poll"), (Consumer, "consume")],
)
def test_our_methods_take_what_the_real_ones_take(cls, method):
    ours = inspect.signature(getattr(cls, method)).parameters.values()
    assert [(parameter.name, parameter.default) for parameter in ours] == parameters(cls.__name__, method)


@pytest.mark.parametrize("cls", [confluent_kafka.Consumer, Consumer])
def test_a_consumer_s_arguments_are_taken_by_place_and_by_name(cls):
    consumer = cls({**MOCK, "group.id": "g"})
    consumer.assign([])
    assert [consumer.poll(0), consumer.poll(timeout=0)] == [None, None]
    assert [consumer.consume(2, 0), consumer.consume(num_messages=2, timeout=0)] == [[], []]
    for wrong in (("0",), (None,), (0, 0, 0)):
        with pytest.raises(TypeError):
            consumer.poll(*wrong)
        with pytest.raises(TypeError):
            consumer.consume(*wrong)
    consumer.close()


NAMES = [name for name, _ in parameters("Producer", "produce")][1:]
VALUES = {
    "topic": "t",
    "value": b"v",
    "key": "k",
    "partition": 0,
    "callback": lambda *_: None,
    "on_delivery": lambda *_: None,
    "timestamp": 1_600_000_000_000,
    "headers": {"a": None, "b": "1", "c": b"\xff"},
}


@pytest.mark.parametrize("by_place", range(len(NAMES) + 1))
@pytest.mark.parametrize("cls", [confluent_kafka.Producer, Producer])
def test_arguments_are_taken_by_place_and_by_name(cls, by_place):
    reports = []
    values = {**VALUES, "callback": lambda error, record: reports.append((error, record.value(), record.key()))}
    producer = cls(MOCK)
    by_name = {name: values[name] for name in NAMES[by_place:]}
    producer.produce(*[values[name] for name in NAMES[:by_place]], **by_name)
    producer.flush()
    assert reports == [(None, b"v", b"k")]


@pytest.mark.parametrize(
    "arguments", [((), {}), (("t",), {"nope": 1}), ((1,), {}), ((None,), {}), ((), {"value": b""})]
)
@pytest.mark.parametrize("method", ["produce", "produce_batch"])
def test_wrong_calls_raise_the_same_kind_of_error(method, arguments):
    for cls in (confluent_kafka.Producer, Producer):
        with pytest.raises(TypeError):
            getattr(cls(MOCK), method)(*arguments[0], **arguments[1])


@pytest.mark.parametrize("cls", [confluent_kafka.Producer, Producer])
def test_a_closed_producer_says_so(cls):
    producer = cls(MOCK)
    assert producer.close() is True
    with pytest.raises(RuntimeError):
        producer.produce("t", b"1")
    with pytest.raises(RuntimeError):
        producer.produce_batch("t", [{"value": b"1"}])


def test_closing_delivers_and_ends_what_is_under_way(spans):
    producer = Producer(MOCK)
    producer.produce("t", b"1")
    producer.close()
    assert ["error.type" in span.attributes for span in spans.get_finished_spans()] == [False]


# --- transactions, on librdkafka's own broker ---


@pytest.fixture
def transactional():
    producer = Producer({**MOCK, "transactional.id": "an id", "linger.ms": 2000})
    producer.init_transactions(30)
    producer.begin_transaction()
    return producer


def test_a_committed_record_was_sent(spans, transactional):
    transactional.produce("t", b"1")
    transactional.commit_transaction(30)
    (sent,) = spans.get_finished_spans()
    assert ("error.type" in sent.attributes, sent.attributes["messaging.kafka.offset"]) == (False, 0)


def test_a_record_that_an_abort_purges_says_so(spans, transactional):
    transactional.produce("t", b"1")
    transactional.abort_transaction(30)
    (sent,) = spans.get_finished_spans()
    assert sent.attributes["error.type"] in {"_PURGE_QUEUE", "_PURGE_INFLIGHT"}


def test_a_record_that_was_acknowledged_before_the_abort_was_sent(spans, transactional):
    transactional.produce("t", b"1")
    transactional.flush()
    transactional.abort_transaction(30)
    (sent,) = spans.get_finished_spans()
    assert "error.type" not in sent.attributes
