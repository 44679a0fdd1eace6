"""Arguments, results and errors are those of the real class, whoever has put another one in its place."""

import asyncio

import confluent_kafka
import confluent_kafka.aio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_support import MOCK

import otel_kfs.kafka

pytestmark = pytest.mark.kafka


def outcome(call):
    """What a call returned, or its exception's type and text."""
    try:
        result = call()
    except Exception as error:  # noqa: BLE001 - whatever it is, both are to raise it
        return type(error), str(error)
    return result if isinstance(result, int | list) else type(result).__name__


# Any text but half a surrogate pair, at which the real class ends the interpreter.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(["traceparent", "t"])
OTHER = st.sampled_from([None, 3, -1, 2**40, 1.5, True, (), [], {}, "a\0b", b"\xff", bytearray(b"1"), object])
ANY = TEXT | OTHER
PAIR = st.tuples(ANY, ANY) | st.lists(ANY, max_size=3) | st.tuples(ANY) | ANY
HEADERS = st.none() | st.lists(st.tuples(TEXT, TEXT), max_size=3) | st.lists(PAIR, max_size=3) | ANY
HEADERS |= st.dictionaries(TEXT | st.integers() | st.none(), ANY, max_size=3)
NUMBER = st.integers(-2, 2) | ANY


def record_of(heard):
    """Arguments of `produce`, by place or by name, in any number."""
    callback = st.sampled_from([None, heard("first"), heard("second")])
    fields = {
        "topic": st.just("t") | ANY,
        "value": TEXT | st.binary(max_size=5) | ANY,
        "key": TEXT | ANY,
        "partition": st.just(0) | NUMBER,
        "callback": callback,
        "on_delivery": callback,
        "timestamp": st.just(0) | NUMBER,
        "headers": HEADERS,
    }
    by_name = st.fixed_dictionaries({}, optional={**fields, "nope": ANY})
    by_place = st.integers(0, 9).flatmap(lambda count: st.tuples(*[*fields.values(), ANY][:count]))
    return by_place, by_name


HEARD: list[str] = []


def heard(name):
    def callback(error, record):
        HEARD.append((name, error and error.name(), record.value(), record.key()))

    return callback


@pytest.fixture(scope="module")
def pair():
    """The real class's producer, and ours."""
    return [module.Producer({**MOCK, "on_delivery": heard("default")}) for module in (confluent_kafka, otel_kfs.kafka)]


def same(pair, call):
    """Whether a call of both has one outcome, and leads to the same reports."""
    found = []
    for producer in pair:
        HEARD.clear()
        found.append((outcome(lambda producer=producer: call(producer)), producer.flush(10), sorted(HEARD, key=repr)))
    assert found[1] == found[0]


@settings(max_examples=300)
@given(*record_of(heard))
def test_produce_does_and_refuses_what_the_real_one_does(pair, by_place, by_name):
    same(pair, lambda producer: producer.produce(*by_place, **by_name))


@pytest.fixture(scope="module")
def earlier_pair():
    """The real class's producer, and one that was made before and is traced now."""
    config = {**MOCK, "on_delivery": heard("default")}
    real, earlier = (confluent_kafka.Producer(config) for _ in range(2))
    return [real, otel_kfs.kafka.KafkaInstrumentor.instrument_client(earlier, config)]


@given(*record_of(heard))
def test_a_producer_made_earlier_does_and_refuses_what_it_did(earlier_pair, by_place, by_name):
    same(earlier_pair, lambda producer: producer.produce(*by_place, **by_name))


@given(st.tuples(st.just("t"), st.just(b"v")), record_of(heard)[1])
def test_produce_reports_to_whom_the_real_one_does(pair, by_place, by_name):
    named = {key: value for key, value in by_name.items() if key in {"callback", "on_delivery", "headers"}}
    same(pair, lambda producer: producer.produce(*by_place, **named))


MESSAGE = st.fixed_dictionaries(
    {}, optional={"value": TEXT | ANY, "key": TEXT | ANY, "callback": st.sampled_from([None, heard("own")])}
)
BATCH = st.lists(MESSAGE, max_size=3) | st.lists(MESSAGE | ANY, max_size=3) | ANY
CALLBACK = st.sampled_from([None, heard("first"), heard("second")])


@given(
    st.integers(0, 6).flatmap(
        lambda count: st.tuples(*[st.just("t") | ANY, BATCH, st.just(0), CALLBACK, CALLBACK, ANY][:count])
    ),
    st.fixed_dictionaries(
        {}, optional={"topic": st.just("t"), "messages": BATCH, "callback": CALLBACK, "on_delivery": CALLBACK}
    ),
)
def test_produce_batch_does_and_refuses_what_the_real_one_does(pair, by_place, by_name):
    same(pair, lambda producer: producer.produce_batch(*by_place, **by_name))


ARGUMENTS = st.lists(st.sampled_from([0, 0.01, "0", None, -5, 1]), max_size=3)
NAMED = st.dictionaries(st.sampled_from(["timeout", "num_messages", "nope"]), st.sampled_from([0, 0.01, "0", None]))


@given(st.sampled_from(["poll", "consume"]), ARGUMENTS, NAMED)
def test_a_consumer_refuses_what_the_real_one_does(method, by_place, by_name):
    # Without a timeout it would wait for ever.
    waits = {"poll": 1, "consume": 2}[method]
    if (len(by_place) < waits and "timeout" not in by_name) or -5 in by_place[waits - 1 : waits]:
        by_name = {**by_name, "nope": 1}
    found = []
    for module in (confluent_kafka, otel_kfs.kafka):
        consumer = module.Consumer({**MOCK, "group.id": "g"})
        consumer.assign([])
        found.append(outcome(lambda consumer=consumer: getattr(consumer, method)(*by_place, **by_name)))
        consumer.close()
    assert found[1] == found[0]


# Not None as the group, at which the real class ends the interpreter.
SETTINGS = st.fixed_dictionaries(
    {"bootstrap.servers": st.just("127.0.0.1:1"), "log_level": st.just(0)},
    optional={
        "group.id": st.just("g"),
        "on_delivery": st.sampled_from([print, 3, None]),
        "delivery.report.only.error": st.sampled_from([True, False, "true", 1, None]),
        "client.id": ANY.filter(lambda value: value is not object),
        "nope": st.just("1"),
        "default.topic.config": st.sampled_from([{}, {"nope": 1}, {"delivery.report.only.error": "true"}]),
    },
)


@pytest.mark.parametrize("name", ["Producer", "Consumer", "SerializingProducer", "DeserializingConsumer"])
@pytest.mark.parametrize("arguments", [[], [{}], [{}, {}], [None], ["no dict"]])
def test_a_client_is_made_of_what_the_real_one_is(name, arguments):
    classes = [getattr(module, name) for module in (confluent_kafka, otel_kfs.kafka)]
    found = [outcome(lambda cls=cls: cls(*arguments)) for cls in classes]
    assert found[1] == found[0]


@given(st.sampled_from(["Producer", "Consumer"]), SETTINGS, SETTINGS | st.just({}))
def test_settings_are_taken_and_refused_as_by_the_real_one(name, config, by_name):
    classes = [getattr(module, name) for module in (confluent_kafka, otel_kfs.kafka)]
    found = [outcome(lambda cls=cls: cls(config, **by_name)) for cls in classes]
    assert found[1] == found[0]


@pytest.mark.parametrize("method", ["poll", "consume"])
@pytest.mark.parametrize("arguments", [("0",), (0, 0, 0), (None,)])
def test_an_asyncio_consumer_refuses_what_the_real_one_does(method, arguments):
    async def main(cls):
        async with cls({**MOCK, "group.id": "g"}) as consumer:
            await getattr(consumer, method)(*arguments)

    modules = (confluent_kafka.aio, otel_kfs.kafka)
    found = [outcome(lambda cls=module.AIOConsumer: asyncio.run(main(cls))) for module in modules]
    assert found[1] == found[0]


@pytest.mark.parametrize("only_errors", [{"delivery.report.only.error": True}])
@pytest.mark.parametrize("cls", [confluent_kafka.Producer, otel_kfs.kafka.Producer])
def test_settings_of_the_default_topic_count(spans, cls, only_errors):
    reports = []
    producer = cls({**MOCK, "default.topic.config": {**only_errors, "on_delivery": lambda *_: reports.append(1)}})
    producer.produce("t", b"1")
    producer.flush()
    assert reports == []
    assert len(spans.get_finished_spans()) == (cls is otel_kfs.kafka.Producer)
